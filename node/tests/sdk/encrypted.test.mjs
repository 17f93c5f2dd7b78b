// Encrypted channels: the server carries what it cannot read.

import assert from "node:assert/strict";
import test from "node:test";

import { join, record, startServer } from "./support.mjs";

const server = await startServer(test);
const sdk = server.sdk();
const DATA = { price: 1.5, text: "漢字 🛎️" };

test("pusher-js decrypts what the server SDK has encrypted", async (t) => {
  const { inbox } = await join(server.client(t), "private-encrypted-room");
  await sdk.trigger("private-encrypted-room", "event", DATA);
  assert.deepEqual((await inbox.take("event")).data, DATA);
});

test("ciphertext and nonce go through untouched", async (t) => {
  const wire = await server.wire(t);
  const { auth } = sdk.authorizeChannel(wire.socketId, "private-encrypted-raw");
  wire.send("pusher:subscribe", { channel: "private-encrypted-raw", auth });
  await wire.frames.take("pusher_internal:subscription_succeeded");
  const data = '{"nonce":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "ciphertext":"b3BhcXVl"}';
  await sdk.post({ path: "/events", body: { name: "event", channel: "private-encrypted-raw", data } });
  const frame = await wire.frames.take("event");
  assert.deepEqual(frame, { event: "event", channel: "private-encrypted-raw", data });
});

test("an encrypted channel is a private channel first", async (t) => {
  const wire = await server.wire(t);
  wire.send("pusher:subscribe", { channel: "private-encrypted-room", auth: "" });
  const { data } = await wire.frames.take("pusher:subscription_error");
  assert.equal(data.type, "AuthError");
});

test("a trigger to several channels, one of them encrypted, is refused and reaches none", async (t) => {
  const { inbox } = await join(server.client(t), "plain");
  const channels = ["plain", "private-encrypted-room"];
  assert.throws(() => sdk.trigger(channels, "event", DATA), /multiple channels/);
  const body = { name: "event", channels, data: "{}" };
  await assert.rejects(sdk.post({ path: "/events", body }), { status: 400 });
  await sdk.trigger("plain", "marker", {});
  assert.deepEqual(await inbox.until("marker"), []);
});

test("a batch may mix encrypted and plain events", async (t) => {
  const client = server.client(t);
  const [secret, plain] = await Promise.all([
    join(client, "private-encrypted-batch"),
    join(client, "plain-batch"),
  ]);
  await sdk.triggerBatch([
    { channel: "private-encrypted-batch", name: "event", data: DATA },
    { channel: "plain-batch", name: "event", data: DATA },
  ]);
  assert.deepEqual((await secret.inbox.take("event")).data, DATA);
  assert.deepEqual((await plain.inbox.take("event")).data, DATA);
});

test("an encrypted cache channel gives a newcomer the last event, still encrypted", async (t) => {
  const name = "private-encrypted-cache-room";
  await sdk.trigger(name, "event", DATA);
  const inbox = record(server.client(t).subscribe(name));
  assert.deepEqual((await inbox.take("event")).data, DATA);
});
