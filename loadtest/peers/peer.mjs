// What a team writes by hand before it takes a broker: Socket.IO's own server with rooms, and an event
// stream for each channel, on one process of Node, with no token checked and nothing remembered.
// `node peer.mjs PORT`; the load test drives it with `--url` and `--doors socketio` or `sse`.

import http from "node:http";

import { Server } from "socket.io";

const port = Number(process.argv[2] ?? 7900);
const streams = new Map();
let number = 0;

function stream(request, response) {
  const channel = decodeURIComponent(new URL(request.url, "http://peer").pathname.slice("/sse/".length));
  const of = streams.get(channel) ?? new Set();
  streams.set(channel, of.add(response));
  response.on("close", () => of.delete(response));
  response.useChunkedEncodingByDefault = false;
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store", connection: "close" });
  response.flushHeaders();
  setTimeout(() => response.write("id: 0\n\n"), 5);
}

async function publish(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { name, channel, data } = JSON.parse(Buffer.concat(chunks));
  number += 1;
  io.to(channel).emit("message", { id: `${number}`, topic: channel, event: name, payload: data, timestamp: new Date().toISOString() });
  const event = `id: ${number}\nevent: ${name}\ndata: ${data}\n\n`;
  for (const subscriber of streams.get(channel) ?? []) subscriber.write(event);
  response.writeHead(200, { "content-type": "application/json", "content-length": 2 }).end("{}");
}

const server = http.createServer((request, response) => {
  const handle = request.method === "POST" ? publish : stream;
  handle(request, response);
});
server.keepAliveTimeout = 600_000;
const io = new Server(server, { transports: ["websocket"], serveClient: false });
io.on("connection", (socket) => {
  socket.emit("connected", { connectionId: socket.id });
  socket.on("subscribe", ({ topic }, acknowledge) => {
    socket.join(topic);
    acknowledge({ status: "success", topic });
  });
});
server.listen(port, "127.0.0.1", () => console.log(`listening on 127.0.0.1:${port}, process ${process.pid}`));
