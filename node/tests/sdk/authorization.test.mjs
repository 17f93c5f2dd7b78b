// An application that is asked who its visitors are, with the cookies of their browsers, instead of giving
// them tokens.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { io } from "socket.io-client";
import WebSocket from "ws";

import { anything, publish } from "./doors.mjs";
import { APP, Inbox, startHttp, startServer } from "./support.mjs";

const PAGE = "https://shop.example";
const SESSIONS = {
  "session=ann": { sub: "ann", permissions: ["job:*:ro", "public:*", "user:self"] },
  "session=bob": { sub: "bob", permissions: ["public:*"] },
  "session=soon": { sub: "soon", permissions: ["public:*"], exp: 1000 },
};

/** An application, and how often it was asked. `answer` may replace what it says. */
async function startApplication(t, answer) {
  const asked = [];
  const url = await startHttp(t, async (request, body) => {
    asked.push({ body: JSON.parse(body), text: body, headers: request.headers, method: request.method });
    if (answer) return answer(request);
    const session = SESSIONS[request.headers.cookie];
    return session ? { body: JSON.stringify(session) } : { status: 403, body: "no" };
  });
  return { url, asked };
}

const startAsking = (t, url, more = "") =>
  startServer(t, {
    app: `origins = ["${PAGE}"]
[apps.authorization]
url = "${url}/realtime/who"
allow_private_address = true
${more}`,
  });

const application = await startApplication(test);
const server = await startAsking(test, application.url, 'headers = ["Cookie", "x-session"]');
let number = 0;
const fresh = (prefix) => `${prefix}${process.pid}-${(number += 1)}`;

const get = (endpoint, path, headers = {}) => fetch(`${endpoint.url}${path}`, { headers });

/** The first lines of a stream. */
async function open(endpoint, path, headers) {
  const answer = await get(endpoint, path, headers);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const { value } = await reader.read();
  await reader.cancel();
  return { status: answer.status, headers: answer.headers, text: value };
}

test("a stream is opened for whom the application says so, and it hears what is asked", async () => {
  const channel = fresh("job:");
  const headers = { cookie: "session=ann", "x-other": "1", "x-session": "s", origin: PAGE };
  const stream = await open(server, `/sse/${channel}`, headers);
  assert.equal(stream.status, 200);
  assert.match(stream.text, /^retry: \d+\n/);
  assert.equal(stream.headers.get("access-control-allow-credentials"), "true");
  assert.equal(stream.headers.get("access-control-allow-origin"), PAGE);
  const asked = application.asked.find(({ body }) => body.channels[0] === channel);
  assert.deepEqual(asked.body, { app: APP.key, door: "sse", channels: [channel], origin: PAGE });
  assert.deepEqual([asked.method, asked.headers.cookie, asked.headers["x-session"]], ["POST", "session=ann", "s"]);
  assert.equal(asked.headers["x-other"], undefined);
  const signature = createHmac("sha256", APP.secret).update(asked.text).digest("hex");
  assert.deepEqual([asked.headers["x-pusher-key"], asked.headers["x-pusher-signature"]], [APP.key, signature]);
});

test("whom the application refuses gets a 403 before a stream begins", async () => {
  const channel = fresh("job:");
  for (const headers of [{}, { cookie: "session=eve" }, { cookie: "session=bob" }]) {
    const answer = await get(server, `/sse/${channel}`, headers);
    assert.equal(answer.status, 403);
    assert.equal((await answer.json()).error, "Forbidden");
  }
});

test("nobody gets another's answer, and each is asked for once", async () => {
  const channel = fresh("job:");
  const door = server.nodes[0];
  const count = () => application.asked.filter(({ body }) => body.channels[0] === channel).length;
  const status = async (cookie) => {
    const answer = await get(door, `/sse/${channel}`, cookie ? { cookie } : {});
    await answer.body.cancel();
    return answer.status;
  };
  const table = [
    ["session=ann", 200, 1],
    ["session=bob", 403, 2],
    ["session=ann", 200, 2],
    ["session=ann2", 403, 3],
    [undefined, 403, 4],
    ["session=bob", 403, 4],
    [undefined, 403, 4],
  ];
  for (const [cookie, expected, calls] of table) {
    assert.deepEqual([await status(cookie), count()], [expected, calls], `${cookie}`);
  }
});

test("a poll, a publish and a look at who is there are asked for too", async () => {
  const headers = { cookie: "session=ann" };
  const polled = await get(server, "/api/realtime/poll?wait=0&channels=public:a,job:1", headers);
  assert.equal(polled.status, 200);
  assert.equal((await polled.json()).events.length, 2);
  const post = (channel) =>
    fetch(`${server.url}/api/realtime/publish`, {
      method: "POST",
      headers,
      body: JSON.stringify({ channel, event: "e", data: 1 }),
    });
  assert.equal((await post("public:a")).status, 200);
  assert.equal((await post("job:1")).status, 403, "it may be read only");
  assert.equal((await get(server, "/api/realtime/presence?channel=public:a", headers)).status, 200);
  const doors = new Set(application.asked.map(({ body }) => `${body.door} ${body.channels}`));
  for (const door of ["poll job:1,public:a", "publish public:a", "presence public:a"]) assert.ok(doors.has(door), door);
  assert.equal((await get(server, "/api/realtime/poll?wait=0&channels=public:a")).status, 403);
});

test("a WebSocket is let in by its cookie, and refused without", async (t) => {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws`, { headers: { cookie: "session=ann" } });
  t.after(() => socket.terminate());
  const inbox = new Inbox();
  socket.on("message", (text) => {
    const message = JSON.parse(text);
    inbox.push({ ...message, event: message.type });
  });
  await new Promise((resolve) => socket.once("open", resolve));
  socket.send(JSON.stringify({ type: "subscribe", channel: "user:ann" }));
  assert.equal((await inbox.take("subscribed")).channel, "user:ann");
  socket.send(JSON.stringify({ type: "subscribe", channel: "user:bob" }));
  assert.equal((await inbox.take("error")).error, "permission_denied");
  const refused = (options) =>
    new Promise((resolve) => {
      const other = new WebSocket(`ws://127.0.0.1:${server.port}/ws`, options);
      other.on("unexpected-response", (_, answer) => resolve(answer.statusCode));
      other.on("error", () => {});
    });
  assert.equal(await refused({}), 403);
  const elsewhere = { cookie: "session=ann", origin: "https://evil.example" };
  assert.equal(await refused({ headers: elsewhere }), 403, "a page that is not listed has the cookie, too");
});

for (const transports of [["websocket"], ["polling"]]) {
  test(`Socket.IO by ${transports} without a token is let in by its cookie`, async (t) => {
    const url = server.nodes[0].url;
    const connect = (cookie) => {
      const socket = io(url, { transports, forceNew: true, extraHeaders: { cookie } });
      t.after(() => socket.close());
      return socket;
    };
    const socket = connect("session=ann");
    const hello = await new Promise((resolve) => socket.once("connected", resolve));
    assert.deepEqual(hello.user, { id: "ann" });
    assert.equal((await socket.emitWithAck("subscribe", { topic: "user:ann" })).status, "success");
    assert.equal((await socket.emitWithAck("subscribe", { topic: "user:bob" })).error, "permission_denied");
    const refused = connect("session=eve");
    const error = await new Promise((resolve) => refused.once("connect_error", resolve));
    assert.equal(error.message, "Authentication failed: Forbidden");
  });
}

test("who shows a token is not asked about", async () => {
  const channel = fresh("job:");
  const headers = { cookie: "session=bob", authorization: `Bearer ${anything("carl")}` };
  assert.equal((await open(server, `/sse/${channel}`, headers)).status, 200);
  assert.equal((await publish(server, anything("carl"), { channel, event: "e" })).status, 200);
  const wrong = await get(server, `/sse/${channel}?token=x`, { cookie: "session=ann" });
  assert.equal(wrong.status, 401);
  assert.ok(application.asked.every(({ body }) => body.channels[0] !== channel));
});

test("an answer that has ended lets nobody in", async () => {
  assert.equal((await get(server, "/sse/public:a", { cookie: "session=soon" })).status, 503);
});

test("with `authorization` among the headers, that header is the application's", async (t) => {
  const mine = await startApplication(t, ({ headers }) =>
    headers.authorization === "Session 17" ? { body: '{"sub":"17","permissions":["job:*"]}' } : { status: 401 },
  );
  const node = await startAsking(t, mine.url, 'headers = ["authorization"]');
  assert.equal((await open(node, "/sse/job:1", { authorization: "Session 17" })).status, 200);
  assert.equal((await get(node, "/sse/job:1", { authorization: `Bearer ${anything("ann")}` })).status, 403);
  assert.equal((await open(node, `/sse/job:1?token=${anything("ann")}`)).status, 200);
});

test("an application that cannot be asked lets nobody in, and is not waited for", async (t) => {
  const elsewhere = await startApplication(t, () => ({ body: '{"sub":"ann","permissions":["*"]}' }));
  const answers = {
    "a redirect": () => ({ status: 302, headers: { location: elsewhere.url } }),
    "an error": () => ({ status: 500 }),
    "no JSON": () => ({ body: "<html>" }),
    "no claims": () => ({ body: '{"permissions":["*"]}' }),
    "too much": () => ({ body: `{"sub":"ann","x":"${"x".repeat(9000)}"}` }),
    silence: async () => (await sleep(3000), { body: '{"sub":"ann","permissions":["*"]}' }),
  };
  let now = "an error";
  const broken = await startApplication(t, () => answers[now]());
  const node = await startAsking(t, broken.url, 'timeout = "300ms"');
  for (now of Object.keys(answers)) {
    const answer = await get(node, "/sse/public:a", { cookie: "session=ann" });
    assert.deepEqual([answer.status, answer.headers.get("retry-after")], [503, "1"], now);
    assert.equal((await answer.json()).code, "unavailable");
  }
  assert.equal(elsewhere.asked.length, 0, "a redirect was followed");
  now = "an error";
  const socket = io(node.nodes[0].url, { transports: ["websocket"], extraHeaders: { cookie: "session=ann" } });
  t.after(() => socket.close());
  const error = await new Promise((resolve) => socket.once("connect_error", resolve));
  assert.match(error.message, /^Authentication failed: the application cannot say now/);
});
