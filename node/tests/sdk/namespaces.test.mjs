// Several namespaces of Socket.IO over one connection of the stock client.

import assert from "node:assert/strict";
import test from "node:test";

import { Manager } from "socket.io-client";

import { anything, publish, token } from "./doors.mjs";
import { eventually, Inbox, startServer } from "./support.mjs";

const server = await startServer(test, { app: '[apps.namespaces]\n"/admin" = "topics"\n"/shop/eu" = "topics"' });
let number = 0;
const fresh = (prefix = "public:room") => `${prefix}-${process.pid}-${(number += 1)}`;

/** One connection: `connect` gives a socket of it in a namespace. */
function open(t, options = {}) {
  const manager = new Manager(server.nodes[0].url, { reconnectionDelay: 50, ...options });
  t.after(() => manager.engine?.close());
  manager.connect = async (namespace, jwt) => {
    const socket = manager.socket(namespace, { auth: { token: jwt } });
    t.after(() => socket.close());
    const inbox = new Inbox();
    socket.onAny((event, data) => inbox.push({ event, data }));
    for (const event of ["disconnect", "connect_error"]) socket.on(event, (data) => inbox.push({ event, data }));
    const ask = (event, message) => socket.emitWithAck(event, message);
    const client = { socket, inbox, ask, subscribe: (topic) => ask("subscribe", { topic }) };
    await Promise.race([inbox.take("connected").then(({ data }) => (client.hello = data)), inbox.take("connect_error")]);
    return client;
  };
  return manager;
}

const say = async (channel, data) => {
  const { status, body } = await publish(server, anything("worker"), { channel, event: "e", data });
  assert.equal(status, 200);
  return body.deliveredTo;
};

for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
  test(`three namespaces over one connection by ${transports.join(" and ")}`, async (t) => {
    const connection = open(t, { transports });
    const topic = fresh();
    const clients = [];
    for (const [namespace, user] of [["/", "ann"], ["/admin", "bob"], ["/shop/eu", "ann"]]) {
      const client = await connection.connect(namespace, anything(user));
      assert.deepEqual([client.hello.user, client.hello.connectionId], [{ id: user }, client.socket.id]);
      assert.deepEqual(await client.subscribe(topic), { status: "success", subscriberCount: clients.length + 1 });
      clients.push(client);
    }
    assert.equal(new Set(clients.map(({ socket }) => socket.id)).size, 3, "each has an id of its own");
    assert.equal(new Set(clients.map(({ socket }) => socket.io.engine.id)).size, 1, "and all have one connection");
    const [main, admin, shop] = clients;
    assert.deepEqual(await admin.ask("publish", { topic, payload: "hello" }), { status: "success", deliveredTo: 3 });
    for (const { inbox } of clients) {
      const { data } = await inbox.take("message");
      assert.deepEqual([data.topic, data.payload, data.from, data.seq], [topic, "hello", "bob", 1]);
    }
    await admin.ask("unsubscribe", { topic });
    assert.equal(await say(topic, "two"), 2);
    shop.socket.disconnect();
    await eventually(async () => (await say(topic, "one")) === 1);
    assert.equal((await main.inbox.take("message")).data.payload, "two");
    assert.equal(admin.socket.connected, true);
    assert.ok(!admin.inbox.events.includes("message"));
  });
}

test("a namespace that is not configured is an Invalid namespace, and the others stay", async (t) => {
  const connection = open(t);
  const main = await connection.connect("/", anything("ann"));
  for (const namespace of ["/other", "/admin/", "/shop"]) {
    const { inbox, socket } = await connection.connect(namespace, anything("ann"));
    assert.equal(socket.connected, false);
    assert.deepEqual(inbox.events, [], "it was told why, and nothing else");
    const errors = new Promise((resolve) => socket.once("connect_error", resolve));
    socket.connect();
    assert.equal((await errors).message, "Invalid namespace");
  }
  assert.equal((await main.subscribe(fresh())).status, "success");
});

test("each namespace has permissions of its own", async (t) => {
  const connection = open(t);
  const guest = await connection.connect("/", token("guest", { role: "guest" }));
  const admin = await connection.connect("/admin", token("root", { role: "admin" }));
  const topic = fresh("private:room");
  assert.equal((await guest.subscribe(topic)).error, "permission_denied");
  assert.equal((await admin.subscribe(topic)).status, "success");
  const { inbox, socket } = await connection.connect("/shop/eu", "wrong");
  assert.deepEqual([socket.connected, inbox.events], [false, []]);
});

test("each namespace is recovered by itself", async (t) => {
  const connection = open(t, { transports: ["websocket"] });
  const topics = { "/": fresh(), "/admin": fresh(), "/shop/eu": fresh() };
  const clients = {};
  for (const [namespace, topic] of Object.entries(topics)) {
    clients[namespace] = await connection.connect(namespace, anything("ann"));
    await clients[namespace].subscribe(topic);
  }
  const ids = Object.values(clients).map(({ socket }) => socket.id);
  // One of them is away for more than its channel remembers.
  for (let round = 1; round <= 2; round++) {
    connection.engine.close();
    for (const { inbox } of Object.values(clients)) await inbox.take("disconnect");
    for (const topic of Object.values(topics)) await say(topic, round);
    for (const { socket } of Object.values(clients)) await eventually(() => socket.connected);
    for (const [namespace, { socket, inbox }] of Object.entries(clients)) {
      assert.equal(socket.recovered, true, namespace);
      const { data } = await inbox.take("message");
      assert.deepEqual([data.topic, data.payload], [topics[namespace], round]);
    }
  }
  assert.deepEqual(Object.values(clients).map(({ socket }) => socket.id), ids);
  connection.reconnection(false);
  connection.engine.close();
  for (const { inbox } of Object.values(clients)) await inbox.take("disconnect");
  for (let n = 0; n < 200; n++) await say(topics["/admin"], n);
  for (const { socket } of Object.values(clients)) socket.connect();
  for (const { socket } of Object.values(clients)) await eventually(() => socket.connected);
  const recovered = Object.entries(clients).map(([namespace, { socket }]) => [namespace, socket.recovered]);
  assert.deepEqual(Object.fromEntries(recovered), { "/": true, "/admin": false, "/shop/eu": true });
});

test("a token that ends, and a user who is ended, take their own namespace with them", async (t) => {
  const connection = open(t);
  const main = await connection.connect("/", anything("ann"));
  const soon = token("bob", { exp: Math.floor(Date.now() / 1000) - 3, permissions: ["*"] });
  const admin = await connection.connect("/admin", soon);
  assert.equal((await admin.inbox.take("disconnect")).data, "io server disconnect");
  const shop = await connection.connect("/shop/eu", anything("mallory"));
  await eventually(async () => {
    await server.sdk().terminateUserConnections("mallory");
    return shop.inbox.events.includes("disconnect");
  });
  assert.equal((await shop.inbox.take("disconnect")).data, "io server disconnect");
  assert.equal((await main.subscribe(fresh())).status, "success");
  admin.socket.auth = { token: anything("bob") };
  admin.socket.connect();
  await admin.inbox.take("connected");
  assert.equal((await admin.subscribe(fresh())).status, "success");
});

test("what leaves with its connection leaves nothing behind", async (t) => {
  const connection = open(t, { reconnection: false });
  const topic = fresh();
  for (const namespace of ["/", "/admin", "/shop/eu"]) {
    await (await connection.connect(namespace, anything("ann"))).subscribe(topic);
  }
  assert.equal(await say(topic, 1), 3);
  connection.engine.close();
  await eventually(async () => (await say(topic, 2)) === 0);
});
