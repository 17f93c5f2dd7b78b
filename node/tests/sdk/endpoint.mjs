// An address where clients and back ends reach Handbell, and the real clients for it.

import { once } from "node:events";

import PusherServer from "pusher";
import Pusher from "pusher-js";
import WebSocket from "ws";

import { DEADLINE_MS, Inbox } from "./waiting.mjs";

export const APP = { id: "42", key: "test-key", secret: "test-secret" };
const MASTER_KEY = Buffer.alloc(32, 7).toString("base64");

/** A port on this machine behind which there is the app. */
export class Endpoint {
  port = 0;
  scheme = "http";

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
