// A node that has no file descriptor left.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import net from "node:net";
import test from "node:test";

import { plain, publish, token } from "./doors.mjs";
import { eventually, freePort } from "./support.mjs";

const DESCRIPTORS = 96;
const jwt = token("ann", { permissions: ["*"] }, "app-secret");

/** Milliseconds of CPU time that a process has used; the kernel counts in steps of 10. */
async function cpu(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const [user, system] = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 13);
  return 10 * (Number(user) + Number(system));
}

test("a node without a descriptor left serves who is there, refuses the others, and recovers", async (t) => {
  const [port, admin] = [await freePort(), await freePort()];
  const command = `ulimit -n ${DESCRIPTORS} && exec "$HANDBELL_BIN" dev --port ${port} --admin-port ${admin}`;
  const child = spawn("sh", ["-c", command], { stdio: "ignore" });
  t.after(() => child.kill("SIGKILL"));
  const node = { port, url: `http://127.0.0.1:${port}` };
  await eventually(() => fetch(`${node.url}/ready`).then(({ ok }) => ok, () => false));
  const [speaker, listener] = [plain(t, node, jwt), plain(t, node, jwt)];
  await speaker.subscribe("room");
  await listener.subscribe("room");

  const crowd = Array.from({ length: 2 * DESCRIPTORS }, () => net.connect(port, "127.0.0.1").on("error", () => {}));
  t.after(() => crowd.forEach((socket) => socket.destroy()));
  let refused = 0;
  for (const socket of crowd) socket.once("close", () => (refused += 1));
  await eventually(() => refused > DESCRIPTORS / 4, () => `${refused} are refused`);

  const before = await cpu(child.pid);
  for (let n = 0; n < 10; n++) {
    speaker.say({ type: "publish", channel: "room", event: "e", data: n });
    assert.equal((await listener.inbox.take("event")).data, n);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const used = (await cpu(child.pid)) - before;
  assert.ok(used < 500, `it spins: ${used} ms of CPU in a second`);

  crowd.forEach((socket) => socket.destroy());
  await eventually(() => publish(node, jwt, { channel: "room", event: "again" }).then(({ status }) => status === 200, () => false));
  await listener.inbox.take("event");
  assert.equal(child.exitCode, null);
  child.kill("SIGKILL");
  await once(child, "exit");
});
