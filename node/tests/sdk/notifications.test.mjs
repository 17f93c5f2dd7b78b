// Notifications: what an application tells a user, a channel or everyone, at each door.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import test from "node:test";
import { promisify } from "node:util";

import { anything, plain, poll, socketIo, stream, token } from "./doors.mjs";
import { APP, eventually, startServer } from "./support.mjs";

const server = await startServer(test);
let number = 0;
const fresh = (prefix) => `${prefix}-${process.pid}-${(number += 1)}`;

/** Asks for a notification as a back end does. */
async function notify(body) {
  const answer = await server.sdk().post({ path: "/notifications", body });
  return answer.json();
}

/** A notification as a client hears it: these fields, in this order, and no others. */
function check(notification, { message, level = "info" }) {
  const { id, timestamp, ...rest } = notification;
  assert.match(id, /^[0-9a-f]{32}$/);
  assert.ok(Math.abs(Date.now() - timestamp) < 60_000);
  assert.deepEqual(Object.keys(notification), ["id", "type", "level", "message", "timestamp"]);
  assert.deepEqual(rest, { type: "notification", level, message });
}

/**
 * One connection of a user through each door that keeps one, on each node, when all of them are known to
 * be the user's; each says what it hears.
 */
async function everywhere(t, user) {
  const clients = [];
  for (const node of server.nodes) {
    const io = socketIo(t, node, token(user, { role: "user" }), { transports: ["websocket"] });
    await io.inbox.take("connected");
    clients.push(async () => (await io.inbox.take("notification")).data);

    const ws = plain(t, node, anything(user));
    await ws.opened;
    clients.push(async () => {
      const { name, event, ...message } = await ws.inbox.take("notification");
      return { id: message.id, type: event, ...message };
    });

    const sse = stream(t, node, `/sse/${fresh("quiet")}`, { jwt: anything(user), names: ["notification"] });
    await sse.opened;
    clients.push(async () => (await sse.inbox.take("notification")).data);

    const pusher = await node.wire(t);
    await pusher.signIn({ id: user });
    clients.push(async () => JSON.parse((await pusher.frames.take("notification")).data));
  }
  await eventually(async () => (await notify({ user, message: "ready?" })).delivered_to === clients.length);
  return clients.map((hear) => async () => {
    for (;;) {
      const heard = await hear();
      if (heard.message !== "ready?") return heard;
    }
  });
}

test("a user is notified at every door, on every node, without a subscription", async (t) => {
  const user = fresh("ann");
  const clients = await everywhere(t, user);
  const other = socketIo(t, server, anything(fresh("bob")), { transports: ["websocket"] });
  await other.inbox.take("connected");
  const told = { message: "disk is full", level: "warning" };
  const { id, delivered_to } = await notify({ user, ...told });
  assert.equal(delivered_to, clients.length);
  assert.match(id, /^[0-9a-f]{32}$/);
  await notify({ user, message: "last" });
  for (const hear of clients) {
    const heard = await hear();
    check(heard, told);
    assert.equal(heard.id, id);
    check(await hear(), { message: "last" });
  }
  assert.ok(!other.inbox.events.includes("notification"));
});

test("who has subscribed to the user's own channel is notified once", async (t) => {
  const user = fresh("ann");
  const client = socketIo(t, server.nodes[0], anything(user), { transports: ["websocket"] });
  await client.subscribe(`#server-to-user-${user}`);
  for (const message of ["one", "two"]) {
    await eventually(async () => (await notify({ user, message })).delivered_to === 1);
    check((await client.inbox.take("notification")).data, { message });
  }
});

test("pusher-js hears a notification of its user by the user, and of everyone by the connection", async (t) => {
  const user = fresh("ann");
  const client = server.client(t, { user: { id: user } });
  const [ofUser, ofAll] = [[], []];
  client.user.bind("notification", (data) => ofUser.push(data));
  client.bind("notification", (data) => ofAll.push(data));
  client.signin();
  await eventually(async () => (await notify({ user, message: "for you" })).delivered_to === 1 && ofUser.length > 0);
  check(ofUser[0], { message: "for you" });
  await notify({ everyone: true, message: "for all" });
  await eventually(() => ofAll.at(-1)?.message === "for all");
  check(ofAll.at(-1), { message: "for all" });
});

test("everyone who is connected is notified, whatever the node and the door", async (t) => {
  const clients = await everywhere(t, fresh("ann"));
  const told = { message: "maintenance at noon", level: "error" };
  const { delivered_to } = await notify({ everyone: true, ...told });
  assert.ok(delivered_to >= clients.length, `${delivered_to}`);
  for (const hear of clients) check(await hear(), told);
});

test("a connection that has shown no token is told nothing", async (t) => {
  const early = socketIo(t, server.nodes[0], "", { auth: {}, transports: ["websocket"] });
  await early.inbox.take("connect_error");
  const late = socketIo(t, server.nodes[0], anything("ann"), { transports: ["websocket"] });
  await late.inbox.take("connected");
  await notify({ everyone: true, message: "secret" });
  await late.inbox.take("notification");
  assert.ok(!early.inbox.events.includes("notification"));
});

test("a notification to a channel is an event of it, and none is lost by who comes back", async (t) => {
  const channel = fresh("public:room");
  const jwt = anything("ann");
  const { body: first } = await poll(server, jwt, { channels: channel, wait: 0 });
  const client = socketIo(t, server.nodes[0], jwt, { transports: ["websocket"] });
  await client.subscribe(channel);
  const ws = plain(t, server, jwt);
  await ws.subscribe(channel);
  const { delivered_to } = await notify({ channel, message: "one" });
  assert.equal(delivered_to, 2);
  check((await client.inbox.take("notification")).data, { message: "one" });
  const event = await ws.inbox.take("event");
  assert.deepEqual([event.name, event.channel, event.seq, event.from], ["notification", channel, 1, null]);
  check(event.data, { message: "one" });

  client.socket.io.engine.close();
  await client.inbox.take("disconnect");
  await notify({ channel, message: "two" });
  await eventually(() => client.socket.connected);
  assert.equal(client.socket.recovered, true);
  check((await client.inbox.take("notification")).data, { message: "two" });

  const lastMessageId = first.events.at(-1).id;
  const { body } = await poll(server, jwt, { channels: channel, lastMessageId, wait: 0 });
  assert.deepEqual(body.events.map(({ event, data }) => [event, data.message]), [
    ["notification", "one"],
    ["notification", "two"],
  ]);
});

test("what is no notification is refused", async () => {
  for (const body of [
    { message: "to nobody" },
    { message: "to too many", user: "7", everyone: true },
    { message: "x", user: "7", level: "fatal" },
    { user: "7" },
    { message: "x", channel: "no spaces" },
    { message: "x", channel: "private-encrypted-room" },
  ]) {
    await assert.rejects(notify(body), ({ status }) => status === 400, JSON.stringify(body));
  }
  await assert.rejects(notify({ user: "7", message: "x".repeat(20_000) }), ({ status }) => status === 413);
  const unsigned = await fetch(`${server.url}/apps/${APP.id}/notifications`, { method: "POST", body: "{}" });
  assert.equal(unsigned.status, 401);
});

test("handbell notify tells a user", async (t) => {
  const user = fresh("ann");
  const client = socketIo(t, server.nodes.at(-1), anything(user), { transports: ["websocket"] });
  await client.inbox.take("connected");
  const of = ["--url", server.url, "--app-id", APP.id, "--key", APP.key, "--secret", APP.secret];
  const run = (...more) => promisify(execFile)(process.env.HANDBELL_BIN, ["notify", ...of, ...more]);
  await eventually(async () => {
    const { stdout } = await run("--level", "error", "--user", user, "on fire");
    return JSON.parse(stdout).delivered_to === 1;
  });
  check((await client.inbox.take("notification")).data, { message: "on fire", level: "error" });
  await assert.rejects(run("for nobody"), /--user|--channel|--everyone/);
});
