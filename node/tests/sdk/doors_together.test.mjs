// Everybody at once, while a node is killed: publishers of every door on one channel, and a listener of
// every door, which all hear the same events in the same order. This file has three nodes, however many
// the others have.

import assert from "node:assert/strict";
import test from "node:test";

import { anything, plain, publish, socketIo } from "./doors.mjs";
import { DOORS, NAMESPACE } from "./resuming.mjs";
import { eventually, ownedBy, startBalancer, startServer, subscribed } from "./support.mjs";

const EACH = 30;

/** Publishers, each of which says a number until it is accepted. They stand at a node that lives on. */
const PUBLISHERS = {
  async "the HTTP API"(t, node) {
    const sdk = node.sdk();
    // Stock SDKs have no key by which a repetition is known: what fails is not said again.
    return (channel, data) => sdk.trigger(channel, "event", data).then(() => true, () => undefined);
  },
  async "HTTP with a token"(t, node) {
    return async (channel, data) => {
      const { status } = await publish(node, anything("http"), { channel, event: "event", data, id: data });
      return status === 200;
    };
  },
  async "a plain WebSocket"(t, node) {
    const { opened, say, inbox } = plain(t, node, anything("socket"));
    await opened;
    return async (channel, data) => {
      say({ type: "publish", channel, event: "event", data, id: data });
      const is = ({ event, id }) => ["published", "error"].includes(event) && id === data;
      await eventually(() => inbox.items.some(is));
      const [answer] = inbox.items.splice(inbox.items.findIndex(is), 1);
      return answer.event === "published";
    };
  },
  async "Socket.IO"(t, node) {
    const { socket } = socketIo(t, node, anything("io"));
    await eventually(() => socket.connected);
    return async (topic, payload) => {
      const { status } = await socket.emitWithAck("publish", { topic, payload, messageId: payload });
      return status === "success";
    };
  },
};

for (const [fault, killed] of Object.entries({ "that has the listeners": 0, "that has the channel": 1 })) {
  test(`every door at once, and the node ${fault} is killed`, async (t) => {
    const server = await startServer(t, { nodes: 3, app: NAMESPACE });
    const [a, , c] = server.nodes;
    const channel = await ownedBy(server.nodes[1], "together");
    const way = await startBalancer(t, [a.port]);
    const address = { port: way.port, url: `http://127.0.0.1:${way.port}` };
    const listeners = {};
    for (const [door, listen] of Object.entries(DOORS)) listeners[door] = await listen(t, address, channel);
    // The poll comes and goes.
    await subscribed(c, channel, Object.keys(DOORS).length - 1);

    const accepted = new Set();
    let isKilled = false;
    const saying = Object.entries(PUBLISHERS).map(async ([door, open]) => {
      const say = await open(t, c);
      for (let n = 0; n < EACH; n++) {
        const data = `${door} ${n}`;
        const isDone = await eventually(async () => {
          const answer = await say(channel, data);
          return answer === undefined ? "unknown" : answer;
        });
        if (isDone === true) accepted.add(data);
        if (n === EACH / 3 && !isKilled) {
          isKilled = true;
          if (killed === 0) way.targets = [];
          await server.nodes[killed].stop("SIGKILL");
          way.targets = server.nodes.filter((node) => node.isRunning).map((node) => node.port);
        }
      }
    });
    await Promise.all(saying);
    const orders = () => Object.entries(listeners).map(([door, client]) => [door, client.mayRepeat ? withoutDuplicates(client.heard) : client.heard]);
    const all = [...accepted];
    for (const [door] of orders()) {
      const missing = () => all.filter((data) => !listeners[door].heard.includes(data));
      await eventually(() => missing().length === 0, () => `${door} lacks ${missing()}`);
    }
    const [[, first], ...others] = orders();
    for (const [door, order] of others) assert.deepEqual(order, first, door);
    assert.equal(new Set(first).size, first.length, "none twice");
    for (const door of Object.keys(PUBLISHERS)) {
      const numbers = first.filter((data) => data.startsWith(door)).map((data) => Number(data.split(" ").at(-1)));
      assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b), `${door} in its order`);
    }
    for (const [door, { gaps, failure }] of Object.entries(listeners)) {
      assert.equal(gaps, 0, door);
      assert.equal(failure, undefined);
    }
  });
}

const withoutDuplicates = (heard) => [...new Set(heard)];
