// The demo page, as it is built and under its Content-Security-Policy, with fewer flights; what it shows is compared with
// counts made here from the source.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { build } from "vite";
import { flights } from "../../examples/flights.mjs";
import { environment, root } from "../../scripts/lib.mjs";
import { servePage } from "../../scripts/start.mjs";
import { prepareFlights } from "../../scripts/www-flights.mjs";
import { serveFolder } from "../edge/support/static.mjs";
import { bucket, fresh, keys, skip } from "./support/buckets.mjs";
import { profile, quit, startOn } from "./support/chromium.mjs";

const rows = 60_000;
const batchRows = 5_000;
const policy =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src 'self'; " +
  "connect-src 'self' http://127.0.0.1:*";
const folder = mkdtempSync(join(tmpdir(), "lakeshore-www-"));
const publicDir = join(folder, "public");
const outDir = join(folder, "dist");
const path = profile();
let context;
/** All flights that can be loaded, in the order of their keys. */
const source = [];

before(async () => {
  await prepareFlights(publicDir, { rows, batchRows });
  const configFile = join(root, "www", "vite.config.mjs");
  await build({ configFile, publicDir, logLevel: "warn", build: { outDir } });
  // It said "production", which would hold for the development server, too.
  delete process.env.NODE_ENV;
  for (const table of flights({ to: rows })) source.push(...plain(table));
  context = await startOn(path);
});
after(async () => {
  await quit(context, path);
  rmSync(folder, { recursive: true, force: true });
});

function* plain(table) {
  for (const { date, delay, distance, origin, destination } of table) {
    yield {
      date: new Date(Number(date)),
      delay: Number(delay),
      distance: Number(distance),
      origin,
      destination,
    };
  }
}

/** Opens the page, as it was built, in a tab: an origin of its own. */
async function start(t) {
  const address = await serveFolder(t, outDir, { "content-security-policy": policy });
  return visit(t, address);
}

async function visit(t, address) {
  const page = await context.newPage();
  t.after(() => page.close());
  const said = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(String(error.stack)));
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.goto(address);
  return { page, address, said, asked };
}

/** Waits until the count is shown and nothing is under way. */
function counted(page, count) {
  const wanted = count.toLocaleString("en");
  return page.waitForFunction((wanted) => {
    const busy = document.getElementById("results").getAttribute("aria-busy");
    return busy === "false" && document.getElementById("count").textContent === wanted;
  }, wanted);
}

const status = (page, text) => page.locator("#load-status").filter({ hasText: text }).waitFor();
const text = (page, selector) => page.locator(selector).textContent();

/** Loads as many flights as there are. */
async function loadAll(page) {
  await page.locator("#load-target").selectOption(String(rows));
  await page.locator("#load-start").click();
  await status(page, /All 60,000 are kept/);
  await counted(page, rows);
}

/** The rows of the table as it is. */
function shown(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll("#rows tr")].map((row) => [...row.cells].map((cell) => cell.textContent)),
  );
}

/** The same of the source. */
function expected(found) {
  const number = (value) => value.toLocaleString("en").replace("-", "−");
  return found.map((row) => [
    row.date.toISOString().slice(0, 16).replace("T", " "),
    row.origin,
    row.destination,
    number(row.delay),
    number(row.distance),
    number(source.indexOf(row)),
  ]);
}

/** What a chart's bars count, read with the keyboard: [all, late] of each. */
async function readBars(page, id) {
  await page.locator(`#${id} svg`).focus();
  await page.keyboard.press("Home");
  const bars = [];
  let name = "";
  for (;;) {
    const now = await text(page, `#${id}-at`);
    if (now === name) return bars;
    name = now;
    const [, all, late] = now.match(/: ([\d,]+), ([\d,]+) late$/);
    bars.push([all, late].map((digits) => Number(digits.replaceAll(",", ""))));
    await page.keyboard.press("ArrowRight");
  }
}

test("the page loads flights, filters them into table and charts, and has them after a reload", async (t) => {
  const { page, address, said, asked } = await start(t);
  await status(page, /No flights are here yet/);
  await loadAll(page);
  assert.deepEqual(await shown(page), expected(source.slice(0, 25)));
  await page.locator("#filter-origin").selectOption("ATL");
  await page.locator("#filter-delay").fill("10");
  await page.locator("#filter-from").fill("2001-01-02");
  await page.locator("#filter-until").fill("2001-01-03");
  await page.locator("#filter-form button[type=submit]").click();
  const [from, to] = [Date.UTC(2001, 0, 2), Date.UTC(2001, 0, 4)];
  const wanted = source.filter(
    ({ origin, delay, date }) => origin === "ATL" && delay >= 10 && date >= from && date < to,
  );
  const late = wanted.filter(({ delay }) => delay >= 15);
  assert.ok(late.length > 50 && late.length < wanted.length && wanted.length > 100, String(wanted.length));
  await counted(page, wanted.length);
  assert.match(await text(page, "#count-of"), /of 60,000 flights/);
  assert.deepEqual(await shown(page), expected(wanted.slice(0, 25)));
  for (const [turn, found] of [
    ["next", wanted.slice(25, 50)],
    ["next", wanted.slice(50, 75)],
    ["previous", wanted.slice(25, 50)],
    ["last", wanted.slice(-25)],
    ["first", wanted.slice(0, 25)],
  ]) {
    await page.locator(`#page-${turn}`).click();
    const last = expected(found).at(-1).at(-1);
    await page.locator("#rows tr:last-child td.id").filter({ hasText: last }).waitFor();
    assert.deepEqual(await shown(page), expected(found), turn);
  }
  for (const chart of ["chart-delay", "chart-hour", "chart-day"]) {
    const bars = await readBars(page, chart);
    const sum = (i) => bars.reduce((total, bar) => total + bar[i], 0);
    assert.deepEqual([sum(0), sum(1)], [wanted.length, late.length], chart);
  }
  const hours = await readBars(page, "chart-hour");
  for (const [hour, [all]] of hours.entries()) {
    assert.equal(all, wanted.filter(({ date }) => date.getUTCHours() === hour).length, `${hour} h`);
  }
  await page.locator("#filter-form button[type=reset]").click();
  await counted(page, rows);
  assert.match(await text(page, "#where"), /OPFS|opfs|lakeshore-demo/);
  assert.match(await text(page, "#where"), /local/);
  const before = asked.length;
  await page.reload();
  await counted(page, rows);
  await status(page, /60,000 flights were here already/);
  assert.deepEqual(
    asked.slice(before).filter((url) => url.endsWith(".arrow")),
    [],
  );
  assert.equal(page.url(), address);
  assert.deepEqual(said, [], "nothing is in the console");
});

test("loading stops on a click, and continues where it was, also after a reload", async (t) => {
  const { page, asked } = await start(t);
  await status(page, /No flights are here yet/);
  let reached;
  const held = new Promise((resolve) => (reached = resolve));
  await page.route("**/0003.arrow", () => reached());
  await page.locator("#load-target").selectOption(String(rows));
  await page.locator("#load-start").click();
  await held;
  assert.equal(await page.locator("#load-progress").evaluate((progress) => progress.value), 3 * batchRows);
  assert.match(await text(page, "#load-rate"), /^15,000/);
  await page.locator("#load-stop").click();
  await status(page, /Stopped at 15,000 of 60,000/);
  await counted(page, 3 * batchRows);
  await page.unroute("**/0003.arrow");
  await page.reload();
  await status(page, /15,000 flights were here already/);
  await counted(page, 3 * batchRows);
  const before = asked.length;
  await page.locator("#load-target").selectOption(String(rows));
  await page.locator("#load-start").filter({ hasText: "Continue" }).click();
  await status(page, /45,000 flights loaded.*All 60,000/);
  await counted(page, rows);
  const files = asked.slice(before).filter((url) => url.endsWith(".arrow"));
  assert.deepEqual(
    files.map((url) => Number(url.match(/(\d+)\.arrow$/)[1])),
    [3, 4, 5, 6, 7, 8, 9, 10, 11],
  );
});

test("a new filter ends the scan before it: what is shown is of the last one", async (t) => {
  const { page } = await start(t);
  await status(page, /No flights are here yet/);
  await loadAll(page);
  await page.evaluate(() => {
    const origin = document.getElementById("filter-origin");
    for (const code of ["SFO", "ATL", "DFW", "ORD", "LAX"]) {
      origin.value = code;
      origin.dispatchEvent(new Event("change", { bubbles: true }));
    }
  });
  const wanted = source.filter(({ origin }) => origin === "LAX");
  await counted(page, wanted.length);
  assert.deepEqual(await shown(page), expected(wanted.slice(0, 25)));
  assert.equal(await page.locator("#problem").isVisible(), false);
});

test("a second tab is told that the first has the database, and opens it when that is closed", async (t) => {
  const { page, address } = await start(t);
  await status(page, /No flights are here yet/);
  await loadAll(page);
  const { page: second } = await visit(t, address);
  await second.locator("#problem").waitFor();
  assert.equal(await text(second, "#problem-code"), "Busy");
  assert.match(await text(second, "#problem-message"), /another tab/);
  await status(second, /not open/);
  assert.ok(await second.locator("#load-start").isDisabled());
  await page.close();
  await second.locator("#problem-retry").click();
  await counted(second, rows);
  assert.equal(await second.locator("#problem").isVisible(), false);
});

test("the database can be deleted, flushed and checkpointed", async (t) => {
  const { page } = await start(t);
  await status(page, /No flights are here yet/);
  await loadAll(page);
  for (const [id, said] of [
    ["flush", /all is in data/],
    ["checkpoint", /Checkpoint written/],
    ["refresh", /nothing new/],
  ]) {
    await page.locator(`#${id}`).click();
    await page.locator("#action-status").filter({ hasText: said }).waitFor();
  }
  await page.locator("#where").filter({ hasText: "nothing: all is in data" }).waitFor();
  await page.locator("#delete-open").click();
  await page.locator("#delete-dialog button[value=cancel]").click();
  await page.locator("#delete-open").click();
  await page.locator("#delete-dialog button[value=delete]").click();
  await status(page, /No flights are here yet/);
  await counted(page, 0);
  await page.reload();
  await status(page, /No flights are here yet/);
  await loadAll(page);
});

test("on a phone nothing is wider than the screen, and every field has a label", async (t) => {
  const { page } = await start(t);
  await status(page, /No flights are here yet/);
  await loadAll(page);
  for (const [width, colorScheme] of [
    [360, "light"],
    [360, "dark"],
    [768, "light"],
  ]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 780 });
    const widest = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(widest <= width, `${widest} px of ${width}`);
    const cut = await page.evaluate(() => {
      const table = document.querySelector(".table");
      return table.scrollWidth - table.clientWidth;
    });
    assert.ok(cut <= 0, `the table is ${cut} px wider than its box`);
  }
  const unlabelled = await page.evaluate(() =>
    [...document.querySelectorAll("input, select")]
      .filter(({ labels }) => labels.length === 0)
      .map(({ id }) => id),
  );
  assert.deepEqual(unlabelled, []);
});

/** What of the page's storages and address has a text in it. */
function kept(page, secret) {
  return page.evaluate(async (secret) => {
    const found = [];
    if (location.href.includes(secret)) found.push("address");
    for (const [name, store] of Object.entries({ localStorage, sessionStorage })) {
      if (JSON.stringify({ ...store }).includes(secret)) found.push(name);
    }
    if ((await indexedDB.databases()).length > 0) found.push("indexedDB");
    if (document.cookie !== "") found.push("cookie");
    const walk = async (directory) => {
      for await (const [name, handle] of directory) {
        if (handle.kind === "directory") await walk(handle);
        else if (name.includes(secret)) found.push(name);
      }
    };
    await walk(await navigator.storage.getDirectory());
    return found;
  }, secret);
}

test("the form connects to S3; wrong keys are said to be, and none is kept", { skip }, async (t) => {
  const { page, said } = await start(t);
  await status(page, /No flights are here yet/);
  const { endpoint, region, bucket: name } = bucket();
  const prefix = fresh("www");
  const connect = async (secret, wal = "opfs") => {
    await page.locator("#s3-endpoint").fill(endpoint);
    await page.locator("#s3-region").fill(region);
    await page.locator("#s3-bucket").fill(name);
    await page.locator("#s3-prefix").fill(prefix);
    await page.locator("#s3-key").fill(keys.accessKeyId);
    await page.locator("#s3-secret").fill(secret);
    await page.locator("#s3-token").fill(keys.sessionToken ?? "");
    await page.locator("#s3-wal").selectOption(wal);
    await page.locator("#connect-form button[type=submit]").click();
  };
  const wrong = "not-the-secret-of-this-key";
  await connect(wrong);
  await page.locator("#problem").waitFor();
  // Ceph leaves CORS out of what it refuses, so that a page cannot see why: the message names the keys, too.
  assert.match(await text(page, "#problem-code"), /^(Denied|Unavailable)$/);
  assert.match(await text(page, "#problem-message"), /keys|credentials|signature/i);
  assert.ok(!(await text(page, "#problem")).includes(wrong));
  await status(page, /Still open: this browser/);
  assert.ok(await page.locator("#load-start").isEnabled(), "the database before stays open");
  await connect(keys.secretAccessKey);
  await page
    .locator("#connect-status")
    .filter({ hasText: `prefix ${prefix}` })
    .waitFor();
  assert.equal(await page.locator("#s3-secret").inputValue(), "");
  await loadAll(page);
  await page.locator("#flush").click();
  await page.locator("#action-status").filter({ hasText: "all is in data" }).waitFor();
  const wanted = source.filter(({ origin }) => origin === "SFO");
  await page.locator("#filter-origin").selectOption("SFO");
  await counted(page, wanted.length);
  assert.match(await text(page, "#query-cost"), /[1-9]\d* requests? to data, .*[1-9].* [kM]B/);
  await page.reload();
  await status(page, /No flights are here yet/);
  // The other durability, on the same prefix: what was flushed is there.
  await connect(keys.secretAccessKey, "none");
  await status(page, /60,000 flights were here already/);
  await counted(page, rows);
  await page.locator("#where").filter({ hasText: "remote" }).waitFor();
  assert.deepEqual(shownRows(await shown(page)), shownRows(expected(source.slice(0, 25))));
  await page.locator("#delete-open").click();
  await page.locator("#delete-dialog button[value=delete]").click();
  await status(page, /60,000 flights deleted/).catch(async (error) => {
    throw new Error(
      `${error.message} ${await text(page, "#load-status")} ${await text(page, "#problem")} ${said}`,
    );
  });
  await counted(page, 0);
  await page.locator("#connect-opfs").click();
  await page.locator("#connect-status").filter({ hasText: "OPFS" }).waitFor();
  for (const secret of [keys.secretAccessKey, wrong]) assert.deepEqual(await kept(page, secret), []);
  const shownText = await page.locator("html").innerHTML();
  for (const secret of [keys.secretAccessKey, wrong]) {
    assert.ok(!shownText.includes(secret) && !said.join().includes(secret));
  }
});

const shownRows = (all) => all.map((cells) => cells.join(" "));

test("in development the page offers the local server, with its keys filled in", { skip }, async (t) => {
  const { endpoint, region, bucket: name } = bucket();
  const server = { endpoint, region, bucket: name, session: keys };
  const dev = await servePage({ s3: Promise.resolve(server), config: { publicDir } });
  t.after(() => dev.close());
  const { page } = await visit(t, dev.address);
  await status(page, /No flights are here yet/);
  await page.locator("#s3-prefix").fill(fresh("www-local"));
  await page.locator("#connect-local").click();
  await page
    .locator("#connect-status")
    .filter({ hasText: `bucket ${name}` })
    .waitFor();
  await loadAll(page);
});

test("npm start serves the page, on the next port if one is in use, until it is told to end", async (t) => {
  const taken = createServer();
  await new Promise((resolve) => taken.listen(0, "127.0.0.1", resolve));
  t.after(() => taken.close());
  const { port } = taken.address();
  const child = spawn(process.execPath, ["scripts/start.mjs", `--port=${port}`, "--no-s3"], {
    cwd: root,
    env: environment(),
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  const ended = new Promise((resolve) => child.on("close", (code) => resolve(code)));
  const address = await new Promise((resolve, reject) => {
    let output = "";
    child.stdout.on("data", (chunk) => {
      output += chunk;
      const found = output.match(/The page is at (http:\S+)/);
      if (found) resolve(found[1]);
    });
    ended.then((code) => reject(new Error(`it ended with ${code}: ${output}`)));
  });
  assert.notEqual(Number(new URL(address).port), port);
  const { page } = await visit(t, address);
  await status(page, /No flights are here yet/);
  assert.equal(await page.locator("#connect-local").isVisible(), false);
  await page.locator("#load-start").click();
  await status(page, /All 200,000 are kept/);
  await counted(page, 200_000);
  child.kill("SIGINT");
  assert.equal(await ended, 0);
});
