// What a publisher says of an event's urgency: what may be left out of a connection that does not keep
// up (`priority`), and until when anybody wants it (`ttl`).

import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { anything, socketIo } from "./doors.mjs";
import { eventually, startServer } from "./support.mjs";

// A small outbox, so that little has to be published to fill it.
const app = "limits.outbox_bytes = 65536\nlimits.messages_per_second = 100000\nlimits.publishes_per_second = 100000\nlimits.user_publishes_per_second = 100000";
const server = await startServer(test, { app });
const connect = (t, jwt) => socketIo(t, server.nodes[0], jwt, { transports: ["websocket"] });
let number = 0;
const fresh = () => `public:urgent-${process.pid}-${(number += 1)}`;

/** The WebSocket beneath a client. */
const socketOf = (client) => client.socket.io.engine.transport.ws;

/** More than the operating system keeps for a connection that is not read, and ten outboxes. */
const FLOOD = 1_500;

/** A client that has stopped reading, one that publishes, and what is heard once it reads again. */
async function flooded(t, priority) {
  const topic = fresh();
  const [slow, quick] = [connect(t, anything("slow")), connect(t, anything("quick"))];
  for (const client of [slow, quick]) await client.subscribe(topic);
  // It does not come back: what it has not heard on this connection, it does not hear.
  slow.socket.io.reconnection(false);
  const say = (payload, more) => quick.ask("publish", { topic, payload, ...more });
  socketOf(slow).pause();
  for (let n = 0; n < FLOOD; n += 50) {
    const flood = Array.from({ length: 50 }, (_, i) => say({ n: n + i, fill: "x".repeat(10_000) }, { priority }));
    for (const answer of await Promise.all(flood)) assert.equal(answer.status, "success");
  }
  const heard = () => slow.inbox.items.filter(({ event }) => event === "message").map(({ data }) => data);
  return { slow, say, heard, resume: () => socketOf(slow).resume() };
}

test("events of low priority are left out of a connection that does not read, and it stays", async (t) => {
  const { slow, say, heard, resume } = await flooded(t, "low");
  for (const priority of ["high", "normal", undefined]) await say(`${priority}`, { priority });
  const shed = () => server.nodes[0].metric("handbell_events_shed_total");
  assert.ok((await shed()) > 0);
  resume();
  await eventually(() => heard().at(-1)?.payload === "undefined");
  const messages = heard();
  assert.deepEqual(messages.slice(-3).map(({ payload }) => payload), ["high", "normal", "undefined"]);
  assert.equal(messages.at(-1).seq, FLOOD + 3);
  assert.ok(messages.length < FLOOD, `${messages.length} of ${FLOOD + 3}`);
  const seqs = messages.map(({ seq }) => seq);
  assert.deepEqual(seqs, seqs.toSorted((a, b) => a - b));
  assert.equal(slow.socket.connected, true);
});

test("of events of normal priority none is left out: the connection is closed instead", async (t) => {
  const { slow, heard, resume } = await flooded(t, "normal");
  resume();
  await slow.inbox.take("disconnect");
  const numbers = heard().map(({ payload }) => payload.n);
  assert.deepEqual(numbers, numbers.map((_, n) => n), "what it had before has no holes");
  assert.ok(numbers.length < FLOOD);
});

test("an event is not given to who comes back after its ttl", async (t) => {
  const topic = fresh();
  const [client, other] = [connect(t, anything("ann")), connect(t, anything("bob"))];
  await client.subscribe(topic);
  const say = (payload, ttl) => other.ask("publish", { topic, payload, ttl });
  client.socket.io.reconnection(false);
  client.socket.io.engine.close();
  await client.inbox.take("disconnect");
  await say("for a moment", 50);
  await say("for an hour", 3_600_000);
  await say("for ever", 0);
  await sleep(60);
  client.socket.connect();
  await eventually(() => client.socket.connected);
  assert.equal(client.socket.recovered, true);
  const seen = [];
  for (let n = 0; n < 2; n++) seen.push((await client.inbox.take("message")).data);
  assert.deepEqual(seen.map(({ payload, seq }) => [payload, seq]), [["for an hour", 2], ["for ever", 3]]);
});

test("an event that waited for a slow connection until after its ttl is not given to it", async (t) => {
  const topic = fresh();
  // A session that polls, whose requests the test makes by itself.
  const request = async (query, body) => {
    const url = `${server.nodes[0].url}/socket.io/?EIO=4&transport=polling${query}`;
    return (await fetch(url, body && { method: "POST", body })).text();
  };
  const { sid } = JSON.parse((await request("")).slice(1));
  const [poll, say] = [() => request(`&sid=${sid}`), (packet) => request(`&sid=${sid}`, packet)];
  await say(`40${JSON.stringify({ token: anything("ann") })}`);
  assert.match(await poll(), /^40/);
  await say(`421["subscribe",${JSON.stringify({ topic })}]`);
  let heard = "";
  while (!heard.includes("431[")) heard += await poll();
  const other = connect(t, anything("bob"));
  await other.ask("publish", { topic, payload: "for a moment", ttl: 50 });
  await other.ask("publish", { topic, payload: "for ever" });
  await sleep(60);
  heard = await poll();
  assert.ok(heard.includes("for ever") && !heard.includes("for a moment"), heard);
});
