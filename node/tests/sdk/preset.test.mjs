// The ready-made policy of channels: four kinds of topics, and the roles that are about them.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import test from "node:test";

import { anything, plain, publish, socketIo, token } from "./doors.mjs";
import { eventually, freePort, startServer } from "./support.mjs";

const server = await startServer(test, { app: 'preset = "topics"\nchannels = ["job:*"]' });
const connect = (t, jwt) => socketIo(t, server.nodes[0], jwt, { transports: ["websocket"] });

test("there are four kinds of topics, and what is listed besides", async (t) => {
  const client = connect(t, anything("ann"));
  for (const topic of ["public:chat", "private:team_1", "user:ann", "system:notifications", "job:1:status"]) {
    assert.equal((await client.ask("subscribe", { topic })).status, "success", topic);
  }
  for (const topic of ["chat", "public:", "public:a:b", "public:a.b", "secret:chat", "presence-room", "no spaces"]) {
    const { status, error } = await client.ask("subscribe", { topic });
    assert.deepEqual([status, error], ["error", "channel_not_found"], topic);
  }
  const refused = await publish(server, anything("ann"), { channel: "secret:chat", event: "e" });
  assert.equal(refused.status, 400);
});

test("each role may do with them what its patterns say", async (t) => {
  const [chat, general, notices] = ["public:chat", "public:general", "system:notifications"];
  const all = [chat, general, "private:team", "user:ann", "user:bob", notices, "system:alerts"];
  const table = {
    admin: { subscribe: all, publish: all },
    user: { subscribe: [chat, general, "user:ann", notices], publish: [chat, general, "user:ann"] },
    guest: { subscribe: [general, notices], publish: [general] },
  };
  for (const [role, granted] of Object.entries(table)) {
    const client = connect(t, token("ann", { role }));
    for (const [event, topics] of Object.entries(granted)) {
      for (const topic of all) {
        const { status, error } = await client.ask(event, { topic, payload: 1 });
        const expected = topics.includes(topic) ? ["success", undefined] : ["error", "permission_denied"];
        assert.deepEqual([status, error], expected, `${role}: ${event} ${topic}`);
      }
    }
  }
});

test("handbell dev has it as well", async (t) => {
  const [port, admin] = [await freePort(), await freePort()];
  const flags = ["--preset", "topics", "--port", `${port}`, "--admin-port", `${admin}`];
  const child = spawn(process.env.HANDBELL_BIN, ["dev", ...flags], { stdio: "ignore" });
  t.after(() => child.kill("SIGKILL"));
  const url = `http://127.0.0.1:${port}`;
  await eventually(() => fetch(`${url}/ready`).then(({ ok }) => ok, () => false));
  const jwt = token("ann", { permissions: ["*"] }, "app-secret");
  const ws = plain(t, { port, url }, jwt);
  await ws.subscribe("public:chat");
  ws.say({ type: "subscribe", channel: "chat" });
  assert.equal((await ws.inbox.take("error")).error, "channel_not_found");
});
