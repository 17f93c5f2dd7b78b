// What the scenarios share: real servers and clients, a webhook sink, and waiting.
//
// Every helper that starts something takes a test `t` (or the module `test`, for a whole file) and
// stops it again when that is over.

import { once } from "node:events";
import http from "node:http";

import PusherServer from "pusher";

import { APP } from "./endpoint.mjs";
import { Inbox } from "./waiting.mjs";

export { APP } from "./endpoint.mjs";
export { startBalancer, startProxy, startServer } from "./server.mjs";
export { eventually, Inbox, join, record, state } from "./waiting.mjs";

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
