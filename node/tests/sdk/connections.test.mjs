// One connection, ended by the application from wherever it is.

import assert from "node:assert/strict";
import test from "node:test";

import { anything, socketIo } from "./doors.mjs";
import { eventually, startServer } from "./support.mjs";

const server = await startServer(test, { app: '[apps.namespaces]\n"/admin" = "topics"' });
const terminate = (node, id) => node.sdk().post({ path: `/connections/${id}/terminate`, body: {} });

test("a connection is ended by the id that its client knows, whatever the node, and others stay", async (t) => {
  for (const node of server.nodes) {
    const [gone, stays] = [0, 1].map(() => socketIo(t, node, anything("ann"), { transports: ["websocket"] }));
    const { data: hello } = await gone.inbox.take("connected");
    await stays.inbox.take("connected");
    const answer = await terminate(server, hello.connectionId);
    assert.deepEqual(await answer.json(), {});
    assert.equal((await gone.inbox.take("disconnect")).data, "io server disconnect");
    assert.equal(stays.socket.connected, true);

    const [wire, other] = [await node.wire(t), await node.wire(t)];
    await terminate(server, wire.socketId);
    assert.equal((await wire.closed).code, 4009);
    await other.join("room");
  }
});

test("a socket of a further namespace is ended by its own id, and the others of its connection stay", async (t) => {
  const main = socketIo(t, server.nodes[0], anything("ann"), { transports: ["websocket"] });
  await main.inbox.take("connected");
  const admin = main.socket.io.socket("/admin", { auth: { token: anything("ann") } });
  const next = (event) => new Promise((resolve) => admin.once(event, resolve));
  const greeted = next("connected");
  const { connectionId } = await greeted;
  const ended = next("disconnect");
  await terminate(server, connectionId);
  assert.equal(await ended, "io server disconnect");
  assert.equal(main.socket.connected, true);
});

test("a client that has come back is ended by the id that it kept", async (t) => {
  const client = socketIo(t, server.nodes[0], anything("ann"), { transports: ["websocket"] });
  const { data: hello } = await client.inbox.take("connected");
  await client.subscribe("public:room");
  await eventually(() => client.inbox.events.includes("subscribed"));
  client.socket.io.engine.close();
  await client.inbox.take("disconnect");
  await eventually(() => client.socket.connected);
  assert.deepEqual([client.socket.recovered, client.socket.id], [true, hello.connectionId]);
  await client.inbox.take("connected");
  await eventually(() => terminate(server, hello.connectionId).then(() => true, () => false));
  assert.equal((await client.inbox.take("disconnect")).data, "io server disconnect");
});

test("a connection that there is not is a connection_not_found", async (t) => {
  const client = socketIo(t, server.nodes[0], anything("ann"), { transports: ["websocket"] });
  const { data: hello } = await client.inbox.take("connected");
  client.socket.close();
  const status = (id) => terminate(server, id).then(() => 200, ({ status, body }) => [status, JSON.parse(body).code]);
  await eventually(async () => (await status(hello.connectionId))[1] === "connection_not_found");
  for (const id of ["nobody", "1.2"]) assert.deepEqual(await status(id), [404, "connection_not_found"]);
});
