// A client that has a WebSocket while one gets through and polls while none does, behind a proxy that
// changes its mind: one place for both, and nothing is lost or repeated.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import test from "node:test";

import { anything, plain, poll, publish } from "./doors.mjs";
import { eventually, startServer } from "./support.mjs";

const server = await startServer(test);
const jwt = anything("ann");

/** A proxy to the server that lets requests through always, and upgrades unless it blocks them. */
async function startProxy(t) {
  const proxy = { isBlocking: false };
  const upgraded = new Set();
  const listener = http.createServer((request, response) => {
    const { method, url, headers } = request;
    const forward = http.request({ host: "127.0.0.1", port: server.port, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    forward.on("error", () => response.destroy());
    request.pipe(forward);
  });
  listener.on("upgrade", (request, client) => {
    client.on("error", () => {});
    if (proxy.isBlocking) return client.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    const back = net.connect(server.port, "127.0.0.1", () => {
      const { rawHeaders } = request;
      const lines = rawHeaders.flatMap((name, i) => (i % 2 ? [] : [`${name}: ${rawHeaders[i + 1]}`]));
      back.write(`GET ${request.url} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      back.pipe(client).pipe(back);
    });
    back.on("error", () => client.destroy());
    upgraded.add(client.on("close", () => (upgraded.delete(client), back.destroy())));
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  t.after(() => (listener.closeAllConnections(), listener.close()));
  proxy.port = listener.address().port;
  proxy.url = `http://127.0.0.1:${proxy.port}`;
  proxy.block = () => {
    proxy.isBlocking = true;
    for (const client of upgraded) client.destroy();
  };
  return proxy;
}

/** Follows a channel until the test is over, by a WebSocket if it gets one, else by polls. */
function follow(t, proxy, channel) {
  const client = { heard: [], sockets: 0, polls: 0, gaps: 0 };
  let position;
  let isOver = false;
  t.after(() => (isOver = true));
  const hear = (message) => {
    if (message.type === "gap" || message.recovered === false) client.gaps += 1;
    if (message.type === "event") client.heard.push(message.data);
    position = message.position ?? position;
  };
  const bySocket = async () => {
    const { socket, opened, closed, say } = plain(t, proxy, jwt);
    socket.on("message", (text) => {
      const message = JSON.parse(text);
      hear(message);
      if (message.type === "subscribed") client.sockets += 1;
    });
    await opened;
    say({ type: "subscribe", channel, since: position });
    await closed;
  };
  const byPoll = async () => {
    const lastMessageId = position ? `${channel}~${position}` : "";
    const { status, body } = await poll(proxy, jwt, { channels: channel, lastMessageId, wait: 1 });
    assert.equal(status, 200, JSON.stringify(body));
    client.polls += 1;
    body.events.forEach(hear);
  };
  (async () => {
    while (!isOver) await bySocket().catch(byPoll);
  })().catch((error) => (client.failure ??= isOver ? undefined : error));
  return client;
}

test("a client changes from WebSocket to polls and back while events come, and has each once", async (t) => {
  const channel = `public:hybrid-${process.pid}`;
  const proxy = await startProxy(t);
  const client = follow(t, proxy, channel);
  let said = 0;
  const say = async (count) => {
    for (let n = 0; n < count; n++) {
      const { status } = await publish(server, anything("bob"), { channel, event: "event", data: (said += 1) });
      assert.equal(status, 200);
    }
  };
  const caughtUp = () =>
    eventually(() => client.failure || client.heard.at(-1) === said, () => `${said}: ${JSON.stringify(client)}`);
  await eventually(() => client.sockets === 1);
  for (let round = 1; round <= 3; round++) {
    await say(10);
    await caughtUp();
    const { polls } = client;
    const saying = say(20);
    proxy.block();
    await saying;
    await caughtUp();
    await eventually(() => client.polls > polls + 1, () => JSON.stringify(client));
    await say(5);
    await caughtUp();
    proxy.isBlocking = false;
    await say(20);
    await eventually(() => client.sockets === round + 1, () => JSON.stringify(client));
    await caughtUp();
  }
  assert.equal(client.failure, undefined);
  assert.equal(client.gaps, 0);
  assert.deepEqual(client.heard, Array.from({ length: said }, (_, n) => n + 1));
});
