// The application's own route hands a stream over with a redirect: the example of docs/doors/handoff.md, run as
// it stands there.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, writeFile } from "node:fs/promises";
import test from "node:test";

import { startBrowser } from "./browser.mjs";
import { anything, publish, stream, token } from "./doors.mjs";
import { APP, eventually, freePort, startHttp, startServer, subscribed } from "./support.mjs";

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

const example = await startExample(test);
const say = async (id, data) => {
  const { status } = await publish(server, anything("worker"), { channel: `job:${id}`, event: "job.progress", data });
  assert.equal(status, 200);
};

test("a controller hands a stream over with a redirect", async (t) => {
  const id = fresh();
  const { inbox, opened } = stream(t, example, `/sse/jobs/${id}`, { names: ["job.progress"] });
  await opened;
  await subscribed(server, `job:${id}`);
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

/** A page of the application's own origin, as its controller is; how often that was asked. */
async function openPage(t, application) {
  const asked = [];
  const site = await startHttp(t, async ({ url }) => {
    const type = { "content-type": "text/html" };
    if (!url.startsWith("/sse/")) return { headers: type, body: "<!doctype html><title>page</title>" };
    const { status, headers } = await fetch(`${application.url}${url}`, { redirect: "manual" });
    asked.push(url);
    return { status, headers: { location: headers.get("location"), "cache-control": "no-store" } };
  });
  const tab = await (await startBrowser(t)).newPage();
  await tab.goto(site.replace("127.0.0.1", "localhost"));
  return { tab, asked };
}

test("the browser's EventSource is sent on, comes back by itself, and misses nothing", async (t) => {
  const { tab, asked } = await openPage(t, example);
  const id = fresh();
  await tab.evaluate((path) => {
    globalThis.seen = { opens: 0, errors: 0, gaps: 0, heard: [] };
    const source = new EventSource(path);
    source.addEventListener("open", () => (seen.opens += 1));
    source.addEventListener("error", () => (seen.errors += 1));
    source.addEventListener("gap", () => (seen.gaps += 1));
    source.addEventListener("job.progress", ({ data }) => seen.heard.push(JSON.parse(data)));
  }, `/sse/jobs/${id}`);
  const seen = () => tab.evaluate(() => globalThis.seen);
  await subscribed(server, `job:${id}`);
  await say(id, 1);
  await eventually(async () => (await seen()).heard.length === 1);
  await eventually(async () => {
    await server.sdk().terminateUserConnections("ann");
    return (await seen()).errors > 0;
  });
  for (const n of [2, 3]) await say(id, n);
  await eventually(async () => (await seen()).heard.length >= 3);
  const { heard, gaps, opens } = await seen();
  assert.deepEqual([heard, gaps, opens > 1], [[1, 2, 3], 0, true]);
  assert.equal(asked.length, 1, "Chromium comes back to the address that it was sent to");
});

test("a page that stays longer than its address asks the controller again, and misses nothing", async (t) => {
  const quick = await startExample(t, { '"1h"': '"2s"' });
  const { tab, asked } = await openPage(t, quick);
  const page = await readFile(new URL("../../../docs/doors/handoff.md", import.meta.url), "utf8");
  const [, listen] = page.match(/```js\n\/\/ listen\.js\n(function [^]*?\n}\n)/);
  const id = fresh();
  await tab.evaluate(
    ([listen, path]) => {
      globalThis.seen = { gaps: 0, heard: [] };
      const events = { "job.progress": (data) => seen.heard.push(data), gap: () => (seen.gaps += 1) };
      new Function("route", "events", `${listen} listen(route, events)`)(path, events);
    },
    [listen, `/sse/jobs/${id}`],
  );
  const seen = () => tab.evaluate(() => globalThis.seen);
  await subscribed(server, `job:${id}`);
  const said = [];
  // The first address counts for two seconds, and for five more to those whose clocks differ.
  while (asked.length < 2 && said.length < 120) {
    said.push(said.length + 1);
    await say(id, said.length);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.ok(asked.length >= 2, "the page has asked again");
  let last;
  await eventually(
    async () => (last = await seen()).heard.length >= said.length,
    () => `all of ${said.length} events; ${JSON.stringify({ ...last, asked })}`,
  );
  assert.deepEqual([last.heard, last.gaps], [said, 0]);
  assert.deepEqual(asked.map((url) => url.includes("lastEventId=job")), asked.map((_, index) => index > 0));
});
