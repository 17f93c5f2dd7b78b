// The subscription count, for apps that turn it on.

import assert from "node:assert/strict";
import test from "node:test";

import { join, record, startServer } from "./support.mjs";

const server = await startServer(test, { app: "subscription_count = true" });

test("every subscriber is told each change", async (t) => {
  const first = await join(server.client(t), "room");
  await first.inbox.take("pusher:subscription_count", ({ data }) => data.subscription_count === 1);
  const client = server.client(t);
  const second = await join(client, "room");
  for (const { channel, inbox } of [first, second]) {
    await inbox.take("pusher:subscription_count", ({ data }) => data.subscription_count === 2);
    assert.equal(channel.subscriptionCount, 2);
  }
  client.disconnect();
  await first.inbox.take("pusher:subscription_count", ({ data }) => data.subscription_count === 1);
});

test("the count is JSON in a string", async (t) => {
  const wire = await server.wire(t);
  await wire.join("private-raw");
  const frame = await wire.frames.take("pusher_internal:subscription_count");
  const data = '{"subscription_count":1}';
  assert.deepEqual(frame, { event: "pusher_internal:subscription_count", channel: "private-raw", data });
});

test("presence channels have none", async (t) => {
  const user = { id: "ann", user_info: {} };
  const { inbox } = await join(server.client(t, { user }), "presence-room");
  await server.sdk().trigger("presence-room", "marker", {});
  assert.deepEqual(await inbox.until("marker"), []);
});

test("it is off unless it is turned on", async (t) => {
  const quiet = await startServer(t);
  const inbox = record(quiet.client(t).subscribe("room"));
  await inbox.take("pusher:subscription_succeeded");
  await quiet.sdk().trigger("room", "marker", {});
  assert.deepEqual(await inbox.until("marker"), []);
});
