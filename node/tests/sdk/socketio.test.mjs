// Socket.IO with the stock client: the events of a realtime application, and coming back.

import assert from "node:assert/strict";
import test from "node:test";

import WebSocket from "ws";

import { anything, plain, publish, socketIo, token } from "./doors.mjs";
import { APP, eventually, Inbox, startServer } from "./support.mjs";

const server = await startServer(test);
let number = 0;
const fresh = (prefix = "public:room") => `${prefix}-${process.pid}-${(number += 1)}`;
const connect = (t, jwt, options) => socketIo(t, server, jwt, options);

for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
  test(`${transports.join(" and ")}: connect, subscribe, publish, unsubscribe`, async (t) => {
    const client = connect(t, token("ann", { role: "user" }), { transports });
    const { data: hello } = await client.inbox.take("connected");
    assert.deepEqual(Object.keys(hello), ["connectionId", "timestamp", "user"]);
    assert.deepEqual([hello.connectionId, hello.user], [client.socket.id, { id: "ann" }]);
    const topic = fresh();
    assert.deepEqual(await client.subscribe(topic), { status: "success", subscriberCount: 1 });
    const answer = await client.ask("publish", {
      topic,
      payload: { type: "text", content: "hello" },
      messageId: "msg_1",
      timestamp: Date.now(),
      ackRequired: true,
      priority: "normal",
      ttl: 0,
    });
    assert.deepEqual(answer, { status: "success", deliveredTo: 1 });
    const { data: message } = await client.inbox.take("message");
    assert.deepEqual(Object.keys(message), ["id", "topic", "type", "payload", "timestamp", "from", "seq"]);
    const { id, timestamp, ...rest } = message;
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.ok(Math.abs(Date.now() - timestamp) < 60_000);
    const payload = { type: "text", content: "hello" };
    assert.deepEqual(rest, { topic, type: "message", payload, from: "ann", seq: 1 });
    const { data: ack } = await client.inbox.take("ack");
    assert.deepEqual(ack, { id: "msg_1", type: "publish", status: "success", deliveredTo: 1 });
    assert.deepEqual(await client.ask("unsubscribe", { topic }), { status: "success" });
    assert.equal((await publish(server, anything("bob"), { channel: topic, event: "e" })).status, 200);
    client.socket.emit("heartbeat", { timestamp: 17 });
    assert.deepEqual((await client.inbox.take("heartbeat_ack")).data, { timestamp: 17 });
    assert.ok(!client.inbox.events.includes("message"));
  });
}

test("the count is that of the whole cluster, whatever the door", async (t) => {
  const topic = fresh();
  await plain(t, server, anything("one")).subscribe(topic);
  const counts = [];
  for (const node of server.nodes) {
    counts.push((await socketIo(t, node, anything("two"), { transports: ["websocket"] }).subscribe(topic)).subscriberCount);
  }
  assert.deepEqual(counts, server.nodes.map((_, index) => index + 2));
});

test("a hundred subscribes at once are each answered", async (t) => {
  const client = connect(t, anything("ann"));
  const topics = Array.from({ length: 100 }, () => fresh());
  const answers = await Promise.all(topics.map((topic) => client.subscribe(topic)));
  assert.ok(answers.every(({ subscriberCount }) => subscriberCount === 1));
});

for (const [name, jwt] of Object.entries({
  missing: undefined,
  malformed: "Bearer x",
  expired: token("ann", { exp: 1000 }),
  "of another secret": token("ann", {}, "wrong"),
})) {
  test(`a token that is ${name} is an Authentication failed`, async (t) => {
    const client = connect(t, "", { auth: jwt ? { token: jwt } : {} });
    const { data: error } = await client.inbox.take("connect_error");
    assert.match(error.message, /Authentication failed/);
    assert.equal(client.socket.connected, false);
  });
}

test("the five errors", async (t) => {
  const guest = connect(t, token("guest", { role: "guest" }));
  const table = [
    ["subscribe", { topic: "public:chat" }, "permission_denied"],
    ["publish", { topic: "system:notifications", payload: 1 }, "permission_denied"],
    ["subscribe", { topic: "no spaces" }, "channel_not_found"],
    ["subscribe", {}, "invalid_message"],
    ["subscribe", "text", "invalid_message"],
    ["publish", { topic: "public:general" }, "invalid_message"],
    ["publish", { topic: "public:general", payload: "x".repeat(20_000) }, "invalid_message"],
    ["publish", { topic: "public:general", payload: 1, priority: "urgent" }, "invalid_message"],
    ["unsubscribe", { topic: "public:general" }, "invalid_message"],
    ["dance", {}, "invalid_message"],
  ];
  for (const [event, message, error] of table) {
    const answer = await guest.ask(event, message);
    assert.deepEqual([answer.status, answer.error], ["error", error], `${event} ${JSON.stringify(message).slice(0, 80)}`);
  }
  for (const message of [undefined, {}, "text", [1]]) {
    guest.socket.emit("subscribe", message);
    const { data } = await guest.inbox.take("error");
    assert.deepEqual([Object.keys(data), data.code], [["code", "message"], "invalid_message"]);
  }
  assert.equal((await guest.ask("subscribe", { topic: "public:general" })).status, "success");
  assert.ok(!guest.inbox.events.includes("disconnect"), "it stayed");
  // So many answers do not fit into a session that polls.
  const flood = connect(t, anything("flood"), { transports: ["websocket"] });
  const answers = await Promise.all(Array.from({ length: 2000 }, () => flood.ask("unsubscribe", { topic: "x" })));
  const limited = answers.find(({ error }) => error === "rate_limited");
  assert.ok(limited.retryAfterMs > 0);
});

test("a messageId that is repeated is published once", async (t) => {
  const topic = fresh();
  const client = connect(t, anything("ann"));
  await client.subscribe(topic);
  for (let n = 0; n < 3; n++) await client.ask("publish", { topic, payload: n, messageId: "same" });
  await client.ask("publish", { topic, payload: "last" });
  assert.equal((await client.inbox.take("message")).data.payload, 0);
  const { data } = await client.inbox.take("message");
  assert.deepEqual([data.payload, data.seq], ["last", 2]);
});

test("who wants no ack gets the acknowledgement alone", async (t) => {
  const topic = fresh();
  const client = connect(t, anything("ann"));
  const message = { topic, payload: 1, messageId: "quiet", ackRequired: false };
  assert.equal((await client.ask("publish", message)).status, "success");
  await client.ask("publish", { topic, payload: 2, messageId: "loud" });
  assert.equal((await client.inbox.take("ack")).data.id, "loud");
});

test("who comes back twice is in all its topics still", async (t) => {
  const topics = [fresh(), fresh(), fresh()];
  const client = connect(t, anything("ann"), { transports: ["websocket"] });
  for (const topic of topics) await client.subscribe(topic);
  for (let round = 0; round < 6; round++) {
    client.socket.io.engine.close();
    await client.inbox.take("disconnect");
    // The others have nothing new, and so nothing to say.
    const topic = topics[round % 3];
    await publish(server, anything("bob"), { channel: topic, event: "e", data: round });
    const { data } = await client.inbox.take("message");
    assert.deepEqual([data.topic, data.payload, client.socket.recovered], [topic, round, true]);
  }
});

test("who comes back does not come back to what it has left", async (t) => {
  const [kept, left] = [fresh(), fresh()];
  const client = connect(t, anything("ann"), { transports: ["websocket"] });
  for (const topic of [kept, left]) await client.subscribe(topic);
  await publish(server, anything("bob"), { channel: left, event: "e", data: 1 });
  await client.inbox.take("message");
  assert.deepEqual(await client.ask("unsubscribe", { topic: left }), { status: "success" });
  client.socket.io.engine.close();
  await client.inbox.take("disconnect");
  await eventually(() => client.socket.connected);
  assert.equal(client.socket.recovered, true);
  for (const channel of [left, kept]) await publish(server, anything("bob"), { channel, event: "e", data: channel });
  assert.equal((await client.inbox.take("message")).data.topic, kept);
  const { body } = await publish(server, anything("bob"), { channel: left, event: "e", data: 3 });
  assert.equal(body.deliveredTo, 0);
});

test("a token that expires and an application that ends it are an io server disconnect", async (t) => {
  const soon = token("ann", { exp: Math.floor(Date.now() / 1000) - 3, permissions: ["*"] });
  const expiring = connect(t, soon);
  await expiring.inbox.take("connect");
  assert.equal((await expiring.inbox.take("disconnect")).data, "io server disconnect");
  expiring.socket.auth = { token: anything("ann") };
  expiring.socket.connect();
  await expiring.inbox.take("connect");
  const client = connect(t, anything("mallory"));
  await client.inbox.take("connect");
  await eventually(async () => {
    await server.sdk().terminateUserConnections("mallory");
    return client.inbox.events.includes("disconnect");
  });
  assert.equal((await client.inbox.take("disconnect")).data, "io server disconnect");
});

test("a client that is told to go and stays is closed", async (t) => {
  const socket = new WebSocket(`ws://127.0.0.1:${server.nodes[0].port}/socket.io/?EIO=4&transport=websocket`);
  t.after(() => socket.terminate());
  const texts = new Inbox();
  socket.on("message", (text) => texts.push({ event: `${text}`.slice(0, 2) }));
  socket.on("close", () => texts.push({ event: "closed" }));
  await new Promise((resolve) => socket.on("open", resolve));
  socket.send(`40${JSON.stringify({ token: anything("stubborn") })}`);
  await texts.take("40");
  await eventually(async () => {
    await server.sdk().terminateUserConnections("stubborn");
    return texts.events.includes("41");
  });
  await texts.take("closed");
});

test("who comes back is told what it missed, under the same id", async (t) => {
  const topics = [fresh(), fresh()];
  const client = connect(t, anything("ann"), { transports: ["websocket"] });
  for (const topic of topics) await client.subscribe(topic);
  const id = client.socket.id;
  for (let round = 1; round <= 3; round++) {
    client.socket.io.engine.close();
    await client.inbox.take("disconnect");
    for (const topic of topics) await publish(server, anything("bob"), { channel: topic, event: "e", data: round });
    await eventually(() => client.socket.connected);
    assert.deepEqual([client.socket.recovered, client.socket.id], [true, id]);
    for (const topic of topics) {
      const { data } = await client.inbox.take("message", ({ data }) => data.topic === topic);
      assert.deepEqual([data.payload, data.seq], [round, round]);
    }
  }
  await publish(server, anything("bob"), { channel: topics[0], event: "e", data: "live" });
  assert.equal((await client.inbox.take("message")).data.payload, "live");
  assert.ok(!client.inbox.events.includes("message"));
});

test("who was away for too much begins anew, and knows it", async (t) => {
  const topic = fresh();
  const client = connect(t, anything("ann"), { transports: ["websocket"], reconnection: false });
  await client.subscribe(topic);
  const id = client.socket.id;
  client.inbox.items.length = 0;
  client.socket.io.engine.close();
  for (let n = 0; n < 200; n++) await publish(server, anything("bob"), { channel: topic, event: "e", data: n });
  await client.inbox.take("disconnect");
  client.socket.connect();
  await eventually(() => client.socket.connected);
  assert.equal(client.socket.recovered, false);
  assert.notEqual(client.socket.id, id);
  // It has nothing to go on from, and does not go on from what it had before.
  await client.inbox.take("connected", ({ data }) => data.connectionId === client.socket.id);
  client.socket.io.engine.close();
  await client.inbox.take("disconnect");
  client.socket.connect();
  await eventually(() => client.socket.connected);
  assert.equal(client.socket.recovered, false);
  await client.subscribe(topic);
  await publish(server, anything("bob"), { channel: topic, event: "e", data: "new" });
  assert.equal((await client.inbox.take("message", ({ data }) => data.payload === "new")).data.seq, 201);
});

test("another user does not go on with what the last one had", async (t) => {
  const topic = fresh();
  const client = connect(t, anything("ann"), { transports: ["websocket"] });
  await client.subscribe(topic);
  client.socket.auth = { token: anything("bob") };
  client.socket.io.engine.close();
  await client.inbox.take("disconnect");
  await eventually(() => client.socket.connected);
  assert.equal(client.socket.recovered, false);
  assert.equal((await client.inbox.take("connected", ({ data }) => data.user.id === "bob")).data.user.id, "bob");
});

test("an event of a Pusher back end arrives with its name as the type", async (t) => {
  const topic = fresh("orders");
  const client = connect(t, anything("ann"));
  await client.subscribe(topic);
  await server.sdk().trigger(topic, "order-placed", { id: 7 });
  const { data } = await client.inbox.take("message");
  assert.deepEqual([data.type, data.payload, data.from], ["order-placed", { id: 7 }, null]);
});

test("with a query an app is chosen", async (t) => {
  const client = connect(t, anything("ann"), { query: { app: APP.key } });
  await client.inbox.take("connected");
  const wrong = connect(t, anything("ann"), { query: { app: "nobody" } });
  await wrong.inbox.take("connect_error");
});
