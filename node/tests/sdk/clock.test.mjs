// A machine whose clock is set while it works: by an hour forwards and backwards, as a time service does
// after a long sleep (libfaketime; the monotonic clock goes on, as the kernel's does).

import assert from "node:assert/strict";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join as path } from "node:path";
import test from "node:test";

import { anything, plain } from "./doors.mjs";
import { eventually, join, startServer } from "./support.mjs";

const FAKETIME = process.env.FAKETIME ?? "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

test("a clock that jumps closes nobody, takes no node for gone, and loses nothing", async (t) => {
  const file = path(await mkdtemp(path(tmpdir(), "handbell-clock-")), "clock");
  const set = (offset) => writeFile(file, offset);
  await set("+0");
  const server = await startServer(t, {
    env: {
      LD_PRELOAD: FAKETIME,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    },
  });
  const closed = [];
  const clients = [];
  for (const node of server.nodes) {
    const client = node.client(t);
    client.connection.bind("state_change", ({ current }) => current !== "connected" && closed.push(`pusher-js ${current}`));
    await join(client, "room");
    const socket = plain(t, node, anything("ann"));
    await socket.subscribe("room");
    socket.socket.on("close", (code) => closed.push(`/ws ${code}`));
    clients.push([client.channel("room"), socket]);
  }
  closed.length = 0;
  const publisher = clients[0][1];
  const got = clients.map(() => []);
  clients.forEach(([channel], index) => channel.bind("e", (data) => got[index].push(data)));
  let sent = 0;
  for (const offset of ["+1h", "+0", "-1h", "+0"]) {
    await set(offset);
    for (let n = 0; n < 5; n++) {
      publisher.say({ type: "publish", channel: "room", event: "e", data: sent });
      sent += 1;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  const all = Array.from({ length: sent }, (_, n) => n);
  await eventually(() => got.every((of) => of.length === sent), () => JSON.stringify(got));
  for (const of of got) assert.deepEqual(of, all);
  const times = publisher.inbox.items.filter(({ event }) => event === "event").map(({ timestamp }) => Date.parse(timestamp));
  const spread = Math.max(...times) - Math.min(...times);
  assert.ok(spread > 7_000_000, `the node's clock has jumped: ${spread} ms`);
  assert.deepEqual(closed, []);
});
