// How connections end, and what pusher-js does then.

import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { eventually, join, record, startBalancer, startServer, state } from "./support.mjs";

/** A refused connection hears why in an event, and in the code of the close. */
async function assertTurnedAway(wire, code) {
  const { data } = await wire.frames.take("pusher:error");
  assert.equal(data.code, code);
  assert.ok(data.message.length > 0);
  assert.equal((await wire.closed).code, code);
}

/** pusher-js is told the code, and does not come back. */
async function assertStaysAway(client, code) {
  const errors = record(client.connection);
  await errors.take("error", ({ data }) => data.error?.data?.code === code);
  await eventually(() => ["failed", "disconnected"].includes(client.connection.state));
  // If it came back it would be after one second.
  await sleep(1_500);
  assert.ok(["failed", "disconnected"].includes(client.connection.state), client.connection.state);
}

test("4001: an unknown key", async (t) => {
  const server = await startServer(t);
  await assertTurnedAway(server.dial(t, { key: "unknown" }), 4001);
  await assertStaysAway(server.client(t, { key: "unknown" }), 4001);
});

test("4003: an app that is disabled", async (t) => {
  const server = await startServer(t, { app: "enabled = false" });
  await assertTurnedAway(server.dial(t), 4003);
  await assertStaysAway(server.client(t), 4003);
});

test("4004: more connections than the app may have, until one has left", async (t) => {
  const server = await startServer(t, { app: "limits.connections = 1" });
  const first = await server.wire(t);
  await assertTurnedAway(server.dial(t), 4004);
  await assertStaysAway(server.client(t), 4004);
  first.socket.close();
  await first.closed;
  await eventually(async () => {
    const answer = await server.sdk().get({ path: "/connections" });
    return (await answer.json()).connections === 0;
  });
  await server.wire(t);
});

test("4007: a protocol that is not spoken", async (t) => {
  const server = await startServer(t);
  for (const protocol of ["1", "3", "8", "seven"]) {
    await assertTurnedAway(server.dial(t, { query: `protocol=${protocol}` }), 4007);
  }
});

test("4009: a page whose origin is not listed", async (t) => {
  const server = await startServer(t, { app: 'origins = ["https://app.example"]' });
  await assertTurnedAway(server.dial(t, { origin: "https://evil.example" }), 4009);
  await server.wire(t, { origin: "https://app.example" });
  await server.wire(t);
});

test("4000: an app that takes TLS only", async (t) => {
  const server = await startServer(t, { app: "tls_only = true" });
  await assertTurnedAway(server.dial(t), 4000);
});

test("4100: a client that does not read what is sent to it", async (t) => {
  const server = await startServer(t, { app: "limits.outbox_bytes = 65536\nlimits.publishes_per_second = 100000" });
  const [slow, quick] = [await server.wire(t), await server.wire(t)];
  for (const wire of [slow, quick]) await wire.join("flood");
  slow.socket.pause();
  // More than the operating system keeps for a connection that is not read.
  for (let n = 0; n < 150; n++) {
    const event = { channel: "flood", name: "event", data: "x".repeat(10_000) };
    await server.sdk().triggerBatch(Array(10).fill(event));
  }
  slow.socket.resume();
  assert.equal((await slow.closed).code, 4100);
  await quick.settled();
});

test("4200: a server that is stopped, and pusher-js is at once on the next one", async (t) => {
  const [leaving, next] = [await startServer(t), await startServer(t)];
  const balancer = await startBalancer(t, [leaving.port]);
  const client = next.client(t, { wsPort: balancer.port });
  const { inbox } = await join(client, "private-room");
  const wire = await leaving.wire(t);
  balancer.targets = [next.port];

  const began = Date.now();
  const stopped = leaving.stop();
  assert.equal((await wire.closed).code, 4200);
  await inbox.take("pusher:subscription_succeeded");
  assert.ok(Date.now() - began < 1_000, "pusher-js did not wait its usual second");
  await stopped;
  await next.sdk().trigger("private-room", "event", {});
  await inbox.take("event");
});

test("1006: a server that is killed, and pusher-js is back when it is there again", async (t) => {
  const server = await startServer(t);
  const { inbox } = await join(server.client(t), "private-room");
  await server.stop("SIGKILL");
  await server.start();
  await inbox.take("pusher:subscription_succeeded");
  await server.sdk().trigger("private-room", "event", {});
  await inbox.take("event");
});

test("4201: a client that answers no ping", async (t) => {
  const server = await startServer(t, { server: 'activity_timeout = "1s"\npong_timeout = "1s"' });
  const began = Date.now();
  const silent = await server.wire(t, { autoPong: false });
  await silent.frames.take("pusher:ping");
  assert.ok(Date.now() - began >= 900);
  assert.equal((await silent.closed).code, 4201);
  assert.ok(Date.now() - began >= 1_900);
});

test("a client that answers pings in either way lives on", async (t) => {
  const server = await startServer(t, { server: 'activity_timeout = "1s"\npong_timeout = "1s"' });
  const frames = await server.wire(t);
  const events = await server.wire(t, { autoPong: false });
  events.socket.on("message", (text) => {
    if (JSON.parse(text).event === "pusher:ping") events.send("pusher:pong", {});
  });
  const client = server.client(t);
  await state(client, "connected");
  const socketId = client.connection.socket_id;
  await sleep(4_000);
  await Promise.all([frames.settled(), events.settled()]);
  assert.equal(client.connection.socket_id, socketId);
});

test("1009: a message that is too long", async (t) => {
  const server = await startServer(t);
  const wire = await server.wire(t);
  wire.socket.send("x".repeat(65_537));
  assert.equal((await wire.closed).code, 1009);
});

test("a close by the client is answered", async (t) => {
  const server = await startServer(t);
  const wire = await server.wire(t);
  wire.socket.close(1000);
  assert.equal((await wire.closed).code, 1000);
});
