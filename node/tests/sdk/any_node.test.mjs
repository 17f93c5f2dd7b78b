// Sessions of several requests, each of which goes to another node: nothing here is sticky. This file
// has three nodes, however many the others have.

import assert from "node:assert/strict";
import test from "node:test";

import { io } from "socket.io-client";

import { anything, socketIo } from "./doors.mjs";
import { APP, eventually, join, record, startProxy, startServer, state, upTo } from "./support.mjs";

const server = await startServer(test, { nodes: 3 });
const sdk = server.sdk();
const proxy = await startProxy(test, server.nodes.map((node) => node.port));
let number = 0;
const fresh = (prefix) => `${prefix}-${(number += 1)}`;

/** Publishes numbers, one after the other. */
async function publish(channel, numbers) {
  for (const n of numbers) await sdk.trigger(channel, "event", n);
}

for (const transport of ["xhr_streaming", "xhr_polling"]) {
  test(`pusher-js over ${transport}: every request goes to another node`, async (t) => {
    const http = { httpHost: "127.0.0.1", httpPort: proxy.port, enabledTransports: [transport] };
    const [ann, bob] = ["ann", "bob"].map((id) => server.client(t, { ...http, user: { id, user_info: {} } }));
    await Promise.all([state(ann, "connected"), state(bob, "connected")]);
    const lost = record(ann.connection);
    const name = fresh("presence-any");
    const { inbox } = await join(ann, name);
    const { channel } = await join(bob, name);
    await inbox.take("pusher:member_added");
    await publish(name, upTo(60));
    for (const n of upTo(60)) assert.equal((await inbox.take("event")).data, n);
    for (const n of upTo(20)) channel.trigger("client-typing", n);
    const typed = [];
    for (let n = 0; n < 10; n++) typed.push((await inbox.take("client-typing")).data);
    // More is refused; requests that are on their way at once have no order.
    assert.equal(new Set(typed).size, 10);
    bob.disconnect();
    await inbox.take("pusher:member_removed");
    assert.deepEqual(lost.events.filter((event) => event === "disconnected" || event === "error"), []);
  });
}

test("pusher-js over a stream hears more than one response may have", async (t) => {
  const http = { httpHost: "127.0.0.1", httpPort: proxy.port, enabledTransports: ["xhr_streaming"] };
  const client = server.client(t, http);
  const name = fresh("large");
  const { inbox } = await join(client, name);
  const before = proxy.requests;
  const filler = `${"x".repeat(5_000)}漢🛎️`;
  for (const n of upTo(20)) {
    await sdk.triggerBatch(upTo(10).map((m) => ({ channel: name, name: "event", data: { n: n * 10 + m, filler } })));
    for (const m of upTo(10)) assert.equal((await inbox.take("event")).data.n, n * 10 + m);
  }
  assert.ok(proxy.requests - before >= 3, "it asked for more responses");
});

for (const transports of [["polling"], ["polling", "websocket"]]) {
  test(`socket.io-client by ${transports.join(" and ")}: every request goes to another node`, async (t) => {
    const { socket, inbox, subscribe } = socketIo(t, proxy, anything("ann"), { transports });
    const name = fresh("any");
    assert.equal((await subscribe(name)).subscriberCount, 1);
    await publish(name, upTo(60));
    for (const n of upTo(60)) assert.equal((await inbox.take("message")).data.payload, n);
    for (const n of upTo(60)) {
      const answer = await socket.emitWithAck("publish", { topic: name, payload: n, messageId: `${name}-${n}` });
      assert.equal(answer.status, "success");
    }
    for (const n of upTo(60)) assert.equal((await inbox.take("message")).data.payload, n);
    assert.equal(inbox.events.filter((event) => event === "connected").length, 1, "one connection");
    socket.close();
    await eventually(async () => (await counted(name)) === 0, () => "it has left");
  });
}

test("a WebSocket may come to any node, and its session goes on there", async (t) => {
  const clients = Array.from({ length: 6 }, () => socketIo(t, proxy, anything("ann")));
  for (const { socket } of clients) {
    const { engine } = socket.io;
    await eventually(() => engine.transport.name === "websocket", () => `upgraded; it is ${engine.transport.name}`);
    socket.lost = 0;
    socket.on("disconnect", () => (socket.lost += 1));
  }
  const name = fresh("upgraded");
  await Promise.all(clients.map(({ subscribe }) => subscribe(name)));
  await publish(name, upTo(50));
  const large = "漢".repeat(3_000);
  await sdk.trigger(name, "event", large);
  for (const { inbox, socket } of clients) {
    for (const n of upTo(50)) assert.equal((await inbox.take("message")).data.payload, n);
    assert.equal((await inbox.take("message")).data.payload, large);
    const answers = await Promise.all(upTo(30).map((n) => socket.emitWithAck("publish", { topic: fresh("x"), payload: n })));
    assert.ok(answers.every(({ status }) => status === "success"));
    assert.equal(socket.lost, 0);
  }
  for (const { socket } of clients) socket.close();
  await eventually(async () => (await counted(name)) === 0, () => "all have left");
});

test("a polling client whose node is killed is recovered on another", async (t) => {
  const three = await startServer(t, { nodes: 3 });
  const way = await startProxy(t, three.nodes.map((node) => node.port));
  const socket = io(way.url, { auth: { token: anything("ann") }, transports: ["polling"], reconnectionDelay: 50 });
  t.after(() => socket.close());
  const heard = [];
  let recovered;
  socket.on("message", ({ payload }) => heard.push(payload));
  socket.on("connect", () => (recovered = socket.recovered));
  await eventually(() => socket.connected);
  const name = fresh("killed");
  await socket.emitWithAck("subscribe", { topic: name });
  const say = async (numbers, node) => {
    for (const n of numbers) {
      await eventually(() => node.sdk().trigger(name, "event", n).then(() => true, () => false));
    }
  };
  const counts = await Promise.all(three.nodes.map((node) => node.metric("handbell_connections")));
  const home = three.nodes[counts.indexOf(1)];
  const others = three.nodes.filter((node) => node !== home);
  await say([1, 2, 3], others[0]);
  await eventually(() => heard.length === 3);
  way.targets = [];
  await home.stop("SIGKILL");
  await say([4, 5, 6], others[0]);
  way.targets = others.map((node) => node.port);
  await eventually(() => heard.includes(6), () => `${heard}`);
  assert.deepEqual([heard, recovered], [upTo(6), true]);
});

test("a session of nobody is unknown at every node", async () => {
  for (const node of server.nodes) {
    for (const sid of ["nothing", `${"0".repeat(32)}-1`, `${"0".repeat(32)}-zz`]) {
      const answer = await fetch(`${node.url}/socket.io/?EIO=4&transport=polling&sid=${sid}`);
      assert.equal(answer.status, 400);
      assert.equal((await answer.json()).message, "Session ID unknown");
    }
    const said = await fetch(`${node.url}/pusher/app/${APP.key}/7/nobody00/xhr_send`, { method: "POST", body: "[]" });
    assert.equal(said.status, 404);
  }
});

/** How many subscriptions a channel has. */
async function counted(channel) {
  const answer = await sdk.get({ path: `/channels/${channel}`, params: { info: "subscription_count" } });
  return (await answer.json()).subscription_count;
}
