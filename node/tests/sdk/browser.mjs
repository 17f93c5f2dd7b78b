// Headless Chromium, and a site whose pages use the browser builds of pusher-js.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join as path } from "node:path";

import { chromium } from "playwright-core";

import { APP, eventually, startHttp } from "./support.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const BUILDS = path(createRequire(import.meta.url).resolve("pusher-js"), "../../web");

/** A browser with a profile of its own. */
export async function startBrowser(t) {
  const profile = await mkdtemp(path(tmpdir(), "handbell-chromium-"));
  const options = { executablePath: CHROMIUM, headless: true, args: FLAGS };
  const context = await chromium.launchPersistentContext(profile, options);
  t.after(async () => {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  });
  return context;
}

/**
 * A site, of another origin than the server: the builds of pusher-js, an auth endpoint that takes
 * `?user=` for who it is, and the page that `page` makes of the parameters of its URL.
 */
export async function startSite(t, sdk, page) {
  const site = await startHttp(t, async (request, body) => {
    const url = new URL(request.url, "http://localhost");
    if (url.pathname === "/auth") {
      const form = new URLSearchParams(body);
      const channel = form.get("channel_name");
      const user = form.get("user");
      const member = channel.startsWith("presence-") ? { user_id: user, user_info: { name: user } } : undefined;
      return { body: JSON.stringify(sdk.authorizeChannel(form.get("socket_id"), channel, member)) };
    }
    if (url.pathname.endsWith(".js")) {
      const headers = { "content-type": "text/javascript" };
      return { headers, body: await readFile(path(BUILDS, url.pathname)) };
    }
    const headers = { "content-type": "text/html" };
    return { headers, body: url.pathname === "/" ? page(url.searchParams) : "" };
  });
  return site.replace("127.0.0.1", "localhost");
}

/** A page whose `client` has its `events` of three channels. */
export const page = (build, user, options) => `<!doctype html>
<title>${user}</title>
<script src="/${build}"></script>
<script>
  const events = [];
  const client = new Pusher(${JSON.stringify(APP.key)}, {
    cluster: "mt1", forceTLS: false, ...${JSON.stringify(options)},
    channelAuthorization: { transport: "ajax", endpoint: "/auth", params: { user: ${JSON.stringify(user)} } },
  });
  for (const name of ["public-room", "private-room", "presence-room"]) {
    client.subscribe(name).bind_global((event, data) => events.push({ channel: name, event, data }));
  }
</script>`;

/** Waits until the page has heard an event, and returns its data. */
export async function heard(tab, channel, event) {
  const find = ([channel, event]) =>
    JSON.stringify(events.find((item) => item.channel === channel && item.event === event));
  const found = await eventually(
    () => tab.evaluate(find, [channel, event]),
    () => `${event} in ${channel}`,
  );
  return JSON.parse(found).data;
}

/** Opens a page in a tab of its own, and waits until it is subscribed to its three channels. */
export async function open(t, browser, url) {
  const tab = await browser.newPage();
  t.after(() => tab.close());
  await tab.goto(url);
  for (const channel of ["public-room", "private-room", "presence-room"]) {
    await heard(tab, channel, "pusher:subscription_succeeded");
  }
  return tab;
}
