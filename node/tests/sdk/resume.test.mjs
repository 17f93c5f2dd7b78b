// Sessions that outlive their connections: stock pusher-js and laravel-echo with `wsPath: "/r/…"`.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";

import Echo from "laravel-echo";
import Pusher from "pusher-js";
import WebSocket from "ws";

import { APP, Wire } from "./endpoint.mjs";
import { eventually, Inbox, join, record, startBalancer, startServer, state, upTo } from "./support.mjs";

const server = await startServer(test);
const sdk = server.sdk();
const ANN = { id: "ann", user_info: { name: "Ann" } };
const BOB = { id: "bob", user_info: { name: "Bob" } };
let number = 0;
const fresh = (prefix) => `${prefix}-${(number += 1)}`;

/** A way to the server that can be cut, and the nodes behind it. */
async function road(t, to = server) {
  const way = await startBalancer(t, to.nodes.map((node) => node.port));
  const targets = way.targets;
  way.close = () => {
    way.targets = [];
    way.cut();
  };
  way.open = () => (way.targets = targets);
  return way;
}

/** pusher-js, which keeps an id. */
const resuming = (t, way, options = {}) =>
  server.client(t, { wsPort: way.port, wsPath: `/r/${randomUUID()}`, ...options });

/** Publishes numbers, one after the other. */
async function publish(channel, numbers, options) {
  for (const n of numbers) await sdk.trigger(channel, "event", n, options);
}

/** The numbers that a channel of pusher-js hears. */
function numbers(channel) {
  const heard = [];
  channel.bind("event", (n) => heard.push(n));
  return heard;
}

/** A raw connection with an id, which proves what it has had only when it is told to, or always. */
async function wire(t, way, id, { autoPong = false } = {}) {
  const url = `ws://127.0.0.1:${way.port}/r/${id}/app/${APP.key}?protocol=7`;
  const socket = new WebSocket(url, { autoPong });
  t.after(() => socket.terminate());
  const wire = new Wire(socket, sdk);
  wire.marks = [];
  socket.on("ping", (payload) => payload.length === 4 && wire.marks.push(payload));
  const { data } = await wire.frames.take("pusher:connection_established");
  wire.socketId = JSON.parse(data).socket_id;
  /** Proves that everything has come that has come. */
  wire.prove = async () => {
    wire.marks.length = 0;
    await eventually(() => wire.marks.length > 0, () => "a ping with a number");
    socket.pong(wire.marks.at(-1));
    await wire.settled();
  };
  return wire;
}

/** The numbers of the events in an inbox, from there on. */
const said = (wire) => wire.frames.items.filter(({ event }) => event === "event").map(({ data }) => Number(data));

for (const kind of ["public", "private", "private-cache", "private-encrypted", "presence"]) {
  test(`pusher-js goes on where it was cut off: a ${kind} channel`, async (t) => {
    const way = await road(t);
    const client = resuming(t, way, { user: ANN });
    const name = fresh(`${kind}-resume`);
    const { channel, inbox } = await join(client, name);
    const heard = numbers(channel);
    await publish(name, upTo(5));
    await eventually(() => heard.length === 5);
    way.close();
    await publish(name, upTo(20, 6));
    way.open();
    await eventually(() => heard.includes(20), () => `${heard}`);
    await publish(name, [21]);
    await eventually(() => heard.at(-1) === 21);
    // What was not proven may be repeated, in its order; nothing is missing.
    assert.deepEqual([...new Set(heard)], upTo(21), `${heard}`);
    const again = heard.slice(5);
    assert.deepEqual(again, upTo(21, again[0]), `${heard}`);
    const order = inbox.events.filter((event) => event === "pusher:subscription_succeeded" || event === "event");
    assert.equal(order[5], "pusher:subscription_succeeded", "what was missed follows it");
    assert.ok(!inbox.events.includes("pusher:gap"));
  });
}

test("only what was not proven is repeated", async (t) => {
  const way = await road(t);
  const [id, name] = [randomUUID(), fresh("proven")];
  const first = await wire(t, way, id);
  await first.join(name);
  await publish(name, upTo(3));
  await eventually(() => said(first).length === 3);
  await first.prove();
  await publish(name, upTo(5, 4));
  await eventually(() => said(first).length === 5);
  first.socket.terminate();
  await publish(name, upTo(7, 6));
  const second = await wire(t, way, id);
  await second.join(name);
  await eventually(() => said(second).includes(7));
  assert.deepEqual(said(second), upTo(7, 4));
});

test("many events at once are proven before a second is over", async (t) => {
  const way = await road(t);
  const [id, name] = [randomUUID(), fresh("many")];
  const client = await wire(t, way, id);
  await client.join(name);
  await client.prove();
  client.marks.length = 0;
  for (let n = 0; n < 13; n++) {
    await sdk.triggerBatch(upTo(10).map((n) => ({ channel: name, name: "event", data: n })));
  }
  await eventually(() => client.marks.length >= 2, () => "a ping for every 64 events");
});

test("an own event, which it was not to hear, is not heard after all", async (t) => {
  const way = await road(t);
  const client = resuming(t, way);
  const name = fresh("own");
  const { channel } = await join(client, name);
  const heard = numbers(channel);
  await publish(name, [1]);
  await publish(name, [2], { socket_id: client.connection.socket_id });
  way.close();
  await publish(name, [3]);
  way.open();
  await eventually(() => heard.includes(3), () => `${heard}`);
  assert.ok(!heard.includes(2), `${heard}`);
});

test("who comes back in time was never gone from a presence channel", async (t) => {
  const [way, straight] = [await road(t), server.client(t, { user: BOB })];
  const name = fresh("presence-room");
  const client = resuming(t, way, { user: ANN });
  const { channel } = await join(client, name);
  const { inbox } = await join(straight, name);
  const before = client.connection.socket_id;
  way.cut();
  await eventually(() => client.connection.state === "connected" && client.connection.socket_id !== before);
  await eventually(() => channel.subscribed && channel.members.count === 2);
  // Longer than a connection that is gone keeps a place.
  await publish(name, [1]);
  await new Promise((resolve) => setTimeout(resolve, 3_500));
  await publish(name, [2]);
  await inbox.take("event", ({ data }) => data === 2);
  assert.deepEqual(inbox.events.filter((event) => event.includes("member")), []);
  // Who says goodbye is gone at once, and who does not come back is gone.
  client.disconnect();
  await inbox.take("pusher:member_removed");
  const other = resuming(t, way, { user: ANN });
  await join(other, name);
  await inbox.take("pusher:member_added");
  way.close();
  await inbox.take("pusher:member_removed");
});

test("a duplicated tab has a session of its own, and takes nothing from the first", async (t) => {
  const [way, other] = [await road(t), await road(t)];
  const [wsPath, name] = [`/r/${randomUUID()}`, fresh("twins")];
  const open = async (way) => {
    const client = server.client(t, { wsPort: way.port, wsPath });
    const { channel } = await join(client, name);
    return { client, heard: numbers(channel), changes: record(client.connection) };
  };
  const first = await open(way);
  await publish(name, upTo(3));
  await eventually(() => first.heard.length === 3);
  const twin = await open(other);
  await publish(name, [4]);
  await eventually(() => first.heard.includes(4) && twin.heard.includes(4));
  assert.deepEqual([first.heard, twin.heard], [upTo(4), [4]], "it is given nothing of the first");
  assert.ok(!first.changes.events.includes("state_change"), "the first noticed nothing");
  // The session is the first one's still.
  way.close();
  await publish(name, upTo(6, 5));
  way.open();
  await eventually(() => first.heard.includes(6), () => `${first.heard}`);
  assert.deepEqual([...new Set(first.heard)], upTo(6));
  assert.deepEqual(twin.heard, upTo(6, 4));
});

test("of two connections that come at the same time one goes on with the session", async (t) => {
  const way = await road(t);
  const [id, name] = [randomUUID(), fresh("race")];
  const first = await wire(t, way, id);
  await first.join(name);
  await publish(name, [1]);
  await eventually(() => said(first).length === 1);
  await first.prove();
  first.socket.terminate();
  await publish(name, [2]);
  const both = await Promise.all([1, 2].map(() => wire(t, way, id, { autoPong: true })));
  for (const one of both) await one.join(name);
  await publish(name, [3]);
  for (const one of both) await eventually(() => said(one).includes(3));
  assert.deepEqual(both.map(said).sort(), [[2, 3], [3]]);
});

test("a connection that is dead and does not know it is taken over from", async (t) => {
  const [dead, way] = [await road(t), await road(t)];
  const [id, name] = [randomUUID(), fresh("dead")];
  const first = await wire(t, dead, id);
  await first.join(name);
  await publish(name, [1]);
  await eventually(() => said(first).length === 1);
  await first.prove();
  dead.freeze();
  await publish(name, [2]);
  const second = await wire(t, way, id);
  await second.join(name);
  await eventually(() => said(second).length > 0);
  assert.deepEqual(said(second), [2]);
});

test("a gap is said", async (t) => {
  const small = await startServer(t, { app: "[history]\nevents = 3" });
  const way = await road(t, small);
  const client = small.client(t, { wsPort: way.port, wsPath: `/r/${randomUUID()}`, user: ANN });
  const back = small.sdk();
  for (const name of ["gap", "private-encrypted-gap"]) {
    const { inbox } = await join(client, name);
    way.close();
    for (const n of upTo(5)) await back.trigger(name, "event", n);
    way.open();
    await inbox.take("pusher:gap");
    await back.trigger(name, "event", 6);
    assert.equal((await inbox.take("event")).data, 6);
  }
});

test("laravel-echo goes on as well", async (t) => {
  const way = await road(t);
  const echo = new Echo({
    broadcaster: "pusher",
    Pusher,
    key: APP.key,
    ...server.clientOptions(ANN),
    wsPort: way.port,
    wsPath: `/r/${randomUUID()}`,
  });
  t.after(() => echo.disconnect());
  const channel = echo.private(fresh("echo"));
  const inbox = new Inbox();
  channel.listen(".event", (data) => inbox.push({ event: "event", data }));
  await new Promise((resolve) => channel.subscribed(resolve));
  way.close();
  await publish(channel.name, [1, 2]);
  way.open();
  assert.equal((await inbox.take("event")).data, 1);
  assert.equal((await inbox.take("event")).data, 2);
});

test("an id that could be guessed is refused", async () => {
  const answers = ["short", "with spaces in it, and long", "x".repeat(65)].map((id) =>
    fetch(`${server.url}/r/${encodeURIComponent(id)}/app/${APP.key}`),
  );
  for (const answer of await Promise.all(answers)) {
    assert.equal(answer.status, 400);
    assert.match(await answer.text(), /16 to 64/);
  }
});
