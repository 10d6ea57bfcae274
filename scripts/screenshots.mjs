// Pictures of the demo page, to be looked at: light, dark, on a phone, and in its states.
//   node scripts/screenshots.mjs FOLDER   where the package is built (npm run build); in S3, too, where Ceph is installed

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { chromium } from "playwright-core";
import { startS3 } from "./s3-server.mjs";
import { servePage } from "./start.mjs";
import { prepareFlights } from "./www-flights.mjs";

const folder = resolve(process.argv[2] ?? "shots");
const desktop = { width: 1280, height: 900 };
const phone = { width: 390, height: 844 };

mkdirSync(folder, { recursive: true });
await prepareFlights();
const s3 = await startS3({ own: true }).catch((error) => void console.log(error.message));
const server = await servePage({ s3: Promise.resolve(s3) });
const profile = mkdtempSync(join(tmpdir(), "lakeshore-shots-"));
const executablePath = process.env.LAKESHORE_CHROMIUM ?? "/usr/bin/chromium";
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  headless: true,
});
try {
  await take();
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 20 });
  await server.close();
  await s3?.stop();
}

async function take() {
  const page = await context.newPage();
  await page.goto(server.address);
  const says = (text) => page.locator("#load-status").filter({ hasText: text }).waitFor();
  const settled = () => page.locator('#results[aria-busy="false"]').waitFor();
  await says("No flights are here yet");
  await settled();
  await shoot(page, "empty");
  await page.route("**/0006.arrow", () => {});
  await page.locator("#load-start").click();
  await page
    .locator("#load-rate")
    .filter({ hasText: /^120,000/ })
    .waitFor();
  await shoot(page, "loading", { phone: false });
  await page.locator("#load-stop").click();
  await says("Stopped at 120,000");
  await page.unroute("**/0006.arrow");
  await page.locator("#load-start").click();
  await says("All 200,000 are kept");
  await settled();
  await shoot(page, "loaded");
  await page.locator("#filter-origin").selectOption("ORD");
  await page.locator("#filter-delay").fill("30");
  await page.locator("#filter-delay").press("Enter");
  await page.locator("#page-next").click();
  await page.locator("#chart-hour svg").focus();
  for (let i = 0; i < 18; i++) await page.keyboard.press("ArrowRight");
  await settled();
  await shoot(page, "filtered");
  const second = await context.newPage();
  await second.goto(server.address);
  await second.locator("#problem").waitFor();
  await shoot(second, "busy");
  await second.close();
  await page.locator("#delete-open").click();
  await shoot(page, "delete", { fullPage: false });
  await page.keyboard.press("Escape");
  if (s3 === undefined) return;
  await page.locator("#connect-local").click();
  await page.locator("#connect-status").filter({ hasText: "bucket" }).waitFor();
  await page.locator("#load-start").click();
  await says("All 200,000 are kept");
  await page.locator("#flush").click();
  await page.locator("#action-status").filter({ hasText: "all is in data" }).waitFor();
  await settled();
  await shoot(page, "s3");
}

/** One state in all sizes and colours. */
async function shoot(page, name, { fullPage = true, phone: small = true } = {}) {
  for (const [size, viewport] of Object.entries({ desktop, ...(small && { phone }) })) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      // Charts are drawn anew when their box has its new size.
      await page.evaluate(
        () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
      );
      await page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}.png`), fullPage });
    }
  }
  await page.setViewportSize(desktop);
}
