// The renderer (page and worker) is killed in the middle of an ingest; the server has recorded what was acknowledged.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { random } from "../node/support/process.mjs";
import { batchRows } from "../support/batches.mjs";
import { fresh, places } from "./support/buckets.mjs";
import { launch, openPage, profile } from "./support/chromium.mjs";
import { serve } from "./support/server.mjs";

const rows = 50;
/** Kills per place of data. */
const killsFor = { OPFS: 20, S3: 5 };
/** Flushes and rotations all the time. */
const options = { walSegmentBytes: 8192, sealBatches: 5, memtableLimitBytes: 8 * 2 ** 20 };

/** The renderers of the browser on a profile, by their command lines: one is its page's, one may be in reserve. */
function renderers(profilePath) {
  const isOurs = (pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      return line.includes("--type=renderer") && line.includes(profilePath);
    } catch {
      return false;
    }
  };
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && isOurs(name))
    .map(Number);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

for (const { place, s3 } of places) {
  const kills = killsFor[place] * (process.env.LAKESHORE_TEST_LONG ? 5 : 1);
  test(`nothing acknowledged is lost to SIGKILL of the renderer, and batches are whole or absent, data in ${place}`, async (t) => {
    const server = await serve(t);
    const path = profile();
    const context = await launch(t, path);
    const database = { name: fresh("kill"), s3, options };
    const next = random();
    let acknowledged = -1;
    let batches = 0;
    let beyond = 0;
    let killed = 0;
    let flushing = 0;
    for (let kill = 0; kill <= kills; kill++) {
      const page = await openPage(context, server.origin);
      if (kill > 0) batches = await check(page, database, acknowledged);
      if (batches > acknowledged + 1) beyond += 1;
      acknowledged = batches - 1;
      if (kill === kills) break;
      const crashed = new Promise((resolve) => page.once("crash", resolve));
      server.posted.length = 0;
      page
        .evaluate((call) => actions.ingestUntilKilled(call), { ...database, first: batches, rows })
        .catch(() => undefined);
      const patience = 1 + Math.floor(next() * 20);
      while (server.posted.length < patience) await sleep(1);
      await sleep(next() * 10);
      for (const pid of renderers(path)) {
        process.kill(pid, "SIGKILL");
        killed += 1;
      }
      await crashed;
      const last = server.posted.map((line) => line.split(" ").map(Number)).at(-1);
      acknowledged = Math.max(acknowledged, last[0]);
      if (last[1] > 0) flushing += 1;
      await page.close();
    }
    console.log(
      `${kills} kills (${killed} renderers), ${flushing} of them in a flush, ${batches} batches; after ${beyond} kills a batch was there whose acknowledgement was not heard`,
    );
    assert.ok(killed >= kills && batches > kills);
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
