// The browser builds of pusher-js, in headless Chromium.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join as path } from "node:path";
import test from "node:test";

import { chromium } from "playwright-core";

import { APP, eventually, startHttp, startServer } from "./support.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const BUILDS = path(createRequire(import.meta.url).resolve("pusher-js"), "../../web");

const server = await startServer(test);
const sdk = server.sdk();
const site = await startSite(test);
const browser = await startBrowser(test);

/** A site with a page for each build, and an auth endpoint that takes `?user=` for who it is. */
async function startSite(t) {
  return startHttp(t, async (request, body) => {
    const url = new URL(request.url, "http://localhost");
    if (url.pathname === "/auth") {
      const form = new URLSearchParams(body);
      const channel = form.get("channel_name");
      const user = form.get("user");
      const member = channel.startsWith("presence-") ? { user_id: user, user_info: { name: user } } : undefined;
      return { body: JSON.stringify(sdk.authorizeChannel(form.get("socket_id"), channel, member)) };
    }
    if (url.pathname.endsWith(".js")) {
      const headers = { "content-type": "text/javascript" };
      return { headers, body: await readFile(path(BUILDS, url.pathname)) };
    }
    const headers = { "content-type": "text/html" };
    const build = url.searchParams.get("build");
    return { headers, body: build ? page(build, url.searchParams.get("user")) : "" };
  });
}

const page = (build, user) => `<!doctype html>
<title>${user}</title>
<script src="/${build}"></script>
<script>
  const events = [];
  const client = new Pusher(${JSON.stringify(APP.key)}, {
    cluster: "mt1", wsHost: "127.0.0.1", wsPort: ${server.port}, forceTLS: false, enabledTransports: ["ws", "wss"],
    channelAuthorization: { transport: "ajax", endpoint: "/auth", params: { user: ${JSON.stringify(user)} } },
  });
  for (const name of ["public-room", "private-room", "presence-room"]) {
    client.subscribe(name).bind_global((event, data) => events.push({ channel: name, event, data }));
  }
</script>`;

async function startBrowser(t) {
  const profile = await mkdtemp(path(tmpdir(), "handbell-chromium-"));
  const options = { executablePath: CHROMIUM, headless: true, args: FLAGS };
  const context = await chromium.launchPersistentContext(profile, options);
  t.after(async () => {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  });
  return context;
}

/** Opens a page, and waits until it is subscribed to its three channels. */
async function open(t, user, build = "pusher.min.js") {
  const tab = await browser.newPage();
  t.after(() => tab.close());
  await tab.goto(`${site.replace("127.0.0.1", "localhost")}/?build=${build}&user=${user}`);
  for (const channel of ["public-room", "private-room", "presence-room"]) {
    await heard(tab, channel, "pusher:subscription_succeeded");
  }
  return tab;
}

/** Waits until the page has heard an event, and returns its data. */
async function heard(tab, channel, event) {
  const find = ([channel, event]) =>
    JSON.stringify(events.find((item) => item.channel === channel && item.event === event));
  const found = await eventually(
    () => tab.evaluate(find, [channel, event]),
    () => `${event} in ${channel}`,
  );
  return JSON.parse(found).data;
}

test("a page hears public and private events", async (t) => {
  const tab = await open(t, "ann");
  assert.equal(await tab.evaluate(() => client.connection.state), "connected");
  await sdk.trigger(["public-room", "private-room"], "event", { text: "漢字 🛎️" });
  for (const channel of ["public-room", "private-room"]) {
    assert.deepEqual(await heard(tab, channel, "event"), { text: "漢字 🛎️" });
  }
});

test("two pages see each other, talk, and see each other go", async (t) => {
  const ann = await open(t, "ann");
  const bob = await open(t, "bob");
  const added = await heard(ann, "presence-room", "pusher:member_added");
  assert.deepEqual(added, { id: "bob", info: { name: "bob" } });
  const count = (tab) => tab.evaluate(() => client.channel("presence-room").members.count);
  assert.deepEqual([await count(ann), await count(bob)], [2, 2]);

  await bob.evaluate(() => client.channel("private-room").trigger("client-typing", { by: "bob" }));
  assert.deepEqual(await heard(ann, "private-room", "client-typing"), { by: "bob" });

  await bob.close();
  const removed = await heard(ann, "presence-room", "pusher:member_removed");
  assert.equal(removed.id, "bob");
});

test("a page that is reloaded is connected and subscribed again", async (t) => {
  const tab = await open(t, "ann");
  const before = await tab.evaluate(() => client.connection.socket_id);
  await tab.reload();
  await heard(tab, "presence-room", "pusher:subscription_succeeded");
  assert.notEqual(await tab.evaluate(() => client.connection.socket_id), before);
});

test("pusher-js/with-encryption decrypts what the server SDK has encrypted", async (t) => {
  const tab = await open(t, "ann", "pusher-with-encryption.min.js");
  await tab.evaluate(() => {
    const name = "private-encrypted-room";
    client.subscribe(name).bind_global((event, data) => events.push({ channel: name, event, data }));
  });
  await heard(tab, "private-encrypted-room", "pusher:subscription_succeeded");
  await sdk.trigger("private-encrypted-room", "event", { secret: 1 });
  assert.deepEqual(await heard(tab, "private-encrypted-room", "event"), { secret: 1 });
});

test("a page may publish through the HTTP API from another origin", async (t) => {
  const tab = await open(t, "ann");
  const path = "/apps/42/events";
  const body = JSON.stringify({ name: "event-by-page", channel: "public-room", data: "{}" });
  const query = sdk.createSignedQueryString({ method: "POST", path, body });
  const answer = await tab.evaluate(
    async ([url, body]) => {
      const headers = { "content-type": "application/json" };
      const answer = await fetch(url, { method: "POST", headers, body });
      return answer.json();
    },
    [`${server.url}${path}?${query}`, body],
  );
  assert.deepEqual(answer, {});
  await heard(tab, "public-room", "event-by-page");
});
