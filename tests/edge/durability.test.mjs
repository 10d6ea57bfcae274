// The five durability stories with data in S3, durability `remote`, in Workers and in Deno: the log's inline records
// stand for the WAL, a new instance or process is the restart.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { model } from "../support/batches.mjs";
import { deno } from "./support/deno.mjs";
import { lasting } from "./support/project.mjs";
import { copy, keys, place, server } from "./support/s3.mjs";
import { worker } from "./support/workerd.mjs";

/** Runs each action in a new instance. */
const runtimes = {
  async workerd() {
    const made = await worker("stories.mjs");
    return async (action, args) => {
      const instance = made.start();
      try {
        return await instance.call(action, args);
      } finally {
        await instance.stop();
      }
    };
  },
  async Deno() {
    const made = await deno("stories.mjs");
    return (action, args) => made.call(action, args);
  },
};

for (const [name, start] of Object.entries(runtimes)) {
  describe(`in ${name}`, () => {
    const t = lasting();
    let run;
    let store;
    before(async () => {
      store = await server(t);
      run = await start();
    });
    after(() => t.end());

    async function expectRows(where, batches) {
      const { all, count, lastTimestamp } = await run("read", { place: where });
      const wanted = model(batches);
      assert.deepEqual(all, wanted);
      assert.equal(count, wanted.length);
      return lastTimestamp;
    }

    for (const end of ["close", "without close"]) {
      test(`flushed rows survive a restart, ${end}`, async () => {
        const where = place(store);
        const { flushes } = await run("write", { place: where, from: 0, to: 6, flushAfter: [5], end });
        assert.ok(flushes >= 1);
        await expectRows(where, 6);
      });

      test(`rows of inline records alone survive a restart, ${end}`, async () => {
        const where = place(store);
        const { flushes } = await run("write", { place: where, from: 0, to: 6, end });
        assert.equal(flushes, 0);
        assert.ok(!(await keys(store, where)).some((key) => key.startsWith("data/")), "there is an sstable");
        await expectRows(where, 6);
        await expectRows(where, 6);
      });

      test(`rows of sstables and of inline records survive a restart together, ${end}`, async () => {
        const where = place(store);
        await run("write", { place: where, from: 0, to: 5, flushAfter: [1, 3], end });
        await run("write", { place: where, from: 5, to: 8, end });
        await expectRows(where, 8);
      });
    }

    test("three restarts in a row change nothing, and timestamps only grow", async () => {
      const where = place(store);
      const seen = [];
      for (let round = 0; round < 3; round++) {
        const batches = { from: round * 3, to: round * 3 + 3, flushAfter: round === 1 ? [4] : [] };
        const end = round === 1 ? "close" : "without close";
        seen.push(...(await run("write", { place: where, ...batches, end })).timestamps);
        for (let restart = 0; restart < 3; restart++) {
          const last = await expectRows(where, round * 3 + 3);
          assert.ok(last >= seen.at(-1), "the greatest timestamp fell");
        }
      }
      for (let i = 1; i < seen.length; i++) assert.ok(seen[i] > seen[i - 1], "a timestamp did not grow");
    });

    test("the prefix holds log, checkpoints and sstables only, and they suffice", async () => {
      const where = place(store);
      const options = { checkpointRecords: 4 };
      await run("write", { place: where, options, from: 0, to: 8, flushAfter: [3] });
      const all = await keys(store, where);
      const known = /^(CURRENT|(log|checkpoint)\/\d{20}|data\/[^/]+\/[0-9a-z]{26}\.parquet)$/;
      for (const key of all) assert.match(key, known);
      for (const kind of ["CURRENT", "log/", "checkpoint/", "data/"]) {
        assert.ok(
          all.some((key) => key.startsWith(kind)),
          `no ${kind}`,
        );
      }
      const other = place(store);
      await copy(store, where, other, all);
      await expectRows(other, 8);
      assert.deepEqual(await keys(store, other), all, "reading wrote");
    });
  });
}
