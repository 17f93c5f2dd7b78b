// Which channels there are and who is in them, over all nodes and doors, as the HTTP API tells it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import test from "node:test";
import { isDeepStrictEqual } from "node:util";

import { anything, plain, poll, socketIo, stream } from "./doors.mjs";
import { eventually, join, startServer } from "./support.mjs";

const env = { REDIS_URL: "redis://127.0.0.1:1/never", DATABASE_URL: "postgres://127.0.0.1:1/never" };
const server = await startServer(test, { env });
const jwt = anything("ann");
let number = 0;
const fresh = (prefix) => `${prefix}-${process.pid}-${(number += 1)}`;

/** Asks a node, as a back end does. */
async function ask(node, path, params = {}) {
  return (await node.sdk().get({ path, params })).json();
}

/** Waits until every node tells the same of a channel: who is there, by their door. */
async function settled(channel, transports) {
  const counts = Object.values(transports);
  const subscription_count = counts.reduce((sum, count) => sum + count, 0);
  const expected = { occupied: subscription_count > 0, subscription_count, transports };
  const params = { info: "subscription_count,transports" };
  let answers;
  const areSo = async () => {
    answers = await Promise.all(server.nodes.map((node) => ask(node, `/channels/${channel}`, params)));
    return answers.every((answer) => isDeepStrictEqual(answer, expected));
  };
  await eventually(areSo, () => `${JSON.stringify(expected)}; it is ${JSON.stringify(answers)}`);
}

test("a channel is occupied whose members may come back", async () => {
  const channel = fresh("presence-room");
  const { status } = await poll(server, jwt, { channels: channel, wait: 0 });
  assert.equal(status, 200);
  for (const node of server.nodes) {
    const params = { info: "subscription_count,user_count" };
    let answer;
    const isSo = async () => {
      answer = await ask(node, `/channels/${channel}`, params);
      return isDeepStrictEqual(answer, { occupied: true, subscription_count: 0, user_count: 1 });
    };
    await eventually(isSo, () => JSON.stringify(answer));
    const { channels } = await ask(node, "/channels", { filter_by_prefix: channel, info: "user_count" });
    assert.deepEqual(channels, { [channel]: { user_count: 1 } });
  }
});

test("the channels that are active are listed over all nodes, by prefix and in pages", async (t) => {
  const prefix = fresh("job");
  const names = Array.from({ length: 7 }, (_, n) => `${prefix}:${n}`);
  for (const [n, name] of names.entries()) {
    const node = server.nodes[n % server.nodes.length];
    if (n % 2) await plain(t, node, jwt).subscribe(name);
    else await socketIo(t, node, jwt, { transports: ["websocket"] }).subscribe(name);
  }
  await plain(t, server, jwt).subscribe(fresh("project"));
  for (const node of server.nodes) {
    const { channels } = await ask(node, "/channels", { filter_by_prefix: `${prefix}:`, info: "subscription_count" });
    assert.deepEqual(channels, Object.fromEntries(names.map((name) => [name, { subscription_count: 1 }])));
    const pages = [];
    let after;
    do {
      const params = { filter_by_prefix: `${prefix}:`, limit: 3, ...(after && { after }) };
      const page = await ask(node, "/channels", params);
      pages.push(Object.keys(page.channels));
      after = page.next;
    } while (after);
    assert.deepEqual(pages, [names.slice(0, 3), names.slice(3, 6), names.slice(6)]);
  }
});

test("the subscribers of a channel are counted by their door, the same at every node", async (t) => {
  const channel = fresh("job");
  await settled(channel, {});
  const closing = [];
  for (const node of server.nodes) {
    const io = socketIo(t, node, jwt, { transports: ["websocket"] });
    await io.subscribe(channel);
    const ws = plain(t, node, jwt);
    await ws.subscribe(channel);
    await join(node.client(t), channel);
    const sse = stream(t, node, `/sse/${channel}`, { jwt });
    const other = stream(t, node, `/sse/${channel}`, { jwt });
    closing.push(() => io.socket.close(), () => ws.socket.close(), () => other.source.close());
    await Promise.all([sse.opened, other.opened]);
  }
  const nodes = server.nodes.length;
  await settled(channel, { pusher: nodes, ws: nodes, sse: 2 * nodes, socketio: nodes });

  const polling = poll(server, jwt, { channels: channel, lastMessageId: "", wait: 0 });
  assert.equal((await polling).body.events[0].subscribers, 5 * nodes + 1);

  for (const close of closing) close();
  await settled(channel, { pusher: nodes, sse: nodes });
});

test("transports are told of one channel", async () => {
  await assert.rejects(ask(server, "/channels", { info: "transports" }), ({ status }) => status === 400);
});

test("a stream whose client is killed is out of the count", async (t) => {
  const channel = fresh("job");
  const url = `${server.url}/sse/${channel}`;
  const client = spawn("curl", ["--silent", "--no-buffer", "--header", `Authorization: Bearer ${jwt}`, url]);
  t.after(() => client.kill("SIGKILL"));
  await settled(channel, { sse: 1 });
  client.kill("SIGKILL");
  await once(client, "exit");
  await settled(channel, {});
});

test("a stream whose client takes nothing any more is out of the count after two heartbeats", async (t) => {
  // What waits for it would have room for long.
  const toml = { server: '[sse]\nheartbeat = "500ms"', app: "limits.outbox_bytes = 100000000\nlimits.outbox_events = 100000" };
  const lossy = await startServer(t, { nodes: 1, ...toml });
  const socket = net.connect(lossy.port, "127.0.0.1");
  t.after(() => socket.destroy());
  socket.write(`GET /sse/flood HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${jwt}\r\n\r\n`);
  const count = async () => (await ask(lossy, "/channels/flood", { info: "subscription_count" })).subscription_count;
  await eventually(async () => (await count()) === 1);
  socket.pause();
  // More than the operating system keeps for a connection that is not read.
  const event = { channel: "flood", name: "event", data: "x".repeat(10_000) };
  for (let n = 0; n < 150; n++) await lossy.sdk().triggerBatch(Array(10).fill(event));
  await eventually(async () => (await count()) === 0);
});

test("no database and no broker is looked for, and a node without any variable serves", async (t) => {
  // The addresses above lead nowhere, and nothing of them is in what the nodes say.
  const said = server.nodes.flatMap(({ log }) => log).map((line) => JSON.stringify(line));
  assert.ok(said.length > 0);
  assert.ok(!said.some((line) => /redis|postgres/i.test(line)));
  const plainServer = await startServer(t, { env: { REDIS_URL: undefined } });
  await join(plainServer.client(t), "room");
  await plainServer.sdk().trigger("room", "event", {});
});
