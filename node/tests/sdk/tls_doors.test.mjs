// The doors of tokens with TLS on the server itself, and an app that takes nothing else.

import assert from "node:assert/strict";
import test from "node:test";

import { anything, plain, poll, publish, socketIo, stream } from "./doors.mjs";
import { startServer } from "./support.mjs";

const { NODE_EXTRA_CA_CERTS: certificate, HANDBELL_TLS_KEY: key } = process.env;
assert.ok(certificate && key, "NODE_EXTRA_CA_CERTS and HANDBELL_TLS_KEY name files; run.sh sets them");
const server = await startServer(test, {
  scheme: "https",
  server: `tls = { certificate = "${certificate}", key = "${key}" }`,
  app: "tls_only = true",
});
const jwt = anything("ann");
let number = 0;
const fresh = () => `public:room-${process.pid}-${(number += 1)}`;
/** More than one TLS record, and more than a socket takes at once. */
const large = "漢字 🛎️ ".repeat(500);
const say = async (channel, data) => {
  const { status } = await publish(server, jwt, { channel, event: "event", data });
  assert.equal(status, 200);
};

for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
  test(`Socket.IO over TLS by ${transports.join(" and ")}`, async (t) => {
    const topic = fresh();
    const client = socketIo(t, server.nodes[0], jwt, { transports });
    await client.subscribe(topic);
    for (let n = 0; n < 50; n++) await say(topic, { n, large });
    for (let n = 0; n < 50; n++) {
      const { data } = await client.inbox.take("message");
      assert.deepEqual([data.payload, data.seq], [{ n, large }, n + 1]);
    }
    assert.deepEqual(await client.ask("publish", { topic, payload: large }), { status: "success", deliveredTo: 1 });
    assert.equal((await client.inbox.take("message")).data.payload, large);
    assert.equal(client.socket.io.engine.transport.name, transports.at(-1));
  });
}

test("a Socket.IO client comes back over TLS", async (t) => {
  const topic = fresh();
  const client = socketIo(t, server.nodes[0], jwt, { transports: ["websocket"] });
  await client.subscribe(topic);
  client.socket.io.engine.close();
  await client.inbox.take("disconnect");
  await say(topic, "missed");
  assert.equal((await client.inbox.take("message")).data.payload, "missed");
  assert.equal(client.socket.recovered, true);
});

test("/ws over TLS, both ways", async (t) => {
  const channel = fresh();
  const client = plain(t, server, jwt);
  await client.subscribe(channel);
  for (let n = 0; n < 50; n++) client.say({ type: "publish", channel, event: "event", data: { n, large } });
  for (let n = 0; n < 50; n++) assert.deepEqual((await client.inbox.take("event")).data, { n, large });
});

test("an event stream over TLS, and where it goes on", async (t) => {
  const channel = fresh();
  const first = stream(t, server, `/sse/${channel}`, { jwt });
  await first.opened;
  await say(channel, "first");
  const { data, id } = await first.inbox.take("event");
  assert.equal(data, "first");
  first.source.close();
  for (let n = 0; n < 50; n++) await say(channel, { n, large: large.slice(0, 400) });
  const second = stream(t, server, `/sse/${channel}`, { jwt, headers: { "last-event-id": id } });
  for (let n = 0; n < 50; n++) assert.equal((await second.inbox.take("event")).data.n, n);
});

test("polls over TLS, with and without waiting", async () => {
  const channel = fresh();
  const { body } = await poll(server, jwt, { channels: channel, wait: 0 });
  const waiting = poll(server, jwt, { channels: channel, lastMessageId: body.events[0].id, wait: 20 });
  await say(channel, large);
  const { events } = (await waiting).body;
  assert.deepEqual(events.map(({ type, data }) => [type, data]), [["event", large]]);
});

test("what is no TLS has no answer, and ends nothing", async () => {
  await assert.rejects(fetch(`http://127.0.0.1:${server.port}/sse/public:a`));
  assert.equal((await poll(server, jwt, { channels: "public:a", wait: 0 })).status, 200);
});

test("an app that takes TLS only refuses every door without it", async (t) => {
  const open = await startServer(t, { app: "tls_only = true" });
  const paths = ["/sse/public:a", "/ws", "/api/realtime/poll?channels=public:a&wait=0", "/socket.io/?EIO=4&transport=polling"];
  for (const path of paths) {
    const answer = await fetch(`${open.url}${path}`, { headers: { authorization: `Bearer ${jwt}` } });
    assert.deepEqual([answer.status, (await answer.json()).code], [403, "tls_only"], path);
  }
  for (const transports of [["websocket"], ["polling"]]) {
    const client = socketIo(t, open.nodes[0], jwt, { transports });
    await client.inbox.take("connect_error");
  }
});
