// WebAssembly's memory in workerd, by bytes: one for all databases of the isolate, and an isolate has 128 MB.
//   SEED=… replays.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { lasting } from "./support/project.mjs";
import { place, server } from "./support/s3.mjs";
import { worker } from "./support/workerd.mjs";

const seed = Number(process.env.SEED ?? Date.now() % 1e9);
const ms = 1000 * Number(process.env.TEST_SECONDS ?? 10);
const files = { "bounded.mjs": readFileSync(new URL("../support/bounded.mjs", import.meta.url), "utf8") };

const t = lasting();
let store;
let made;
before(async () => {
  store = await server(t);
  made = await worker("memory.mjs", files);
});
after(() => t.end());

for (const mib of [64, 16])
  test(`in a Worker, whatever is done at once, WebAssembly's memory stays within ${mib} MiB`, async (t) => {
    const instance = made.start();
    t.after(() => instance.stop());
    const memoryBytes = mib * 2 ** 20;
    const how = { place: place(store), memoryBytes, seed, ms };
    const results = await instance.call("work", how, { abortAfterMs: 300_000 });
    for (const { name, wasmMemoryBytes, done } of results)
      console.log(`${name}: ${done}, ${wasmMemoryBytes / 2 ** 20} MiB, SEED=${seed}`);
    assert.deepEqual(
      results.filter(({ wasmMemoryBytes }) => wasmMemoryBytes > memoryBytes),
      [],
    );
  });
