// Ingests that nobody awaits wait outside of WebAssembly's memory.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inNewProcess, temporary } from "./support/process.mjs";

for (const [calls, mib] of [
  [2_500, 64],
  [300, 16],
])
  test(`${calls} ingests of 1 MiB that nobody awaits stay within ${mib} MiB, in their order`, async (t) => {
    const memoryBytes = mib * 2 ** 20;
    const done = await inNewProcess("unawaited", { path: temporary(t), memoryBytes, calls });
    console.log(`unawaited: ${done.wasmMemoryBytes / 2 ** 20} MiB, ${done.memoryPeak / 2 ** 20} reserved`);
    assert.equal(done.rows, calls * 64);
    assert.ok(done.inOrder, "commits are out of order");
    assert.ok(done.wasmMemoryBytes <= memoryBytes, `${done.wasmMemoryBytes} bytes`);
    assert.ok(done.memoryPeak <= memoryBytes, `${done.memoryPeak} bytes reserved`);
  });
