// Waiting for what happens, and keeping it in order.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

/** Longer than anything here takes, on a busy machine too. */
export const DEADLINE_MS = 15_000;

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
