// The HTTP API, through the server SDK: answers, errors, and what publishing promises.

import assert from "node:assert/strict";
import http from "node:http";
import test from "node:test";

import { join, startServer } from "./support.mjs";

const server = await startServer(test);
const sdk = server.sdk();
const ANN = { id: "ann", user_info: {} };

const json = async (answer) => (await answer).json();

test("trigger, triggerBatch, sendToUser and terminate answer exactly {}", async () => {
  const batch = [{ channel: "room", name: "event", data: {} }];
  assert.deepEqual(await json(sdk.trigger("room", "event", {})), {});
  assert.deepEqual(await json(sdk.trigger(["a", "b"], "event", {})), {});
  assert.deepEqual(await json(sdk.triggerBatch(batch)), {});
  assert.deepEqual(await json(sdk.sendToUser("ann", "event", {})), {});
  assert.deepEqual(await json(sdk.terminateUserConnections("ann")), {});
});

test("get('/channels') lists the occupied channels, filtered and counted on request", async (t) => {
  const client = server.client(t, { user: ANN });
  await Promise.all(["list-a", "presence-list-b", "cache-list-c"].map((name) => join(client, name)));
  const list = async (params) => (await json(sdk.get({ path: "/channels", params }))).channels;
  assert.deepEqual(await list({ filter_by_prefix: "list-" }), { "list-a": {} });
  assert.deepEqual(await list({ filter_by_prefix: "presence-list-", info: "user_count" }), {
    "presence-list-b": { user_count: 1 },
  });
  const all = Object.keys(await list());
  for (const name of ["list-a", "presence-list-b", "cache-list-c"]) assert.ok(all.includes(name), name);
  assert.deepEqual(await list({ filter_by_prefix: "nothing-" }), {});
});

test("get('/channels/…') tells occupied, user_count, subscription_count and cache", async (t) => {
  const tabs = [server.client(t, { user: ANN }), server.client(t, { user: ANN })];
  await Promise.all(tabs.map((tab) => join(tab, "presence-show")));
  const show = (name, info) => json(sdk.get({ path: `/channels/${name}`, params: info && { info } }));
  assert.deepEqual(await show("presence-show"), { occupied: true });
  assert.deepEqual(await show("presence-show", "user_count,subscription_count"), {
    occupied: true,
    user_count: 1,
    subscription_count: 2,
  });
  assert.deepEqual(await show("nobody-here", "subscription_count"), { occupied: false, subscription_count: 0 });
  await sdk.trigger("cache-show", "event", "text");
  const { occupied, cache } = await show("cache-show", "cache");
  assert.deepEqual([occupied, cache.data], [false, "text"]);
});

test("get('/channels/…/users') lists each user once", async (t) => {
  const tabs = [server.client(t, { user: ANN }), server.client(t, { user: ANN })];
  await Promise.all(tabs.map((tab) => join(tab, "presence-users")));
  assert.deepEqual(await json(sdk.get({ path: "/channels/presence-users/users" })), { users: [{ id: "ann" }] });
  assert.deepEqual(await json(sdk.get({ path: "/channels/presence-nobody/users" })), { users: [] });
});

test("every character that a channel's name may have can be asked for", async (t) => {
  const name = "presence-A_z-0=9@x,y.z;";
  await join(server.client(t, { user: { id: "ann@example.com" } }), name);
  const params = { filter_by_prefix: name, info: "user_count" };
  assert.deepEqual(await json(sdk.get({ path: "/channels", params })), { channels: { [name]: { user_count: 1 } } });
  assert.deepEqual(await json(sdk.get({ path: `/channels/${name}` })), { occupied: true });
  assert.deepEqual(await json(sdk.get({ path: `/channels/${name}/users` })), { users: [{ id: "ann@example.com" }] });
  assert.deepEqual(await json(sdk.terminateUserConnections("ann@example.com")), {});
});

test("a trigger and a batch tell what they are asked about their channels", async (t) => {
  await join(server.client(t, { user: ANN }), "presence-info");
  const info = "user_count,subscription_count";
  assert.deepEqual(await json(sdk.trigger(["presence-info", "empty"], "event", {}, { info })), {
    channels: {
      "presence-info": { user_count: 1, subscription_count: 1 },
      empty: { subscription_count: 0 },
    },
  });
  const batch = [
    { channel: "empty", name: "event", data: {} },
    { channel: "presence-info", name: "event", data: {}, info: "user_count" },
  ];
  assert.deepEqual(await json(sdk.triggerBatch(batch)), { batch: [{}, { user_count: 1 }] });
});

test("a batch of ten is delivered in its order", async (t) => {
  const client = server.client(t);
  const [a, b] = await Promise.all([join(client, "batch-a"), join(client, "batch-b")]);
  const names = ["batch-a", "batch-b"];
  await sdk.triggerBatch([...Array(10).keys()].map((n) => ({ channel: names[n % 2], name: "n", data: n })));
  await sdk.trigger(names, "marker", {});
  const numbers = (items) => items.map((item) => item.data);
  assert.deepEqual(numbers(await a.inbox.until("marker")), [0, 2, 4, 6, 8]);
  assert.deepEqual(numbers(await b.inbox.until("marker")), [1, 3, 5, 7, 9]);
});

test("events that are published one after the other arrive in that order", async (t) => {
  const { inbox } = await join(server.client(t), "ordered");
  for (let n = 0; n < 50; n++) await sdk.trigger("ordered", "n", n);
  await sdk.trigger("ordered", "marker", {});
  const numbers = (await inbox.until("marker")).map((item) => item.data);
  assert.deepEqual(numbers, [...Array(50).keys()]);
});

test("the connection named by socket_id does not hear the event", async (t) => {
  const [publisher, other] = [server.client(t), server.client(t)];
  const mine = await join(publisher, "excluding");
  const theirs = await join(other, "excluding");
  const { socket_id } = publisher.connection;
  await sdk.trigger("excluding", "event", {}, { socket_id });
  await sdk.triggerBatch([{ channel: "excluding", name: "event", data: {}, socket_id }]);
  await sdk.trigger("excluding", "marker", {}, { socket_id: "1.1" });
  assert.deepEqual(await mine.inbox.until("marker"), []);
  assert.equal((await theirs.inbox.until("marker")).length, 2);
});

test("10 KiB of any script arrive as they were sent", async (t) => {
  const { inbox } = await join(server.client(t), "large");
  for (const letter of ["x", "é", "漢", "🛎"]) {
    const data = letter.repeat(Math.floor(10_240 / Buffer.byteLength(letter)));
    await sdk.trigger("large", "event", data);
    assert.equal((await inbox.take("event")).data, data);
  }
  await assert.rejects(sdk.trigger("large", "event", "x".repeat(10_241)), { status: 413 });
});

test("a hundred channels take one event each, and one bad name stops all", async (t) => {
  const { inbox } = await join(server.client(t), "many-100");
  const names = [...Array(100).keys()].map((n) => `many-${n + 1}`);
  await sdk.trigger(names, "event", {});
  await inbox.take("event");
  const body = { name: "event", data: "{}", channels: ["many-100", "a bad name"] };
  await assert.rejects(sdk.post({ path: "/events", body }), { status: 400 });
  await sdk.trigger("many-100", "marker", {});
  assert.deepEqual(await inbox.until("marker"), []);
});

const event = { name: "event", channel: "room", data: "{}" };
const refused = {
  "no channel": { name: "event", data: "{}" },
  "an empty list of channels": { ...event, channel: undefined, channels: [] },
  "101 channels": { ...event, channel: undefined, channels: [...Array(101).keys()].map((n) => `room-${n}`) },
  "no name": { ...event, name: undefined },
  "no data": { ...event, data: undefined },
  "a long event name": { ...event, name: "x".repeat(201) },
  "a long channel name": { ...event, channel: "x".repeat(201) },
  "a malformed socket_id": { ...event, socket_id: "one.two" },
  "a reserved event name": { ...event, name: "pusher:error" },
};
for (const [what, body] of Object.entries(refused)) {
  test(`a trigger with ${what} is a 400 that says why`, async () => {
    await assertRefused(sdk.post({ path: "/events", body }), 400);
  });
}

test("a batch of none or eleven is a 400", async () => {
  await assertRefused(sdk.post({ path: "/batch_events", body: { batch: [] } }), 400);
  await assertRefused(sdk.post({ path: "/batch_events", body: { batch: Array(11).fill(event) } }), 400);
});

test("attributes where they make no sense are a 400", async () => {
  const get = (path, info) => sdk.get({ path, params: info && { info } });
  await assertRefused(get("/channels/room/users"), 400);
  await assertRefused(get("/channels/room", "user_count"), 400);
  await assertRefused(get("/channels/room", "cache"), 400);
  await assertRefused(get("/channels", "user_count"), 400);
});

test("an unknown key and a wrong signature are a 401, an unknown app and path a 404", async () => {
  await assertRefused(server.sdk({ secret: "wrong" }).trigger("room", "event", {}), 401);
  await assertRefused(server.sdk({ key: "wrong" }).trigger("room", "event", {}), 401);
  await assertRefused(server.sdk({ appId: "404" }).trigger("room", "event", {}), 404);
  await assertRefused(sdk.get({ path: "/nothing" }), 404);
});

test("a request that was signed eleven minutes ago or whose body was changed is a 401", async () => {
  const path = "/apps/42/events";
  const body = JSON.stringify(event);
  const send = (query, body) => fetch(`${server.url}${path}?${query}`, { method: "POST", body });
  const signed = (params) => sdk.createSignedQueryString({ method: "POST", path, body, params });
  assert.equal((await send(signed(), body)).status, 200);
  assert.equal((await send(signed(), body.replace("room", "rook"))).status, 401);

  const stale = new Map(new URLSearchParams(signed()));
  stale.delete("auth_signature");
  stale.set("auth_timestamp", `${Math.floor(Date.now() / 1000) - 660}`);
  const text = [...stale].map(([name, value]) => `${name}=${value}`).join("&");
  const signature = sdk.config.token.sign(`POST\n${path}\n${text}`);
  assert.equal((await send(`${text}&auth_signature=${signature}`, body)).status, 401);
});

test("publishing beyond the app's rate is a 429 that says when to come back", async (t) => {
  const server = await startServer(t, { app: "limits.publishes_per_second = 3" });
  const outcomes = await Promise.allSettled(
    [...Array(10).keys()].map((n) => server.sdk().trigger("room", "event", n)),
  );
  const rejected = outcomes.filter(({ status }) => status === "rejected");
  assert.ok(rejected.length >= 5, `${rejected.length} were refused`);
  for (const { reason } of rejected) {
    assert.equal(reason.status, 429);
    assert.equal(JSON.parse(reason.body).code, "rate_limited");
  }
});

test("an app that is disabled publishes nothing: 403", async (t) => {
  const server = await startServer(t, { app: "enabled = false" });
  await assertRefused(server.sdk().trigger("room", "event", {}), 403);
});

test("a publish needs no state: each works on a connection of its own", async (t) => {
  const { inbox } = await join(server.client(t), "stateless");
  const agent = new http.Agent({ keepAlive: false });
  for (let n = 0; n < 5; n++) await server.sdk({ agent }).trigger("stateless", "n", n);
  await inbox.take("n", ({ data }) => data === 4);
});

test("a connection is kept alive for the next request", async (t) => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const ports = new Set();
  agent.on("free", (socket) => ports.add(socket.localPort));
  for (let n = 0; n < 5; n++) await json(server.sdk({ agent }).trigger("room", "event", n));
  assert.equal(ports.size, 1);
});

test("a page of another origin may use the API and read its answers", async () => {
  const headers = { origin: "https://app.example" };
  const url = `${server.url}/apps/42/channels`;
  const preflight = await fetch(url, {
    method: "OPTIONS",
    headers: { ...headers, "access-control-request-method": "GET" },
  });
  assert.ok(preflight.ok);
  assert.equal(preflight.headers.get("access-control-allow-origin"), headers.origin);
  const query = sdk.createSignedQueryString({ method: "GET", path: "/apps/42/channels" });
  const answer = await fetch(`${url}?${query}`, { headers });
  assert.equal(answer.headers.get("access-control-allow-origin"), headers.origin);
});

/** A refusal has its status, and a JSON body with an error for people and a code for programs. */
async function assertRefused(request, status) {
  await assert.rejects(request, (error) => {
    assert.equal(error.status, status, error.body);
    const body = JSON.parse(error.body);
    assert.equal(body.status, status);
    assert.ok(body.error.length > 0);
    assert.match(body.code, /^[a-z_]+$/);
    return true;
  });
}
