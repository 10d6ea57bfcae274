// Headless Chromium with a persistent profile: only that keeps OPFS on disk.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const executablePath = process.env.LAKESHORE_CHROMIUM ?? "/usr/bin/chromium";
const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];

/** A profile directory that is removed after the test. */
export function profile(t) {
  const path = mkdtempSync(join(tmpdir(), "lakeshore-chromium-"));
  t.after(() => rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }));
  return path;
}

/** Starts the browser on a profile. */
export async function launch(t, path = profile(t)) {
  const context = await chromium.launchPersistentContext(path, { executablePath, args, headless: true });
  t.after(() => context.close());
  return context;
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
