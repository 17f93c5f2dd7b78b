// Unmodified clients on different nodes of one cluster: a client of node A, a back end that talks to
// node B, and a channel that lives on node C. This file has three nodes, however many the others have.

import assert from "node:assert/strict";
import test from "node:test";

import { eventually, Inbox, join, ownedBy, record, startServer, state } from "./support.mjs";

const server = await startServer(test, { nodes: 3, app: "subscription_count = true" });
const [a, b, c] = server.nodes;

/** What each node's HTTP API says to this question. */
const askAll = (path, params, nodes = server.nodes) =>
  Promise.all(nodes.map(async (node) => (await node.sdk().get({ path, params })).json()));

/** A pusher-js client on this node that has signed in. */
async function signedIn(t, node, user) {
  const client = node.client(t, { user });
  client.signin();
  await eventually(() => client.user.serverToUserChannel?.subscribed);
  return client;
}

test("the balancer gives each new connection to the next node", async (t) => {
  const clients = Array.from({ length: 6 }, () => server.client(t));
  await Promise.all(clients.map((client) => state(client, "connected")));
  for (const node of server.nodes) assert.equal(await node.metric("handbell_connections"), 2);
});

for (const prefix of ["room", "private-room", "presence-room", "private-encrypted-room", "cache-room"]) {
  test(`${prefix}: a client of A hears what goes through B while C has the channel`, async (t) => {
    const channel = await ownedBy(c, prefix);
    const { inbox } = await join(a.client(t, { user: { id: "ann" } }), channel);
    for (let n = 0; n < 10; n++) await b.sdk().trigger(channel, "event", { n });
    await b.sdk().trigger(channel, "marker", {});
    const heard = (await inbox.until("marker")).filter(({ event }) => event === "event");
    assert.deepEqual(heard.map(({ data }) => data.n), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
}

test("events through every node reach every node's clients in one order", async (t) => {
  const channel = await ownedBy(c, "order");
  const listeners = await Promise.all(server.nodes.map((node) => join(node.client(t), channel)));
  const publish = async (node) => {
    for (let n = 0; n < 10; n++) await node.sdk().trigger(channel, "event", `${node.id} ${n}`);
  };
  await Promise.all(server.nodes.map(publish));
  await a.sdk().trigger(channel, "marker", {});
  const heard = await Promise.all(listeners.map(({ inbox }) => inbox.until("marker")));
  const events = heard.map((items) => items.filter(({ event }) => event === "event").map(({ data }) => data));
  assert.equal(events[0].length, 30);
  assert.deepEqual(events[1], events[0]);
  assert.deepEqual(events[2], events[0]);
});

test("a client event of A is heard once on B and C, and not by its sender", async (t) => {
  const channel = await ownedBy(c, "private-talk");
  const [mine, ...others] = await Promise.all(server.nodes.map((node) => join(node.client(t), channel)));
  mine.channel.trigger("client-typing", { by: "ann" });
  for (const { inbox } of others) await inbox.take("client-typing", ({ data }) => data.by === "ann");
  await b.sdk().trigger(channel, "marker", {});
  for (const { inbox } of [mine, ...others]) {
    const more = (await inbox.until("marker")).filter(({ event }) => event === "client-typing");
    assert.deepEqual(more, []);
  }
});

test("the socket_id of a client of A is left out by a trigger through B", async (t) => {
  const channel = await ownedBy(c, "excluding");
  const client = a.client(t);
  const { inbox } = await join(client, channel);
  const { socket_id } = client.connection;
  await b.sdk().trigger(channel, "event", {}, { socket_id });
  await b.sdk().trigger(channel, "marker", {});
  const heard = (await inbox.until("marker")).filter(({ event }) => event === "event");
  assert.deepEqual(heard, []);
});

test("a client of A gets first what a cache channel of C remembers from B", async (t) => {
  const channel = await ownedBy(c, "cache-last");
  await b.sdk().trigger(channel, "event", "remembered");
  const { inbox } = await join(a.client(t), channel);
  assert.equal((await inbox.take("event")).data, "remembered");
});

test("a user with a tab on A and one on B is one member, added and removed once", async (t) => {
  const channel = await ownedBy(c, "presence-tabs");
  const bob = { user: { id: "bob", user_info: { name: "Bob" } } };
  const watcher = await join(c.client(t, { user: { id: "ann" } }), channel);
  const tabs = [a.client(t, bob), b.client(t, bob)];
  for (const tab of tabs) assert.equal((await join(tab, channel)).channel.members.count, 2);

  const info = { info: "user_count,subscription_count" };
  const three = { occupied: true, user_count: 2, subscription_count: 3 };
  assert.deepEqual(await askAll(`/channels/${channel}`, info), [three, three, three]);
  const users = (await askAll(`/channels/${channel}/users`)).map((all) => all.users.map(({ id }) => id).sort());
  assert.deepEqual(users, Array(3).fill(["ann", "bob"]));

  tabs[0].disconnect();
  const two = { ...three, subscription_count: 2 };
  await eventually(async () => (await askAll(`/channels/${channel}`, info)).every((x) => x.subscription_count === 2));
  assert.deepEqual(await askAll(`/channels/${channel}`, info), [two, two, two]);
  tabs[1].disconnect();
  await watcher.inbox.take("pusher:member_removed", ({ data }) => data.id === "bob");
  await b.sdk().trigger(channel, "marker", {});
  const told = (await watcher.inbox.until("marker")).map(({ event }) => event);
  assert.deepEqual(told, ["pusher:member_added"]);
  const one = { occupied: true, user_count: 1, subscription_count: 1 };
  assert.deepEqual(await askAll(`/channels/${channel}`, info), [one, one, one]);
});

test("every node lists the same channels with the same counts, page by page", async (t) => {
  const names = await Promise.all(server.nodes.map((node) => ownedBy(node, "presence-listed")));
  const client = b.client(t, { user: { id: "ann" } });
  for (const name of names) await join(client, name);
  const params = { filter_by_prefix: "presence-listed", info: "user_count,subscription_count" };
  const counts = { user_count: 1, subscription_count: 1 };
  const channels = Object.fromEntries(names.map((name) => [name, counts]));
  assert.deepEqual(await askAll("/channels", params), Array(3).fill({ channels }));
  const page = await askAll("/channels", { ...params, limit: 2 });
  const next = [...names].sort()[1];
  for (const one of page) assert.equal(one.next, next);
});

test("the subscription count is that of all nodes, for the clients of each", async (t) => {
  const channel = await ownedBy(c, "counted");
  const clients = [a.client(t), b.client(t), c.client(t)];
  const joined = [];
  for (const client of clients) joined.push(await join(client, channel));
  const is = (count) => ({ data }) => data.subscription_count === count;
  for (const { inbox } of joined) await inbox.take("pusher:subscription_count", is(3));
  clients[2].disconnect();
  for (const { inbox } of joined.slice(0, 2)) await inbox.take("pusher:subscription_count", is(2));
});

test("sendToUser through C reaches the user's tabs on A and B and nobody else", async (t) => {
  const user = { id: "u-tabs" };
  const clients = [await signedIn(t, a, user), await signedIn(t, b, user), await signedIn(t, b, { id: "u-other" })];
  const inboxes = clients.map((client) => record(client.user));
  await c.sdk().sendToUser("u-tabs", "event", { n: 1 });
  await Promise.all(["u-tabs", "u-other"].map((id) => c.sdk().sendToUser(id, "marker", {})));
  const heard = await Promise.all(inboxes.map((inbox) => inbox.until("marker")));
  const event = { event: "event", data: { n: 1 } };
  assert.deepEqual(heard, [[event], [event], []]);
});

test("terminateUserConnections through C ends the user's connections on A and B with 4009", async (t) => {
  const wires = [await a.wire(t), await b.wire(t)];
  const other = await signedIn(t, b, { id: "t-other" });
  for (const wire of wires) await wire.signIn({ id: "t-gone" });
  await c.sdk().terminateUserConnections("t-gone");
  for (const wire of wires) assert.equal((await wire.closed).code, 4009);
  assert.equal(other.connection.state, "connected");
});

test("a watchlist on A hears once that a user came online on B, and offline after the last tab on C", async (t) => {
  const watcher = a.client(t, { user: { id: "w-watcher", watchlist: ["w-watched"] } });
  const inbox = new Inbox();
  for (const event of ["online", "offline"]) {
    watcher.user.watchlist.bind(event, ({ user_ids }) => inbox.push({ event, ids: user_ids }));
  }
  watcher.signin();
  assert.deepEqual((await inbox.take("offline")).ids, ["w-watched"]);
  const tabs = [await signedIn(t, b, { id: "w-watched" }), await signedIn(t, c, { id: "w-watched" })];
  assert.deepEqual((await inbox.take("online")).ids, ["w-watched"]);
  for (const tab of tabs) tab.disconnect();
  assert.deepEqual((await inbox.take("offline")).ids, ["w-watched"]);
  assert.deepEqual(inbox.items, []);
});

test("a node is killed: the others' clients stay connected and hear the next event, its members leave once", async (t) => {
  const server = await startServer(t, { nodes: 3 });
  const [killed, ...others] = server.nodes;
  // Those that it owned itself, and one of each other node.
  const names = await Promise.all(server.nodes.map((node) => ownedBy(node, "presence-killed")));
  const lost = killed.client(t, { user: { id: "lost" }, wsPort: killed.port });
  const stayed = others.map((node) => node.client(t, { user: { id: node.id } }));
  const rooms = [];
  for (const name of names) {
    await join(lost, name);
    for (const client of stayed) rooms.push({ name, client, ...(await join(client, name)) });
  }
  const before = stayed.map((client) => client.connection.socket_id);
  const connections = stayed.map((client) => record(client.connection));

  await killed.stop("SIGKILL");
  for (const { inbox } of rooms) await inbox.take("pusher:member_removed", ({ data }) => data.id === "lost");
  await server.settled();
  for (const name of names) await others[0].sdk().trigger(name, "event", { name });
  for (const { inbox, name, channel } of rooms) {
    assert.deepEqual((await inbox.take("event")).data, { name });
    assert.equal(inbox.events.includes("pusher:member_removed"), false, `${inbox.events}`);
    assert.equal(channel.members.count, 2);
  }
  assert.deepEqual(stayed.map((client) => client.connection.socket_id), before);
  for (const { events } of connections) assert.equal(events.includes("state_change"), false, `${events}`);
  const counted = await askAll(`/channels/${names[0]}`, { info: "user_count" }, others);
  assert.deepEqual(counted, Array(2).fill({ occupied: true, user_count: 2 }));
});

test("a node is stopped: its clients are told 4200, come back through the balancer and hear again", async (t) => {
  const server = await startServer(t, { nodes: 3 });
  const clients = [];
  // One after the other, so that each node has one.
  for (let n = 0; n < 3; n++) {
    const client = server.client(t);
    const connection = record(client.connection);
    const { inbox } = await join(client, "room");
    clients.push({ client, connection, inbox, socketId: client.connection.socket_id });
  }
  await server.nodes[1].stop();
  const told = ({ connection }) =>
    connection.items.some(({ event, data }) => event === "error" && data.error?.data?.code === 4200);
  await eventually(() => clients.some(told));
  const moved = clients.filter(told);
  assert.equal(moved.length, 1);
  await moved[0].inbox.take("pusher:subscription_succeeded");
  assert.notEqual(moved[0].client.connection.socket_id, moved[0].socketId);
  await server.sdk().trigger("room", "event", { n: 1 });
  for (const { inbox } of clients) assert.deepEqual((await inbox.take("event")).data, { n: 1 });
  for (const { client, socketId } of clients.filter((one) => !told(one))) {
    assert.equal(client.connection.socket_id, socketId);
  }
});
