// What the scenarios share: real servers and clients, a webhook sink, and waiting.
//
// Every helper that starts something takes a test `t` (or the module `test`, for a whole file) and
// stops it again when that is over.

import { once } from "node:events";
import http from "node:http";
import net from "node:net";

import PusherServer from "pusher";

import { APP } from "./endpoint.mjs";
import { eventually, Inbox } from "./waiting.mjs";

export { APP } from "./endpoint.mjs";
export { startBalancer, startProxy, startServer } from "./server.mjs";
export { eventually, Inbox, join, record, state } from "./waiting.mjs";

/** The numbers from `first` to `last`. */
export const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, n) => first + n);

/** A channel whose name begins like this and that lives on this node. */
export async function ownedBy(node, prefix) {
  for (let n = 0; ; n++) {
    const name = `${prefix}-${n}`;
    const { owner } = await node.ask(`/cluster/owner?app=${APP.id}&channel=${name}`);
    if (owner === node.id) return name;
  }
}

/** Waits until so many are subscribed to a channel, or more. */
export async function subscribed(endpoint, channel, count = 1) {
  const params = { info: "subscription_count" };
  const ask = async () => (await endpoint.sdk().get({ path: `/channels/${channel}`, params })).json();
  await eventually(async () => (await ask()).subscription_count >= count, () => `${count} subscribers of ${channel}`);
}

/** A port that nobody listens on. */
export async function freePort() {
  const listener = net.createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  return port;
}

/** An HTTP server on a free port; `answer` is given the request and its body. */
export async function startHttp(t, answer) {
  const server = http.createServer(async (request, response) => {
    const chunks = await request.toArray();
    const { status = 200, headers = {}, body = "" } = await answer(request, `${Buffer.concat(chunks)}`);
    response.writeHead(status, headers).end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/**
 * A receiver of webhooks. It keeps every delivery as it came, and the events of those that the
 * server SDK finds valid and that were answered with 200. `answer` is given the delivery's number.
 */
export async function startSink(t, answer = () => 200) {
  const sdk = new PusherServer({ appId: APP.id, key: APP.key, secret: APP.secret });
  const sink = { deliveries: [], events: new Inbox() };
  sink.url = await startHttp(t, (request, rawBody) => {
    const webhook = sdk.webhook({ headers: request.headers, rawBody });
    const status = answer(sink.deliveries.length);
    sink.deliveries.push({ webhook, rawBody, headers: request.headers, at: Date.now(), status });
    if (status === 200 && webhook.isValid()) {
      for (const { id, epoch, seq, ...body } of webhook.getEvents()) {
        // Ours beside Pusher's: which edge it is, and its place among the channel's.
        sink.events.push({ event: body.name, body, edge: { id, epoch, seq } });
      }
    }
    return { status };
  });
  /** Lines for the app's configuration. */
  sink.toml = (more = "") => `
[[apps.webhooks]]
url = "${sink.url}/hook"
allow_private_address = true
${more}`;
  return sink;
}
