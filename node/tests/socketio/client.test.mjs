// The real client against the fixture, over each way that its transports can go.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { io } from "socket.io-client";

const url = process.env.FIXTURE;
const ways = {
  websocket: { transports: ["websocket"] },
  polling: { transports: ["polling"] },
  upgrade: { transports: ["polling", "websocket"] },
  "websocket, then none other": { transports: ["websocket"], upgrade: false },
};

async function connect(options, namespace = "/") {
  const socket = io(url + namespace, { reconnection: false, forceNew: true, timeout: 20_000, ...options });
  const auth = once(socket, "auth");
  await once(socket, "connect");
  return { socket, auth: (await auth)[0] };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function closed(socket) {
  socket.close();
  assert.equal(socket.connected, false);
}

for (const [way, options] of Object.entries(ways)) {
  test(`${way}: connects with its auth and gets an id`, async () => {
    const { socket, auth } = await connect({ ...options, auth: { token: "Bearer x" } });
    assert.match(socket.id, /^[0-9a-f]{20}$/);
    assert.notEqual(socket.id, socket.io.engine.id);
    assert.deepEqual(auth, { token: "Bearer x" });
    await closed(socket);
  });

  test(`${way}: events, acknowledgements and bytes`, async () => {
    const { socket } = await connect(options);
    const seen = [];
    socket.onAny((name) => seen.push(name));
    const back = once(socket, "message-back");
    socket.emit("message", 1, "é€😀", { 3: [true, null] });
    assert.deepEqual(await back, [1, "é€😀", { 3: [true, null] }]);
    const bytes = [Buffer.from([1, 2, 3]), { deep: [Buffer.alloc(70_000, 7)] }];
    const acknowledged = await new Promise((resolve) =>
      socket.emit("message-with-ack", ...bytes, (...args) => resolve(args)),
    );
    assert.deepEqual(acknowledged, bytes);
    assert.deepEqual(seen, ["message-back"]);
    await closed(socket);
  });

  test(`${way}: many events keep their order`, async () => {
    const { socket } = await connect(options);
    const got = [];
    const all = new Promise((resolve) =>
      socket.on("message-back", (n) => got.push(n) === 500 && resolve()),
    );
    for (let n = 0; n < 500; n++) {
      socket.emit("message", n);
      if (n % 50 === 0) await pause(1);
    }
    await all;
    assert.deepEqual(got, Array.from({ length: 500 }, (_, n) => n));
    await closed(socket);
  });

  test(`${way}: a bad token is a connect_error`, async () => {
    const socket = io(url, { reconnection: false, forceNew: true, ...options, auth: { token: "bad" } });
    const [error] = await once(socket, "connect_error");
    assert.equal(error.message, "Authentication failed");
    await closed(socket);
  });

  test(`${way}: namespaces share a connection, and an unknown one is refused`, async () => {
    const { socket } = await connect(options);
    const custom = socket.io.socket("/custom");
    await once(custom, "connect");
    assert.notEqual(custom.id, socket.id);
    const unknown = socket.io.socket("/unknown");
    const [error] = await once(unknown, "connect_error");
    assert.equal(error.message, "Invalid namespace");
    custom.disconnect();
    const back = once(socket, "message-back");
    socket.emit("message", "still here");
    assert.deepEqual(await back, ["still here"]);
    await closed(socket);
  });

  test(`${way}: the server may disconnect, and the client knows that it was the server`, async () => {
    const { socket } = await connect(options);
    socket.emit("leave-me");
    const [reason] = await once(socket, "disconnect");
    assert.equal(reason, "io server disconnect");
    await closed(socket);
  });

  test(`${way}: a connection lives longer than its heartbeat`, async () => {
    const { socket } = await connect(options);
    await pause(1500);
    assert.equal(socket.connected, true);
    await closed(socket);
  });
}

// Sends an event every millisecond until there were some on each transport. Returns false if the
// upgrade was over before the first.
async function upgradesWhileEventsFlow() {
  const socket = io(url, { reconnection: false, forceNew: true });
  const [got, names] = [[], new Set()];
  socket.on("message-back", (n) => got.push(n));
  let sent = 0;
  const send = () => {
    names.add(socket.io.engine.transport.name);
    socket.emit("message", sent++);
  };
  await once(socket, "connect");
  send();
  const timer = setInterval(send, 1);
  while (!names.has("websocket") || sent < 100) await pause(5);
  clearInterval(timer);
  while (got.length < sent) await pause(5);
  assert.deepEqual(got, Array.from({ length: sent }, (_, n) => n));
  await closed(socket);
  return names.has("polling");
}

test("a polling client upgrades while events flow, and loses none", async () => {
  let seen = 0;
  for (let tries = 0; tries < 30; tries++) seen += await upgradesWhileEventsFlow();
  assert.ok(seen > 0, "no upgrade was seen");
});
