// The doors of tokens in headless Chromium, from a page of another origin: the browser's own
// EventSource, and the browser build of socket.io-client.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join as path } from "node:path";
import test from "node:test";

import { startBrowser } from "./browser.mjs";
import { anything, publish } from "./doors.mjs";
import { eventually, startHttp, startServer, subscribed } from "./support.mjs";

const BUILD = path(createRequire(import.meta.url).resolve("socket.io-client"), "../../../dist/socket.io.min.js");

const server = await startServer(test);
const site = await startHttp(test, async ({ url }) => {
  if (url.endsWith(".js")) return { headers: { "content-type": "text/javascript" }, body: await readFile(BUILD) };
  const body = '<!doctype html><title>page</title><script src="/socket.io.min.js"></script>';
  return { headers: { "content-type": "text/html" }, body };
});
const browser = await startBrowser(test);
let number = 0;
const fresh = (prefix = "page") => `${prefix}-${process.pid}-${(number += 1)}`;

/** A page whose origin is not that of the server, running `script` with an argument. */
async function open(t, script, argument) {
  const tab = await browser.newPage();
  t.after(() => tab.close());
  await tab.goto(site.replace("127.0.0.1", "localhost"));
  await tab.evaluate(script, argument);
  return tab;
}

/** In a page: an EventSource that keeps what it hears. */
const listen = (url) => {
  globalThis.seen = { opens: 0, errors: 0, gaps: 0, heard: [], ids: [] };
  globalThis.source = new EventSource(url);
  source.addEventListener("open", () => (seen.opens += 1));
  source.addEventListener("error", () => (seen.errors += 1));
  source.addEventListener("gap", () => (seen.gaps += 1));
  source.addEventListener("job.progress", ({ data, lastEventId }) => {
    seen.heard.push(JSON.parse(data));
    seen.ids.push(lastEventId);
  });
};

const seen = (tab) => tab.evaluate(() => ({ ...globalThis.seen, readyState: globalThis.source?.readyState }));

/** Waits until a page has seen something, and returns what it has. */
async function until(tab, isThere) {
  let last;
  return eventually(
    async () => isThere((last = await seen(tab))) && last,
    () => JSON.stringify(last),
  );
}

const say = async (channel, data) => {
  const { status } = await publish(server, anything("worker"), { type: "job.progress", channel, data });
  assert.equal(status, 200);
};

test("the browser's EventSource hears events by their names, and is gone when it is closed", async (t) => {
  const channel = `job:${fresh()}`;
  const tab = await open(t, listen, `${server.url}/sse/jobs/${channel.slice(4)}`);
  await subscribed(server, channel);
  const said = [{ progress: 50, text: "漢字\n🛎️" }, "text", null, [1]];
  for (const data of said) await say(channel, data);
  const { heard, opens, errors } = await until(tab, ({ heard }) => heard.length >= said.length);
  assert.deepEqual(heard, said);
  assert.deepEqual([opens, errors], [1, 0]);
  await tab.evaluate(() => source.close());
  await eventually(async () => {
    const answer = await server.sdk().get({ path: `/channels/${channel}`, params: {} });
    return (await answer.json()).occupied === false;
  });
});

/** Ends a user's stream, and waits until the page has noticed. */
async function end(tab, user) {
  await eventually(async () => {
    await server.sdk().terminateUserConnections(user);
    return (await seen(tab)).errors > 0;
  });
}

test("the browser's EventSource comes back by itself after its stream was ended, and misses nothing", async (t) => {
  const channel = fresh("job");
  const user = fresh("user");
  const tab = await open(t, listen, `${server.url}/sse/${channel}?token=${anything(user)}`);
  await subscribed(server, channel);
  await say(channel, 1);
  await until(tab, ({ heard }) => heard.length === 1);
  await end(tab, user);
  // It waits for a second or longer before it comes back.
  for (const data of [2, 3, 4]) await say(channel, data);
  assert.deepEqual((await seen(tab)).heard, [1]);
  await until(tab, ({ heard }) => heard.length >= 4);
  await say(channel, 5);
  const { heard, gaps, opens } = await until(tab, ({ heard }) => heard.length >= 5);
  assert.deepEqual([heard, gaps, opens], [[1, 2, 3, 4, 5], 0, 2]);
});

test("it misses nothing either if it had heard nothing yet", async (t) => {
  const channel = fresh("job");
  const user = fresh("user");
  const tab = await open(t, listen, `${server.url}/sse/${channel}?token=${anything(user)}`);
  await subscribed(server, channel);
  await until(tab, ({ opens }) => opens === 1);
  await end(tab, user);
  for (const data of [1, 2]) await say(channel, data);
  const { heard, opens } = await until(tab, ({ heard }) => heard.length >= 2);
  assert.deepEqual([heard, opens], [[1, 2], 2]);
});

test("the browser's EventSource does not come back when it is refused", async (t) => {
  const tab = await open(t, listen, `${server.url}/sse/private:${fresh()}`);
  const { opens, readyState } = await until(tab, ({ errors }) => errors > 0);
  assert.deepEqual([opens, readyState], [0, 2]);
});

for (const transports of [["polling", "websocket"], ["websocket"], ["polling"]]) {
  test(`the browser build of socket.io-client by ${transports.join(" and ")}`, async (t) => {
    const topic = fresh("public:room");
    const { url } = server;
    const tab = await open(
      t,
      async ({ url, token, topic, transports }) => {
        globalThis.seen = { heard: [] };
        globalThis.socket = io(url, { auth: { token: `Bearer ${token}` }, transports });
        socket.on("connected", ({ user }) => (seen.user = user.id));
        socket.on("message", ({ payload, seq }) => seen.heard.push([payload, seq]));
        seen.answer = await socket.emitWithAck("subscribe", { topic, messageId: "msg_1", timestamp: Date.now() });
      },
      { url, token: anything("ann"), topic, transports },
    );
    const transport = () => tab.evaluate(() => socket.io.engine.transport.name);
    await eventually(async () => (await transport()) === transports.at(-1), () => `${transports.at(-1)}`);
    await publish(server, anything("worker"), { event: "event", channel: topic, data: { text: "漢字 🛎️" } });
    const answer = await tab.evaluate((topic) => socket.emitWithAck("publish", { topic, payload: 2 }), topic);
    assert.deepEqual(answer, { status: "success", deliveredTo: 1 });
    const { heard, user, answer: subscribed } = await until(tab, ({ heard }) => heard.length >= 2);
    assert.deepEqual(subscribed, { status: "success", subscriberCount: 1 });
    assert.deepEqual([user, heard], ["ann", [[{ text: "漢字 🛎️" }, 1], [2, 2]]]);
  });
}
