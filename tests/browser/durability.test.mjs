// The five durability stories in Chromium, with the WAL in OPFS and data in OPFS or S3. A restart is a reload of the page,
// with a new worker; once it is a restart of the browser. The databases of all variants live side by side, so that one
// reload serves all.

import assert from "node:assert/strict";
import { test } from "node:test";
import { model } from "../support/batches.mjs";
import { fresh, places } from "./support/buckets.mjs";
import { openPage, profile, quit, ready, sharedBrowser, startOn } from "./support/chromium.mjs";
import { serve } from "./support/server.mjs";

const start = sharedBrowser();
const variants = [
  { variant: "default" },
  { variant: "segments", options: { walSegmentBytes: 512 } },
  { variant: "flushes", flushEach: true },
  { variant: "both", options: { walSegmentBytes: 512 }, flushEach: true },
];
const ends = ["close", "vanish"];

/** One database per variant and end. */
function databases(which, s3) {
  const of = ({ variant, options = {}, flushEach = false }, end) => {
    const name = fresh(`${variant}-${end}`);
    return { name, s3, options, flushEach, end };
  };
  return which.flatMap((variant) => ends.map((end) => of(variant, end)));
}

function write(page, all, how) {
  const work = (calls) => Promise.all(calls.map((call) => actions.write(call)));
  return page.evaluate(
    work,
    all.map((database) => ({ ...database, ...how })),
  );
}

async function restart(page) {
  await page.reload();
  await ready(page);
}

/** All databases have the first `batches`. Gives their greatest timestamps. */
async function expectRows(page, all, batches) {
  const work = (calls) => Promise.all(calls.map((call) => actions.read(call)));
  const found = await page.evaluate(work, all);
  const wanted = model(batches);
  for (const [i, { all: rows, count }] of found.entries()) {
    assert.deepEqual(rows, wanted, all[i].name);
    assert.equal(count, wanted.length);
  }
  return found.map(({ lastTimestamp }) => lastTimestamp);
}

for (const { place, s3 } of places) {
  test(`flushed rows survive a reload, data in ${place}`, async (t) => {
    const { page } = await start(t);
    const all = databases(variants, s3);
    const written = await write(page, all, { from: 0, to: 12, flushAfter: [11] });
    assert.ok(written.every(({ flushes }) => flushes >= 1));
    await restart(page);
    await expectRows(page, all, 12);
    await restart(page);
    for (const { name } of all) await page.evaluate((path) => actions.remove(path), `${name}-wal`);
    await expectRows(page, all, 12);
  });

  test(`rows of the WAL alone survive a reload, data in ${place}`, async (t) => {
    const { page } = await start(t);
    const all = databases(variants.slice(0, 2), s3);
    const written = await write(page, all, { from: 0, to: 12 });
    assert.ok(written.every(({ flushes }) => flushes === 0));
    await restart(page);
    await expectRows(page, all, 12);
    await restart(page);
    await expectRows(page, all, 12);
  });

  test(`rows of sstables and of the WAL survive a reload together, data in ${place}`, async (t) => {
    const { page } = await start(t);
    const all = databases(variants, s3);
    await write(
      page,
      all.map((database) => ({ ...database, flushEach: false })),
      { from: 0, to: 9, flushAfter: [3, 6] },
    );
    await restart(page);
    await write(page, all, { from: 9, to: 12 });
    await restart(page);
    await expectRows(page, all, 12);
  });

  test(`three reloads in a row change nothing, and timestamps only grow, data in ${place}`, async (t) => {
    const { page } = await start(t);
    const all = databases(variants, s3);
    const seen = all.map(() => []);
    for (let round = 0; round < 3; round++) {
      const how = { from: round * 4, to: round * 4 + 4, flushAfter: round === 1 ? [5] : [] };
      for (const [i, { timestamps }] of (await write(page, all, how)).entries()) seen[i].push(...timestamps);
      for (let again = 0; again < (round === 2 ? 3 : 1); again++) {
        await restart(page);
        const last = await expectRows(page, all, round * 4 + 4);
        for (const [i, stamp] of last.entries())
          assert.ok(stamp >= seen[i].at(-1), `${all[i].name}: the greatest timestamp fell`);
      }
    }
    for (const stamps of seen)
      for (let i = 1; i < stamps.length; i++)
        assert.ok(stamps[i] > stamps[i - 1], "a timestamp did not grow");
  });

  test(`of the WAL's directory the segments suffice, data in ${place}`, async (t) => {
    const { page } = await start(t);
    const all = databases(variants.slice(0, 2), s3);
    await write(page, all, { from: 0, to: 12 });
    await restart(page);
    for (const { name, options } of all) {
      const names = await page.evaluate((path) => actions.names(path), `${name}-wal`);
      const segments = names.filter((file) => /^\d+.*\.wal$/.test(file));
      assert.ok(segments.length >= (options.walSegmentBytes ? 4 : 1), `${name}: ${names}`);
      // Beside them is what the device keeps to open offline.
      for (const file of names) assert.match(file, /\.wal$|^uploads$|^version$/);
    }
    await expectRows(page, all, 12);
  });
}

test("rows of sstables and of the WAL survive a restart of the browser", async (t) => {
  const server = await serve(t);
  const path = profile();
  const all = places.flatMap(({ s3 }) => databases(variants.slice(0, 2), s3));
  let context = await startOn(path);
  t.after(() => quit(context, path));
  await write(await openPage(context, server.origin), all, { from: 0, to: 9, flushAfter: [3, 6] });
  await context.close();
  context = await startOn(path);
  await expectRows(await openPage(context, server.origin), all, 9);
});
