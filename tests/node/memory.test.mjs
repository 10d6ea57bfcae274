// Byte counts are exact, so they are tested.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inNewProcess, temporary } from "./support/process.mjs";

const most = 64 * 2 ** 20;

test("WebAssembly's memory stays within 64 MiB over 1,000,000 rows in and out", async (t) => {
  const { rows, ingested, scanned } = await inNewProcess("millionFlights", { path: temporary(t) });
  assert.equal(rows, 1_000_000);
  console.log(`memory: ${ingested / 2 ** 20} MiB after the ingest, ${scanned / 2 ** 20} MiB after a scan`);
  assert.ok(ingested <= most, `${ingested} bytes after the ingest`);
  assert.ok(scanned <= most, `${scanned} bytes after a scan`);
});
