// The renderer (page and worker), or the whole browser, is killed in the middle of an ingest; the server has recorded what
// was acknowledged.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { random } from "../node/support/process.mjs";
import { batchRows } from "../support/batches.mjs";
import { fresh, places } from "./support/buckets.mjs";
import { openPage, profile, quit, startOn } from "./support/chromium.mjs";
import { serve } from "./support/server.mjs";

const rows = 50;
/** Flushes and rotations all the time. */
const options = { walSegmentBytes: 8192, sealBatches: 5, memtableLimitBytes: 8 * 2 ** 20 };
const times = process.env.LAKESHORE_TEST_LONG ? 5 : 1;

/** Processes of the browser on a profile, by their command lines. Of renderers one is the page's, others in reserve. */
function processes(path, victim) {
  const isOurs = (pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      const type = line.includes("--type=renderer")
        ? "renderer"
        : line.includes("--type=")
          ? "other"
          : "browser";
      return type === victim && line.includes(path);
    } catch {
      return false;
    }
  };
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && isOurs(name))
    .map(Number);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const cases = places.flatMap(({ place, s3 }) => [
  { place, s3, victim: "renderer", kills: place === "OPFS" ? 20 : 5 },
  ...(place === "OPFS" ? [{ place, s3, victim: "browser", kills: 4 }] : []),
]);

for (const { place, s3, victim, kills } of cases) {
  test(`nothing acknowledged is lost to SIGKILL of the ${victim}, and batches are whole or absent, data in ${place}`, async (t) => {
    const server = await serve(t);
    const path = profile();
    const database = { name: fresh("kill"), s3, options };
    const next = random();
    const seen = { renderer: 0, browser: 0, flushing: 0, unheard: 0 };
    let context = await startOn(path);
    t.after(() => quit(context, path));
    let acknowledged = -1;
    let batches = 0;
    for (let kill = 0; kill <= kills * times; kill++) {
      const page = await openPage(context, server.origin);
      if (kill > 0) batches = await check(page, database, acknowledged);
      if (batches > acknowledged + 1) seen.unheard += 1;
      acknowledged = batches - 1;
      if (kill === kills * times) break;
      const gone = new Promise((resolve) => {
        if (victim === "renderer") page.once("crash", resolve);
        else context.once("close", resolve);
      });
      server.posted.length = 0;
      page
        .evaluate((call) => actions.ingestUntilKilled(call), { ...database, first: batches, rows })
        .catch(() => undefined);
      const patience = 1 + Math.floor(next() * 20);
      while (server.posted.length < patience) await sleep(1);
      await sleep(next() * 10);
      for (const pid of processes(path, victim)) {
        process.kill(pid, "SIGKILL");
        seen[victim] += 1;
      }
      await gone;
      const last = server.posted.map((line) => line.split(" ").map(Number)).at(-1);
      acknowledged = Math.max(acknowledged, last[0]);
      if (last[1] > 0) seen.flushing += 1;
      if (victim === "renderer") await page.close();
      else context = await startOn(path);
    }
    console.log(
      `${kills * times} kills (${seen[victim]} processes), ${seen.flushing} of them in a flush, ${batches} batches; ` +
        `after ${seen.unheard} kills a batch was there whose acknowledgement was not heard`,
    );
    assert.ok(seen[victim] >= kills * times && batches > kills * times);
  });
}

/** Compares with batches 0 to `last`, and perhaps the next one. The number of batches that are there. */
async function check(page, database, last) {
  const { all } = await page.evaluate((call) => actions.read(call), database);
  const batches = Math.max(last + 1, Number(all[0]?.batch ?? -1n) + 1);
  assert.ok(batches <= last + 2, `batch ${batches - 1} is there, which was never begun after ${last}`);
  const wanted = new Map();
  for (let n = 0; n < batches; n++) for (const row of batchRows(n, rows)) wanted.set(row.id, row);
  assert.deepEqual(all, [...wanted.values()]);
  return batches;
}
