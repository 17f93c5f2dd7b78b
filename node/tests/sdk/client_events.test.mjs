// Client events: from one subscriber to the others.

import assert from "node:assert/strict";
import test from "node:test";

import { APP, join, startServer } from "./support.mjs";

const server = await startServer(test);
const sdk = server.sdk();
const ANN = { id: "ann", user_info: {} };
const BOB = { id: "bob", user_info: {} };

/** The error that a raw connection gets for a client event. */
async function refusal(wire, { event = "client-typing", channel, data = {} }) {
  wire.send(event, data, channel);
  const { data: error } = await wire.frames.take("pusher:error");
  assert.equal(typeof error.message, "string");
  await wire.settled();
  return error.code;
}

test("the others hear a client event once, its sender does not", async (t) => {
  const sender = await join(server.client(t), "private-talk");
  const hearer = await join(server.client(t), "private-talk");
  assert.ok(sender.channel.trigger("client-typing", { k: 1 }));
  assert.deepEqual((await hearer.inbox.take("client-typing")).data, { k: 1 });
  await sdk.trigger("private-talk", "marker", {});
  assert.deepEqual(await sender.inbox.until("marker"), []);
  assert.deepEqual(await hearer.inbox.until("marker"), []);
});

test("in presence channels the server says who sent it, whatever the sender claims", async (t) => {
  const sender = await server.wire(t);
  await sender.join("presence-talk", { user_id: "ann" });
  const hearer = await server.wire(t);
  await hearer.join("presence-talk", { user_id: "bob" });
  const forged = { event: "client-typing", channel: "presence-talk", data: { k: 1 }, user_id: "bob" };
  sender.socket.send(JSON.stringify(forged));
  assert.deepEqual(await hearer.frames.take("client-typing"), { ...forged, user_id: "ann" });
});

test("pusher-js hands the sender's id to the handler", async (t) => {
  const sender = await join(server.client(t, { user: ANN }), "presence-metadata");
  const hearer = await join(server.client(t, { user: BOB }), "presence-metadata");
  const heard = new Promise((resolve) => {
    hearer.channel.bind("client-typing", (data, metadata) => resolve({ data, metadata }));
  });
  sender.channel.trigger("client-typing", { k: 1 });
  assert.deepEqual(await heard, { data: { k: 1 }, metadata: { user_id: "ann" } });
});

test("in private channels a claimed sender is dropped, and the JSON type of data is kept", async (t) => {
  const [sender, hearer] = [await server.wire(t), await server.wire(t)];
  await sender.join("private-types");
  await hearer.join("private-types");
  for (const data of [{ k: 1 }, '{"k":1}', "text", 7, [1, 2], null, true]) {
    sender.socket.send(JSON.stringify({ event: "client-x", channel: "private-types", data, user_id: "ann" }));
    const frame = await hearer.frames.take("client-x");
    assert.deepEqual(frame, { event: "client-x", channel: "private-types", data });
  }
});

test("the eleventh client event in a second is refused with 4301, and the connection stays", async (t) => {
  const [sender, hearer] = [await server.wire(t), await server.wire(t)];
  await sender.join("private-rate");
  await hearer.join("private-rate");
  for (let n = 1; n <= 15; n++) sender.send("client-n", { n }, "private-rate");
  const { data } = await sender.frames.take("pusher:error");
  assert.equal(data.code, 4301);
  await sender.settled();
  await sdk.trigger("private-rate", "marker", {});
  const heard = await hearer.frames.until("marker");
  const numbers = heard.map((frame) => frame.data.n).slice(0, 10);
  assert.deepEqual(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.ok(heard.length < 15, `${heard.length} were heard`);
});

test("public channels take no client events", async (t) => {
  const [sender, hearer] = [await server.wire(t), await server.wire(t)];
  for (const channel of ["public-talk", "cache-talk"]) {
    await sender.join(channel);
    await hearer.join(channel);
    assert.equal(await refusal(sender, { channel }), 4301);
    await sdk.trigger(channel, "marker", {});
    const heard = await hearer.frames.until("marker");
    assert.deepEqual(heard.filter(({ event }) => event.startsWith("client-")), []);
  }
});

test("who is not subscribed cannot send", async (t) => {
  const [outsider, hearer] = [await server.wire(t), await server.wire(t)];
  await hearer.join("private-inside");
  await refusal(outsider, { channel: "private-inside" });
  await sdk.trigger("private-inside", "marker", {});
  assert.deepEqual(await hearer.frames.until("marker"), []);
});

test("the server's own event names cannot be forged", async (t) => {
  const [forger, hearer] = [await server.wire(t), await server.wire(t)];
  await forger.join("presence-forged", { user_id: "ann" });
  await hearer.join("presence-forged", { user_id: "bob" });
  for (const event of ["pusher:error", "pusher_internal:member_added", "my-client-event", "event"]) {
    await refusal(forger, { event, channel: "presence-forged", data: '{"user_id":"eve"}' });
  }
  await sdk.trigger("presence-forged", "marker", {});
  assert.deepEqual(await hearer.frames.until("marker"), []);
});

test("data beyond 10 KiB and names beyond 200 characters are refused with 4301", async (t) => {
  const wire = await server.wire(t);
  const channel = "private-large";
  await wire.join(channel);
  assert.equal(await refusal(wire, { channel, data: "x".repeat(10_240) }), 4301);
  assert.equal(await refusal(wire, { channel, event: `client-${"x".repeat(200)}` }), 4301);
});

test("an app that turns client events off refuses them with 4301, and pusher-js shows it", async (t) => {
  const server = await startServer(t, { app: "client_events = false" });
  const client = server.client(t, { key: APP.key });
  const { channel } = await join(client, "private-off");
  const error = new Promise((resolve) => client.connection.bind("error", resolve));
  channel.trigger("client-typing", {});
  assert.equal((await error).data.code, 4301);
  assert.equal(client.connection.state, "connected");
});
