// The doors of tokens, through clients that know nothing of Handbell: the WebSocket of `ws`, the
// EventSource of `eventsource`, and fetch.

import { createHmac } from "node:crypto";

import { EventSource } from "eventsource";
import { io } from "socket.io-client";
import WebSocket from "ws";

import { APP } from "./endpoint.mjs";
import { Inbox } from "./waiting.mjs";

const base64 = (value) => Buffer.from(value).toString("base64url");

/** A JWT that an application signs for its user. */
export function token(sub, claims = {}, secret = APP.secret) {
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const parts = [{ alg: "HS256", typ: "JWT" }, { sub, exp, ...claims }].map((part) => base64(JSON.stringify(part)));
  const signature = createHmac("sha256", secret).update(parts.join(".")).digest("base64url");
  return `${parts.join(".")}.${signature}`;
}

/** A token for everything. */
export const anything = (sub) => token(sub, { permissions: ["*"] });

/** A WebSocket at /ws. Its inbox has the messages, by their type. */
export function plain(t, endpoint, jwt) {
  const socket = new WebSocket(`${endpoint.url.replace(/^http/, "ws")}/ws?token=${jwt}`);
  t.after(() => socket.terminate());
  const inbox = new Inbox();
  socket.on("message", (text) => {
    const message = JSON.parse(text);
    inbox.push({ ...message, name: message.event, event: message.type });
  });
  const opened = new Promise((resolve, reject) => {
    socket.on("open", resolve);
    socket.on("error", reject);
  });
  const closed = new Promise((resolve) => socket.on("close", (code) => resolve(code)));
  const say = (message) => socket.send(JSON.stringify(message));
  return {
    socket,
    inbox,
    opened,
    closed,
    say,
    async subscribe(channel, since) {
      await opened;
      say({ type: "subscribe", channel, since });
      return inbox.take("subscribed", (message) => message.channel === channel);
    },
  };
}

/** A Socket.IO client. Its inbox has the events, by their name; `data` is the first argument. */
export function socketIo(t, endpoint, jwt, options = {}, namespace = "") {
  const socket = io(endpoint.url + namespace, { auth: { token: `Bearer ${jwt}` }, forceNew: true, reconnectionDelay: 50, ...options });
  t.after(() => socket.close());
  const inbox = new Inbox();
  socket.onAny((event, data) => inbox.push({ event, data }));
  for (const event of ["connect", "disconnect", "connect_error"]) {
    socket.on(event, (data) => inbox.push({ event, data }));
  }
  const ask = (event, message) => new Promise((resolve) => socket.emit(event, message, resolve));
  return {
    socket,
    inbox,
    ask,
    async subscribe(topic, more = {}) {
      const answer = await ask("subscribe", { topic, timestamp: Date.now(), ...more });
      if (answer.status !== "success") throw new Error(JSON.stringify(answer));
      return answer;
    },
  };
}

/** An EventSource. Its inbox has the events of these names. */
export function stream(t, endpoint, path, { jwt, names = ["event", "marker", "gap"], headers = {} } = {}) {
  const auth = jwt ? { authorization: `Bearer ${jwt}` } : {};
  const source = new EventSource(`${endpoint.url}${path}`, {
    fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...auth, ...headers } }),
  });
  t.after(() => source.close());
  const inbox = new Inbox();
  for (const name of names) {
    source.addEventListener(name, ({ data, lastEventId }) => {
      inbox.push({ event: name, data: JSON.parse(data), id: lastEventId });
    });
  }
  const opened = new Promise((resolve) => source.addEventListener("open", resolve));
  return { source, inbox, opened };
}

/** One poll. */
export async function poll(endpoint, jwt, parameters) {
  const query = new URLSearchParams(parameters);
  const headers = { authorization: `Bearer ${jwt}` };
  const answer = await fetch(`${endpoint.url}/api/realtime/poll?${query}`, { headers });
  return { status: answer.status, body: await answer.json() };
}

/** A client that polls until it is told to stop. Its inbox has what came, by its type. */
export async function poller(t, endpoint, jwt, channel) {
  const inbox = new Inbox();
  const client = { inbox, isStopped: false, polls: 0 };
  t.after(() => (client.isStopped = true));
  let lastMessageId = "";
  const once = async (wait) => {
    const { status, body } = await poll(endpoint, jwt, { channels: channel, lastMessageId, wait });
    client.polls += 1;
    if (status === 503) return;
    if (status !== 200) throw new Error(`${status}: ${JSON.stringify(body)}`);
    for (const { type, event, ...rest } of body.events) {
      inbox.push({ event: type, name: event, ...rest });
      lastMessageId = rest.id;
    }
  };
  await once(0);
  client.done = (async () => {
    while (!client.isStopped) {
      await once(1).catch((error) => {
        if (!client.isStopped) throw error;
      });
    }
  })();
  return client;
}

/** Publishes with a token, over HTTP. */
export async function publish(endpoint, jwt, body) {
  const headers = { authorization: `Bearer ${jwt}`, "content-type": "application/json" };
  const answer = await fetch(`${endpoint.url}/api/realtime/publish`, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
}
