// The browser builds of pusher-js, in headless Chromium.

import assert from "node:assert/strict";
import test from "node:test";

import { heard, open as openPage, page, startBrowser, startSite } from "./browser.mjs";
import { startServer } from "./support.mjs";

const server = await startServer(test);
const sdk = server.sdk();
const options = { wsHost: "127.0.0.1", wsPort: server.port, enabledTransports: ["ws", "wss"] };
const site = await startSite(test, sdk, (asked) => page(asked.get("build"), asked.get("user"), options));
const browser = await startBrowser(test);

const open = (t, user, build = "pusher.min.js") => openPage(t, browser, `${site}/?build=${build}&user=${user}`);

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
