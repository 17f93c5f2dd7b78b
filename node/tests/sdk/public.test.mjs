// Public channels: who hears an event, what exactly, and how often.

import assert from "node:assert/strict";
import test from "node:test";

import { eventually, join, startServer, state } from "./support.mjs";

const server = await startServer(test, { app: "limits.messages_per_second = 1_000" });
const sdk = server.sdk();

async function occupied(prefix) {
  const answer = await sdk.get({ path: "/channels", params: { filter_by_prefix: prefix } });
  return Object.keys((await answer.json()).channels);
}

test("every subscriber gets exactly one event, with the same JSON", async (t) => {
  const subscribers = await Promise.all([1, 2, 3].map(() => join(server.client(t), "news")));
  const data = { appId: "a1", status: "ready", timestamp: 1_763_683_200_000, tags: ["x", null, true] };
  await sdk.trigger("news", "applet-updated", data);
  await sdk.trigger("news", "marker", {});
  for (const { inbox } of subscribers) {
    assert.deepEqual(await inbox.until("marker"), [{ event: "applet-updated", data }]);
  }
});

test("data arrives as the very text that was published", async (t) => {
  const wire = await server.wire(t);
  await wire.join("texts");
  const texts = [
    '{"b": 1.0,  "a":"\\u00e9", "b": 2}',
    "12345678901234567890",
    "plain text, not JSON",
    "",
    "漢字 🛎️ \u0000 \u2028 \\ \" </script>",
    "null",
  ];
  for (const text of texts) {
    await sdk.trigger("texts", "event", text);
    const { data } = await wire.frames.take("event");
    assert.equal(data, text);
  }
});

test("an event reaches the subscribers of its channel only", async (t) => {
  const [here, there] = await Promise.all([join(server.client(t), "here"), join(server.client(t), "there")]);
  await sdk.trigger("here", "event", {});
  await sdk.trigger(["here", "there"], "marker", {});
  assert.deepEqual(await there.inbox.until("marker"), []);
  assert.equal((await here.inbox.until("marker")).length, 1);
});

test("an event reaches every subscriber, whatever it has bound", async (t) => {
  const client = server.client(t);
  const { channel, inbox } = await join(client, "unbound");
  channel.bind("another-event", () => assert.fail("this event was not published"));
  await sdk.trigger("unbound", "event", { n: 1 });
  assert.deepEqual((await inbox.take("event")).data, { n: 1 });
});

test("a public channel needs no signature, and its ack is an empty object in a string", async (t) => {
  const wire = await server.wire(t);
  wire.send("pusher:subscribe", { channel: "open" });
  const ack = await wire.frames.take("pusher_internal:subscription_succeeded");
  assert.deepEqual(ack, { event: ack.event, channel: "open", data: "{}" });
});

test("a name that begins with public- is an ordinary public channel", async (t) => {
  const { inbox } = await join(server.client(t), "public-app-updates");
  await sdk.trigger("public-app-updates", "event", {});
  await inbox.take("event");
});

test("a name that only resembles a private one needs no signature", async (t) => {
  const wire = await server.wire(t);
  for (const channel of ["privateer", "my-private-room", "presence", "Private-room"]) {
    wire.send("pusher:subscribe", { channel });
    await wire.frames.take("pusher_internal:subscription_succeeded");
  }
});

test("nothing comes after an unsubscribe", async (t) => {
  const wire = await server.wire(t);
  await wire.join("left");
  await wire.join("kept");
  wire.send("pusher:unsubscribe", { channel: "left" });
  await wire.settled();
  await sdk.trigger("left", "event", {});
  await sdk.trigger("kept", "marker", {});
  assert.deepEqual(await wire.frames.until("marker"), []);
});

test("an unsubscribe from a channel that is not subscribed is ignored", async (t) => {
  const wire = await server.wire(t);
  wire.send("pusher:unsubscribe", { channel: "never-joined" });
  await wire.settled();
  assert.deepEqual(wire.frames.items, []);
});

test("a second subscribe succeeds again and delivers nothing twice", async (t) => {
  const wire = await server.wire(t);
  await wire.join("twice");
  await wire.join("twice");
  await sdk.trigger("twice", "event", {});
  await sdk.trigger("twice", "marker", {});
  assert.equal((await wire.frames.until("marker")).length, 1);
});

test("a channel needs no creation, and is gone when its last subscriber has left", async (t) => {
  assert.deepEqual(await occupied("transient"), []);
  const [first, second] = [server.client(t), server.client(t)];
  await Promise.all([join(first, "transient"), join(second, "transient")]);
  assert.deepEqual(await occupied("transient"), ["transient"]);
  first.unsubscribe("transient");
  second.disconnect();
  await eventually(async () => (await occupied("transient")).length === 0);
});

test("a thousand subscribes and unsubscribes leave no channel behind", async (t) => {
  const wire = await server.wire(t);
  for (let n = 0; n < 50; n++) {
    for (let k = 0; k < 20; k++) wire.send("pusher:subscribe", { channel: `churn-${k}` });
    for (let k = 0; k < 20; k++) wire.send("pusher:unsubscribe", { channel: `churn-${k}` });
    await wire.settled();
  }
  await eventually(async () => (await occupied("churn-")).length === 0);
});

test("a publish that nobody hears says so when it is asked", async () => {
  const answer = await sdk.trigger("app-updates", "event", {}, { info: "subscription_count" });
  assert.deepEqual(await answer.json(), { channels: { "app-updates": { subscription_count: 0 } } });
});

test("a name outside the alphabet is refused on its channel", async (t) => {
  const client = server.client(t);
  await state(client, "connected");
  for (const name of ["with space", "slash/ed", "umläut", "x".repeat(201)]) {
    const channel = client.subscribe(name);
    const error = await new Promise((resolve) => channel.bind("pusher:subscription_error", resolve));
    assert.equal(typeof error.error, "string", name);
  }
  assert.equal(client.connection.state, "connected");
});
