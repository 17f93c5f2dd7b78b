// TLS on the server itself. run.sh makes a certificate, and has Node trust it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import https from "node:https";
import { tmpdir } from "node:os";
import { join as path } from "node:path";
import test from "node:test";
import tls from "node:tls";

import { eventually, join, startServer } from "./support.mjs";

const { NODE_EXTRA_CA_CERTS: trusted, HANDBELL_TLS_KEY: trustedKey } = process.env;
assert.ok(trusted && trustedKey, "NODE_EXTRA_CA_CERTS and HANDBELL_TLS_KEY name files; run.sh sets them");

const files = await mkdtemp(path(tmpdir(), "handbell-tls-"));
test.after(() => rm(files, { recursive: true }));
const [certificate, key] = [path(files, "certificate.pem"), path(files, "key.pem")];
await Promise.all([copyFile(trusted, certificate), copyFile(trustedKey, key)]);

const server = await startServer(test, {
  scheme: "https",
  server: `tls = { certificate = "${certificate}", key = "${key}" }`,
  app: "tls_only = true",
});
const connect = (t) => server.client(t, { wssPort: server.port, forceTLS: true });

test("the server SDK publishes with useTLS: true, and pusher-js hears it with forceTLS: true", async (t) => {
  const { inbox } = await join(connect(t), "private-room");
  await server.sdk({ useTLS: true }).trigger("private-room", "event", { n: 1 });
  assert.deepEqual((await inbox.take("event")).data, { n: 1 });
});

test("the server SDK publishes with useTLS: false to a server without TLS", async (t) => {
  const plain = await startServer(t);
  const { inbox } = await join(plain.client(t), "room");
  await plain.sdk({ useTLS: false }).trigger("room", "event", {});
  await inbox.take("event");
});

test("a renewed certificate is shown without a restart, and who was connected stays so", async (t) => {
  const client = connect(t);
  const { inbox } = await join(client, "room");
  const before = await shownCertificate();
  const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const paths = ["-subj", "/CN=renewed", "-keyout", key, "-out", certificate];
  execFileSync("openssl", [...request, ...paths], { stdio: "ignore" });
  await eventually(async () => (await shownCertificate()) !== before);

  const agent = new https.Agent({ rejectUnauthorized: false });
  await server.sdk({ useTLS: true, agent }).trigger("room", "event", {});
  await inbox.take("event");
});

/** The fingerprint of the certificate that a new connection is shown. */
function shownCertificate() {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port: server.port, rejectUnauthorized: false };
    const socket = tls.connect(options, () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
    socket.on("error", reject);
  });
}
