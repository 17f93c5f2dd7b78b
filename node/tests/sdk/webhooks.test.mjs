// Webhooks, checked by the server SDK's own verification.

import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { APP, eventually, join, startServer, startSink } from "./support.mjs";

const ANN = { id: "ann", user_info: {} };

/** A server with one webhook; `toml` is more of its section. */
async function startWithSink(t, { toml = "", app = "", answer } = {}) {
  const sink = await startSink(t, answer);
  const server = await startServer(t, { app: app + sink.toml(toml) });
  return { server, sink };
}

/** The names of the events so far, with the channel. */
const told = (sink) => sink.events.items.map(({ event, body }) => `${event} ${body.channel}`);

test("a delivery is signed, exactly application/json, and names the key and the time", async (t) => {
  const { server, sink } = await startWithSink(t, { toml: 'events = ["channel_occupied"]' });
  await join(server.client(t), "private-room");
  await sink.events.take("channel_occupied");
  const [{ webhook, headers, at }] = sink.deliveries;
  assert.ok(webhook.isValid());
  assert.equal(headers["content-type"], "application/json");
  assert.equal(headers["x-pusher-key"], APP.key);
  assert.ok(Math.abs(webhook.getTime() - at) < 5_000);
  const [{ id, epoch, seq, ...event }, ...more] = webhook.getEvents();
  assert.deepEqual(event, { name: "channel_occupied", channel: "private-room" });
  assert.equal(more.length, 0);
  assert.match(id, /^[0-9a-f]{32}$/);
  assert.match(epoch, /^[0-9a-f]+-[0-9a-f]+$/);
  assert.equal(seq, 1);
  assert.equal(headers["handbell-event-ids"], id);
});

test("a channel is occupied by its first subscriber and vacated by its last", async (t) => {
  const { server, sink } = await startWithSink(t, { toml: 'events = ["channel_occupied", "channel_vacated"]' });
  const [first, second] = [server.client(t), server.client(t)];
  await join(first, "room");
  await join(second, "room");
  first.disconnect();
  second.disconnect();
  await sink.events.take("channel_occupied");
  assert.deepEqual((await sink.events.take("channel_vacated")).body, { name: "channel_vacated", channel: "room" });
  assert.deepEqual(told(sink), []);
});

test("a user is added with its first tab and removed with its last", async (t) => {
  const { server, sink } = await startWithSink(t);
  const tabs = [server.client(t, { user: ANN }), server.client(t, { user: ANN })];
  for (const tab of tabs) await join(tab, "presence-room");
  for (const tab of tabs) tab.disconnect();
  const channel = "presence-room";
  const added = await sink.events.take("member_added");
  assert.deepEqual(added.body, { name: "member_added", channel, user_id: "ann" });
  const removed = await sink.events.take("member_removed");
  assert.deepEqual(removed.body, { name: "member_removed", channel, user_id: "ann" });
  await sink.events.take("channel_vacated");
  assert.deepEqual(told(sink), ["channel_occupied presence-room"]);
});

test("a client event is told with its data, its socket and, in presence channels, its user", async (t) => {
  const { server, sink } = await startWithSink(t);
  const client = server.client(t, { user: ANN });
  const [room, talk] = [await join(client, "presence-room"), await join(client, "private-talk")];
  room.channel.trigger("client-typing", { k: 1 });
  talk.channel.trigger("client-typing", "text");
  const socket_id = client.connection.socket_id;
  const event = { name: "client_event", event: "client-typing", socket_id };
  const first = (await sink.events.take("client_event", ({ body }) => body.channel === "presence-room")).body;
  assert.deepEqual(first, { ...event, channel: "presence-room", data: '{"k":1}', user_id: "ann" });
  const second = (await sink.events.take("client_event")).body;
  assert.deepEqual(second, { ...event, channel: "private-talk", data: "text" });
});

test("a cache miss is told once until the channel is filled", async (t) => {
  const { server, sink } = await startWithSink(t, { toml: 'events = ["cache_miss", "channel_occupied"]' });
  await join(server.client(t), "cache-room");
  await join(server.client(t), "cache-room");
  await join(server.client(t), "marker-room");
  await sink.events.take("channel_occupied", ({ body }) => body.channel === "marker-room");
  assert.deepEqual(told(sink).sort(), ["cache_miss cache-room", "channel_occupied cache-room"]);
});

test("the subscription count is told on each change", async (t) => {
  const { server, sink } = await startWithSink(t, {
    app: "subscription_count = true\n",
    toml: 'events = ["subscription_count"]',
  });
  const client = server.client(t);
  await join(server.client(t), "room");
  await join(client, "room");
  client.disconnect();
  for (const subscription_count of [1, 2, 1]) {
    const { body } = await sink.events.take("subscription_count");
    assert.deepEqual(body, { name: "subscription_count", channel: "room", subscription_count });
  }
});

test("a return within three seconds cancels vacated and removed, and the occupied and added after them", async (t) => {
  const { server, sink } = await startWithSink(t);
  const page = server.client(t, { user: ANN });
  await join(page, "presence-room");
  await sink.events.take("channel_occupied");
  await sink.events.take("member_added");
  page.disconnect();
  await join(server.client(t, { user: ANN }), "presence-room");
  await sleep(3_500);
  await join(server.client(t), "marker-room");
  await sink.events.take("channel_occupied", ({ body }) => body.channel === "marker-room");
  assert.deepEqual(told(sink).filter((event) => event.includes("presence-room")), []);
});

test("a delivery that fails is tried again, with the same body and signature", async (t) => {
  const { server, sink } = await startWithSink(t, { answer: (n) => (n < 2 ? 500 : 200) });
  await join(server.client(t), "room");
  await sink.events.take("channel_occupied");
  const [first, second, third] = sink.deliveries;
  for (const { rawBody, headers, webhook } of sink.deliveries) {
    assert.equal(rawBody, first.rawBody);
    assert.equal(headers["x-pusher-signature"], first.headers["x-pusher-signature"]);
    assert.ok(webhook.isValid());
  }
  assert.ok(third.at - second.at > second.at - first.at, "the pauses become longer");
});

test("a redirect is not followed but tried again", async (t) => {
  const { server, sink } = await startWithSink(t, { answer: (n) => (n < 1 ? 302 : 200) });
  await join(server.client(t), "room");
  await sink.events.take("channel_occupied");
  assert.equal(sink.deliveries.length, 2);
});

test("what happens in one channel is told in its order, through failures too", async (t) => {
  const { server, sink } = await startWithSink(t, {
    toml: 'events = ["client_event"]',
    answer: (n) => (n === 1 ? 503 : 200),
  });
  const wires = await Promise.all([server.wire(t), server.wire(t), server.wire(t)]);
  const ear = await server.wire(t);
  for (const wire of [...wires, ear]) await wire.join("private-order");
  let n = 0;
  for (const [index, wire] of wires.entries()) {
    for (let k = 0; k < 8; k++) wire.send("client-n", ++n, "private-order");
    // The next one, on another node, says nothing before all of these have their place.
    const next = wires[(index + 1) % wires.length];
    await next.frames.take("client-n", ({ data }) => Number(data) === n);
    await eventually(() => sink.deliveries.length > 0);
  }
  await eventually(() => sink.events.items.length === n);
  const numbers = sink.events.items.map(({ body }) => Number(body.data));
  assert.deepEqual(numbers, [...Array(n).keys()].map((index) => index + 1));
});

test("a webhook is told only of the kinds and channels that it asks for", async (t) => {
  const { server, sink } = await startWithSink(t, {
    toml: 'events = ["channel_occupied"]\nchannel_prefix = "private-"\nchannel_suffix = "-eu"',
  });
  const client = server.client(t, { user: ANN });
  for (const name of ["room-eu", "private-room", "presence-room-eu", "private-room-eu"]) await join(client, name);
  await sink.events.take("channel_occupied", ({ body }) => body.channel === "private-room-eu");
  assert.deepEqual(told(sink), []);
});

test("a webhook carries the headers that it was given", async (t) => {
  const toml = 'headers = { authorization = "Bearer abc", x-tenant = "7" }';
  const { server, sink } = await startWithSink(t, { toml });
  await join(server.client(t), "room");
  await sink.events.take("channel_occupied");
  const [{ headers }] = sink.deliveries;
  assert.equal(headers.authorization, "Bearer abc");
  assert.equal(headers["x-tenant"], "7");
});

test("two webhooks are each told, and one that fails does not delay the other", async (t) => {
  const [broken, whole] = [await startSink(t, () => 500), await startSink(t)];
  const server = await startServer(t, { app: broken.toml() + whole.toml() });
  await join(server.client(t), "room");
  await whole.events.take("channel_occupied");
  await eventually(() => broken.deliveries.length > 0);
  await join(server.client(t), "second-room");
  await whole.events.take("channel_occupied", ({ body }) => body.channel === "second-room");
});

test("a server that is stopped tells first what has come to an end", async (t) => {
  const { server, sink } = await startWithSink(t);
  await (await server.wire(t)).join("room");
  await sink.events.take("channel_occupied");
  await server.stop();
  await sink.events.take("channel_vacated");
});
