// What one user may do, over all connections and nodes.

import assert from "node:assert/strict";
import test from "node:test";

import { anything, poll, publish, socketIo } from "./doors.mjs";
import { eventually, startServer } from "./support.mjs";

// Ten at once, and then one a second.
const app = "limits.user_publishes_per_second = 1\nlimits.user_polls_per_second = 1";
const server = await startServer(test, { app });
const AT_ONCE = 10;
let number = 0;
const fresh = (name) => `${name}-${process.pid}-${(number += 1)}`;

test("a user who publishes too fast is told when to come again, whatever the connection and the node", async (t) => {
  const user = fresh("ann");
  const topic = fresh("public:room");
  const connect = (node, jwt) => socketIo(t, node, jwt, { transports: ["websocket"] });
  const clients = [...server.nodes, server.nodes[0]].map((node) => connect(node, anything(user)));
  await Promise.all(clients.map((client) => client.inbox.take("connected")));
  const flood = clients.flatMap((client) => Array.from({ length: 2 * AT_ONCE }, () => client.ask("publish", { topic, payload: 1 })));
  const answers = await Promise.all(flood);
  const limited = answers.filter(({ error }) => error === "rate_limited");
  // Each connection by itself has said more than is allowed, and so has each node.
  const accepted = answers.length - limited.length;
  assert.ok(accepted >= AT_ONCE && accepted < 2 * AT_ONCE, `${accepted} of ${answers.length}`);
  for (const { status, message, retryAfterMs } of limited) {
    assert.equal(status, "error");
    assert.match(message, /user_publishes_per_second/);
    assert.ok(retryAfterMs > 0 && retryAfterMs <= 1_000, `${retryAfterMs}`);
  }
  const refused = await publish(server, anything(user), { channel: topic, event: "e" });
  assert.deepEqual([refused.status, refused.body.code], [429, "rate_limited"]);

  const other = connect(server.nodes[0], anything(fresh("bob")));
  assert.equal((await other.ask("publish", { topic, payload: 1 })).status, "success");
  // A budget fills up again.
  await eventually(async () => (await clients[0].ask("publish", { topic, payload: 1 })).status === "success");
});

test("a user who polls too often is told when to come again", async () => {
  const channels = fresh("public:room");
  const jwt = anything(fresh("ann"));
  const once = () => poll(server, jwt, { channels, wait: 0 });
  const answers = await Promise.all(Array.from({ length: 4 * AT_ONCE }, once));
  const limited = answers.filter(({ status }) => status === 429);
  assert.ok(limited.length > AT_ONCE, `${limited.length} of ${answers.length}`);
  assert.ok(answers.every(({ status }) => [200, 429].includes(status)));
  for (const { body } of limited) assert.equal(body.code, "rate_limited");
  const headers = { authorization: `Bearer ${jwt}` };
  const raw = await fetch(`${server.url}/api/realtime/poll?channels=${channels}&wait=0`, { headers });
  assert.deepEqual([raw.status, raw.headers.get("retry-after")], [429, "1"]);
  const counts = server.nodes.map((node) => node.metric("handbell_rate_limited_total", 'scope="user_polls_per_second"'));
  const counted = (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
  assert.equal(counted, limited.length + 1);

  assert.equal((await poll(server, anything(fresh("bob")), { channels, wait: 0 })).status, 200);
  await eventually(async () => (await once()).status === 200);
});
