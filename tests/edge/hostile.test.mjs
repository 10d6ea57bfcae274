// Hostile callers, in workerd. SEED=… replays, TEST_SECONDS=… makes it longer.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { worker } from "./support/workerd.mjs";

const seed = Number(process.env.SEED ?? Date.now() % 1e9);
const ms = 1000 * Number(process.env.TEST_SECONDS ?? 20);
const support = ["answers.mjs", "calls.mjs", "run.mjs", "values.mjs"];
const files = Object.fromEntries(
  support.map((name) => [name, readFileSync(new URL(`../support/hostile/${name}`, import.meta.url), "utf8")]),
);

test("in a Worker, whatever a caller passes or a store answers, no call ends the engine", async (t) => {
  const made = await worker("hostile.mjs", files);
  const instance = made.start();
  t.after(() => instance.stop());
  for (const action of ["call", "answer"]) {
    const done = await instance.call(action, { seed, ms });
    console.log(`SEED=${seed}: ${done.calls} of ${done.all} calls`);
    assert.deepEqual(done.failures, []);
    assert.deepEqual(done.unknown ?? [], []);
    assert.ok(done.calls > 50);
  }
});
