// What is logged of clients: who came through which door, who asked for what, and who has gone.

import assert from "node:assert/strict";
import test from "node:test";

import { anything, plain, poll, socketIo, stream } from "./doors.mjs";
import { APP, eventually, startServer } from "./support.mjs";

const env = { HANDBELL__LOG__LEVEL: "info,handbell::clients=debug" };
const server = await startServer(test, { env });
const jwt = anything("ann");

/** The lines about clients, of all nodes. */
const lines = () => server.nodes.flatMap(({ log }) => log).filter(({ target }) => target === "handbell::clients");

/** The first line with all these fields, when it is there. */
async function logged(wanted) {
  const isIt = ({ fields }) => Object.entries(wanted).every(([name, value]) => fields[name] === value);
  const seen = () => lines().map(({ fields }) => JSON.stringify(fields)).join("\n");
  return (await eventually(() => lines().find(isIt), () => `${JSON.stringify(wanted)} in\n${seen()}`)).fields;
}

test("a client is logged with its user and its transport when it comes, says that it is there, and goes", async (t) => {
  const ws = plain(t, server, jwt);
  await ws.opened;
  ws.say({ type: "ping" });
  await ws.inbox.take("pong");
  ws.socket.close();
  const { socket } = await logged({ message: "connected", transport: "ws", user: "ann", app: APP.id });
  assert.match(socket, /^\d+\.\d+$/);
  await logged({ message: "heartbeat", transport: "ws", user: "ann", socket });
  const gone = await logged({ message: "disconnected", transport: "ws", user: "ann", socket, reason: "client" });
  assert.equal(typeof gone.seconds, "number");

  const client = socketIo(t, server.nodes[0], jwt, { transports: ["websocket"] });
  await client.inbox.take("connected");
  client.socket.emit("heartbeat", { timestamp: 1 });
  const { socket: other } = await logged({ message: "let in", transport: "socketio", user: "ann" });
  await logged({ message: "heartbeat", transport: "socketio", user: "ann", socket: other });
  client.socket.close();
  await logged({ message: "disconnected", transport: "socketio", user: "ann", socket: other });

  const { source, opened } = stream(t, server, "/sse/public:log", { jwt });
  await opened;
  await logged({ message: "connected", transport: "sse", user: "ann" });
  source.close();
  await logged({ message: "disconnected", transport: "sse", user: "ann" });
});

test("a poll is logged with its user and the place that it goes on from", async () => {
  const { body } = await poll(server, jwt, { channels: "public:log", wait: 0 });
  const lastMessageId = body.events.at(-1).id;
  await poll(server, jwt, { lastMessageId, wait: 0 });
  await logged({ message: "poll", transport: "longpoll", user: "ann", place: lastMessageId, app: APP.id });
});

test("a token is in no line", async () => {
  const [, payload] = jwt.split(".");
  const all = server.nodes.flatMap(({ log }) => log).map((line) => JSON.stringify(line));
  assert.ok(lines().length > 0);
  assert.ok(!all.some((line) => line.includes(payload) || line.includes("token=")));
});
