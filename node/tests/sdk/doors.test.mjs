// One channel through every door: who publishes where, and who hears it.

import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { anything, plain, poll, poller, publish, socketIo, stream, token } from "./doors.mjs";
import { APP, eventually, join, startServer, subscribed, upTo } from "./support.mjs";

const server = await startServer(test);
let number = 0;
const fresh = (prefix = "room") => `${prefix}-${process.pid}-${(number += 1)}`;

/** Ways to publish an event `event` with some data. */
const PUBLISHERS = {
  "Pusher HTTP API": (_, channel) => (data) => server.sdk().trigger(channel, "event", data),
  "plain WebSocket": async (t, channel) => {
    const client = plain(t, server, anything("publisher"));
    await client.opened;
    return async (data) => {
      client.say({ type: "publish", channel, event: "event", data });
      await client.inbox.take("published");
    };
  },
  "Socket.IO": (t, channel) => {
    const client = socketIo(t, server, anything("publisher"), { transports: ["websocket"] });
    return async (payload) => {
      const answer = await client.ask("publish", { topic: channel, payload });
      assert.equal(answer.status, "success");
    };
  },
  "token over HTTP": (_, channel) => async (data) => {
    const { status } = await publish(server, anything("publisher"), { channel, type: "event", data });
    assert.equal(status, 200);
  },
};

/** The name that an event has at each door of a publisher. */
const NAMES = { "Socket.IO": "message" };

/** Ways to hear: each gives a function that returns so many events' data. */
const RECEIVERS = {
  "pusher-js": async (t, channel, name) => {
    const { inbox } = await join(server.client(t), channel);
    return async () => (await inbox.take(name)).data;
  },
  EventSource: async (t, channel, name) => {
    const { inbox, opened } = stream(t, server, `/sse/${channel}`, { names: [name] });
    await opened;
    await subscribed(server, channel);
    return async () => (await inbox.take(name)).data;
  },
  ...Object.fromEntries(
    [["websocket"], ["polling"], ["polling", "websocket"]].map((transports) => [
      `Socket.IO by ${transports.join(" and ")}`,
      async (t, channel) => {
        const client = socketIo(t, server, anything("listener"), { transports });
        await client.subscribe(channel);
        return async () => (await client.inbox.take("message")).data.payload;
      },
    ]),
  ),
  "plain WebSocket": async (t, channel) => {
    const client = plain(t, server, anything("listener"));
    await client.subscribe(channel);
    return async () => (await client.inbox.take("event")).data;
  },
  "long poll": async (t, channel) => {
    const { inbox } = await poller(t, server, anything("listener"), channel);
    return async () => (await inbox.take("event")).data;
  },
};

for (const [from, publisher] of Object.entries(PUBLISHERS)) {
  for (const [to, receiver] of Object.entries(RECEIVERS)) {
    test(`${from} to ${to}: the same data in the same order`, async (t) => {
      const channel = fresh();
      const hear = await receiver(t, channel, NAMES[from] ?? "event");
      const say = await publisher(t, channel);
      const said = [{ n: 1, text: "ü\n\"" }, [1, "two"], "text", 4, null, { deep: { er: [true] } }];
      for (const data of said) await say(data);
      for (const data of said) assert.deepEqual(await hear(), data);
    });
  }
}

test("every door shows an event at the same place", async (t) => {
  const channel = fresh();
  const socket = plain(t, server, anything("ann"));
  await socket.subscribe(channel);
  const { inbox: streamed, opened } = stream(t, server, `/sse/${channel}`);
  await opened;
  await subscribed(server, channel, 2);
  const { inbox: polled } = await poller(t, server, anything("bob"), channel);
  const clients = server.nodes.map((node) => socketIo(t, node, anything("eve")));
  for (const client of clients) await client.subscribe(channel);
  const ids = new Set();
  for (let n = 1; n <= 3; n++) {
    await server.sdk().trigger(channel, "event", { n });
    const { position, seq, from, timestamp } = await socket.inbox.take("event");
    assert.equal(seq, n);
    assert.equal(from, null);
    for (const client of clients) {
      const { data } = await client.inbox.take("message");
      assert.deepEqual([data.seq, data.from], [n, null]);
      ids.add(data.id);
    }
    assert.equal(ids.size, n, "an event has one id, whatever the node");
    assert.match(timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.equal((await streamed.take("event")).id, `${channel}~${position}`);
    const { id, ...event } = await polled.take("event");
    assert.deepEqual([id, event.position, event.seq], [`${channel}~${position}`, position, n]);
  }
});

test("a token's user is a member of presence channels, through every door that stays", async (t) => {
  const channel = fresh("presence-room");
  const { channel: room, inbox } = await join(server.client(t, { user: { id: "pusher" } }), channel);
  const socket = plain(t, server, anything("plain"));
  const { members } = await socket.subscribe(channel);
  assert.deepEqual(members.map(({ id }) => id).sort(), ["plain", "pusher"]);
  const { source } = stream(t, server, `/sse/${channel}`, { jwt: anything("stream") });
  await inbox.take("pusher:member_added", ({ data }) => data.id === "plain");
  await inbox.take("pusher:member_added", ({ data }) => data.id === "stream");
  await socket.inbox.take("member_added", ({ user }) => user.id === "stream");
  assert.deepEqual(Object.keys(room.members.members).sort(), ["plain", "pusher", "stream"]);
  socket.say({ type: "presence", channel });
  const presence = await socket.inbox.take("presence");
  assert.deepEqual(presence.members.map(({ id }) => id), ["plain", "pusher", "stream"]);
  source.close();
  await inbox.take("pusher:member_removed", ({ data }) => data.id === "stream");
  await socket.inbox.take("member_removed", ({ user }) => user.id === "stream");
});

test("who polls is a member until no poll has come for ten seconds", async (t) => {
  const channel = fresh("presence-room");
  const { channel: room, inbox } = await join(server.client(t, { user: { id: "watcher" } }), channel);
  const asks = { channels: channel, wait: 0 };
  const { body } = await poll(server, anything("poller"), asks);
  const snapshot = body.events.find(({ type }) => type === "subscribed");
  assert.deepEqual(snapshot.members.map(({ id }) => id).sort(), ["poller", "watcher"]);
  await inbox.take("pusher:member_added", ({ data }) => data.id === "poller");
  for (let n = 0; n < 3; n++) await poll(server, anything("poller"), { ...asks, lastMessageId: body.events.at(-1).id });
  assert.deepEqual(Object.keys(room.members.members).sort(), ["poller", "watcher"]);
  assert.deepEqual(inbox.events.filter((event) => event.includes("member")), []);
  await inbox.take("pusher:member_removed", ({ data }) => data.id === "poller");
});

test("a plain WebSocket answers a ping, and ignores what is no JSON", async (t) => {
  const client = plain(t, server, anything("ann"));
  await client.opened;
  client.socket.send("hello");
  client.socket.send("");
  client.socket.send(Buffer.from([1, 2, 3]));
  const first = new Promise((resolve) => client.socket.once("message", (text) => resolve(`${text}`)));
  client.say({ type: "ping" });
  assert.equal(await first, '{"type":"pong"}');
});

test("a plain WebSocket is told what is wrong, and stays", async (t) => {
  const jwt = token("ann", { permissions: ["public:*", "news:ro"] });
  const client = plain(t, server, jwt);
  await client.opened;
  const table = [
    [{ type: "subscribe", channel: "private:x" }, "permission_denied"],
    [{ type: "publish", channel: "news", event: "e", data: 1 }, "permission_denied"],
    [{ type: "subscribe", channel: "no spaces" }, "channel_not_found"],
    [{ type: "subscribe" }, "invalid_message"],
    [{ type: "unsubscribe", channel: "public:never" }, "invalid_message"],
    [{ type: "subscribe", channel: "public:x", since: "yesterday" }, "invalid_message"],
    [{ type: "dance" }, "invalid_message"],
    [[1], "invalid_message"],
    [{ type: "publish", channel: "public:x", event: "e", data: "x".repeat(20_000) }, "invalid_message"],
  ];
  for (const [message, word] of table) {
    client.say(message);
    const { error } = await client.inbox.take("error");
    assert.equal(error, word, JSON.stringify(message).slice(0, 100));
  }
  await client.subscribe("news");
});

test("a publish with an id that is repeated is heard once and answered with its first place", async (t) => {
  const channel = fresh();
  const client = plain(t, server, anything("ann"));
  await client.subscribe(channel);
  const answers = [];
  for (const id of ["a", "a", "b"]) {
    client.say({ type: "publish", channel, event: "event", data: id, id });
    answers.push(await client.inbox.take("published", (answer) => answer.id === id));
  }
  assert.deepEqual(answers.map(({ seq }) => seq), [1, 1, 2]);
  assert.equal(answers[0].deliveredTo, 1);
  const events = [await client.inbox.take("event"), await client.inbox.take("event")];
  assert.deepEqual(events.map(({ data, from }) => [data, from]), [["a", "ann"], ["b", "ann"]]);
  // Another user's id is another id, whatever the two are called.
  const others = [["bob", "a"], ["bob", "x a"], ["bob x", "a"]];
  for (const [index, [user, id]] of others.entries()) {
    const { body } = await publish(server, anything(user), { channel, event: "event", data: 1, id });
    assert.equal(body.seq, 3 + index);
  }
  for (const id of ["", "x".repeat(129)]) {
    const { status } = await publish(server, anything("bob"), { channel, event: "event", data: 1, id });
    assert.equal(status, 400);
  }
});

for (const [name, bad] of Object.entries({
  missing: "",
  "of another secret": token("ann", {}, "wrong"),
  expired: token("ann", { exp: 1000 }),
  "of another app": token("ann", { app: "other" }),
})) {
  test(`a token that is ${name} is a 401 at every door`, async () => {
    const headers = bad ? { authorization: `Bearer ${bad}` } : {};
    const paths = ["/ws?", "/api/realtime/poll?channels=a&", "/api/realtime/presence?channel=a&"];
    for (const path of bad ? [...paths, "/sse/a?"] : paths) {
      // In a header, and where a browser's WebSocket and EventSource have it.
      for (const init of [{ headers }, {}]) {
        const token = init.headers ? "" : `token=${bad}`;
        const answer = await fetch(`${server.url}${path}${token}`, init);
        assert.equal(answer.status, 401, path);
        assert.ok(!(await answer.text()).includes(bad || "\0"), "the answer does not repeat the token");
      }
    }
    const { status } = await publish(server, bad, { channel: "a", event: "e" });
    assert.equal(status, 401);
  });
}

test("what a token does not grant is a 403 before a stream begins", async () => {
  const refused = async (path, jwt) => {
    const headers = jwt ? { authorization: `Bearer ${jwt}` } : {};
    const answer = await fetch(`${server.url}${path}`, { headers });
    assert.equal((await answer.json()).error, "Forbidden");
    return answer.status;
  };
  const guest = token("guest", { role: "guest" });
  assert.equal(await refused("/sse/private-room"), 403);
  assert.equal(await refused("/sse/public:chat", guest), 403);
  assert.equal(await refused("/sse?channels=public:general,public:chat", guest), 403);
  assert.equal(await refused("/api/realtime/poll?channels=public:chat", guest), 403);
  const { status } = await publish(server, guest, { channel: "system:notifications", event: "e" });
  assert.equal(status, 403);
});

test("a publish that nobody hears is no error, and says so", async () => {
  const { status, body } = await publish(server, anything("worker"), { channel: fresh(), type: "event", data: 1 });
  assert.deepEqual([status, body.type, body.deliveredTo], [200, "published", 0]);
});

test("a stream is told by its path which channel it is of", async (t) => {
  const streams = { "jobs/7": "job:7", "projects/abc": "project:abc", "user:7:news": "user:7:news" };
  for (const [path, channel] of Object.entries(streams)) {
    const { inbox, opened } = stream(t, server, `/sse/${path}`, { jwt: anything("7") });
    await opened;
    await subscribed(server, channel);
    await publish(server, anything("worker"), { type: "event", channel, data: { path }, timestamp: Date.now() });
    assert.deepEqual((await inbox.take("event")).data, { path });
  }
  assert.equal((await fetch(`${server.url}/sse/a/b/c`)).status, 404);
  assert.equal((await fetch(`${server.url}/sse`)).status, 400);
});

test("a stream has JSON as it was said, also of several lines", async (t) => {
  const channel = fresh();
  const { inbox, opened } = stream(t, server, `/sse/${channel}`);
  await opened;
  await subscribed(server, channel);
  const data = { text: "one\ntwo\r\n", lines: [1, { 2: null }] };
  const written = JSON.stringify(data, null, 2);
  for (const line of ["\n", "\r\n", "\r"]) {
    await server.sdk().trigger(channel, "event", written.replaceAll("\n", line));
    assert.deepEqual((await inbox.take("event")).data, data);
  }
});

test("a token that expires ends the connection, at each door in its way", async (t) => {
  const soon = token("ann", { exp: Math.floor(Date.now() / 1000) - 3, permissions: ["*"] });
  const socket = plain(t, server, soon);
  const answer = await fetch(`${server.url}/sse/${fresh()}`, { headers: { authorization: `Bearer ${soon}` } });
  assert.equal(answer.status, 200);
  assert.equal(await socket.closed, 4401);
  assert.match(await answer.text(), /^retry: \d+\n\n(id: .*\n\n)?$/);
});

test("the application can end a user's streams and sockets", async (t) => {
  const socket = plain(t, server, anything("mallory"));
  await socket.opened;
  const headers = { authorization: `Bearer ${anything("mallory")}` };
  const answer = await fetch(`${server.url}/sse/${fresh()}`, { headers });
  const both = Promise.all([socket.closed, answer.text()]);
  await eventually(async () => {
    await server.sdk().terminateUserConnections("mallory");
    const ended = await Promise.race([both, sleep(100)]);
    return ended && assert.equal(ended[0], 4401) === undefined;
  });
});

test("a stream goes on after the last event that it had", async (t) => {
  const channels = [fresh(), fresh()];
  const path = `/sse?channels=${channels.join(",")}`;
  const first = stream(t, server, path);
  await first.opened;
  for (const channel of channels) await subscribed(server, channel);
  await server.sdk().trigger(channels[0], "event", "one");
  await server.sdk().trigger(channels[1], "event", "two");
  await first.inbox.take("event");
  const { id } = await first.inbox.take("event");
  first.source.close();
  for (const data of ["three", "four"]) {
    for (const channel of channels) await server.sdk().trigger(channel, "event", data);
  }
  const second = stream(t, server, path, { headers: { "last-event-id": id } });
  await second.opened;
  await eventually(() => second.inbox.items.length >= 4);
  await server.sdk().trigger(channels[0], "event", "five");
  const heard = [];
  for (let n = 0; n < 5; n++) heard.push((await second.inbox.take("event")).data);
  assert.deepEqual(heard.toSorted(), ["five", "four", "four", "three", "three"]);
  assert.equal(heard.at(-1), "five");
});

/** Ends with what comes of a stream until there is so much of it, as the browser would keep it. */
async function lastId(path, id, events) {
  const headers = { "last-event-id": id };
  const answer = await fetch(`${server.url}${path}`, { headers });
  let text = "";
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.split("\ndata: ").length > events && text.endsWith("\n\n")) break;
  }
  return text.match(/^id: .*$/gm).at(-1).slice(4);
}

test("a place speaks of every channel, also of those in which nothing was new", async () => {
  const jwt = anything("ann");
  // Which channel answers first differs.
  for (let round = 0; round < 10; round++) {
    const channels = [fresh(), fresh(), fresh()];
    const names = channels.join(",");
    let { events } = (await poll(server, jwt, { channels: names, wait: 0 })).body;
    for (const [index, channel] of channels.entries()) {
      await server.sdk().trigger(channel, "event", index);
      ({ events } = (await poll(server, jwt, { lastMessageId: events.at(-1).id, wait: 1 })).body);
      assert.deepEqual(events.map(({ data }) => data), [index]);
      const spoken = events.at(-1).id.split("~").filter((_, n) => n % 2 === 0);
      assert.deepEqual(spoken, channels.toSorted());
    }
    await server.sdk().trigger(channels[1], "event", "more");
    const id = await lastId(`/sse?channels=${names}`, events.at(-1).id, 1);
    assert.deepEqual(id.split("~").filter((_, n) => n % 2 === 0), channels.toSorted());
    // And of no channel that is not asked for.
    const one = (await poll(server, jwt, { channels: channels[0], lastMessageId: events[0].id, wait: 0 })).body.events;
    assert.deepEqual(one, []);
  }
});

test("a place that nobody knows any more is a gap, and the stream goes on", async (t) => {
  const channel = fresh();
  const id = `${channel}~7-1-1`;
  const { inbox, opened } = stream(t, server, `/sse/${channel}`, { headers: { "last-event-id": id } });
  await opened;
  const gap = await inbox.take("gap");
  assert.deepEqual(gap.data, { channel });
  await server.sdk().trigger(channel, "event", 1);
  assert.equal((await inbox.take("event")).data, 1);
  const { body } = await poll(server, anything("ann"), { channels: channel, lastMessageId: id, wait: 0 });
  assert.equal(body.events[0].type, "gap");
  const socket = plain(t, server, anything("ann"));
  assert.equal((await socket.subscribe(channel, "7-1-1")).recovered, false);
  assert.equal((await socket.subscribe(channel, "0-1-1").catch((error) => error)).recovered, false);
});

test("/ws, poll, /ws with one place lose nothing and repeat nothing", async (t) => {
  const channel = fresh();
  const jwt = anything("ann");
  const heard = [];
  let said = 0;
  const say = async () => {
    for (let n = 0; n < 5; n++) await server.sdk().trigger(channel, "event", (said += 1));
  };
  let socket = plain(t, server, jwt);
  await socket.subscribe(channel);
  await say();
  for (let n = 0; n < 5; n++) heard.push(await socket.inbox.take("event"));
  socket.socket.terminate();
  await say();
  let id = `${channel}~${heard.at(-1).position}`;
  for (let rounds = 0; heard.length < 15; rounds++) {
    const { body } = await poll(server, jwt, { lastMessageId: id, wait: 1 });
    for (const event of body.events) heard.push(event);
    id = body.events.at(-1)?.id ?? id;
    if (rounds === 0) await say();
  }
  await say();
  socket = plain(t, server, jwt);
  const { recovered } = await socket.subscribe(channel, heard.at(-1).position);
  assert.equal(recovered, true);
  for (let n = 0; n < 5; n++) heard.push(await socket.inbox.take("event"));
  assert.deepEqual(heard.map(({ data }) => data), upTo(20));
});

test("the first poll shows what there is, and a poll without news is empty", async (t) => {
  const channel = fresh("presence-hall");
  await join(server.client(t, { user: { id: "ann" } }), channel);
  const jwt = token("bob", { permissions: [channel, "user:self"] });
  const { status, body } = await poll(server, jwt, { wait: 0 });
  assert.equal(status, 200);
  assert.deepEqual(Object.keys(body), ["events", "timestamp"]);
  const [hall, own] = body.events.sort((a, b) => a.channel.localeCompare(b.channel));
  assert.deepEqual([hall.channel, hall.members, hall.subscribers], [channel, [{ id: "ann" }, { id: "bob" }], 2]);
  assert.equal(own.channel, "user:bob");
  const id = body.events.at(-1).id;
  const again = await poll(server, jwt, { lastMessageId: id, lastTimestamp: body.timestamp, wait: 0 });
  assert.deepEqual(again.body.events, []);
});

test("a page of another origin may listen, poll and publish if the app allows it", async () => {
  const headers = { origin: "https://page.example", "access-control-request-method": "POST" };
  const asked = await fetch(`${server.url}/api/realtime/publish?app=${APP.key}`, { method: "OPTIONS", headers });
  assert.equal(asked.status, 204);
  assert.match(asked.headers.get("access-control-allow-headers"), /authorization/);
  const answer = await fetch(`${server.url}/sse/${fresh()}`, { headers: { origin: "https://page.example" } });
  assert.equal(answer.headers.get("access-control-allow-origin"), "https://page.example");
  await answer.body.cancel();
});

test("connections are counted by their door", async (t) => {
  const own = await startServer(t);
  const count = async (door) => {
    const counts = await Promise.all(own.nodes.map((node) => node.metric("handbell_connections", `transport="${door}"`)));
    return counts.reduce((sum, count) => sum + count, 0);
  };
  const channel = fresh();
  await plain(t, own, anything("ann")).opened;
  await socketIo(t, own, anything("ann"), { transports: ["websocket"] }).inbox.take("connected");
  await stream(t, own, `/sse/${channel}`).opened;
  const polling = poll(own, anything("ann"), { channels: channel, lastMessageId: `${channel}~0-1-1`, wait: 0 });
  await join(own.client(t), channel);
  for (const door of ["ws", "socketio", "sse", "pusher"]) {
    await eventually(async () => (await count(door)) === 1, () => `one connection at ${door}`);
  }
  await polling;
  await eventually(async () => (await count("longpoll")) === 0);
  const polls = await Promise.all(own.nodes.map((node) => node.metric("handbell_connections_opened_total", 'transport="longpoll"')));
  assert.equal(polls.reduce((sum, count) => sum + count, 0), 1);
});
