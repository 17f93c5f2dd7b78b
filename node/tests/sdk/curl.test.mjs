// The command lines by which back-end teams try the long poll, run by a shell as they are written.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import test from "node:test";
import { promisify } from "node:util";

import { anything, publish, token } from "./doors.mjs";
import { startServer } from "./support.mjs";

const FIRST = `
# 首次請求（獲取初始數據）
curl -H "Authorization: Bearer {token}" \\
     "http://localhost:8000/api/realtime/poll"
`;
const LATER = `
# 後續請求（只獲取新事件）
curl -H "Authorization: Bearer {token}" \\
     "http://localhost:8000/api/realtime/poll?lastMessageId={id}&lastTimestamp={timestamp}"
`;

const server = await startServer(test);

/** Runs a script with its placeholders filled in, and reads the JSON that it prints. */
async function run(script, values) {
  const { host } = new URL(server.url);
  const filled = script.replace("localhost:8000", host).replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const { stdout } = await promisify(execFile)("bash", ["-c", filled]);
  return JSON.parse(stdout);
}

test("the first request shows what there is, a later one only what is new", async () => {
  const jwt = token("ann", { role: "user" });
  const channel = "user:ann";
  const first = await run(FIRST, { token: jwt });
  assert.deepEqual(Object.keys(first), ["events", "timestamp"]);
  assert.ok(!Number.isNaN(Date.parse(first.timestamp)));
  assert.deepEqual(first.events.map((event) => [event.type, event.channel]), [["subscribed", channel]]);

  let { id } = first.events[0];
  let { timestamp } = first;
  for (const data of [1, 2, 3]) {
    await publish(server, anything("worker"), { channel, event: "event", data });
    const later = await run(LATER, { token: jwt, id, timestamp });
    assert.deepEqual(later.events.map((event) => [event.type, event.data]), [["event", data]]);
    ({ id } = later.events[0]);
    ({ timestamp } = later);
  }
});
