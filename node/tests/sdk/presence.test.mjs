// Presence channels: who is here, told once per user.

import assert from "node:assert/strict";
import test from "node:test";

import { eventually, join, record, startServer } from "./support.mjs";

const server = await startServer(test, { app: "limits.presence_members = 5" });
const sdk = server.sdk();
const ANN = { id: "ann", user_info: { name: "Ann" } };
const BOB = { id: "bob", user_info: { name: "Bob" } };

async function userIds(channel) {
  const answer = await sdk.get({ path: `/channels/${channel}/users` });
  return (await answer.json()).users.map((user) => user.id).sort();
}

test("a newcomer gets the ids, the hash and the count of all, itself included", async (t) => {
  const wire = await server.wire(t);
  await wire.join("presence-ack", { user_id: "ann", user_info: { name: "Ann" } });
  const second = await server.wire(t);
  const { data } = await second.join("presence-ack", { user_id: "bob" });
  const { presence } = JSON.parse(data);
  assert.deepEqual(presence.ids.sort(), ["ann", "bob"]);
  assert.equal(presence.count, 2);
  assert.deepEqual(presence.hash.ann, { name: "Ann" });
  assert.deepEqual(presence.hash.bob ?? {}, {});
});

test("pusher-js knows who is here, and who it is itself", async (t) => {
  await join(server.client(t, { user: ANN }), "presence-members");
  const { channel } = await join(server.client(t, { user: BOB }), "presence-members");
  const { members } = channel;
  assert.equal(members.count, 2);
  assert.deepEqual(members.members, { ann: { name: "Ann" }, bob: { name: "Bob" } });
  assert.deepEqual(members.me, { id: "bob", info: { name: "Bob" } });
});

test("the others hear of a newcomer and of a leaver once, and the newcomer does not hear of itself", async (t) => {
  const first = await join(server.client(t, { user: ANN }), "presence-once");
  const client = server.client(t, { user: BOB });
  const second = await join(client, "presence-once");
  const { data } = await first.inbox.take("pusher:member_added");
  assert.deepEqual({ ...data }, { id: "bob", info: { name: "Bob" } });
  await sdk.trigger("presence-once", "marker", {});
  assert.deepEqual(await second.inbox.until("marker"), []);

  client.unsubscribe("presence-once");
  await first.inbox.take("pusher:member_removed", ({ data }) => data.id === "bob");
  await sdk.trigger("presence-once", "marker", {});
  assert.deepEqual(await first.inbox.until("marker"), []);
  assert.equal(first.channel.members.count, 1);
});

test("a user is one member however many tabs they have", async (t) => {
  const watcher = await join(server.client(t, { user: ANN }), "presence-tabs");
  const tabs = [server.client(t, { user: BOB }), server.client(t, { user: BOB })];
  const joined = await Promise.all(tabs.map((tab) => join(tab, "presence-tabs")));
  for (const { channel } of joined) assert.equal(channel.members.count, 2);
  tabs[0].disconnect();
  await eventually(async () => {
    const info = { info: "subscription_count" };
    const answer = await sdk.get({ path: "/channels/presence-tabs", params: info });
    return (await answer.json()).subscription_count === 2;
  });
  await sdk.trigger("presence-tabs", "marker", {});
  const added = await watcher.inbox.until("marker");
  assert.deepEqual(added.map(({ event }) => event), ["pusher:member_added"]);
  assert.deepEqual(await userIds("presence-tabs"), ["ann", "bob"]);

  tabs[1].disconnect();
  await watcher.inbox.take("pusher:member_removed");
  assert.deepEqual(await userIds("presence-tabs"), ["ann"]);
});

test("a second subscribe on the same connection is not announced again", async (t) => {
  const watcher = await join(server.client(t, { user: ANN }), "presence-again");
  const wire = await server.wire(t);
  await wire.join("presence-again", { user_id: "bob" });
  const { data } = await wire.join("presence-again", { user_id: "bob" });
  assert.equal(JSON.parse(data).presence.count, 2);
  await sdk.trigger("presence-again", "marker", {});
  assert.equal((await watcher.inbox.until("marker")).length, 1);
});

test("a numeric user id is taken as its text", async (t) => {
  const watcher = await server.wire(t);
  await watcher.join("presence-numbers", { user_id: "ann" });
  const { channel } = await join(
    server.client(t, { user: { id: 10, user_info: { name: "Ten" } } }),
    "presence-numbers",
  );
  assert.equal(channel.members.me.id, 10);
  assert.deepEqual(channel.members.get("10").info, { name: "Ten" });
  const added = JSON.parse((await watcher.frames.take("pusher_internal:member_added")).data);
  assert.deepEqual(added, { user_id: "10", user_info: { name: "Ten" } });
  assert.deepEqual(await userIds("presence-numbers"), ["10", "ann"]);
});

test("what a user says about itself first stays until it has left", async (t) => {
  const tabs = await Promise.all([server.wire(t), server.wire(t)]);
  await tabs[0].join("presence-info", { user_id: "bob", user_info: { name: "first" } });
  await tabs[1].join("presence-info", { user_id: "bob", user_info: { name: "second" } });
  const { channel } = await join(server.client(t, { user: ANN }), "presence-info");
  assert.deepEqual(channel.members.get("bob").info, { name: "first" });
});

test("a connection that is lost without a word is a leaver too", async (t) => {
  const watcher = await join(server.client(t, { user: ANN }), "presence-lost");
  const wire = await server.wire(t);
  await wire.join("presence-lost", { user_id: "bob" });
  await watcher.inbox.take("pusher:member_added");
  wire.socket.terminate();
  await watcher.inbox.take("pusher:member_removed", ({ data }) => data.id === "bob");
});

test("without channel_data, a user_id or its signature nobody joins", async (t) => {
  const wire = await server.wire(t);
  const channel = "presence-strict";
  const signed = (data) => ({ channel_data: data, ...sdkSign(wire.socketId, channel, data) });
  const bad = [
    sdk.authorizeChannel(wire.socketId, channel),
    signed("not json"),
    signed("{}"),
    signed('{"user_id":""}'),
    signed('{"user_id":null}'),
    { ...sdk.authorizeChannel(wire.socketId, channel, { user_id: "bob" }), channel_data: '{"user_id":"ann"}' },
  ];
  for (const request of bad) {
    wire.send("pusher:subscribe", { channel, ...request });
    const error = await wire.frames.take("pusher:subscription_error");
    assert.equal(error.channel, channel);
  }
  assert.deepEqual(await userIds(channel), []);
});

function sdkSign(socketId, channel, text) {
  return { auth: `${sdk.config.token.key}:${sdk.config.token.sign(`${socketId}:${channel}:${text}`)}` };
}

test("a full channel refuses one more member, but not one more tab", async (t) => {
  for (let n = 1; n <= 5; n++) await (await server.wire(t)).join("presence-full", { user_id: `${n}` });
  const { data } = await record(
    server.client(t, { user: ANN }).subscribe("presence-full"),
  ).take("pusher:subscription_error");
  assert.equal(data.type, "LimitReached");
  assert.equal(data.status, 4100);
  await (await server.wire(t)).join("presence-full", { user_id: "5" });
});

test("a user_info beyond its limit is refused", async (t) => {
  const user = { id: "big", user_info: { text: "x".repeat(1_100) } };
  const inbox = record(server.client(t, { user }).subscribe("presence-big"));
  const { data } = await inbox.take("pusher:subscription_error");
  assert.equal(data.type, "LimitReached");
  assert.equal(data.status, 4301);
});
