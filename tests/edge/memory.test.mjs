// WebAssembly's memory in workerd, by bytes: one for all databases of the isolate, and an isolate has 128 MB.
//   SEED=… replays.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { caseNames } from "../support/bounded.mjs";
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
  test(`in a Worker, whatever is done at once with ${mib} MiB, WebAssembly's memory stays bounded`, async (t) => {
    const instance = made.start();
    t.after(() => instance.stop());
    const memoryBytes = mib * 2 ** 20;
    // Without a WAL each of its commits is a file, and all of them overlap: 32 scans of more would take minutes.
    const how = { place: place(store), memoryBytes, seed, ms, part: 0.1 };
    // With little memory the same is done, more slowly; what an allocator leaves between seven databases counts for more.
    const most = mib === 64 ? memoryBytes : memoryBytes * 1.5;
    const beyond = [];
    // One case at a time: each is a request. The memory is the isolate's, and never shrinks.
    for (const name of process.env.CASE ? [process.env.CASE] : caseNames) {
      const named = { ...how, named: [name] };
      const [{ wasmMemoryBytes, done }] = await instance.call("work", named, { abortAfterMs: 120_000 });
      console.log(`${name}: ${done}, ${wasmMemoryBytes / 2 ** 20} MiB, SEED=${seed}`);
      if (wasmMemoryBytes > most) beyond.push(name);
    }
    assert.deepEqual(beyond, []);
  });
