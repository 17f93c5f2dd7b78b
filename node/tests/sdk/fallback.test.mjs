// The HTTP fallback of pusher-js: xhr_streaming and xhr_polling, in Node and in the browser.
//
// A session is known to the node that began it, so clients keep to one node; what they hear is
// published anywhere.

import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import Echo from "laravel-echo";
import Pusher from "pusher-js";

import { heard, open, page, startBrowser, startSite } from "./browser.mjs";
import { APP, eventually, Inbox, join, record, startBalancer, startHttp, startServer, state } from "./support.mjs";

const TRANSPORTS = ["xhr_streaming", "xhr_polling"];
const ANN = { id: "ann", user_info: { name: "漢字" } };
const BOB = { id: "bob", user_info: {} };

const server = await startServer(test);
const sdk = server.sdk();
let number = 0;
const fresh = (prefix) => `${prefix}-${(number += 1)}`;

/** The options of pusher-js for this transport. */
const over = (transport, port) => ({ httpHost: "127.0.0.1", httpPort: port, enabledTransports: [transport] });

const site = await startSite(test, sdk, (asked) => {
  const port = asked.get("port") ?? server.nodes[0].port;
  return page("pusher.min.js", asked.get("user"), over(asked.get("over"), port));
});
const browser = await startBrowser(test);

/** pusher-js at one node, over this transport. */
function connect(t, transport, { at = server, ...options } = {}) {
  const node = at.nodes[0];
  return node.client(t, { ...over(transport, node.port), ...options });
}

/** Everything a client says of its connection, from its beginning. */
const watch = (client) => record(client.connection);

/** pusher-js is told the code, and does not come back. */
async function assertStaysAway(client, code) {
  await watch(client).take("error", ({ data }) => data.error?.data?.code === code);
  await eventually(() => ["failed", "disconnected"].includes(client.connection.state));
  // If it came back it would be after one second.
  await sleep(1_500);
  assert.ok(["failed", "disconnected"].includes(client.connection.state), client.connection.state);
}

const MANY = Array.from({ length: 500 }, (_, n) => n);

/** More than pusher-js reads of one response, several times, and less than may wait for a client. */
async function publishMany(channel) {
  const filler = `${"x".repeat(1_500)}漢🛎️`;
  for (let n = 0; n < MANY.length; n += 10) {
    await sdk.triggerBatch(MANY.slice(n, n + 10).map((n) => ({ channel, name: "event", data: { n, filler } })));
  }
}

/** How many subscriptions a channel has. */
async function subscriptions(channel) {
  const answer = await sdk.get({ path: `/channels/${channel}`, params: { info: "subscription_count" } });
  return (await answer.json()).subscription_count;
}

/** How many connections an app has, as its own server sees it. */
async function connections(server) {
  const answer = await server.sdk().get({ path: "/connections" });
  return (await answer.json()).connections;
}

for (const transport of TRANSPORTS) {
  test(`${transport}: public, private and presence channels hear events`, async (t) => {
    const client = connect(t, transport, { user: ANN });
    await state(client, "connected");
    assert.match(client.connection.socket_id, /^\d+\.\d+$/);
    assert.equal(client.connection.connection.transport.name, transport);
    for (const kind of ["public", "private", "presence"]) {
      const name = fresh(kind);
      const { inbox } = await join(client, name);
      await sdk.trigger(name, "event", { text: "漢字 🛎️\n\u2028\"" });
      assert.deepEqual((await inbox.take("event")).data, { text: "漢字 🛎️\n\u2028\"" });
    }
  });

  test(`${transport}: the publisher is left out by its socket id, and encrypted channels work`, async (t) => {
    const client = connect(t, transport);
    const name = fresh("private-encrypted-room");
    const { inbox } = await join(client, name);
    await sdk.trigger(name, "own", {}, { socket_id: client.connection.socket_id });
    await sdk.trigger(name, "event", { secret: 1 });
    assert.deepEqual(await inbox.until("event"), []);
  });

  test(`${transport}: members see each other come, and go at once`, async (t) => {
    const name = fresh("presence-room");
    const { channel, inbox } = await join(server.client(t, { user: ANN }), name);
    const client = connect(t, transport, { user: BOB });
    const other = await join(client, name);
    assert.equal(other.channel.members.count, 2);
    assert.equal((await inbox.take("pusher:member_added")).data.id, "bob");
    const began = Date.now();
    client.disconnect();
    assert.equal((await inbox.take("pusher:member_removed")).data.id, "bob");
    assert.ok(Date.now() - began < 5_000);
    assert.equal(channel.members.count, 1);
  });

  test(`${transport}: client events go both ways, and nothing comes after an unsubscribe`, async (t) => {
    const [name, marker] = [fresh("private-talk"), fresh("marker")];
    const client = connect(t, transport);
    const here = await join(client, name);
    const there = await join(server.client(t), name);
    assert.ok(here.channel.trigger("client-typing", { k: 1 }));
    assert.deepEqual((await there.inbox.take("client-typing")).data, { k: 1 });
    assert.ok(there.channel.trigger("client-typing", { k: 2 }));
    assert.deepEqual((await here.inbox.take("client-typing")).data, { k: 2 });

    client.unsubscribe(name);
    await eventually(async () => (await subscriptions(name)) === 1);
    const next = await join(client, marker);
    await sdk.trigger([name, marker], "event", {});
    await next.inbox.take("event");
    assert.deepEqual(here.inbox.events.filter((event) => event === "event"), []);
  });

  test(`${transport}: a user signs in, hears what is sent to it, and stays away when terminated`, async (t) => {
    const user = { id: fresh("user"), watchlist: [fresh("friend")] };
    const client = connect(t, transport, { user });
    const inbox = new Inbox();
    client.user.watchlist.bind("offline", ({ user_ids }) => inbox.push({ event: "offline", user_ids }));
    client.user.bind("event", (data) => inbox.push({ event: "event", data }));
    client.signin();
    await eventually(() => client.user.serverToUserChannel?.subscribed);
    assert.deepEqual((await inbox.take("offline")).user_ids, user.watchlist);
    await sdk.sendToUser(user.id, "event", { n: 1 });
    assert.deepEqual((await inbox.take("event")).data, { n: 1 });
    await sdk.terminateUserConnections(user.id);
    await state(client, "disconnected");
    await sleep(1_500);
    assert.equal(client.connection.state, "disconnected");
  });

  test(`${transport}: refusals leave the connection open`, async (t) => {
    const bad = { customHandler: (_, done) => done(null, { auth: "test-key:bad" }) };
    const client = connect(t, transport, { channelAuthorization: bad });
    const errors = watch(client);
    const refused = record(client.subscribe(fresh("private-room")));
    const { data } = await refused.take("pusher:subscription_error");
    assert.deepEqual([data.type, data.status], ["AuthError", 401]);
    const { channel, inbox } = await join(client, fresh("public-room"));
    channel.trigger("client-typing", {});
    await errors.take("error", ({ data }) => data.data?.code === 4301);
    await sdk.trigger(channel.name, "event", {});
    await inbox.take("event");
  });

  test(`${transport}: 500 events come in their order, on one connection`, async (t) => {
    const client = connect(t, transport);
    const name = fresh("private-many");
    const { inbox } = await join(client, name);
    const { socket_id: socketId } = client.connection;
    await publishMany(name);
    const numbers = () => inbox.items.filter(({ event }) => event === "event").map(({ data }) => data.n);
    await eventually(() => numbers().length >= MANY.length);
    assert.deepEqual(numbers(), MANY);
    assert.equal(client.connection.socket_id, socketId);
  });

  test(`${transport}: 4001, 4003 and 4004 are told, and pusher-js stays away`, async (t) => {
    await assertStaysAway(connect(t, transport, { key: "unknown" }), 4001);
    const disabled = await startServer(t, { app: "enabled = false" });
    await assertStaysAway(connect(t, transport, { at: disabled }), 4003);
    const full = await startServer(t, { app: "limits.connections = 1" });
    const first = connect(t, transport, { at: full });
    await state(first, "connected");
    await assertStaysAway(connect(t, transport, { at: full }), 4004);
    first.disconnect();
    await eventually(async () => (await connections(full)) === 0);
    await state(connect(t, transport, { at: full }), "connected");
  });

  test(`${transport}: 4200: pusher-js is at once on the next server`, async (t) => {
    const [leaving, next] = [await startServer(t), await startServer(t)];
    const balancer = await startBalancer(t, [leaving.nodes[0].port]);
    const client = next.nodes[0].client(t, over(transport, balancer.port));
    const { inbox } = await join(client, "private-room");
    balancer.targets = [next.nodes[0].port];
    const began = Date.now();
    const stopped = leaving.stop();
    await inbox.take("pusher:subscription_succeeded");
    assert.ok(Date.now() - began < 1_000, "pusher-js did not wait its usual second");
    await stopped;
    await next.sdk().trigger("private-room", "event", {});
    await inbox.take("event");
  });

  test(`${transport}: a client that only listens lives on, whoever asks for signs of life`, async (t) => {
    const impatient = await startServer(t, { server: 'activity_timeout = "1s"\npong_timeout = "1s"' });
    const asked = connect(t, transport, { at: impatient });
    const asking = connect(t, transport, { activityTimeout: 500, pongTimeout: 1_000 });
    for (const client of [asked, asking]) await state(client, "connected");
    const before = [asked, asking].map((client) => client.connection.socket_id);
    const heard = [asked, asking].map(watch);
    await sleep(4_000);
    assert.deepEqual([asked, asking].map((client) => client.connection.socket_id), before);
    assert.deepEqual(heard.flatMap((inbox) => inbox.events).filter((event) => event !== "message"), []);
  });
}

test("pusher-js falls back by itself where WebSocket does not get through", async (t) => {
  const wall = new URL(await startHttp(t, () => ({ status: 403 })));
  const [node] = server.nodes;
  const client = node.client(t, {
    ...over("", node.port),
    wsPort: wall.port,
    enabledTransports: ["ws", "xhr_streaming", "xhr_polling"],
  });
  await join(client, fresh("private-room"));
  assert.equal(client.connection.connection.transport.name, "xhr_streaming");
});

test("laravel-echo is configured in the same way", async (t) => {
  const [node] = server.nodes;
  const options = { ...node.clientOptions(ANN), ...over("xhr_streaming", node.port) };
  const echo = new Echo({ broadcaster: "pusher", Pusher, key: APP.key, ...options });
  t.after(() => echo.disconnect());
  const name = fresh("room");
  const inbox = new Inbox();
  const channel = echo.private(name).listen(".event", (data) => inbox.push({ event: "event", data }));
  await new Promise((resolve) => channel.subscribed(resolve));
  await sdk.trigger(`private-${name}`, "event", { n: 1 });
  assert.deepEqual((await inbox.take("event")).data, { n: 1 });
});

test("httpPath may be another", async (t) => {
  const moved = await startServer(t, { server: "[fallback]\npath = \"/channels/http\"" });
  const client = connect(t, "xhr_polling", { at: moved, httpPath: "/channels/http" });
  await state(client, "connected");
});

/** Requests without pusher-js. */
class Raw {
  constructor(endpoint, { session = "1/raw00000", key = APP.key } = {}) {
    this.base = `${endpoint.url}/pusher/app/${key}/${session}`;
  }

  post(name, body) {
    return fetch(`${this.base}/${name}`, { method: "POST", body });
  }

  /** The lines of a response, as they come. */
  async *lines(t, name) {
    const leave = new AbortController();
    t.after(() => leave.abort());
    const { body } = await fetch(`${this.base}/${name}?protocol=7`, { method: "POST", signal: leave.signal });
    let rest = "";
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop();
      yield* lines;
    }
  }

  async next(lines) {
    return (await lines.next()).value;
  }
}

test("a stream is lines, and an answer to a heartbeat is not answered", async (t) => {
  const raw = new Raw(server.nodes[0], { session: "7/lines000" });
  const lines = raw.lines(t, "xhr_streaming");
  assert.equal(await raw.next(lines), "o");
  const [greeting] = JSON.parse((await raw.next(lines)).slice(1));
  assert.equal(JSON.parse(greeting).event, "pusher:connection_established");
  const ping = JSON.stringify([JSON.stringify({ event: "pusher:ping", data: {} })]);
  const pong = JSON.stringify({ event: "pusher:pong", data: {} });
  for (let times = 0; times < 3; times += 1) {
    // The client asks, and answers our answer, as pusher-js does.
    assert.equal((await raw.post("xhr_send", "[]")).status, 204);
    assert.equal(await raw.next(lines), "h");
    assert.equal((await raw.post("xhr_send", "[]")).status, 204);
    assert.equal((await raw.post("xhr_send", ping)).status, 204);
    assert.equal(await raw.next(lines), `a[${JSON.stringify(pong)}]`);
  }
});

test("what cannot be read or found is refused, and the session stays", async (t) => {
  const [node] = server.nodes;
  const raw = new Raw(node, { session: "7/refused0" });
  assert.equal((await raw.post("xhr_send", "[]")).status, 404);
  const lines = raw.lines(t, "xhr_streaming");
  assert.equal(await raw.next(lines), "o");
  for (const body of ["", "{}", "[1]", "x"]) assert.equal((await raw.post("xhr_send", body)).status, 400);
  assert.equal((await raw.post("xhr_send", JSON.stringify(["x".repeat(200_000)]))).status, 413);
  assert.equal((await fetch(`${raw.base}/xhr`)).status, 405);
  assert.equal((await new Raw(node, { session: "7/!!!!" }).post("xhr")).status, 404);
  assert.equal((await new Raw(node, { session: "7/refused0", key: "unknown" }).post("xhr_send", "[]")).status, 403);
  assert.equal((await raw.post("xhr_send", "[]")).status, 204);
});

test("1009: a message that is too long", async (t) => {
  const raw = new Raw(server.nodes[0], { session: "7/toolong0" });
  const lines = raw.lines(t, "xhr_streaming");
  assert.equal(await raw.next(lines), "o");
  await raw.next(lines);
  await raw.post("xhr_send", JSON.stringify(["x".repeat(65_537)]));
  assert.match(await raw.next(lines), /^c\[1009,/);
  assert.equal((await lines.next()).done, true);
});

test("a session that is not listened to any more is over after ten seconds, whatever it says", async (t) => {
  const alone = await startServer(t);
  const raw = new Raw(alone.nodes[0]);
  const answer = await raw.post("xhr");
  assert.match(await answer.text(), /^o\na\[.*\]\n$/);
  const began = Date.now();
  await eventually(async () => (await raw.post("xhr_send", "[]")).status === 404);
  assert.ok(Date.now() - began > 5_000);
  await eventually(async () => (await connections(alone)) === 0);
});

test("4100: a client that does not read what is sent to it", async (t) => {
  const app = "limits.outbox_bytes = 65536\nlimits.publishes_per_second = 100000";
  const flooded = await startServer(t, { app });
  const client = connect(t, "xhr_polling", { at: flooded });
  const { inbox } = await join(client, "flood");
  const raw = new Raw(flooded.nodes[0]);
  await (await raw.post("xhr")).text();
  const subscribe = { event: "pusher:subscribe", data: { channel: "flood" } };
  await raw.post("xhr_send", JSON.stringify([JSON.stringify(subscribe)]));
  await (await raw.post("xhr")).text();
  for (let n = 0; n < 10; n += 1) {
    await flooded.sdk().trigger("flood", "event", "x".repeat(10_000));
    await inbox.take("event");
  }
  // What waited was dropped: it lacks something anyhow.
  assert.match(await (await raw.post("xhr")).text(), /^c\[4100,"[^"]+"\]\n$/);
});

for (const transport of TRANSPORTS) {
  test(`${transport}: a page of another origin subscribes, talks, and hears 500 events in their order`, async (t) => {
    const tab = await open(t, browser, `${site}/?over=${transport}&user=${transport}`);
    const socketId = await tab.evaluate(() => client.connection.socket_id);
    const { channel, inbox } = await join(server.client(t), "private-room");
    await tab.evaluate(() => client.channel("private-room").trigger("client-typing", { by: "page" }));
    assert.deepEqual((await inbox.take("client-typing")).data, { by: "page" });
    channel.trigger("client-typing", { by: "peer" });
    assert.deepEqual(await heard(tab, "private-room", "client-typing"), { by: "peer" });

    await publishMany("public-room");
    const numbers = () => tab.evaluate(() => events.filter(({ event }) => event === "event").map(({ data }) => data.n));
    let seen = [];
    await eventually(
      async () => (seen = await numbers()).length >= MANY.length,
      () => `${MANY.length} events; there were ${seen.length}, the last ${seen.at(-1)}`,
    );
    assert.deepEqual(seen, MANY);
    assert.equal(await tab.evaluate(() => client.connection.socket_id), socketId);
  });

  test(`${transport}: a page that is closed leaves its presence channel at once`, async (t) => {
    const { inbox } = await join(server.client(t, { user: ANN }), "presence-room");
    const user = fresh(transport);
    const tab = await open(t, browser, `${site}/?over=${transport}&user=${user}`);
    await inbox.take("pusher:member_added", ({ data }) => data.id === user);
    const began = Date.now();
    await tab.close();
    await inbox.take("pusher:member_removed", ({ data }) => data.id === user);
    assert.ok(Date.now() - began < 5_000);
  });

  test(`${transport}: 4009: a page whose origin is not listed can read that it is not`, async (t) => {
    const strict = await startServer(t, { app: 'origins = ["https://app.example"]' });
    const tab = await browser.newPage();
    t.after(() => tab.close());
    await tab.goto(`${site}/?over=${transport}&user=ann&port=${strict.nodes[0].port}`);
    await eventually(() => tab.evaluate(() => client.connection.state === "disconnected"));
    await sleep(1_500);
    assert.equal(await tab.evaluate(() => client.connection.state), "disconnected");
  });
}
