// The application's own route hands a stream over with a redirect: the example of docs/doors/handoff.md, run as
// it stands there.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import test from "node:test";

import { startBrowser } from "./browser.mjs";
import { anything, publish, stream, token } from "./doors.mjs";
import { APP, eventually, startHttp, startServer } from "./support.mjs";

const server = await startServer(test);
let number = 0;
/** The example lets its user have jobs that begin with a 1. */
const fresh = () => `1${process.pid}-${(number += 1)}`;

/** The example, with this server and app in it. */
async function startExample(t, changes = {}) {
  const page = await readFile(new URL("../../../docs/doors/handoff.md", import.meta.url), "utf8");
  const port = await freePort();
  const values = {
    "http://127.0.0.1:6001": server.url,
    "app-key": APP.key,
    "app-secret": APP.secret,
    "port: 3000": `port: ${port}`,
    ...changes,
  };
  let [, script] = page.match(/```js\n(\/\/ handoff\.mjs\n[^]*?)```/);
  for (const [text, value] of Object.entries(values)) {
    assert.ok(script.includes(text), text);
    script = script.replaceAll(text, value);
  }
  const file = new URL(`./.handoff-${process.pid}-${port}.mjs`, import.meta.url);
  await writeFile(file, script);
  const child = spawn(process.execPath, [file.pathname], { stdio: "inherit" });
  t.after(async () => {
    child.kill("SIGKILL");
    await rm(file);
  });
  const endpoint = { url: `http://127.0.0.1:${port}` };
  await eventually(() => fetch(endpoint.url).then(() => true, () => false), () => "the example listens");
  return endpoint;
}

async function freePort() {
  const listener = net.createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  return port;
}

const example = await startExample(test);
const say = async (id, data) => {
  const { status } = await publish(server, anything("worker"), { channel: `job:${id}`, event: "job.progress", data });
  assert.equal(status, 200);
};
const subscribers = async (id) => {
  const answer = await server.sdk().get({ path: `/channels/job:${id}`, params: { info: "subscription_count" } });
  return (await answer.json()).subscription_count;
};

test("a controller hands a stream over with a redirect", async (t) => {
  const id = fresh();
  const { inbox, opened } = stream(t, example, `/sse/jobs/${id}`, { names: ["job.progress"] });
  await opened;
  await eventually(async () => (await subscribers(id)) === 1);
  await say(id, { progress: 50 });
  assert.deepEqual((await inbox.take("job.progress")).data, { progress: 50 });
});

test("whom the controller refuses never gets an address", async () => {
  const answer = await fetch(`${example.url}/sse/jobs/${fresh()}`, { headers: { "x-user": "eve" }, redirect: "manual" });
  assert.deepEqual([answer.status, await answer.json()], [403, { error: "Forbidden" }]);
});

test("an address that was changed or has expired, or is used for more, is refused", async () => {
  const id = fresh();
  const answer = await fetch(`${example.url}/sse/jobs/${id}`, { redirect: "manual" });
  assert.deepEqual([answer.status, answer.headers.get("cache-control")], [307, "no-store"]);
  const address = answer.headers.get("location");
  const status = async (url, init) => {
    const { status, body } = await fetch(url, init);
    await body.cancel();
    return status;
  };
  assert.equal(await status(address), 200);
  assert.equal(await status(address.replace(`jobs/${id}`, `jobs/${id}0`)), 403, "another channel");
  const jwt = new URL(address).searchParams.get("token");
  const [head, claims, signature] = jwt.split(".");
  const wider = JSON.stringify({ ...JSON.parse(Buffer.from(claims, "base64url")), permissions: ["*"] });
  const changed = [head, Buffer.from(wider).toString("base64url"), signature].join(".");
  assert.equal(await status(address.replace(jwt, changed)), 401, "other claims");
  const body = JSON.stringify({ channel: `job:${id}`, event: "e" });
  const headers = { authorization: `Bearer ${jwt}` };
  assert.equal(await status(`${server.url}/api/realtime/publish`, { method: "POST", headers, body }), 403, "to publish");
  const past = token("ann", { permissions: [`job:${id}:ro`], exp: Math.floor(Date.now() / 1000) - 60 });
  assert.equal(await status(address.replace(jwt, past)), 401, "expired");
});

test("the browser's EventSource is sent on, comes back through the controller, and misses nothing", async (t) => {
  const quick = await startExample(t, { '"5m"': '"2s"' });
  // The page is of the application's own origin, as its controller is.
  const site = await startHttp(t, async ({ url, headers }) => {
    const type = { "content-type": "text/html" };
    if (!url.startsWith("/sse/")) return { headers: type, body: "<!doctype html><title>page</title>" };
    const { status, headers: answered } = await fetch(`${quick.url}${url}`, { redirect: "manual" });
    asked.push(headers["last-event-id"]);
    return { status, headers: { location: answered.get("location"), "cache-control": "no-store" } };
  });
  const asked = [];
  const id = fresh();
  const tab = await (await startBrowser(t)).newPage();
  await tab.goto(site.replace("127.0.0.1", "localhost"));
  await tab.evaluate((path) => {
    globalThis.seen = { opens: 0, gaps: 0, heard: [] };
    const source = new EventSource(path);
    source.addEventListener("open", () => (seen.opens += 1));
    source.addEventListener("gap", () => (seen.gaps += 1));
    source.addEventListener("job.progress", ({ data }) => seen.heard.push(JSON.parse(data)));
  }, `/sse/jobs/${id}`);
  const seen = () => tab.evaluate(() => globalThis.seen);
  await eventually(async () => (await subscribers(id)) === 1);
  const said = [];
  // Until it has come back twice.
  for (let n = 1; (await seen()).opens < 3; n++) {
    said.push(n);
    await say(id, n);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await eventually(async () => (await seen()).heard.length >= said.length);
  const { heard, gaps } = await seen();
  assert.deepEqual([heard, gaps], [said, 0]);
  assert.ok(asked.slice(1).every((place) => place.startsWith(`job:${id}~`)), JSON.stringify(asked));
});
