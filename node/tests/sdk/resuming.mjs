// Clients of every door that resumes, which know nothing of Handbell and come back by themselves.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import Pusher from "pusher-js";

import { anything, plain, poll, publish, socketIo, stream } from "./doors.mjs";
import { APP } from "./endpoint.mjs";
import { eventually } from "./waiting.mjs";

/** What events are called here: those of Socket.IO's clients have no other name. */
const NAMES = ["event", "message"];

/**
 * Clients that come back by themselves. Each is given an address, and returns what it has heard, how
 * often it connected, and what it has to say of its recovery.
 */
export const DOORS = {
  async EventSource(t, endpoint, channel) {
    const heard = [];
    const client = { heard, connections: 0, gaps: 0 };
    const { source, opened } = stream(t, endpoint, `/sse/${channel}`);
    for (const name of NAMES) source.addEventListener(name, ({ data }) => heard.push(JSON.parse(data)));
    source.addEventListener("gap", () => (client.gaps += 1));
    source.addEventListener("open", () => (client.connections += 1));
    await opened;
    return client;
  },

  async "plain WebSocket"(t, endpoint, channel) {
    const heard = [];
    const client = { heard, connections: 0, gaps: 0 };
    let since;
    let isOver = false;
    t.after(() => (isOver = true));
    const connect = async () => {
      const { socket, inbox, opened, closed, say } = plain(t, endpoint, anything("ann"));
      socket.on("message", (text) => {
        const message = JSON.parse(text);
        if (message.type === "event") heard.push(message.data);
        if (message.type === "gap" || message.recovered === false) client.gaps += 1;
        if (message.type === "error") socket.terminate();
        since = message.position ?? since;
      });
      closed.then(() => !isOver && sleep(50).then(connect));
      // One that is refused is closed.
      await opened.catch(() => {});
      if (socket.readyState !== socket.OPEN) return;
      client.connections += 1;
      say({ type: "subscribe", channel, since });
      if (client.connections === 1) await inbox.take("subscribed");
    };
    await connect();
    return client;
  },

  async "long poll"(t, endpoint, channel) {
    const heard = [];
    const client = { heard, connections: 1, gaps: 0 };
    let lastMessageId = "";
    let isOver = false;
    t.after(() => (isOver = true));
    const once = async (wait) => {
      const { status, body } = await poll(endpoint, anything("ann"), { channels: channel, lastMessageId, wait });
      assert.ok([200, 503].includes(status), `${status} ${JSON.stringify(body)}`);
      for (const { type, id, data } of body.events ?? []) {
        if (type === "event") heard.push(data);
        if (type === "gap") client.gaps += 1;
        lastMessageId = id;
      }
    };
    await once(0);
    (async () => {
      while (!isOver) {
        // An answer that is cut off is asked for again, from the same place.
        await once(1).catch(async (error) => {
          if (error instanceof assert.AssertionError) client.failure = error;
          client.connections += 1;
          await sleep(20);
        });
      }
    })();
    return client;
  },

  /** It keeps an id; what it had not proven to have may come again. */
  async "pusher-js"(t, endpoint, channel) {
    const heard = [];
    const client = { heard, connections: 0, gaps: 0, mayRepeat: true };
    const options = { wsHost: "127.0.0.1", wsPort: endpoint.port, forceTLS: false, cluster: "mt1" };
    const pusher = new Pusher(APP.key, { ...options, wsPath: `/r/${randomUUID()}`, enabledTransports: ["ws"] });
    t.after(() => pusher.disconnect());
    pusher.connection.bind("connected", () => (client.connections += 1));
    const subscription = pusher.subscribe(channel);
    for (const name of NAMES) subscription.bind(name, (data) => heard.push(data));
    subscription.bind("pusher:gap", () => (client.gaps += 1));
    await eventually(() => subscription.subscribed);
    return client;
  },

  "Socket.IO": (t, endpoint, channel) => listenBySocketIo(t, endpoint, channel, ""),
  "Socket.IO in a namespace": (t, endpoint, channel) => listenBySocketIo(t, endpoint, channel, "/admin"),
};

/** What an app needs for the last of them. */
export const NAMESPACE = '[apps.namespaces]\n"/admin" = "topics"';

async function listenBySocketIo(t, endpoint, channel, namespace) {
  const heard = [];
  const client = { heard, connections: 0, gaps: 0, recovered: [] };
  const options = { transports: ["websocket"] };
  const { socket, subscribe } = socketIo(t, endpoint, anything("ann"), options, namespace);
  socket.on("message", ({ payload }) => heard.push(payload));
  socket.on("gap", () => (client.gaps += 1));
  socket.on("connect", () => {
    client.connections += 1;
    client.recovered.push(socket.recovered);
  });
  await subscribe(channel);
  return client;
}

/** Without what was heard a second time: one piece, which ends where the first hearing had ended. */
export function withoutRepetition(heard) {
  const at = heard.findIndex((n, index) => index > 0 && n <= heard[index - 1]);
  return at < 0 ? heard : heard.toSpliced(at, heard[at - 1] - heard[at] + 1);
}

/** Publishes numbers, one after the other, each until it is accepted. */
export function publisher(node, channel) {
  const back = { said: 0, say };
  async function say(count) {
    for (let n = 0; n < count; n++) {
      const data = back.said + 1;
      const body = { channel, event: "event", data, id: `${data}` };
      await eventually(async () => {
        const { status } = await publish(node, anything("worker"), body);
        assert.ok([200, 503].includes(status), `${status}`);
        return status === 200;
      });
      back.said = data;
    }
  }
  return back;
}
