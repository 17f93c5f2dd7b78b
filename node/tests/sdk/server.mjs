// Real processes: one `handbell serve`, or several that are one cluster behind a TCP balancer.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join as path } from "node:path";
import { createInterface } from "node:readline";

import { APP, Endpoint } from "./endpoint.mjs";
import { eventually } from "./waiting.mjs";

const BINARY = process.env.HANDBELL_BIN;
/** How many nodes a server is made of, unless a scenario needs to know. */
const NODES = Number(process.env.HANDBELL_NODES ?? 1);
/** Processes that must not outlive the tests, whatever becomes of those. */
const children = new Set();
process.once("exit", () => children.forEach((child) => child.kill("SIGKILL")));
const CLUSTER_SECRET = "what all nodes of the tests know";

/** A running `handbell serve`. */
export class Node extends Endpoint {
  #child;
  #config;
  #env;
  #log = [];
  #address = "127.0.0.1:0";
  #admin = "";

  constructor(id, { config, env, scheme }) {
    super();
    this.id = id;
    this.scheme = scheme;
    this.#config = config;
    this.#env = env;
  }

  /** Starts the process, on free ports the first time and on the same ones afterwards. */
  async start(settings = []) {
    assert.ok(BINARY, "HANDBELL_BIN names the server; run.sh sets it");
    const listen = `server.listen=127.0.0.1:${this.port}`;
    const flags = [listen, ...settings].flatMap((setting) => ["--set", setting]);
    const child = spawn(BINARY, ["serve", "--config", this.#config, ...flags], {
      env: { ...process.env, ...this.#env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    children.add(child.once("exit", () => children.delete(child)));
    this.#child = child;
    this.#log = [];
    this.#admin = "";
    createInterface(child.stderr).on("line", (line) => this.#hear(line));
    await eventually(
      () => !this.isRunning || this.#isReady(),
      () => `${this.id} is ready; it said ${this.#log.join("\n")}`,
    );
    assert.ok(this.isRunning, this.#log.join("\n"));
  }

  /** As `start`, as a part of a cluster: the one that these running nodes are, or a new one. */
  async join(others) {
    const seeds = others.map((node) => node.#address);
    await this.start([
      `cluster.node_id=${this.id}`,
      `cluster.listen=${this.#address}`,
      `cluster.seeds=${JSON.stringify(seeds)}`,
      `cluster.secret=${CLUSTER_SECRET}`,
      // Whoever knows others waits for them.
      `cluster.bootstrap_after=${seeds.length > 0 ? "60s" : "0ms"}`,
    ]);
  }

  /** Stops the process, as an operator would unless told otherwise, and waits for its end. */
  async stop(signal = "SIGTERM") {
    if (!this.isRunning) return;
    this.#child.kill(signal);
    await once(this.#child, "exit");
  }

  /** What it has logged since its start. */
  get log() {
    return this.#log.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  }

  get isRunning() {
    const { exitCode, signalCode } = this.#child ?? {};
    return exitCode === null && signalCode === null;
  }

  /** Asks the admin port for JSON. */
  async ask(question) {
    return JSON.parse(await this.#get(question));
  }

  /** A metric, summed over its labels, or over those that have this one. */
  async metric(name, label = "") {
    const lines = (await this.#get("/metrics")).matchAll(/^(\w+)(\{.*\})? (.*)$/gm);
    const isIt = ([, of, labels = ""]) => of === name && labels.includes(label);
    return [...lines].filter(isIt).reduce((sum, [, , , value]) => sum + Number(value), 0);
  }

  /** Whether this node sees so many nodes, and serves what is its own among them. */
  async isOneOf(count) {
    const { view, slots_owned, node } = await this.ask("/cluster");
    const share = view.members.find(({ id }) => id === node.id)?.slots;
    const areServing = view.members.every(({ phase }) => phase === "serving");
    return view.members.length === count && areServing && slots_owned === share;
  }

  async #get(question) {
    const answer = await fetch(`http://${this.#admin}${question}`);
    const text = await answer.text();
    assert.ok(answer.ok, `${question}: ${answer.status} ${text}`);
    return text;
  }

  #hear(line) {
    this.#log.push(line);
    const { fields } = line.startsWith("{") ? JSON.parse(line) : {};
    if (fields?.message !== "serving") return;
    this.port = Number(fields.clients.split(":").at(-1));
    this.#admin = fields.admin;
    this.#address = fields.cluster ?? this.#address;
  }

  async #isReady() {
    if (this.#admin === "") return false;
    return fetch(`http://${this.#admin}/readyz`).then(
      (answer) => answer.ok,
      () => false,
    );
  }
}

/** One app on one node, or on several behind a balancer: `port` is where its clients go. */
export class Server extends Endpoint {
  #balancer;

  constructor(nodes, balancer) {
    super();
    this.nodes = nodes;
    this.scheme = nodes[0].scheme;
    this.#balancer = balancer;
  }

  /** Starts all nodes, and waits until they agree. */
  async start() {
    const [first, ...others] = this.nodes;
    if (!this.#balancer) {
      await first.start();
      this.port = first.port;
      return;
    }
    await first.join([]);
    await Promise.all(others.map((node) => node.join([first])));
    await this.settled();
    this.port = this.#balancer.port;
    this.#balancer.targets = this.nodes.map((node) => node.port);
  }

  /** Waits until all running nodes know of each other and serve. */
  async settled() {
    const running = this.nodes.filter((node) => node.isRunning);
    const areOne = async () => {
      const seen = await Promise.all(running.map((node) => node.isOneOf(running.length)));
      return seen.every(Boolean);
    };
    await eventually(areOne, () => `${running.length} nodes are one cluster`);
  }

  /** Stops all nodes. */
  async stop(signal) {
    await Promise.all(this.nodes.map((node) => node.stop(signal)));
  }
}

/**
 * Starts a server. `server` and `app` are further lines of TOML for those sections; `app` may open
 * subsections such as `[apps.limits]` and `[[apps.webhooks]]`.
 */
export async function startServer(t, { nodes = NODES, scheme = "http", env = {}, ...toml } = {}) {
  const directory = await mkdtemp(path(tmpdir(), "handbell-"));
  const config = path(directory, "config.toml");
  await writeFile(config, configuration(toml));
  const node = (_, index) => new Node(`node-${index + 1}`, { config, env, scheme });
  const balancer = nodes > 1 ? await startBalancer(t) : undefined;
  const running = new Server(Array.from({ length: nodes }, node), balancer);
  t.after(async () => {
    await running.stop("SIGKILL");
    await rm(directory, { recursive: true });
  });
  await running.start();
  return running;
}

const configuration = ({ server = "", app = "" }) => `
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
${app}`;

/**
 * A TCP balancer: each new connection goes to the next of its `targets`, which are ports, or to the
 * one after it when nobody listens there.
 */
export async function startBalancer(t, targets = []) {
  const balancer = { targets };
  let next = 0;
  const sockets = new Set();
  const keep = (socket) => sockets.add(socket.on("close", () => sockets.delete(socket)));
  const listener = net.createServer((client) => {
    keep(client);
    client.isClients = true;
    const first = next++;
    const dial = (tries) => {
      const { length } = balancer.targets;
      if (tries === length) return client.destroy();
      const server = net.connect(balancer.targets[(first + tries) % length], "127.0.0.1");
      const refused = () => dial(tries + 1);
      server.once("error", refused);
      server.once("connect", () => {
        server.off("error", refused);
        keep(server);
        splice(client, server);
      });
    };
    // Until it is connected, the client's errors are nobody's.
    client.on("error", () => {});
    dial(0);
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  t.after(() => {
    listener.close();
    for (const socket of sockets) socket.destroy();
  });
  balancer.port = listener.address().port;
  /** Cuts all connections. */
  balancer.cut = () => sockets.forEach((socket) => socket.destroy());
  /** Passes nothing on any more between those who are connected, and tells nobody. */
  /** Ends the clients' side of all connections; their other side stays as it is, and silent. */
  balancer.vanish = () => {
    for (const socket of sockets) {
      socket.unpipe().removeAllListeners("close");
      if (socket.isClients) socket.destroy();
      else socket.pause();
    }
  };
  balancer.freeze = () => sockets.forEach((socket) => socket.unpipe().pause().removeAllListeners("close"));
  return balancer;
}

/**
 * An HTTP balancer that remembers nobody: each request goes to the next of its `targets`, which are
 * ports, whatever the connection it came by; and so does each upgrade.
 */
export async function startProxy(t, targets, { blocksUpgrades = false } = {}) {
  const proxy = { targets, requests: 0, blocksUpgrades, blocked: 0 };
  const next = () => proxy.targets[proxy.requests++ % proxy.targets.length];
  const upgrades = new Set();
  /** Cuts all WebSockets. */
  proxy.cut = () => upgrades.forEach((socket) => socket.destroy());
  const open = (request) => {
    const { method, url, headers } = request;
    return http.request({ host: "127.0.0.1", port: next(), method, path: url, headers, agent: false });
  };
  const listener = http.createServer((request, response) => {
    const further = open(request);
    further.on("response", (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    further.on("error", () => response.destroy());
    response.on("close", () => further.destroy());
    request.pipe(further);
  });
  listener.on("upgrade", (request, socket, head) => {
    upgrades.add(socket.on("close", () => upgrades.delete(socket)));
    if (proxy.blocksUpgrades) {
      proxy.blocked += 1;
      return socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    }
    const further = open(request);
    further.on("upgrade", (answer, upgraded, rest) => {
      const headers = answer.rawHeaders.flatMap((name, at, all) => (at % 2 ? [] : [`${name}: ${all[at + 1]}`]));
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${headers.join("\r\n")}\r\n\r\n`);
      socket.write(rest);
      upgraded.write(head);
      splice(socket, upgraded);
    });
    further.on("response", (answer) => {
      socket.end(`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}\r\nConnection: close\r\n\r\n`);
    });
    further.on("error", () => socket.destroy());
    further.end();
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  t.after(() => {
    listener.closeAllConnections();
    listener.close();
  });
  proxy.port = listener.address().port;
  proxy.url = `http://127.0.0.1:${proxy.port}`;
  return proxy;
}

/** Passes bytes both ways until one side ends, however it does. */
function splice(client, server) {
  for (const [from, to] of [[client, server], [server, client]]) {
    from.pipe(to);
    from.on("error", () => to.destroy());
    from.on("close", () => to.destroySoon());
  }
  if (client.destroyed) server.destroy();
}
