// Connecting: the greeting, its variants, and what a connection survives.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import test from "node:test";

import { eventually, join, startServer, state } from "./support.mjs";

const server = await startServer(test);

test("pusher-js needs only wsHost, wsPort and forceTLS to get connected", async (t) => {
  const client = server.client(t);
  const states = [];
  client.connection.bind("state_change", ({ current }) => states.push(current));
  await state(client, "connected");
  assert.deepEqual(states, ["connected"]);
  assert.match(client.connection.socket_id, /^\d+\.\d+$/);
});

test("the cluster is ignored when wsHost is set", async (t) => {
  await state(server.client(t, { cluster: "us3" }), "connected");
  await state(server.client(t, { cluster: "" }), "connected");
});

test("the first frame is the greeting, with its data in a string, within a second", async (t) => {
  const began = Date.now();
  const wire = server.dial(t);
  const greeting = await wire.frames.take("pusher:connection_established");
  assert.ok(Date.now() - began < 1_000);
  assert.deepEqual(Object.keys(greeting).sort(), ["data", "event"]);
  const data = JSON.parse(greeting.data);
  assert.match(data.socket_id, /^\d+\.\d+$/);
  assert.equal(data.activity_timeout, 120);
});

test("every connection has its own socket id", async (t) => {
  const wires = await Promise.all([server.wire(t), server.wire(t), server.wire(t)]);
  assert.equal(new Set(wires.map((wire) => wire.socketId)).size, 3);
});

for (const query of ["protocol=5", "protocol=6&client=x&version=1", "protocol=7&flash=false", ""]) {
  test(`a client that says "${query}" is let in`, async (t) => {
    await server.wire(t, { query });
  });
}

test("a ping is answered with a pong", async (t) => {
  const wire = await server.wire(t);
  wire.send("pusher:ping", {});
  const { data } = await wire.frames.take("pusher:pong");
  assert.deepEqual(data, {});
});

test("a WebSocket ping is answered with a WebSocket pong", async (t) => {
  const wire = await server.wire(t);
  const pong = new Promise((resolve) => wire.socket.once("pong", resolve));
  wire.socket.ping("are you there");
  assert.equal(`${await pong}`, "are you there");
});

test("what cannot be understood is answered with an error, and the connection lives on", async (t) => {
  const wire = await server.wire(t);
  const nonsense = [
    "not json",
    "[]",
    "{}",
    '{"event":7}',
    '{"event":"pusher:subscribe"}',
    '{"event":"pusher:subscribe","data":{}}',
    '{"event":"pusher:subscribe","data":{"channel":7}}',
    '{"event":"pusher:signin","data":{"auth":1}}',
    '{"event":"hello","data":{}}',
    Buffer.from([0, 1, 2]),
  ];
  for (const message of nonsense) {
    wire.socket.send(message);
    const { data } = await wire.frames.take("pusher:error");
    assert.equal(typeof data.message, "string", `${message}`);
  }
  await wire.settled();
});

test("a path without a key is no connection", async () => {
  assert.equal((await fetch(`${server.url}/app/`)).status, 404);
});

test("an app in PUSHER_APP_ID, PUSHER_APP_KEY and PUSHER_APP_SECRET works as it was printed", async (t) => {
  const printed = execFileSync(process.env.HANDBELL_BIN, ["app", "create"], { encoding: "utf8" });
  const env = Object.fromEntries(
    [...printed.matchAll(/^\s*(PUSHER_\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]),
  );
  assert.ok(env.PUSHER_APP_CLUSTER, "the printed settings name a cluster, which is ignored");
  const server = await startServer(t, { env });
  const { PUSHER_APP_ID: appId, PUSHER_APP_KEY: key, PUSHER_APP_SECRET: secret } = env;
  const sdk = server.sdk({ appId, key, secret });
  const authorize = ({ socketId, channelName }, done) => done(null, sdk.authorizeChannel(socketId, channelName));
  const client = server.client(t, { key, channelAuthorization: { customHandler: authorize } });
  const { inbox } = await join(client, "private-room");
  await sdk.trigger("private-room", "event", "hello");
  assert.equal((await inbox.take("event")).data, "hello");
});

test("two apps do not hear each other", async (t) => {
  const env = { PUSHER_APP_ID: "7", PUSHER_APP_KEY: "other-key", PUSHER_APP_SECRET: "other-secret" };
  const server = await startServer(t, { env });
  const other = server.sdk({ appId: "7", key: "other-key", secret: "other-secret" });
  const { inbox } = await join(server.client(t), "room");
  await other.trigger("room", "event", "for the other app");
  await server.sdk().trigger("room", "marker", {});
  assert.deepEqual(await inbox.until("marker"), []);
});

test("a disconnected client is gone from the server", async (t) => {
  const server = await startServer(t);
  const connections = async () => {
    const answer = await server.sdk().get({ path: "/connections" });
    return (await answer.json()).connections;
  };
  const client = server.client(t);
  await state(client, "connected");
  // Nodes tell each other once a second what they use.
  await eventually(async () => (await connections()) === 1);
  client.disconnect();
  await eventually(async () => (await connections()) === 0);
});
