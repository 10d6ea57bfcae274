// The five durability stories, through the package. A restart is a new process.

import assert from "node:assert/strict";
import { cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { model } from "../support/batches.mjs";
import { inNewProcess, temporary } from "./support/process.mjs";

const variants = [
  { name: "as by default", options: {} },
  { name: "with segments of 512 bytes", options: { walSegmentBytes: 512 } },
];
const flushing = [
  ...variants,
  ...variants.map((v) => ({ ...v, name: `${v.name}, a flush after each batch`, flushEach: true })),
];
const ends = ["close", "exit"];

async function expectRows(path, options, batches) {
  const { all, count, lastTimestamp } = await inNewProcess("read", { path, options });
  const wanted = model(batches);
  assert.deepEqual(all, wanted);
  assert.equal(count, wanted.length);
  return lastTimestamp;
}

for (const { name, options, flushEach } of flushing) {
  for (const end of ends) {
    test(`flushed rows survive a restart by ${end}, ${name}`, async (t) => {
      const path = temporary(t);
      const { flushes } = await inNewProcess("write", {
        path,
        options,
        flushEach,
        from: 0,
        to: 12,
        flushAfter: [11],
        end,
      });
      assert.ok(flushes >= 1);
      await expectRows(path, options, 12);
      rmSync(join(path, "wal"), { recursive: true });
      await expectRows(path, options, 12);
    });

    test(`rows of sstables and of the WAL survive a restart by ${end} together, ${name}`, async (t) => {
      const path = temporary(t);
      await inNewProcess("write", { path, options, from: 0, to: 9, flushAfter: [3, 6], end });
      await inNewProcess("write", { path, options, flushEach, from: 9, to: 12, end });
      await expectRows(path, options, 12);
    });
  }

  test(`three restarts in a row change nothing, and timestamps only grow, ${name}`, async (t) => {
    const path = temporary(t);
    const seen = [];
    for (let round = 0; round < 3; round++) {
      const { timestamps } = await inNewProcess("write", {
        ...{ path, options, flushEach, from: round * 4, to: round * 4 + 4, end: ends[round % 2] },
        flushAfter: round === 1 ? [5] : [],
      });
      seen.push(...timestamps);
      for (let restart = 0; restart < 3; restart++) {
        const last = await expectRows(path, options, round * 4 + 4);
        assert.ok(last >= seen.at(-1), "the greatest timestamp fell");
      }
    }
    for (let i = 1; i < seen.length; i++) assert.ok(seen[i] > seen[i - 1], "a timestamp did not grow");
  });
}

for (const { name, options } of variants) {
  for (const end of ends) {
    test(`rows of the WAL alone survive a restart by ${end}, ${name}`, async (t) => {
      const path = temporary(t);
      const { flushes } = await inNewProcess("write", { path, options, from: 0, to: 12, end });
      assert.equal(flushes, 0);
      await expectRows(path, options, 12);
      await expectRows(path, options, 12);
    });

    test(`of the WAL directory the segments suffice, ended by ${end}, ${name}`, async (t) => {
      const path = temporary(t);
      await inNewProcess("write", { path, options, from: 0, to: 12, end });
      const names = readdirSync(join(path, "wal"));
      // Beside them are the lock, and what the device keeps to open offline.
      const segments = names.filter((name) => name.endsWith(".wal"));
      assert.ok(segments.length >= 1);
      if (options.walSegmentBytes) assert.ok(segments.length > 3, "nothing was rotated");
      const others = names.filter((name) => !segments.includes(name));
      for (const other of others) assert.match(other, /\.lock$|^uploads$|^version$/);
      const copy = join(path, "copy");
      cpSync(join(path, "data"), join(copy, "data"), { recursive: true });
      mkdirSync(join(copy, "wal"));
      for (const segment of segments) cpSync(join(path, "wal", segment), join(copy, "wal", segment));
      await expectRows(copy, options, 12);
    });
  }
}
