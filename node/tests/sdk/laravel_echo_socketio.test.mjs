// Laravel Echo's broadcaster `socket.io`, of both its generations, over the stock socket.io-client: as
// applications have it that come from laravel-echo-server.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import test from "node:test";

import Echo2 from "laravel-echo";
import { io } from "socket.io-client";

import { anything, plain, socketIo } from "./doors.mjs";
import { eventually, Inbox, startHttp, startServer } from "./support.mjs";

const { default: Echo1 } = createRequire(import.meta.url)("laravel-echo-1");
const PAGE = "https://shop.example";
const MEMBERS = {
  ann: { user_id: 1, user_info: { id: 1, name: "Ann" } },
  bob: { user_id: 2, user_info: { id: 2, name: "Bob" } },
};

/** The application's `/broadcasting/auth`: who it is says a bearer token or a session cookie. */
const asked = [];
let broadcaster = "pusher";
const application = await startHttp(test, (request, body) => {
  const form = Object.fromEntries(new URLSearchParams(body));
  asked.push({ form, headers: request.headers, url: request.url });
  const { authorization = "", cookie = "" } = request.headers;
  const who = authorization.replace("Bearer ", "") || cookie.replace("session=", "");
  const channel = form.channel_name;
  if (channel.includes("down")) return { status: 500 };
  if (!(who in MEMBERS) || channel.includes("secret")) return { status: 403 };
  const member = channel.startsWith("presence-") ? MEMBERS[who] : undefined;
  if (broadcaster === "redis") return { body: JSON.stringify(member ? { channel_data: member } : true) };
  return { body: JSON.stringify(sdk.authorizeChannel(form.socket_id, channel, member)) };
});
const server = await startServer(test, {
  app: `origins = ["${PAGE}"]
[apps.namespaces]
"/" = "laravel-echo"
"/topics" = "topics"
"/echo" = "laravel-echo"
[apps.laravel_echo]
url = "${application}/broadcasting/auth"
allow_private_address = true
timeout = "2s"`,
});
const sdk = server.sdk();
let number = 0;
const fresh = (prefix = "room") => `${prefix}.${process.pid}-${(number += 1)}`;

function connect(t, { Echo = Echo2, who = "ann", namespace = "", ...options } = {}) {
  const host = server.url + namespace;
  const echo = new Echo({
    broadcaster: "socket.io",
    client: io,
    host,
    forceNew: true,
    reconnectionDelay: 50,
    // Instances of Echo 2 that are given none share one.
    auth: { headers: {} },
    bearerToken: who,
    ...options,
  });
  t.after(() => echo.disconnect());
  const inbox = new Inbox();
  echo.connector.socket.onAny((event, ...data) => inbox.push({ event, data }));
  return Object.assign(echo, { inbox });
}

/** Waits until so many are subscribed. */
async function subscribed(channel, count = 1) {
  await eventually(async () => {
    const answer = await sdk.get({ path: `/channels/${channel}`, params: { info: "subscription_count" } });
    const { occupied, subscription_count = 0 } = await answer.json();
    return count === 0 ? !occupied : subscription_count === count;
  });
}

/** Presence channels show who is in them, and not how many connections. */
async function present(channel, ...names) {
  await eventually(async () => {
    const answer = await sdk.get({ path: `/channels/presence-${channel}/users` });
    const { users = [] } = await answer.json();
    return users.map(({ id }) => id).join() === names.map((name) => MEMBERS[name].user_id).join();
  });
}

/** Everything a presence channel tells. */
function watch(channel) {
  const inbox = new Inbox();
  channel.here((members) => inbox.push({ event: "here", members }));
  channel.joining((member) => inbox.push({ event: "joining", member }));
  channel.leaving((member) => inbox.push({ event: "leaving", member }));
  return inbox;
}

for (const [version, Echo] of [["1", Echo1], ["2", Echo2]]) {
  for (const transports of [["websocket"], ["polling"]]) {
    const name = `Echo ${version} by ${transports}`;

    test(`${name}: public and private channels, events and notifications`, async (t) => {
      const echo = connect(t, { Echo, transports });
      const [open, own] = [fresh("orders"), fresh("App.Models.User")];
      const heard = new Inbox();
      echo.channel(open).listen("OrderShipped", (data) => heard.push({ event: "namespaced", data }));
      echo.private(own).listen(".order.shipped", (data) => heard.push({ event: "plain", data }));
      echo.private(own).notification((data) => heard.push({ event: "notification", data }));
      await Promise.all([subscribed(open), subscribed(`private-${own}`)]);
      await sdk.trigger(open, "App\\Events\\OrderShipped", { id: 1, text: "漢字 🛎️" });
      await sdk.trigger(`private-${own}`, "order.shipped", { id: 2 });
      const notification = "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated";
      await sdk.trigger(`private-${own}`, notification, { type: "InvoicePaid" });
      assert.deepEqual((await heard.take("namespaced")).data, { id: 1, text: "漢字 🛎️" });
      assert.deepEqual((await heard.take("plain")).data, { id: 2 });
      assert.deepEqual((await heard.take("notification")).data, { type: "InvoicePaid" });
    });

    test(`${name}: here, joining and leaving follow who is in a presence channel`, async (t) => {
      const room = fresh("chat");
      const [ann, bob] = [connect(t, { Echo, transports }), connect(t, { Echo, transports, who: "bob" })];
      const first = watch(ann.join(room));
      assert.deepEqual((await first.take("here")).members, [MEMBERS.ann.user_info]);
      const second = watch(bob.join(room));
      assert.deepEqual((await second.take("here")).members, [MEMBERS.ann.user_info, MEMBERS.bob.user_info]);
      assert.deepEqual((await first.take("joining")).member, MEMBERS.bob.user_info);
      bob.leave(room);
      assert.deepEqual((await first.take("leaving")).member, MEMBERS.bob.user_info);
      await present(room, "ann");
      assert.deepEqual([first.items, second.items], [[], []]);
    });
  }
}

test("a whisper reaches the others, and not who whispers", async (t) => {
  const room = fresh();
  const [ann, bob] = [connect(t), connect(t, { who: "bob" })];
  const [from, to] = [ann.private(room), bob.private(room)];
  await subscribed(`private-${room}`, 2);
  const heard = new Inbox();
  to.listenForWhisper("typing", (data) => heard.push({ event: "typing", data }));
  from.listenForWhisper("typing", () => heard.push({ event: "echo" }));
  from.whisper("typing", { name: "Ann" });
  assert.deepEqual((await heard.take("typing")).data, { name: "Ann" });
  await sdk.trigger(`private-${room}`, "marker", {});
  await ann.inbox.take("marker");
  assert.deepEqual(heard.items, []);
  ann.connector.socket.emit("client event", { channel: `private-${room}`, event: "OrderShipped", data: {} });
  const [{ code, message }] = (await ann.inbox.take("error")).data;
  assert.deepEqual([code, message], ["invalid_message", "the name of a client event begins with `client-`"]);
});

test("a whisper is what the other doors know as a client event", async (t) => {
  const room = fresh("members");
  const echo = connect(t);
  watch(echo.join(room));
  await present(room, "ann");
  const pusher = await server.wire(t);
  await pusher.join(`presence-${room}`, MEMBERS.bob);
  echo.join(room).whisper("typing", { n: 1 });
  const frame = await pusher.frames.take("client-typing");
  assert.deepEqual([frame.data, frame.user_id], [{ n: 1 }, "1"]);
  pusher.send("client-typing", { n: 2 }, `presence-${room}`);
  assert.deepEqual((await echo.inbox.take("client-typing")).data, [`presence-${room}`, { n: 2 }]);
});

test("toOthers() leaves out the connection whose id is sent along", async (t) => {
  const room = fresh();
  const [ann, bob] = [connect(t), connect(t, { who: "bob" })];
  for (const echo of [ann, bob]) echo.channel(room).listen(".event", () => {});
  await subscribed(room, 2);
  assert.match(ann.socketId(), /^\d+\.\d+$/);
  await sdk.trigger(room, "event", {}, { socket_id: ann.socketId() });
  await sdk.trigger(room, "marker", {});
  assert.deepEqual((await ann.inbox.until("marker")).map(({ event }) => event), []);
  assert.deepEqual((await bob.inbox.until("marker")).map(({ event }) => event), ["event"]);
});

test("the application is asked as laravel-echo-server asked it", async (t) => {
  const room = fresh();
  const headers = { Authorization: "Bearer ann", "X-CSRF-TOKEN": "csrf", "X-Evil": "1", Host: "evil.example" };
  connect(t, { bearerToken: null, auth: { headers }, extraHeaders: { cookie: "session=bob" } }).private(room);
  await subscribed(`private-${room}`);
  const { form, headers: shown, url } = asked.find(({ form }) => form.channel_name === `private-${room}`);
  assert.deepEqual(Object.keys(form), ["socket_id", "channel_name"]);
  assert.match(form.socket_id, /^\d+\.\d+$/);
  assert.equal(url, "/broadcasting/auth");
  const kept = ["authorization", "cookie", "x-csrf-token", "x-requested-with", "x-evil"].map((name) => shown[name]);
  assert.deepEqual(kept, ["Bearer ann", "session=bob", "csrf", "XMLHttpRequest", undefined]);
  assert.equal(shown.host, new URL(application).host);
});

test("a session cookie is enough", async (t) => {
  const room = fresh();
  const options = { bearerToken: null, extraHeaders: { cookie: "session=bob" } };
  const inbox = watch(connect(t, options).join(room));
  assert.deepEqual((await inbox.take("here")).members, [MEMBERS.bob.user_info]);
});

test("whom the application refuses hears nothing, and why", async (t) => {
  const echo = connect(t, { who: "eve" });
  const rooms = { [`private-${fresh()}`]: 403, [`private-down-${fresh()}`]: 503, "no spaces": 400 };
  for (const [room, status] of Object.entries(rooms)) {
    echo.connector.socket.emit("subscribe", { channel: room, auth: {} });
    assert.deepEqual((await echo.inbox.take("subscription_error")).data, [room, status]);
    if (status !== 400) await subscribed(room, 0);
  }
  const other = connect(t);
  other.private("secret");
  assert.deepEqual((await other.inbox.take("subscription_error")).data, ["private-secret", 403]);
  other.connector.socket.emit("subscribe", { channel: "#server-to-user-1" });
  assert.deepEqual((await other.inbox.take("subscription_error")).data, ["#server-to-user-1", 403]);
  other.connector.socket.emit("subscribe", "what");
  assert.equal((await other.inbox.take("error")).data[0].code, "invalid_message");
  const open = fresh();
  other.channel(open);
  await subscribed(open);
});

test("an application whose broadcaster signs nothing is understood, too", async (t) => {
  broadcaster = "redis";
  t.after(() => (broadcaster = "pusher"));
  const room = fresh();
  const echo = connect(t);
  const inbox = watch(echo.join(room));
  assert.deepEqual((await inbox.take("here")).members, [MEMBERS.ann.user_info]);
  echo.private(room);
  await subscribed(`private-${room}`);
});

test("a page that leaves its channels leaves nothing on the server", async (t) => {
  const room = fresh();
  const echo = connect(t);
  for (const channel of [echo.channel(room), echo.private(room), echo.join(room)]) channel.listen(".event", () => {});
  for (const name of [room, `private-${room}`]) await subscribed(name);
  await present(room, "ann");
  echo.leave(room);
  for (const name of [room, `private-${room}`, `presence-${room}`]) await subscribed(name, 0);
});

test("Echo subscribes again when its connection comes back", async (t) => {
  const room = fresh();
  const echo = connect(t, { transports: ["websocket"] });
  const inbox = watch(echo.join(room));
  await inbox.take("here");
  const before = echo.socketId();
  for (let round = 0; round < 2; round++) {
    echo.connector.socket.io.engine.close();
    assert.deepEqual((await inbox.take("here")).members, [MEMBERS.ann.user_info]);
    await sdk.trigger(`presence-${room}`, "event", { round });
    const { data } = await echo.inbox.take("event");
    assert.deepEqual(data, [`presence-${room}`, { round }]);
  }
  assert.notEqual(echo.socketId(), before);
});

test("beside it there are topics, and the other doors", async (t) => {
  const room = fresh();
  const echo = connect(t, { namespace: "/echo" });
  echo.channel(room).listen(".chat", () => {});
  const topics = socketIo(t, server.nodes[0], anything("bob"), {}, "/topics");
  await topics.subscribe(room);
  const socket = plain(t, server, anything("carl"));
  await socket.subscribe(room);
  await subscribed(room, 3);
  await sdk.trigger(room, "chat", { n: 1 });
  assert.deepEqual((await echo.inbox.take("chat")).data, [room, { n: 1 }]);
  assert.deepEqual((await topics.inbox.take("message")).data.payload, { n: 1 });
  assert.deepEqual((await socket.inbox.take("event")).data, { n: 1 });
});
