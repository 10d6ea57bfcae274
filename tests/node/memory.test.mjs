// Byte counts are exact, so they are tested.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as lakeshore from "lakeshore";
import { workWithin } from "../support/bounded.mjs";
import { inNewProcess, temporary } from "./support/process.mjs";

const most = 64 * 2 ** 20;

test("WebAssembly's memory stays within 64 MiB over 1,000,000 rows in and out", async (t) => {
  const { rows, ingested, scanned } = await inNewProcess("millionFlights", { path: temporary(t) });
  assert.equal(rows, 1_000_000);
  console.log(`memory: ${ingested / 2 ** 20} MiB after the ingest, ${scanned / 2 ** 20} MiB after a scan`);
  assert.ok(ingested <= most, `${ingested} bytes after the ingest`);
  assert.ok(scanned <= most, `${scanned} bytes after a scan`);
});

const seed = Number(process.env.SEED ?? Date.now() % 1e9);
const ms = 1000 * Number(process.env.TEST_SECONDS ?? 10);

for (const mib of [64, 16])
  test(`whatever is done at once, WebAssembly's memory stays within ${mib} MiB`, async (t) => {
    const memoryBytes = mib * 2 ** 20;
    const path = temporary(t);
    const stores = (name) => ({
      data: lakeshore.directory(`${path}/${name}/data`),
      wal: lakeshore.directory(`${path}/${name}/wal`),
    });
    const results = await workWithin({ lakeshore, stores, memoryBytes, seed, ms });
    for (const { name, wasmMemoryBytes, done } of results)
      console.log(`${name}: ${done}, ${wasmMemoryBytes / 2 ** 20} MiB, SEED=${seed}`);
    assert.deepEqual(
      results.filter(({ wasmMemoryBytes }) => wasmMemoryBytes > memoryBytes),
      [],
    );
  });
