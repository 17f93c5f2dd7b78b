// `node many_polls.mjs [requests]`: polling Socket.IO sessions on three nodes, each request of which
// goes to the next node. Every answer has to be one of the session's. Needs HANDBELL_BIN.

import http from "node:http";

import { anything } from "./doors.mjs";
import { startServer } from "./support.mjs";

const REQUESTS = Number(process.argv[2] ?? 100_000);
const SESSIONS = 50;

const ends = [];
const server = await startServer({ after: (end) => ends.push(end) }, { nodes: 3 });
const agent = new http.Agent({ keepAlive: true, maxSockets: SESSIONS });
const counts = { requests: 0, unknown: 0, other: 0, answered: 0 };
let next = 0;

/** One request, to the next node. */
function ask(method, sid, body) {
  const { port } = server.nodes[next++ % server.nodes.length];
  const path = `/socket.io/?EIO=4&transport=polling${sid ? `&sid=${sid}` : ""}`;
  return new Promise((resolve, reject) => {
    const request = http.request({ host: "127.0.0.1", port, method, path, agent }, async (answer) => {
      const text = `${Buffer.concat(await answer.toArray())}`;
      counts.requests += 1;
      if (answer.statusCode === 200) return resolve(text);
      counts[text.includes("Session ID unknown") ? "unknown" : "other"] += 1;
      reject(new Error(`${answer.statusCode} ${text}`));
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** A session that says something and polls until it is answered, again and again. */
async function session() {
  const { sid } = JSON.parse((await ask("GET")).slice(1));
  const heard = async (what) => {
    for (;;) {
      const packets = (await ask("GET", sid)).split("\x1e");
      if (packets.includes("2")) await ask("POST", sid, "3");
      if (packets.some((packet) => packet.startsWith(what))) return;
    }
  };
  await ask("POST", sid, `40${JSON.stringify({ token: anything("ann") })}`);
  await heard("40");
  while (counts.requests < REQUESTS) {
    await ask("POST", sid, '42["heartbeat",{"timestamp":1}]');
    await heard('42["heartbeat_ack"');
    counts.answered += 1;
  }
}

const began = Date.now();
const ended = await Promise.allSettled(Array.from({ length: SESSIONS }, session));
const broken = ended.filter(({ status }) => status === "rejected");
console.log(JSON.stringify({ sessions: SESSIONS, broken: broken.length, seconds: (Date.now() - began) / 1000, ...counts }));
for (const { reason } of broken.slice(0, 5)) console.error(reason);
agent.destroy();
for (const end of ends) await end();
process.exitCode = broken.length || counts.unknown || counts.other || counts.requests < REQUESTS ? 1 : 0;
