// Headless Chromium with a persistent profile: only that keeps OPFS on disk.

import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { chromium } from "playwright-core";
import { serve } from "./server.mjs";

const executablePath = process.env.LAKESHORE_CHROMIUM ?? "/usr/bin/chromium";
const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];

/** A new profile directory. */
export function profile() {
  return mkdtempSync(join(tmpdir(), "lakeshore-chromium-"));
}

/** Starts the browser on a new profile; after the test it is ended. */
export async function launch(t) {
  const path = profile();
  const context = await startOn(path);
  t.after(() => quit(context, path));
  return context;
}

/** Starts the browser on a profile. */
export function startOn(path) {
  return chromium.launchPersistentContext(path, { executablePath, args, headless: true });
}

/** Ends it, and removes its profile. */
export async function quit(context, path) {
  await context.close();
  // Processes of the browser may still be writing.
  await rm(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}

/**
 * One browser for all tests of a file. Gives a function that starts a server and opens a tab on it: an origin, and with
 * it an OPFS, of its own.
 */
export function sharedBrowser() {
  const path = profile();
  let context;
  before(async () => void (context = await startOn(path)));
  after(() => quit(context, path));
  return async (t, options) => {
    const server = await serve(t, options);
    const page = await openPage(context, server.origin);
    t.after(() => page.close());
    return { context, server, page, run: (action, arg) => page.evaluate(action, arg) };
  };
}

/** A new tab with the package and the actions in it. */
export async function openPage(context, origin) {
  const page = await context.newPage();
  page.on("console", (message) => console.log(`page: ${message.text()}`));
  page.on("pageerror", (error) => console.log(`page: uncaught ${error.stack}`));
  await page.goto(origin);
  await ready(page);
  return page;
}

/** Waits until the page has loaded its script. */
export function ready(page) {
  return page.waitForFunction(() => globalThis.actions !== undefined);
}
