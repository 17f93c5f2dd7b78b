// A node is killed under a client of each door that resumes: the client comes back on another node
// with the place that it was given, and has every event once and in order. This file has three nodes,
// however many the others have.

import assert from "node:assert/strict";
import test from "node:test";

import { DOORS, NAMESPACE, publisher, withoutRepetition } from "./resuming.mjs";
import { eventually, ownedBy, startBalancer, startServer, subscribed, upTo } from "./support.mjs";

/** Events before the fault, around it, and when the client may come back. */
const [BEFORE, MEANWHILE, AFTER] = [10, 60, 10];
/** Who loses its node misses at least so many, because it is not let back earlier. */
const MISSED = 30;
const LAST = BEFORE + MEANWHILE + AFTER;

/**
 * Which node is killed, if the client is on A, the back end talks to C, and the channel is on …
 *
 * Where one node has both, nothing is on its way when it is killed: an event that an owner gave to its
 * own clients and to nobody else dies with it, unacknowledged, and a client that has it is in a place
 * that the next owner does not know, which is a gap.
 */
const FAULTS = {
  "the client's node is killed": { owner: 1, killed: 0 },
  "the channel's owner is killed": { owner: 1, killed: 1 },
  "the client's node, which has the channel, is killed in a pause": { owner: 0, killed: 0, isPause: true },
};

for (const [fault, { owner, killed, isPause }] of Object.entries(FAULTS)) {
  for (const [door, listen] of Object.entries(DOORS)) {
    test(`${door}: ${fault}, and every event comes once and in order`, async (t) => {
      const server = await startServer(t, { nodes: 3, app: NAMESPACE });
      const [a, , c] = server.nodes;
      const channel = await ownedBy(server.nodes[owner], "fault");
      const way = await startBalancer(t, [a.port]);
      const client = await listen(t, { port: way.port, url: `http://127.0.0.1:${way.port}` }, channel);
      await eventually(async () => (await a.metric("handbell_connections")) === 1, () => "the client is on A");
      await subscribed(c, channel);

      const back = publisher(c, channel);
      await back.say(BEFORE);
      await eventually(() => client.heard.length >= BEFORE, () => `${client.heard}`);
      const early = MEANWHILE - MISSED - 5;
      // What is said after the kill the client has to miss, however fast the publisher is.
      const first = isPause ? early : early + 5;
      const saying = back.say(first);
      await eventually(() => back.said >= BEFORE + early);
      if (isPause) await eventually(() => client.heard.length >= back.said, () => `${client.heard}`);
      if (killed === 0) way.targets = [];
      await server.nodes[killed].stop("SIGKILL");
      const atTheKill = { acknowledged: back.said, heard: client.heard.at(-1) };
      await saying;
      await back.say(MEANWHILE - first);
      if (killed === 0) assert.ok(client.heard.length <= BEFORE + MEANWHILE - MISSED, `it missed some: ${client.heard}`);
      way.targets = server.nodes.filter((node) => node.isRunning).map((node) => node.port);
      await back.say(AFTER);

      const all = upTo(LAST);
      const state = () => JSON.stringify({ ...client, atTheKill });
      await eventually(() => client.heard.includes(LAST), () => `the last event; ${state()}`);
      const heard = () => (client.mayRepeat ? withoutRepetition(client.heard) : client.heard);
      assert.deepEqual(heard(), all, state());
      assert.equal(client.gaps, 0, state());
      assert.equal(client.failure, undefined);
      if (client.recovered) assert.ok(client.recovered.slice(1).every(Boolean), state());
      if (killed !== 0) assert.equal(client.connections, 1, `it stayed connected: ${state()}`);
      else assert.ok(client.connections > 1, `it came back: ${state()}`);
      // Nothing is repeated late either: what is said now comes next.
      await back.say(1);
      await eventually(() => client.heard.includes(LAST + 1));
      assert.deepEqual(heard(), [...all, LAST + 1]);
    });
  }
}
