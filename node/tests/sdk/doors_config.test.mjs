// The doors of tokens where a configuration has put them.

import assert from "node:assert/strict";
import test from "node:test";

import { anything, poll, socketIo, stream } from "./doors.mjs";
import { startServer } from "./support.mjs";

const SECTIONS = `
[socketio]
path = "/realtime/io"
[ws]
path = "/realtime/ws"
[sse]
path = "/events"
heartbeat = "100ms"
routes = { "orders/{id}/{part}" = "public:{part}:{id}", "news" = "public:headlines" }
[poll]
path = "/rt"
`;
const server = await startServer(test, { server: SECTIONS, app: 'channels = ["public:*"]' });
const jwt = anything("ann");
const headers = { authorization: `Bearer ${jwt}` };

async function publish(channel, data) {
  const body = JSON.stringify({ channel, event: "event", data });
  const answer = await fetch(`${server.url}/rt/publish`, { method: "POST", headers, body });
  assert.equal(answer.status, 200);
}

test("every door is where it was put, and nowhere else", async () => {
  const status = async (path) => {
    const answer = await fetch(`${server.url}${path}`, { headers });
    await answer.body.cancel();
    return answer.status;
  };
  const doors = { "/realtime/io/?EIO=4&transport=polling": 200, "/realtime/ws": 426, "/events/public:a": 200 };
  const others = { "/rt/poll?channels=public:a&wait=0": 200, "/rt/presence?channel=public:a": 200 };
  for (const [path, expected] of Object.entries({ ...doors, ...others })) assert.equal(await status(path), expected, path);
  for (const path of ["/socket.io/?EIO=4&transport=polling", "/ws", "/sse/public:a", "/api/realtime/poll"]) {
    assert.equal(await status(path), 404, path);
  }
});

test("routes stand for channels", async (t) => {
  for (const [path, channel] of [["orders/7/status", "public:status:7"], ["news", "public:headlines"]]) {
    const { inbox } = stream(t, server, `/events/${path}`, { jwt, headers: { "last-event-id": `${channel}~7-1-1` } });
    // It says so when it is in.
    assert.deepEqual((await inbox.take("gap")).data, { channel });
    await publish(channel, path);
    assert.equal((await inbox.take("event")).data, path);
  }
});

test("a quiet stream says something now and then", async () => {
  const answer = await fetch(`${server.url}/events/public:quiet`, { headers });
  let text = "";
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.split(": ping\n\n").length > 3) break;
  }
  assert.match(text, /^retry: \d+\n\n/);
});

test("a name that the app does not have is a channel_not_found", async (t) => {
  const client = socketIo(t, server.nodes[0], jwt, { path: "/realtime/io" });
  assert.equal((await client.ask("subscribe", { topic: "public:a" })).status, "success");
  assert.equal((await client.ask("subscribe", { topic: "job:123" })).error, "channel_not_found");
});

test("a poll that has missed more than there is room for gets it in parts", async (t) => {
  const own = await startServer(t, { app: "limits.outbox_events = 8" });
  const channels = ["one", "two"];
  const jwt = anything("ann");
  const first = await poll(own, jwt, { channels: channels.join(","), wait: 0 });
  let lastMessageId = first.body.events.at(-1).id;
  const sent = Array.from({ length: 60 }, (_, index) => [channels[index % 2], index]);
  for (const [channel, data] of sent) await own.sdk().trigger(channel, "event", data);
  const got = [];
  for (let polls = 0; polls < 60 && got.length < sent.length; polls++) {
    const { events } = (await poll(own, jwt, { lastMessageId, wait: 1 })).body;
    assert.ok(events.length <= 8, `${events.length} events`);
    got.push(...events.map(({ channel, data }) => [channel, data]));
    lastMessageId = events.at(-1)?.id ?? lastMessageId;
  }
  for (const channel of channels) {
    const of = (all) => all.filter(([name]) => name === channel);
    assert.deepEqual(of(got), of(sent));
  }
});
