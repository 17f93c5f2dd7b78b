// What socket.io-client offers its users, against the server: its options, its debugging, its ways of
// coming back, and publishing again what may have been lost.

import assert from "node:assert/strict";
import test from "node:test";

import { io } from "socket.io-client";

import { anything, plain, poll, publish, socketIo } from "./doors.mjs";
import { eventually, startServer } from "./support.mjs";

const server = await startServer(test);
const [node] = server.nodes;
let number = 0;
const fresh = (prefix) => `${prefix}-${process.pid}-${(number += 1)}`;

test("the options of the client for coming back are honoured, and it learns how long to wait", async (t) => {
  const own = await startServer(t, { nodes: 1 });
  const options = { reconnection: true, reconnectionDelay: 20, reconnectionAttempts: 5, timeout: 20_000 };
  const client = socketIo(t, own, anything("ann"), options);
  await client.inbox.take("connected");
  const handshake = await (await fetch(`${own.url}/socket.io/?EIO=4&transport=polling`)).text();
  const { pingInterval, pingTimeout, maxPayload } = JSON.parse(handshake.slice(1));
  assert.deepEqual([pingInterval, pingTimeout, maxPayload], [25_000, 20_000, 1_000_000]);

  const attempts = [];
  const manager = client.socket.io;
  manager.on("reconnect_attempt", (attempt) => attempts.push(attempt));
  const [failed, reconnected] = ["reconnect_failed", "reconnect"].map((event) => new Promise((resolve) => manager.once(event, resolve)));
  await own.stop("SIGKILL");
  await failed;
  assert.deepEqual(attempts, [1, 2, 3, 4, 5]);
  await own.start();
  client.socket.connect();
  await eventually(() => client.socket.connected);

  manager.reconnectionAttempts(Infinity);
  attempts.length = 0;
  await own.stop("SIGKILL");
  await eventually(() => attempts.length > 2);
  await own.start();
  await reconnected;
  await eventually(() => client.socket.connected);
});

test("with forceNew each client has a connection of its own", async (t) => {
  const url = node.url;
  const open = (options) => {
    const socket = io(url, { auth: { token: anything("ann") }, transports: ["websocket"], ...options });
    t.after(() => socket.close());
    return socket;
  };
  const [one, two, first] = [open({ forceNew: true }), open({ forceNew: true }), open({})];
  await eventually(() => one.connected && two.connected && first.connected);
  assert.notEqual(one.io, two.io);
  assert.equal(new Set([one, two, first].map(({ id }) => id)).size, 3);
});

test("upgrade: false stays with polling", async (t) => {
  const client = socketIo(t, node, anything("ann"), { upgrade: false });
  await client.inbox.take("connected");
  const topic = fresh("public:room");
  await client.subscribe(topic);
  await publish(server, anything("bob"), { channel: topic, event: "e", data: 1 });
  assert.equal((await client.inbox.take("message")).data.payload, 1);
  assert.equal(client.socket.io.engine.transport.name, "polling");
});

test("onAny sees what comes, and onAnyOutgoing what goes", async (t) => {
  const client = socketIo(t, node, anything("ann"), { transports: ["websocket"] });
  const [seen, sent] = [[], []];
  client.socket.onAny((event) => seen.push(event));
  client.socket.onAnyOutgoing((event) => sent.push(event));
  await client.inbox.take("connected");
  const topic = fresh("public:room");
  await client.subscribe(topic);
  await client.ask("publish", { topic, payload: 1 });
  client.socket.emit("heartbeat", { timestamp: 1 });
  await eventually(() => seen.includes("heartbeat_ack"));
  assert.deepEqual(sent, ["subscribe", "publish", "heartbeat"]);
  assert.deepEqual(seen.toSorted(), ["connected", "heartbeat_ack", "message", "subscribed"]);
});

test("a publish that is tried again on another connection and node is heard once", async (t) => {
  const topic = fresh("public:room");
  const listener = plain(t, server, anything("bob"));
  await listener.subscribe(topic);
  /** One attempt: `before` the answer is waited for. */
  const attempt = async (number, before) => {
    const at = server.nodes[number % server.nodes.length];
    const client = socketIo(t, at, anything("ann"), { transports: ["websocket"] });
    await client.inbox.take("connected");
    const answer = client.ask("publish", { topic, payload: "paid", messageId: "msg_1" });
    await before(client);
    return answer;
  };
  const lost = (number, when) =>
    new Promise((resolve) => attempt(number, async ({ socket }) => (await when(), socket.close(), resolve())));
  await lost(0, () => listener.inbox.take("event"));
  await lost(1, () => {});
  assert.deepEqual(await attempt(2, () => {}), { status: "success", deliveredTo: 1 });
  await publish(server, anything("bob"), { channel: topic, event: "last" });
  const next = await listener.inbox.take("event");
  assert.deepEqual([next.name, next.seq], ["last", 2]);
});

test("clients of a node that shuts down are told one after the other", async (t) => {
  const env = { HANDBELL__DRAIN__WINDOW: "5s" };
  const own = await startServer(t, { nodes: 1, env });
  const clients = Array.from({ length: 40 }, () =>
    socketIo(t, own, anything("ann"), { transports: ["websocket"], reconnection: false }));
  await Promise.all(clients.map(({ inbox }) => inbox.take("connected")));
  const told = () => clients.filter(({ socket }) => !socket.connected).length;
  const first = Promise.race(clients.map(({ socket }) => new Promise((resolve) => socket.once("disconnect", resolve))));
  const stopped = own.stop();
  await first;
  // Whoever is to be told later is served still; who has been told already has no answer.
  let answered = 0;
  for (const { ask } of clients) ask("unsubscribe", { topic: "x" }).then(() => (answered += 1));
  await eventually(() => told() === clients.length);
  await stopped;
  assert.ok(answered >= clients.length / 2, `${answered} of ${clients.length} were served when the first had been told`);
});

test("many polls that wait are served from what the channel remembers", async () => {
  const channel = fresh("public:room");
  const polls = 200;
  const users = Array.from({ length: polls }, (_, n) => anything(`user-${n}`));
  const places = await Promise.all(
    users.map(async (jwt) => (await poll(server, jwt, { channels: channel, wait: 0 })).body.events.at(-1).id));
  const waiting = users.map((jwt, n) => poll(server, jwt, { lastMessageId: places[n], wait: 10 }));
  const count = async () => (await Promise.all(server.nodes.map((n) => n.metric("handbell_connections", 'transport="longpoll"')))).reduce((a, b) => a + b, 0);
  await eventually(async () => (await count()) === polls);
  const { body } = await publish(server, anything("bob"), { channel, event: "news", data: 1 });
  assert.equal(body.deliveredTo, polls);
  for (const answer of await Promise.all(waiting)) {
    assert.deepEqual(answer.body.events.map(({ event, data, seq }) => [event, data, seq]), [["news", 1, 1]]);
  }
  await publish(server, anything("bob"), { channel, event: "news", data: 2 });
  // Who was not there when it happened is given it by the channel, at any node.
  const late = await Promise.all(users.map((jwt, n) => poll(server, jwt, { lastMessageId: places[n], wait: 0 })));
  for (const answer of late) assert.deepEqual(answer.body.events.map(({ data }) => data), [1, 2]);
});
