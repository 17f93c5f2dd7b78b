// Signed-in users: events to them, watching them, and ending their connections.

import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { eventually, Inbox, join, record, startServer, state } from "./support.mjs";

const server = await startServer(test, { app: "limits.watchlist_users = 3" });
const sdk = server.sdk();

/** A pusher-js client that has signed in. */
async function signedIn(t, user) {
  const client = server.client(t, { user });
  client.signin();
  await eventually(() => client.user.user_data);
  // Its own channel is subscribed after that.
  await eventually(() => client.user.serverToUserChannel?.subscribed);
  return client;
}

/** Everything a pusher-js client's watchlist says. */
function watched(client) {
  const inbox = new Inbox();
  for (const event of ["online", "offline"]) {
    client.user.watchlist.bind(event, ({ user_ids }) => inbox.push({ event, ids: user_ids }));
  }
  return inbox;
}

test("pusher-js signs in, and gets its user data back", async (t) => {
  const user = { id: "u-back", user_info: { name: "漢字" } };
  const client = await signedIn(t, user);
  assert.deepEqual(client.user.user_data, user);
});

test("signin_success carries the very text that was signed", async (t) => {
  const wire = await server.wire(t);
  const user_data = '{ "id":"u-text",  "user_info":{"a":1.0} }';
  const auth = `test-key:${sdk.config.token.sign(`${wire.socketId}::user::${user_data}`)}`;
  wire.send("pusher:signin", { auth, user_data });
  assert.deepEqual((await wire.frames.take("pusher:signin_success")).data, { user_data });
});

test("a signin that is not signed for this socket is refused with 4009, and the connection stays", async (t) => {
  const [wire, other] = [await server.wire(t), await server.wire(t)];
  const user = { id: "u-bad" };
  const good = sdk.authenticateUser(wire.socketId, user);
  const bad = [
    { ...good, auth: "" },
    { ...good, user_data: '{"id":"someone-else"}' },
    sdk.authenticateUser(other.socketId, user),
    server.sdk({ secret: "other" }).authenticateUser(wire.socketId, user),
  ];
  for (const request of bad) {
    wire.send("pusher:signin", request);
    assert.equal((await wire.frames.take("pusher:error")).data.code, 4009);
  }
  await wire.settled();
});

test("a connection cannot become another user", async (t) => {
  const wire = await server.wire(t);
  await wire.signIn({ id: "u-first" });
  wire.send("pusher:signin", sdk.authenticateUser(wire.socketId, { id: "u-second" }));
  assert.equal((await wire.frames.take("pusher:error")).data.code, 4009);
});

test("sendToUser reaches every connection of the user and nobody else", async (t) => {
  const tabs = [await signedIn(t, { id: "u-to" }), await signedIn(t, { id: "u-to" })];
  const stranger = await signedIn(t, { id: "u-other" });
  const inboxes = [...tabs, stranger].map((client) => record(client.user));
  const answer = await sdk.sendToUser("u-to", "event", { n: 1 });
  assert.deepEqual(await answer.json(), {});
  await Promise.all(["u-to", "u-other"].map((id) => sdk.sendToUser(id, "marker", {})));
  const heard = await Promise.all(inboxes.map((inbox) => inbox.until("marker")));
  assert.deepEqual(heard, [[{ event: "event", data: { n: 1 } }], [{ event: "event", data: { n: 1 } }], []]);
});

test("a user's own channel is refused to others and to those who have not signed in", async (t) => {
  const wire = await server.wire(t);
  const channel = "#server-to-user-u-own";
  wire.send("pusher:subscribe", { channel, auth: "" });
  assert.equal((await wire.frames.take("pusher:subscription_error")).channel, channel);
  await wire.signIn({ id: "u-thief" });
  wire.send("pusher:subscribe", { channel, auth: "" });
  assert.equal((await wire.frames.take("pusher:subscription_error")).data.type, "AuthError");
});

test("a watchlist tells who is online and offline, once per user", async (t) => {
  const present = await signedIn(t, { id: "w-present" });
  const client = server.client(t, { user: { id: "w-watcher", watchlist: ["w-present", "w-absent"] } });
  const inbox = watched(client);
  client.signin();
  assert.deepEqual((await inbox.take("online")).ids, ["w-present"]);
  assert.deepEqual((await inbox.take("offline")).ids, ["w-absent"]);

  const tabs = [await signedIn(t, { id: "w-absent" }), await signedIn(t, { id: "w-absent" })];
  assert.deepEqual((await inbox.take("online")).ids, ["w-absent"]);
  tabs[0].disconnect();
  present.disconnect();
  assert.deepEqual((await inbox.take("offline")).ids, ["w-present"]);
  tabs[1].disconnect();
  assert.deepEqual((await inbox.take("offline")).ids, ["w-absent"]);
  assert.deepEqual(inbox.items, []);
});

test("watchlist events come as one pusher_internal:watchlist_events frame", async (t) => {
  const wire = await server.wire(t);
  await wire.signIn({ id: "w-raw", watchlist: ["w-nobody"] });
  const { data } = await wire.frames.take("pusher_internal:watchlist_events");
  assert.deepEqual(data, { events: [{ name: "offline", user_ids: ["w-nobody"] }] });
});

test("a watchlist that is too long is cut, and error 4302 says so", async (t) => {
  const wire = await server.wire(t);
  await wire.signIn({ id: "w-long", watchlist: ["w1", "w2", "w3", "w4"] });
  assert.equal((await wire.frames.take("pusher:error")).data.code, 4302);
  const { data } = await wire.frames.take("pusher_internal:watchlist_events");
  assert.deepEqual(data.events[0].user_ids.sort(), ["w1", "w2", "w3"]);
});

test("terminateUserConnections closes every connection of the user with 4009", async (t) => {
  const wires = [await server.wire(t), await server.wire(t)];
  for (const wire of wires) await wire.signIn({ id: "t-many" });
  const answer = await sdk.terminateUserConnections("t-many");
  assert.deepEqual(await answer.json(), {});
  for (const wire of wires) {
    const { data } = await wire.frames.take("pusher:error");
    assert.deepEqual(data, { code: 4009, message: "You got disconnected by the app." });
    assert.equal((await wire.closed).code, 4009);
  }
});

// The SDK signs the id as it is, and sends it percent-encoded.
test("terminateUserConnections takes every id that can sign in", async (t) => {
  for (const id of ["ann@example.com", "Ann Other", "žofie"]) {
    const wire = await server.wire(t);
    await wire.signIn({ id });
    await sdk.terminateUserConnections(id);
    assert.equal((await wire.closed).code, 4009);
  }
});

test("pusher-js stays away after it was terminated", async (t) => {
  const client = await signedIn(t, { id: "t-away" });
  await sdk.terminateUserConnections("t-away");
  await state(client, "disconnected");
  // If it came back it would be after one second.
  await sleep(1_500);
  assert.equal(client.connection.state, "disconnected");
});

test("terminateUserConnections leaves members alone who have not signed in", async (t) => {
  const { inbox } = await join(server.client(t, { user: { id: "t-member" } }), "presence-left-alone");
  await sdk.terminateUserConnections("t-member");
  await sdk.trigger("presence-left-alone", "marker", {});
  assert.deepEqual(await inbox.until("marker"), []);
});

test("a signed-in user joins a presence channel without channel_data", async (t) => {
  const wire = await server.wire(t);
  await wire.signIn({ id: "p-user", user_info: { name: "P" } });
  const { data } = await wire.join("presence-signed-in");
  const { presence } = JSON.parse(data);
  assert.deepEqual(presence, { ids: ["p-user"], hash: { "p-user": { name: "P" } }, count: 1 });
});

test("pusher-js joins a presence channel as its signed-in user", async (t) => {
  const client = await signedIn(t, { id: "p-js", user_info: { name: "JS" } });
  client.config.channelAuthorizer = ({ socketId, channelName }, done) =>
    done(null, sdk.authorizeChannel(socketId, channelName));
  const { channel } = await join(client, "presence-signed-in-js");
  assert.deepEqual(channel.members.me, { id: "p-js", info: { name: "JS" } });
});
