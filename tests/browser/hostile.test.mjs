// Hostile callers, in a page: what they pass is checked in the page, before any of it goes to the worker.
//   SEED=… replays, TEST_SECONDS=… makes it longer.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sharedBrowser } from "./support/chromium.mjs";

const start = sharedBrowser();
const seed = Number(process.env.SEED ?? Date.now() % 1e9);
const ms = 1000 * Number(process.env.TEST_SECONDS ?? 30);

for (const what of ["callEverything", "answerAnything"]) {
  test(`in a page, ${what === "callEverything" ? "whatever a caller passes" : "whatever a store answers"}, no call ends the engine`, async (t) => {
    const { run } = await start(t);
    const done = await run(
      async ({ what, seed, ms }) => {
        const lost = [];
        addEventListener("unhandledrejection", ({ reason }) => lost.push(String(reason?.stack ?? reason)));
        const frame = document.createElement("iframe");
        document.body.append(frame);
        const foreign = frame.contentWindow;
        const generators = {
          ...(await import("/tests/support/hostile/run.mjs")),
          ...(await import("/tests/support/hostile/answers.mjs")),
        };
        const stores = () => ({ data: lakeshore.memory(), wal: lakeshore.memory() });
        const done = await generators[what]({ lakeshore, stores, foreign, seed, ms });
        return { ...done, lost };
      },
      { what, seed, ms },
    );
    console.log(`SEED=${seed}: ${done.calls} of ${done.all} calls`);
    assert.deepEqual(done.failures, []);
    assert.deepEqual(done.unknown ?? [], []);
    assert.deepEqual(done.lost, []);
    assert.ok(done.calls > 50);
  });
}
