// What one instance writes another reads, over S3; and what that costs in requests.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { int64, tableFromArrays, tableFromIPC, tableToIPC } from "./support/arrow.mjs";
import { startProxy } from "../support/proxy.mjs";
import { deno } from "./support/deno.mjs";
import { lasting } from "./support/project.mjs";
import { place, server } from "./support/s3.mjs";
import { worker } from "./support/workerd.mjs";

const t = lasting();
let store;
before(async () => void (store = await server(t)));
after(() => t.end());

const table = {
  name: "flights",
  definition: { schema: { id: "int64", origin: "utf8", delay: "float64" }, primaryKey: ["id"] },
};
const rows = 20_000;

/** As apache-arrow makes it: strings as dictionaries, numbers as float64. */
function flights() {
  const numbers = Array.from({ length: rows }, (_, i) => i);
  return tableFromArrays({
    id: int64(numbers),
    origin: numbers.map((i) => ["SFO", "JFK", "LHR"][i % 3]),
    delay: Float64Array.from(numbers, (i) => (i % 100) - 20),
  });
}

const starters = {
  async workerd() {
    const made = await worker("ipc.mjs");
    return async (...call) => {
      const instance = made.start();
      try {
        return await instance.call(...call);
      } finally {
        await instance.stop();
      }
    };
  },
  async Deno() {
    const made = await deno("ipc.mjs");
    return (...call) => made.call(...call);
  },
};

for (const [name, start] of Object.entries(starters)) {
  test(`one instance of ${name} ingests IPC, another reads it back`, async () => {
    const inNewInstance = await start();
    for (const flush of [true, false]) {
      const where = place(store);
      const ipc = tableToIPC(flights(), "stream");
      assert.equal(await inNewInstance("ingest", { place: where, table, ipc, flush }), rows);
      const batches = await inNewInstance("scan", { place: where, table, column: "delay", above: 70 });
      const found = batches.flatMap((bytes) => tableFromIPC(bytes).toArray());
      const wanted = flights()
        .toArray()
        .filter(({ delay }) => delay > 70);
      assert.equal(found.length, wanted.length);
      for (const [i, row] of found.entries())
        assert.deepEqual({ ...row.toJSON() }, { ...wanted[i].toJSON() });
    }
  });
}

/** The most requests that DESIGN 7 allows. */
const targets = {
  // The first of a database: four of them try the store.
  "create a table": 5,
  "commit 11 rows": 1,
  flush: 2,
  "refresh, nothing new": 1,
  "open, nothing after the checkpoint": 2,
  "first point read": 2,
  "warm point read": 1,
};
const sum = (counts) => Object.values(counts).reduce((total, n) => total + n, 0);

test("each operation costs a Worker what DESIGN 7 allows, by our counters and by the proxy's", async (t) => {
  const proxy = await startProxy({ target: store.endpoint });
  t.after(() => proxy.stop());
  const made = await worker("counted.mjs");
  const instance = made.start();
  t.after(() => instance.stop());
  const costs = await instance.call("operations", { place: place(store, proxy) });
  for (const [name, { ours, proxy: seen }] of Object.entries(costs)) {
    assert.deepEqual(ours, seen, name);
    console.log(`${name}: ${sum(seen)} requests`);
    if (targets[name] !== undefined)
      assert.ok(sum(seen) <= targets[name], `${name}: ${JSON.stringify(seen)}`);
  }
  const where = place(store, proxy);
  for (const [what, most] of [
    ["a new database", 12],
    ["one that is there", 10],
  ]) {
    const cost = await instance.call("oneRequest", { place: where });
    assert.deepEqual(cost.ours, cost.proxy);
    console.log(`open, write, flush, read back, ${what}: ${sum(cost.proxy)} requests`);
    assert.ok(sum(cost.proxy) <= most, JSON.stringify(cost.proxy));
  }
  console.log("tonbo 0.4.0-a2: open 47, cold open + point read 63 (1 file) to 122 (8 files), flush 21");
});

test("a commit survives the client hanging up where waitUntil is given", async (t) => {
  const proxy = await startProxy({ target: store.endpoint });
  t.after(() => proxy.stop());
  const made = await worker("hangup.mjs");
  const instance = made.start();
  t.after(() => instance.stop());
  for (const keep of [true, false]) {
    const where = place(store, proxy);
    await instance.call("create", { place: where });
    proxy.fault({ kind: "put", path: "/data/", action: { delayMs: 3_000 } });
    const written = instance.call("write", { place: where, keep }, { abortAfterMs: 2_000 });
    await assert.rejects(written, { name: "TimeoutError" });
    await new Promise((resolve) => setTimeout(resolve, 3_500));
    const there = await instance.call("count", { place: where });
    console.log(`${keep ? "with" : "without"} waitUntil ${there} rows are there`);
    if (keep) assert.equal(there, 11);
    proxy.clear();
  }
});
