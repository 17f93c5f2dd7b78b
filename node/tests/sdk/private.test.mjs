// Private channels: signatures, and the application's auth endpoint.

import assert from "node:assert/strict";
import test from "node:test";

import { APP, eventually, join, record, startHttp, startServer, state } from "./support.mjs";

const server = await startServer(test);
const sdk = server.sdk();

test("a subscriber with a valid signature hears events", async (t) => {
  const { inbox } = await join(server.client(t), "private-user123");
  await sdk.trigger("private-user123", "user-notification", { n: 1 });
  assert.deepEqual((await inbox.take("user-notification")).data, { n: 1 });
});

test("a signature that is missing, wrong, of another key, channel or socket is refused", async (t) => {
  const [wire, other] = await Promise.all([server.wire(t), server.wire(t)]);
  const channel = "private-secret";
  const sign = (socketId, name, options) => server.sdk(options).authorizeChannel(socketId, name).auth;
  const good = sign(wire.socketId, channel);
  const bad = {
    missing: undefined,
    empty: "",
    "without a key": good.split(":")[1],
    "cut short": good.slice(0, -1),
    "of another key": sign(wire.socketId, channel, { key: "other-key" }),
    "of another secret": sign(wire.socketId, channel, { secret: "other-secret" }),
    "for another channel": sign(wire.socketId, "private-other"),
    "for another socket": sign(other.socketId, channel),
  };
  for (const [what, auth] of Object.entries(bad)) {
    wire.send("pusher:subscribe", { channel, auth });
    const error = await wire.frames.take("pusher:subscription_error");
    assert.equal(error.channel, channel, what);
    assert.equal(error.data.type, "AuthError", what);
    assert.equal(error.data.status, 401, what);
    assert.equal(typeof error.data.error, "string", what);
  }
  await wire.join("marker-room");
  await sdk.trigger(channel, "event", {});
  await sdk.trigger("marker-room", "marker", {});
  assert.deepEqual(await wire.frames.until("marker"), []);
});

test("pusher-js tells the channel about a refusal, and a later attempt can succeed", async (t) => {
  const answers = [{ auth: `${APP.key}:0000` }];
  const customHandler = ({ socketId, channelName }, done) =>
    done(null, answers.pop() ?? sdk.authorizeChannel(socketId, channelName));
  const client = server.client(t, { channelAuthorization: { customHandler } });
  const channel = client.subscribe("private-later");
  const inbox = record(channel);
  const { data } = await inbox.take("pusher:subscription_error");
  assert.equal(data.type, "AuthError");
  assert.equal(data.status, 401);
  assert.equal(client.connection.state, "connected");

  // After a server's refusal pusher-js holds the channel to be pending, so `client.subscribe` waits.
  channel.subscribe();
  await inbox.take("pusher:subscription_succeeded");
});

test("the auth endpoint gets a form with socket_id, channel_name and the application's own fields", async (t) => {
  const forms = [];
  const endpoint = await startHttp(t, (request, body) => {
    const form = new URLSearchParams(body);
    forms.push({ path: request.url, type: request.headers["content-type"], form: Object.fromEntries(form) });
    const signed = sdk.authorizeChannel(form.get("socket_id"), form.get("channel_name"));
    return { headers: { "content-type": "application/json" }, body: JSON.stringify(signed) };
  });
  const channelAuthorization = {
    transport: "ajax",
    endpoint: `${endpoint}/pusher/auth`,
    params: { deWT: "a token" },
  };
  const client = server.client(t, { channelAuthorization });
  const { inbox } = await join(client, "private-form");
  const form = { socket_id: client.connection.socket_id, channel_name: "private-form", deWT: "a token" };
  assert.deepEqual(forms, [{ path: "/pusher/auth", type: "application/x-www-form-urlencoded", form }]);
  await sdk.trigger("private-form", "event", {});
  await inbox.take("event");
});

test("an auth endpoint that refuses leaves the channel unsubscribed and the connection open", async (t) => {
  const endpoint = await startHttp(t, () => ({ status: 403, body: "Forbidden" }));
  const client = server.client(t, { channelAuthorization: { transport: "ajax", endpoint } });
  const inbox = record(client.subscribe("private-forbidden"));
  const { data } = await inbox.take("pusher:subscription_error");
  assert.equal(data.status, 403);
  assert.equal(client.connection.state, "connected");
});

test("a public subscription is made at once, a private one after the auth call", async (t) => {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  const client = server.client(t, {
    channelAuthorization: {
      customHandler: async ({ socketId, channelName }, done) => {
        await held;
        done(null, sdk.authorizeChannel(socketId, channelName));
      },
    },
  });
  await state(client, "connected");
  const slow = record(client.subscribe("private-order"));
  const quick = record(client.subscribe("public-order"));
  await quick.take("pusher:subscription_succeeded");
  assert.deepEqual(slow.events, []);
  const answer = await sdk.get({ path: "/channels/private-order" });
  assert.deepEqual(await answer.json(), { occupied: false });
  release();
  await slow.take("pusher:subscription_succeeded");
});

test("a subscription comes back by itself after the connection was lost", async (t) => {
  const client = server.client(t);
  const { inbox } = await join(client, "private-back");
  const before = client.connection.socket_id;
  client.connection.connection.transport.socket.close();
  await eventually(() => client.connection.socket_id && client.connection.socket_id !== before);
  await inbox.take("pusher:subscription_succeeded");
  await sdk.trigger("private-back", "event", {});
  await inbox.take("event");
});
