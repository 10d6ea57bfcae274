// WebAssembly's memory in a page, by bytes: each database has one of its own, in the worker. SEED=… replays.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sharedBrowser } from "./support/chromium.mjs";

const start = sharedBrowser();
const seed = Number(process.env.SEED ?? Date.now() % 1e9);
const ms = 1000 * Number(process.env.TEST_SECONDS ?? 10);

for (const mib of [64, 16])
  test(`in a page, whatever is done at once, WebAssembly's memory stays within ${mib} MiB`, async (t) => {
    const { run } = await start(t);
    const memoryBytes = mib * 2 ** 20;
    const results = await run(
      async (how) => {
        const { workWithin } = await import("/tests/support/bounded.mjs");
        const { opfs } = lakeshore;
        const stores = (name) => ({ data: opfs(`${name}-data`), wal: opfs(`${name}-wal`) });
        return workWithin({ lakeshore, stores, ...how });
      },
      { memoryBytes, seed, ms },
    );
    for (const { name, wasmMemoryBytes, done } of results)
      console.log(`${name}: ${done}, ${wasmMemoryBytes / 2 ** 20} MiB, SEED=${seed}`);
    assert.deepEqual(
      results.filter(({ wasmMemoryBytes }) => wasmMemoryBytes > memoryBytes),
      [],
    );
  });
