// laravel-echo over pusher-js, as Laravel applications configure it.

import assert from "node:assert/strict";
import test from "node:test";

import Echo from "laravel-echo";
import Pusher from "pusher-js";

import { APP, eventually, Inbox, startHttp, startServer } from "./support.mjs";

const server = await startServer(test);
const sdk = server.sdk();
const ANN = { user_id: 1, user_info: { id: 1, name: "Ann" } };
const BOB = { user_id: 2, user_info: { id: 2, name: "Bob" } };

/** Echo, with an auth endpoint that takes everybody for `member`. */
async function connect(t, { broadcaster = "pusher", member = ANN } = {}) {
  const endpoint = await startHttp(t, (_, body) => {
    const form = new URLSearchParams(body);
    const channel = form.get("channel_name");
    const data = channel.startsWith("presence-") ? member : undefined;
    return { body: JSON.stringify(sdk.authorizeChannel(form.get("socket_id"), channel, data)) };
  });
  const echo = new Echo({
    broadcaster,
    Pusher,
    key: APP.key,
    cluster: "mt1",
    wsHost: "127.0.0.1",
    wsPort: server.port,
    forceTLS: false,
    enabledTransports: ["ws", "wss"],
    authEndpoint: `${endpoint}/broadcasting/auth`,
  });
  t.after(() => echo.disconnect());
  return echo;
}

/** Waits until Echo's channel is subscribed. */
const subscribed = (channel) => new Promise((resolve) => channel.subscribed(resolve));

/** Everything a presence channel tells. */
function watch(channel) {
  const inbox = new Inbox();
  channel.here((members) => inbox.push({ event: "here", members }));
  channel.joining((member) => inbox.push({ event: "joining", member }));
  channel.leaving((member) => inbox.push({ event: "leaving", member }));
  return inbox;
}

for (const broadcaster of ["pusher", "reverb"]) {
  test(`the ${broadcaster} broadcaster listens on public and private channels`, async (t) => {
    const echo = await connect(t, { broadcaster });
    const [orders, mine] = [echo.channel("orders"), echo.private("users.1")];
    const inbox = new Inbox();
    orders.listen("OrderShipped", (data) => inbox.push({ event: "namespaced", data }));
    mine.listen(".order.shipped", (data) => inbox.push({ event: "plain", data }));
    await Promise.all([subscribed(orders), subscribed(mine)]);
    assert.equal(echo.connectionStatus(), "connected");
    await sdk.trigger("orders", "App\\Events\\OrderShipped", { id: 1 });
    await sdk.trigger("private-users.1", "order.shipped", { id: 2 });
    assert.deepEqual((await inbox.take("namespaced")).data, { id: 1 });
    assert.deepEqual((await inbox.take("plain")).data, { id: 2 });
  });
}

test("here, joining and leaving follow who is in a presence channel", async (t) => {
  const [ann, bob] = [await connect(t), await connect(t, { member: BOB })];
  const first = watch(ann.join("chat"));
  assert.deepEqual((await first.take("here")).members, [ANN.user_info]);
  const second = watch(bob.join("chat"));
  assert.deepEqual((await second.take("here")).members, [ANN.user_info, BOB.user_info]);
  assert.deepEqual((await first.take("joining")).member, BOB.user_info);
  bob.leave("chat");
  assert.deepEqual((await first.take("leaving")).member, BOB.user_info);
  assert.deepEqual([first.items, second.items], [[], []]);
});

test("a whisper reaches the others", async (t) => {
  const [ann, bob] = [await connect(t), await connect(t, { member: BOB })];
  const [from, to] = [ann.private("whispers"), bob.private("whispers")];
  const heard = new Promise((resolve) => to.listenForWhisper("typing", resolve));
  await Promise.all([subscribed(from), subscribed(to)]);
  from.whisper("typing", { name: "Ann" });
  assert.deepEqual(await heard, { name: "Ann" });
});

test("a notification arrives", async (t) => {
  const channel = (await connect(t)).private("App.Models.User.1");
  const heard = new Promise((resolve) => channel.notification(resolve));
  await subscribed(channel);
  const event = "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated";
  await sdk.trigger("private-App.Models.User.1", event, { type: "InvoicePaid" });
  assert.deepEqual(await heard, { type: "InvoicePaid" });
});

test("an encrypted private channel is decrypted", async (t) => {
  const channel = (await connect(t)).encryptedPrivate("vault");
  const heard = new Promise((resolve) => channel.listen(".event", resolve));
  await subscribed(channel);
  await sdk.trigger("private-encrypted-vault", "event", { secret: 1 });
  assert.deepEqual(await heard, { secret: 1 });
});

test("toOthers() leaves out the connection whose socket id is sent along", async (t) => {
  const [ann, bob] = [await connect(t), await connect(t, { member: BOB })];
  const inboxes = [ann, bob].map(() => new Inbox());
  const channels = [ann, bob].map((echo) => echo.channel("others"));
  channels.forEach((channel, index) => {
    channel.listenToAll((event, data) => inboxes[index].push({ event, data }));
  });
  await Promise.all(channels.map(subscribed));
  await sdk.trigger("others", "event", {}, { socket_id: ann.socketId() });
  await sdk.trigger("others", "marker", {});
  assert.deepEqual(await inboxes[0].until(".marker"), []);
  assert.equal((await inboxes[1].until(".marker")).length, 1);
});

test("leaving a page's channels leaves nothing on the server", async (t) => {
  const echo = await connect(t);
  await Promise.all([subscribed(echo.channel("page")), subscribed(echo.private("page"))]);
  echo.leave("page");
  await eventually(async () => {
    const answers = ["page", "private-page"].map((name) => sdk.get({ path: `/channels/${name}` }));
    const channels = await Promise.all((await Promise.all(answers)).map((answer) => answer.json()));
    return channels.every(({ occupied }) => !occupied);
  });
});
