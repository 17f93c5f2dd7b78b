// What networks do to clients of each door: connections are cut, disappear without a word, or may not
// become WebSockets; and tokens end. Every event comes once and in order.

import assert from "node:assert/strict";
import test from "node:test";

import { anything, plain, poll, socketIo, token } from "./doors.mjs";
import { DOORS, NAMESPACE, publisher, withoutRepetition } from "./resuming.mjs";
import { eventually, startBalancer, startProxy, startServer, subscribed, upTo } from "./support.mjs";

const server = await startServer(test, { app: NAMESPACE });
const ports = server.nodes.map((node) => node.port);
let number = 0;
const fresh = (prefix) => `${prefix}-${(number += 1)}`;
const address = ({ port }) => ({ port, url: `http://127.0.0.1:${port}` });

const FAULTS = {
  "its connection is cut": (way) => way.cut(),
  "its network is gone and the server does not know": (way) => way.vanish(),
};

for (const [fault, happen] of Object.entries(FAULTS)) {
  for (const [door, listen] of Object.entries(DOORS)) {
    test(`${door}: ${fault}, three times`, async (t) => {
      const way = await startBalancer(t, ports);
      const channel = fresh("network");
      const client = await listen(t, address(way), channel);
      await subscribed(server, channel);
      const back = publisher(server, channel);
      for (let n = 0; n < 3; n++) {
        await back.say(5);
        await eventually(() => client.heard.includes(back.said), () => JSON.stringify(client));
        way.targets = [];
        happen(way);
        await back.say(5);
        way.targets = ports;
        await eventually(() => client.heard.includes(back.said), () => JSON.stringify(client));
      }
      await back.say(1);
      await eventually(() => client.heard.includes(back.said));
      const { heard, gaps, failure, recovered, connections } = client;
      assert.equal(failure, undefined);
      assert.equal(gaps, 0);
      assert.ok(connections >= 4, `${connections}`);
      if (client.mayRepeat) assert.deepEqual([...new Set(heard)], upTo(31), `${heard}`);
      else assert.deepEqual(heard, upTo(31));
      if (recovered) assert.ok(recovered.slice(1).every(Boolean), `${recovered}`);
    });
  }
}

test("pusher-js with an id repeats what was not proven, once and in order", async (t) => {
  const way = await startBalancer(t, ports);
  const channel = fresh("repeats");
  const client = await DOORS["pusher-js"](t, address(way), channel);
  const back = publisher(server, channel);
  await back.say(5);
  await eventually(() => client.heard.length === 5);
  way.cut();
  await back.say(5);
  await eventually(() => client.heard.includes(10));
  assert.deepEqual(withoutRepetition(client.heard), upTo(10));
});

for (const door of ["EventSource", "long poll"]) {
  test(`${door}: a proxy that knows no upgrades is no obstacle`, async (t) => {
    const proxy = await startProxy(t, ports, { blocksUpgrades: true });
    const channel = fresh("blocked");
    const client = await DOORS[door](t, proxy, channel);
    await subscribed(server, channel);
    const back = publisher(server, channel);
    await back.say(20);
    await eventually(() => client.heard.length === 20, () => JSON.stringify(client));
    assert.deepEqual(client.heard, upTo(20));
  });
}

test("socket.io-client stays at polling where a proxy knows no upgrades", async (t) => {
  const proxy = await startProxy(t, ports, { blocksUpgrades: true });
  const { socket, inbox, subscribe } = socketIo(t, proxy, anything("ann"));
  const channel = fresh("blocked");
  await subscribe(channel);
  const back = publisher(server, channel);
  await back.say(20);
  for (const n of upTo(20)) assert.equal((await inbox.take("message")).data.payload, n);
  assert.equal(socket.io.engine.transport.name, "polling");
  assert.ok(proxy.blocked > 0, "it has tried");
});

test("/ws, then polls when a proxy begins to block upgrades, then /ws again: one place, nothing lost", async (t) => {
  const proxy = await startProxy(t, ports);
  const [channel, jwt] = [fresh("hybrid"), anything("ann")];
  const back = publisher(server, channel);
  const heard = [];
  let since;
  /** Listens by WebSocket until it is told to stop. False if there is none to be had. */
  const bySocket = async (isOver) => {
    const { socket, opened, closed, say } = plain(t, proxy, jwt);
    socket.on("message", (text) => {
      const message = JSON.parse(text);
      if (message.type === "event") heard.push(message.data);
      since = message.position ?? since;
    });
    if (!(await opened.then(() => true, () => false))) return false;
    say({ type: "subscribe", channel, since });
    await eventually(() => isOver() || socket.readyState !== socket.OPEN);
    socket.terminate();
    await closed;
    return true;
  };
  const byPolls = async (isOver) => {
    while (!isOver()) {
      const place = since && `${channel}~${since}`;
      const { status, body } = await poll(proxy, jwt, { channels: channel, lastMessageId: place ?? "", wait: 1 });
      assert.equal(status, 200, JSON.stringify(body));
      for (const { type, data, position } of body.events) {
        assert.notEqual(type, "gap");
        if (type === "event") heard.push(data);
        since = position ?? since;
      }
    }
  };
  const listening = bySocket(() => proxy.blocksUpgrades);
  await eventually(() => since !== undefined);
  await back.say(10);
  await eventually(() => heard.length === 10);
  proxy.blocksUpgrades = true;
  proxy.cut();
  await back.say(10);
  assert.equal(await listening, true);
  assert.equal(await bySocket(() => false), false, "there is no WebSocket to be had");
  const polling = byPolls(() => !proxy.blocksUpgrades);
  await back.say(10);
  await eventually(() => heard.length === 30, () => `${heard}`);
  proxy.blocksUpgrades = false;
  await Promise.all([polling, back.say(10)]);
  const again = bySocket(() => heard.length >= 50);
  await back.say(10);
  assert.equal(await again, true);
  assert.deepEqual(heard, upTo(50));
});

test("a token ends, and the client goes on with another one", async (t) => {
  const channel = fresh("renewed");
  const back = publisher(server, channel);
  const short = () => token("ann", { exp: Math.floor(Date.now() / 1000) + 4, permissions: ["*"] });
  const first = plain(t, server, short());
  await first.subscribe(channel);
  await back.say(3);
  const { position } = await first.inbox.take("event", ({ data }) => data === 3);
  assert.equal(await first.closed, 4401);
  await back.say(3);
  const second = plain(t, server, anything("ann"));
  assert.equal((await second.subscribe(channel, position)).recovered, true);
  for (const n of [4, 5, 6]) assert.equal((await second.inbox.take("event")).data, n);

  const client = socketIo(t, server, short());
  await client.subscribe(channel);
  await client.inbox.take("disconnect", ({ data }) => data === "io server disconnect");
  await back.say(2);
  client.socket.auth.token = anything("ann");
  client.socket.connect();
  for (const n of [7, 8]) assert.equal((await client.inbox.take("message")).data.payload, n);
  assert.equal(client.socket.recovered, true);

  const headers = { authorization: `Bearer ${short()}` };
  const stream = await fetch(`${server.url}/sse/${channel}`, { headers });
  const ids = [...(await stream.text()).matchAll(/^id: (.*)$/gm)];
  await back.say(2);
  const place = ids.at(-1)[1];
  const more = await fetch(`${server.url}/sse/${channel}`, {
    headers: { authorization: `Bearer ${anything("ann")}`, "last-event-id": place },
  });
  const reader = more.body.getReader();
  let text = "";
  while (!text.includes("data: 10")) text += Buffer.from((await reader.read()).value).toString();
  assert.match(text, /data: 9\n[^]*data: 10\n/);
  await reader.cancel();
});
