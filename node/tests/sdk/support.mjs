// What the scenarios share: a real server, real clients, a raw wire, a webhook sink, and waiting.
//
// Every helper that starts something takes a test `t` (or the module `test`, for a whole file) and
// stops it again when that is over.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join as path } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import PusherServer from "pusher";
import Pusher from "pusher-js";
import WebSocket from "ws";

export const APP = { id: "42", key: "test-key", secret: "test-secret" };
const MASTER_KEY = Buffer.alloc(32, 7).toString("base64");
const BINARY = process.env.HANDBELL_BIN;
/** Longer than anything here takes, on a busy machine too. */
const DEADLINE_MS = 15_000;

/** Waits until `condition` gives something true, and returns that. */
export async function eventually(condition, what = () => condition, deadlineMs = DEADLINE_MS) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) assert.fail(`not within ${deadlineMs} ms: ${what()}`);
    await sleep(10);
  }
}

/** Things with an `event` name, in the order in which they came. */
export class Inbox {
  items = [];

  push(item) {
    this.items.push(item);
  }

  /** Takes out the first item of that name (and property), when it is there. */
  async take(event, matches = () => true) {
    const index = await this.#find(event, matches);
    return this.items.splice(index, 1)[0];
  }

  /** Takes out everything up to the first item of that name, and returns what came before it. */
  async until(event) {
    const index = await this.#find(event, () => true);
    return this.items.splice(0, index + 1).slice(0, -1);
  }

  get events() {
    return this.items.map((item) => item.event);
  }

  async #find(event, matches) {
    const find = () => this.items.findIndex((item) => item.event === event && matches(item));
    await eventually(
      () => find() >= 0,
      () => `"${event}"; the last to come were ${JSON.stringify(this.items.slice(-5))}`,
    );
    return find();
  }
}

/** Records every event of a pusher-js client, channel or connection. */
export function record(emitter) {
  const inbox = new Inbox();
  emitter.bind_global((event, data) => inbox.push({ event, data }));
  return inbox;
}

/** Subscribes with pusher-js, and waits until the server has agreed. */
export async function join(client, name) {
  const channel = client.subscribe(name);
  const inbox = record(channel);
  await inbox.take("pusher:subscription_succeeded");
  return { channel, inbox };
}

/** Waits until a pusher-js client is in this state. */
export async function state(client, expected) {
  const { connection } = client;
  await eventually(
    () => connection.state === expected,
    () => `state ${expected}; it is ${connection.state}`,
  );
}

/** A running `handbell serve` with one app. */
export class Server {
  #child;
  #config;
  #env;
  port = 0;
  scheme = "http";

  constructor(config, env) {
    this.#config = config;
    this.#env = env;
  }

  /** Starts the process, on a free port the first time and on the same one afterwards. */
  async start() {
    assert.ok(BINARY, "HANDBELL_BIN names the server; run.sh sets it");
    const listen = `server.listen=127.0.0.1:${this.port}`;
    const child = spawn(BINARY, ["serve", "--config", this.#config, "--set", listen], {
      env: { ...process.env, ...this.#env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#child = child;
    const log = [];
    createInterface(child.stderr).on("line", (line) => {
      log.push(line);
      const { fields } = line.startsWith("{") ? JSON.parse(line) : {};
      if (fields?.message === "serving") this.port = Number(fields.clients.split(":").at(-1));
    });
    await eventually(
      () => child.exitCode !== null || this.#isReady(),
      () => `the server is ready; it said ${log.join("\n")}`,
    );
    assert.equal(child.exitCode, null, log.join("\n"));
  }

  /** Stops the process, as an operator would unless told otherwise, and waits for its end. */
  async stop(signal = "SIGTERM") {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }

  async #isReady() {
    if (this.port === 0) return false;
    return fetch(`${this.url}/ready`).then(
      (answer) => answer.ok,
      () => false,
    );
  }

  get url() {
    return `${this.scheme}://127.0.0.1:${this.port}`;
  }

  /** The official server SDK. */
  sdk(options = {}) {
    return new PusherServer({
      appId: APP.id,
      key: APP.key,
      secret: APP.secret,
      host: "127.0.0.1",
      port: String(this.port),
      useTLS: false,
      encryptionMasterKeyBase64: MASTER_KEY,
      timeout: DEADLINE_MS,
      ...options,
    });
  }

  /** pusher-js; `user` is who it is in presence channels and after a signin. */
  client(t, { user, key = APP.key, ...options } = {}) {
    const client = new Pusher(key, { ...this.clientOptions(user), ...options });
    t.after(() => client.disconnect());
    return client;
  }

  /** The options of pusher-js, with an application that agrees to everything. */
  clientOptions(user) {
    const sdk = this.sdk();
    const member = user && { user_id: user.id, user_info: user.user_info };
    return {
      cluster: "mt1",
      wsHost: "127.0.0.1",
      wsPort: this.port,
      forceTLS: false,
      enabledTransports: ["ws", "wss"],
      channelAuthorization: {
        customHandler: ({ socketId, channelName }, done) => {
          const data = channelName.startsWith("presence-") ? member : undefined;
          done(null, sdk.authorizeChannel(socketId, channelName, data));
        },
      },
      userAuthentication: {
        customHandler: ({ socketId }, done) => done(null, sdk.authenticateUser(socketId, user)),
      },
    };
  }

  /** A raw connection that has been greeted. */
  async wire(t, options) {
    const wire = this.dial(t, options);
    const { data } = await wire.frames.take("pusher:connection_established");
    wire.socketId = JSON.parse(data).socket_id;
    return wire;
  }

  /** A raw connection, whatever becomes of it. */
  dial(t, { key = APP.key, query = "protocol=7", ...options } = {}) {
    const socket = new WebSocket(`ws://127.0.0.1:${this.port}/app/${key}?${query}`, options);
    t.after(() => socket.terminate());
    return new Wire(socket, this.sdk());
  }
}

/** A WebSocket that shows the frames which SDKs hide. */
export class Wire {
  frames = new Inbox();

  constructor(socket, sdk) {
    this.socket = socket;
    this.sdk = sdk;
    socket.on("message", (text) => this.frames.push(JSON.parse(text)));
    this.closed = once(socket, "close").then(([code]) => ({ code }));
  }

  send(event, data, channel) {
    this.socket.send(JSON.stringify({ event, data, channel }));
  }

  /** Subscribes with a good signature, and waits until the server has agreed. */
  async join(channel, member) {
    const signed = this.sdk.authorizeChannel(this.socketId, channel, member);
    this.send("pusher:subscribe", { channel, ...signed });
    return this.frames.take("pusher_internal:subscription_succeeded");
  }

  /** Signs in with a good signature, and waits until the server has agreed. */
  async signIn(user) {
    this.send("pusher:signin", this.sdk.authenticateUser(this.socketId, user));
    return this.frames.take("pusher:signin_success");
  }

  /** Waits until the server has handled everything that was sent before. */
  async settled() {
    this.send("pusher:ping", {});
    await this.frames.take("pusher:pong");
  }
}

/**
 * Starts a server. `server` and `app` are further lines of TOML for those sections; `app` may open
 * subsections such as `[apps.limits]` and `[[apps.webhooks]]`.
 */
export async function startServer(t, { server = "", app = "", env = {}, scheme = "http" } = {}) {
  const directory = await mkdtemp(path(tmpdir(), "handbell-"));
  const config = path(directory, "config.toml");
  await writeFile(
    config,
    `
[server]
${server}
[admin]
listen = "127.0.0.1:0"
[drain]
delay = "0ms"
window = "100ms"
[log]
format = "json"
[[apps]]
id = "${APP.id}"
key = "${APP.key}"
secret = "${APP.secret}"
${app}`,
  );
  const running = new Server(config, env);
  running.scheme = scheme;
  t.after(async () => {
    await running.stop("SIGKILL");
    await rm(directory, { recursive: true });
  });
  await running.start();
  return running;
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
