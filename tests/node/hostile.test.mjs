// Hostile callers, in Node: every public call with everything that is wrong, and stores that answer anything.
//   SEED=… replays, TEST_SECONDS=… makes it longer.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import vm from "node:vm";
import * as lakeshore from "lakeshore";
import { answerAnything } from "../support/hostile/answers.mjs";
import { callEverything } from "../support/hostile/run.mjs";

const seed = Number(process.env.SEED ?? Date.now() % 1e9);
const ms = 1000 * Number(process.env.TEST_SECONDS ?? 40);
const foreign = vm.runInNewContext("globalThis");

// What is text may be taken for the path of a directory.
process.chdir(mkdtempSync(join(tmpdir(), "lakeshore-hostile-")));
process.on("exit", () => {
  const made = process.cwd();
  process.chdir(tmpdir());
  rmSync(made, { recursive: true, force: true });
});

/** What nobody awaited is a failure, too. */
function unhandled(t) {
  const reasons = [];
  const note = (reason) => reasons.push(reason);
  process.on("unhandledRejection", note);
  t.after(() => process.off("unhandledRejection", note));
  return reasons;
}

test("whatever a caller passes, a call ends in success or in an error that says what is wrong", async (t) => {
  const lost = unhandled(t);
  const stores = () => ({ data: lakeshore.memory(), wal: lakeshore.memory() });
  const only = process.env.ONLY;
  const done = await callEverything({ lakeshore, stores, foreign, seed, ms, ...(only && { only }) });
  console.log(
    `SEED=${seed}: ${done.calls} of ${done.all} calls of ${done.methods} methods, ${done.values} values`,
  );
  assert.deepEqual(done.failures, []);
  assert.deepEqual(done.unknown, [], "methods without a recipe: add them to tests/support/hostile/calls.mjs");
  assert.deepEqual(lost, []);
  assert.ok(done.values >= 40 && done.calls > 1000);
});

test("whatever a host, a fetch or a signer answers, a call ends in success or in an error that says what is wrong", async (t) => {
  const lost = unhandled(t);
  const done = await answerAnything({ lakeshore, foreign, seed, ms });
  console.log(`SEED=${seed}: ${done.calls} of ${done.all} answers`);
  assert.deepEqual(done.failures, []);
  assert.deepEqual(lost, []);
  assert.ok(done.calls > 100);
});
