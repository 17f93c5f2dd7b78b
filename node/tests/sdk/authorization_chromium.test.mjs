// A page in headless Chromium whose cookie lets it in: at doors on another port of its host, and nowhere for a
// page that the app does not list, though the browser has the same cookie there.

import assert from "node:assert/strict";
import test from "node:test";

import { startBrowser } from "./browser.mjs";
import { anything, publish } from "./doors.mjs";
import { eventually, startHttp, startServer } from "./support.mjs";

const site = new URL(
  await startHttp(test, ({ headers }) => {
    const { cookie } = headers;
    if (headers["x-pusher-key"] === undefined) {
      return {
        headers: { "content-type": "text/html", "set-cookie": "session=ann; Path=/; SameSite=Lax" },
        body: "<!doctype html><title>page</title>",
      };
    }
    const isAnn = cookie?.includes("session=ann");
    return isAnn ? { body: '{"sub":"ann","permissions":["public:*","user:self"]}' } : { status: 403 };
  }),
);
site.hostname = "localhost";
const server = await startServer(test, {
  app: `origins = ["${site.origin}"]
[apps.authorization]
url = "http://127.0.0.1:${site.port}/who"
allow_private_address = true`,
});
const browser = await startBrowser(test);
let number = 0;
const fresh = (prefix = "public:page") => `${prefix}-${process.pid}-${(number += 1)}`;

/** A page that has the application's cookie for this host. */
async function open(t, host) {
  const tab = await browser.newPage();
  t.after(() => tab.close());
  await tab.goto(`http://${host}:${site.port}/`);
  return tab;
}

/** In a page: an event stream and a WebSocket, and what becomes of them. */
const connect = ([host, channel]) => {
  globalThis.seen = { heard: [], stream: "new", socket: "new" };
  const source = new EventSource(`http://${host}/sse/${channel}`, { withCredentials: true });
  source.addEventListener("open", () => (seen.stream = "open"));
  source.addEventListener("error", () => (seen.stream = source.readyState === 2 ? "refused" : "lost"));
  source.addEventListener("event", ({ data }) => seen.heard.push(["stream", JSON.parse(data)]));
  const socket = new WebSocket(`ws://${host}/ws`);
  socket.addEventListener("open", () => socket.send(JSON.stringify({ type: "subscribe", channel })));
  socket.addEventListener("error", () => (seen.socket = "refused"));
  socket.addEventListener("message", ({ data }) => {
    const { type, data: payload } = JSON.parse(data);
    if (type === "subscribed") seen.socket = "open";
    if (type === "event") seen.heard.push(["socket", payload]);
  });
};
const seen = (tab) => tab.evaluate(() => globalThis.seen);

test("a page of the app is let in by its cookie, by stream, by WebSocket and by fetch", async (t) => {
  const channel = fresh();
  const tab = await open(t, "localhost");
  const host = `localhost:${server.port}`;
  await tab.evaluate(connect, [host, channel]);
  await eventually(async () => {
    const { stream, socket } = await seen(tab);
    return stream === "open" && socket === "open";
  });
  await publish(server, anything("worker"), { channel, event: "event", data: 1 });
  await eventually(async () => (await seen(tab)).heard.length === 2);
  assert.deepEqual((await seen(tab)).heard.sort(), [["socket", 1], ["stream", 1]]);
  const published = await tab.evaluate(
    async ([host, channel]) => {
      const body = JSON.stringify({ channel, event: "event", data: 2 });
      const answer = await fetch(`http://${host}/api/realtime/publish`, { method: "POST", body, credentials: "include" });
      return answer.json();
    },
    [host, channel],
  );
  assert.equal(published.deliveredTo, 2);
});

test("a page of another origin is not, though the browser has the cookie", async (t) => {
  // The cookie of this host, for its port as for any other.
  const tab = await open(t, "127.0.0.1");
  await tab.evaluate(connect, [`127.0.0.1:${server.port}`, fresh()]);
  await eventually(async () => {
    const { stream, socket } = await seen(tab);
    return stream === "refused" && socket === "refused";
  });
  assert.deepEqual((await seen(tab)).heard, []);
  const answer = await tab.evaluate(
    (url) => fetch(url, { credentials: "include" }).then(() => "read", () => "not readable"),
    `http://127.0.0.1:${server.port}/api/realtime/presence?channel=public:a`,
  );
  assert.equal(answer, "not readable");
});
