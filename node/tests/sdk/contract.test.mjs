// The events of the Socket.IO door against their schema, docs/doors/socketio.schema.json.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

import Ajv from "ajv/dist/2020.js";

import { anything, publish, socketIo } from "./doors.mjs";
import { startServer } from "./support.mjs";

const SCHEMA = JSON.parse(await readFile(new URL("../../../docs/doors/socketio.schema.json", import.meta.url)));
const ajv = new Ajv({ allErrors: true, strict: false }).addSchema(SCHEMA, "schema");
const page = await readFile(new URL("../../../docs/doors/socketio.md", import.meta.url), "utf8");

const server = await startServer(test);
const connect = (t, jwt) => socketIo(t, server.nodes[0], jwt, { transports: ["websocket"] });
let number = 0;
const fresh = (prefix) => `${prefix}-${process.pid}-${(number += 1)}`;

/** Whether a value is what the schema says at a place in it. */
const fits = (place, value) => ajv.getSchema(`schema#/$defs/${place}`)(value);

function check(place, value) {
  const validate = ajv.getSchema(`schema#/$defs/${place}`);
  assert.ok(validate, `there is no schema for ${place}`);
  assert.ok(validate(value), `${place}: ${JSON.stringify(value)} ${ajv.errorsText(validate.errors)}`);
}

const EVENTS = Object.keys(SCHEMA.$defs.server.$defs);
const REQUESTS = Object.keys(SCHEMA.$defs.client.$defs);

test("the page and the schema name the same events", () => {
  const rows = (heading) => page.split(`## ${heading}`)[1].split("\n## ")[0].match(/^\| `.*$/gm);
  const names = (heading) => rows(heading).flatMap((row) => row.split("|")[1].match(/\w+/g));
  assert.deepEqual(names("What the server says").toSorted(), EVENTS.toSorted());
  assert.deepEqual(names("What a client says").toSorted(), REQUESTS.toSorted());
});

test("every event of the server has the fields that the schema has, and no others", async (t) => {
  const [client, other] = [connect(t, anything("ann")), connect(t, anything("bob"))];
  const heard = [];
  // A place may stand behind what a channel sends, and nothing else.
  client.socket.onAny((event, data, ...more) => heard.push({ event, data, more }));
  await Promise.all([client.inbox.take("connected"), other.inbox.take("connected")]);
  const [topic, presence] = [fresh("room"), fresh("presence-room")];
  await client.subscribe(topic, { messageId: "one" });
  await client.subscribe(presence);
  await other.subscribe(presence);
  await client.inbox.take("member_added");
  await other.ask("unsubscribe", { topic: presence });
  await client.inbox.take("member_removed");
  for (const payload of [{ type: "text" }, "text", 1, null, [], true]) {
    await client.ask("publish", { topic, payload, messageId: fresh("msg") });
  }
  await publish(server, anything("bob"), { channel: topic, event: "e", data: { from: "HTTP" } });
  await server.sdk().trigger(topic, "event", "no JSON");
  await server.sdk().post({ path: "/notifications", body: { channel: topic, message: "note", level: "error" } });
  await client.ask("subscribe", { topic: "no spaces", messageId: "refused" });
  client.socket.emit("dance", {});
  client.socket.emit("heartbeat", { timestamp: 17 });
  client.socket.emit("heartbeat", {});
  await client.ask("unsubscribe", { topic });
  for (const event of ["error", "heartbeat_ack", "unsubscribed", "notification"]) await client.inbox.take(event);
  await client.inbox.take("heartbeat_ack");

  for (const { event, data, more } of heard) {
    check(`server/$defs/${event}`, data);
    assert.ok(more.length <= 1 && more.every((place) => typeof place === "string"), event);
  }
  const seen = new Set(heard.map(({ event }) => event));
  // A gap needs a fault: doors_faults.test.mjs. It has the fields of `unsubscribed`.
  assert.deepEqual(EVENTS.filter((event) => !seen.has(event)), ["gap"]);
});

test("what a client may say by the schema is done, and what it may not is an invalid_message", async (t) => {
  const client = connect(t, anything("ann"));
  await client.inbox.take("connected");
  const topic = fresh("public:room");
  const table = [
    ["subscribe", { topic }],
    ["subscribe", { topic, messageId: "id", timestamp: Date.now(), ackRequired: true, of: "another" }],
    ["subscribe", {}],
    ["subscribe", { topic: 7 }],
    ["subscribe", "text"],
    ["subscribe", { topic, ackRequired: "yes" }],
    ["publish", { topic, payload: { type: "text", content: "hello" }, messageId: "m1", timestamp: 1, ackRequired: true, priority: "normal", ttl: 0 }],
    ["publish", { topic, payload: null, priority: "low", ttl: 60_000, ackRequired: false }],
    ["publish", { topic }],
    ["publish", { topic, payload: 1, priority: "urgent" }],
    ["publish", { topic, payload: 1, ttl: -1 }],
    ["publish", { topic, payload: 1, ttl: "soon" }],
    ["publish", { topic, payload: 1, messageId: "" }],
    ["publish", { topic, payload: 1, messageId: "x".repeat(129) }],
    ["unsubscribe", { topic, messageId: "m2" }],
    ["unsubscribe", {}],
  ];
  for (const [event, message] of table) {
    const answer = await client.ask(event, message);
    const what = `${event} ${JSON.stringify(message).slice(0, 100)}: ${JSON.stringify(answer)}`;
    if (fits(`client/$defs/${event}`, message)) {
      check(`answer/$defs/${event}`, answer);
    } else {
      check("refused", answer);
      assert.equal(answer.error, "invalid_message", what);
    }
  }
  for (const message of [{ timestamp: 1 }, { timestamp: "then" }, {}]) {
    assert.ok(fits("client/$defs/heartbeat", message));
    client.socket.emit("heartbeat", message);
    check("server/$defs/heartbeat_ack", (await client.inbox.take("heartbeat_ack")).data);
  }
});
