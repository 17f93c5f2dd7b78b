// Cache channels: a newcomer begins with the last event.

import assert from "node:assert/strict";
import test from "node:test";

import { eventually, join, record, startServer } from "./support.mjs";

const server = await startServer(test, { app: "limits.cache_seconds = 1800" });
const sdk = server.sdk();
const BOB = { id: "bob", user_info: {} };
const ACK = "pusher:subscription_succeeded";

for (const name of ["cache-last", "private-cache-last", "presence-cache-last", "private-encrypted-cache-last"]) {
  test(`${name}: the last event is the first that a newcomer gets`, async (t) => {
    await sdk.trigger(name, "event", { n: 1 });
    await sdk.trigger(name, "other-event", { n: 2 });
    const inbox = record(server.client(t, { user: BOB }).subscribe(name));
    await inbox.take("other-event", ({ data }) => data.n === 2);
    assert.deepEqual(inbox.events, [ACK]);
    await sdk.trigger(name, "event", { n: 3 });
    await inbox.take("event", ({ data }) => data.n === 3);
  });

  test(`${name}: an empty one says pusher:cache_miss after its ack`, async (t) => {
    const inbox = record(server.client(t, { user: BOB }).subscribe(`${name}-empty`));
    await inbox.take("pusher:cache_miss");
    assert.deepEqual(inbox.events, [ACK]);
  });
}

test("the remembered event is the same text in a normal frame", async (t) => {
  await sdk.trigger("cache-text", "event", '{"b": 1.0, "a":1}');
  const wire = await server.wire(t);
  await wire.join("cache-text");
  const frame = await wire.frames.take("event");
  assert.deepEqual(frame, { event: "event", channel: "cache-text", data: '{"b": 1.0, "a":1}' });
});

test("a wrong signature on a private-cache- channel gets nothing, neither the cached nor the next event", async (t) => {
  await sdk.trigger("private-cache-secret", "event", {});
  const wire = await server.wire(t);
  await wire.join("marker-room");
  for (const auth of [undefined, "test-key:0000"]) {
    wire.send("pusher:subscribe", { channel: "private-cache-secret", auth });
    await wire.frames.take("pusher:subscription_error");
  }
  await sdk.trigger("private-cache-secret", "event", {});
  await sdk.trigger("marker-room", "marker", {});
  assert.deepEqual(await wire.frames.until("marker"), []);
});

test("a presence-cache- channel has members and remembers", async (t) => {
  await sdk.trigger("presence-cache-room", "event", { n: 1 });
  const { channel, inbox } = await join(server.client(t, { user: BOB }), "presence-cache-room");
  assert.deepEqual(Object.keys(channel.members.members), ["bob"]);
  await inbox.take("event");
});

test("client events are not remembered", async (t) => {
  const [sender, hearer] = [server.client(t), server.client(t)];
  const sent = await join(sender, "private-cache-talk");
  const heard = await join(hearer, "private-cache-talk");
  sent.channel.trigger("client-typing", {});
  await heard.inbox.take("client-typing");
  const late = record(server.client(t).subscribe("private-cache-talk"));
  await late.take("pusher:cache_miss");
});

test("the HTTP API tells what is remembered and for how long", async () => {
  const cacheOf = async (name) => {
    const answer = await sdk.get({ path: `/channels/${name}`, params: { info: "cache" } });
    return (await answer.json()).cache;
  };
  assert.equal(await cacheOf("cache-asked"), null);
  await sdk.trigger("cache-asked", "event", "the text");
  const { data, ttl } = await cacheOf("cache-asked");
  assert.equal(data, "the text");
  assert.ok(ttl > 1_700 && ttl <= 1_800, `${ttl}`);
});

test("what is remembered is forgotten after its time", async (t) => {
  const server = await startServer(t, { app: "limits.cache_seconds = 1" });
  await server.sdk().trigger("cache-short", "event", {});
  await eventually(async () => {
    const answer = await server.sdk().get({ path: "/channels/cache-short", params: { info: "cache" } });
    return (await answer.json()).cache === null;
  });
  await record(server.client(t).subscribe("cache-short")).take("pusher:cache_miss");
});

test("a name with cache- in its middle is no cache channel", async (t) => {
  await sdk.trigger("my-cache-room", "event", {});
  const { inbox } = await join(server.client(t), "my-cache-room");
  await sdk.trigger("my-cache-room", "marker", {});
  assert.deepEqual(await inbox.until("marker"), []);
});
