// Bad input: a typed error with the remedy, nothing changed, no trap; each case twice, then a good ingest on the same
// handle works, and the database reopens.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { tableFromArrays, tableToIPC } from "apache-arrow";
import { directory, LakeshoreError, open } from "lakeshore";
import { fixture, fixtureTable } from "./support/fixtures.mjs";
import { random, temporary } from "./support/process.mjs";

const good = () => fixture("pyarrow-stream");
const row = { id: 1n, name: "a", at: 0n, tags: [], score: 1 };

function cut(bytes, length) {
  return bytes.slice(0, length);
}

/** The good stream with a 32-bit number, where it occurs first after `from`, replaced. */
function patched(at, value) {
  const bytes = good().slice();
  new DataView(bytes.buffer).setInt32(at, value, true);
  return bytes;
}

/** Offset of the record batch message: after the schema's. */
function batchAt() {
  const bytes = good();
  return 8 + new DataView(bytes.buffer).getInt32(4, true);
}

/** The offsets of the names' text: 0, 4, 4, 8. */
function offsetsAt() {
  const bytes = good();
  const data = new DataView(bytes.buffer);
  for (let at = batchAt(); at + 16 <= bytes.length; at += 8) {
    if ([0, 4, 4, 8].every((wanted, i) => data.getInt32(at + 4 * i, true) === wanted)) return at;
  }
  throw new Error("the offsets were not found");
}

/** Where the record batch says how many rows there are (3 as int64), in its metadata. */
function rowCountAt() {
  const bytes = good();
  const data = new DataView(bytes.buffer);
  const end = batchAt() + 8 + data.getInt32(batchAt() + 4, true);
  for (let at = batchAt(); at + 8 <= end; at += 8) {
    if (data.getBigInt64(at, true) === 3n) return at;
  }
  throw new Error("the number of rows was not found");
}

const lyingOffsets = () => readFileSync(new URL("../golden/ipc-lying-offsets.arrow", import.meta.url));

/** A call on an open table that must be refused → the code, and what the message must name. */
const cases = {
  "no bytes": [(t) => t.ingest(new Uint8Array()), "Invalid"],
  "text as bytes": [(t) => t.ingest(new TextEncoder().encode("not Arrow at all")), "Invalid"],
  "a stream cut in its schema": [(t) => t.ingest(cut(good(), 40)), "Invalid"],
  "a stream cut in its batch": [(t) => t.ingest(cut(good(), good().length - 100)), "Invalid"],
  // Found by flipped bits, seed 642209456: a trap on wasm32, where offsets were cut down to 32 bits.
  "offsets beyond 32 bits": [(t) => t.ingest(lyingOffsets()), "Invalid"],
  "a file cut": [(t) => t.ingest(cut(fixture("pyarrow-file"), 700)), "Invalid"],
  "an offset past the buffer": [(t) => t.ingest(patched(offsetsAt() + 12, 1 << 30)), "Invalid"],
  "a negative offset": [(t) => t.ingest(patched(offsetsAt() + 4, -5)), "Invalid"],
  "a wrong metadata length": [(t) => t.ingest(patched(batchAt() + 4, 0x7fffffff)), "Invalid"],
  "a negative metadata length": [(t) => t.ingest(patched(batchAt() + 4, -16)), "Invalid"],
  "10^9 rows claimed": [(t) => t.ingest(patched(rowCountAt(), 1e9)), "Invalid"],
  "a null key": [(t) => t.ingest(fixture("pyarrow-null-key")), "Invalid", /"id"/],
  "a null key in rows": [(t) => t.ingest([row, { ...row, id: null }]), "Invalid", /"id"/],
  "no key in rows": [(t) => t.ingest([{ name: "a" }]), "Invalid", /"id"/],
  "a column that is not in the table": [(t) => t.ingest(fixture("pyarrow-extra")), "Invalid", /"extra"/],
  "a name in rows that is no column": [(t) => t.ingest([{ ...row, extra: 1 }]), "Invalid", /"extra"/],
  "a column twice": [(t) => t.ingest(fixture("pyarrow-twice")), "Invalid", /"id"/],
  "a wrong type": [
    (t) => t.ingest(tableToIPC(tableFromArrays({ id: ["a"], name: ["b"] }), "stream")),
    "Invalid",
    /"id"/,
  ],
  "a value of 100 MB": [(t) => t.ingest(fixture("pyarrow-big-value")), "Invalid", /commit/],
  "a value of 17 MB": [(t) => t.ingest(fixture("pyarrow-wide-value")), "Invalid", /commitBytes/],
  zstd: [(t) => t.ingest(fixture("pyarrow-zstd")), "Unsupported", /zstd/i],
  "rows that are not objects": [(t) => t.ingest([1, 2]), "Invalid", /row 0/],
  "a number": [(t) => t.ingest(5), "Invalid"],
  null: [(t) => t.ingest(null), "Invalid"],
  "an apache-arrow table of another column": [
    (t) => t.ingest(tableFromArrays({ id: [1], nope: [1] })),
    "Invalid",
    /"nope"/,
  ],
  "a filter on no column": [(t, { col }) => t.scan({ where: col("nix").eq(1) }).count(), "Invalid", /"nix"/],
  "a filter of a wrong type": [
    (t, { col }) => t.scan({ where: col("id").eq("a") }).count(),
    "Invalid",
    /"id"/,
  ],
  "a filter that is none": [(t) => t.scan({ where: { id: 1 } }).count(), "Invalid", /col\(/],
  "a projection of no column": [(t) => t.scan({ select: ["nix"] }).count(), "Invalid", /"nix"/],
  "batches of no rows": [(t) => t.scan({ batchRows: 0 }).count(), "Invalid", /batch/],
  "a limit that is no number": [(t) => t.scan({ limit: NaN }).count(), "Invalid", /limit/],
  "a limit as text": [(t) => t.scan({ limit: "10" }).count(), "Invalid", /limit/],
  "a negative limit": [(t) => t.scan({ limit: -1 }).toArray(), "Invalid", /limit/],
  "half a row as a limit": [(t) => t.scan({ limit: 0.5 }).toArray(), "Invalid", /limit/],
  "batches of a negative number of rows": [(t) => t.scan({ batchRows: -1 }).count(), "Invalid", /batchRows/],
  "a get without its key": [(t) => t.get({}), "Invalid", /"id"/],
  "a get with more than its key": [(t) => t.get({ id: 1, name: "a" }), "Invalid", /"name"/],
  "a delete by a column that is no key": [(t) => t.delete([{ name: "a" }]), "Invalid", /"name"/],
  "an unknown table": [(_, { db }) => db.table("nix"), "Invalid", /"nix"/],
  "a reserved column name": [
    (_, { db }) => db.table("t", { schema: { _ts: "int64" }, primaryKey: ["_ts"] }),
    "Invalid",
    /_ts/,
  ],
  "another reserved column name": [
    (_, { db }) => db.table("t", { schema: { a: "int64", _op: "bool" }, primaryKey: ["a"] }),
    "Invalid",
    /_op/,
  ],
  "an unknown type": [
    (_, { db }) => db.table("t", { schema: { a: "int65" }, primaryKey: ["a"] }),
    "Invalid",
    /int65/,
  ],
  "a key that is no column": [
    (_, { db }) => db.table("t", { schema: { a: "int64" }, primaryKey: ["b"] }),
    "Invalid",
    /"b"/,
  ],
  "no key": [(_, { db }) => db.table("t", { schema: { a: "int64" }, primaryKey: [] }), "Invalid", /key/],
  "a list as a key": [
    (_, { db }) => db.table("t", { schema: { a: "list<int8>" }, primaryKey: ["a"] }),
    "Invalid",
    /"a"/,
  ],
  "another schema for a table": [
    (_, { db }) => db.table("rows", { schema: { id: "int64" }, primaryKey: ["id"] }),
    "Invalid",
    /"name"/,
  ],
  "a table name that is empty": [
    (_, { db }) => db.table("", { schema: { a: "int64" }, primaryKey: ["a"] }),
    "Invalid",
    /name/,
  ],
  "a second opener of the WAL": [
    (_, { path }) => open({ data: directory(join(path, "data")), wal: directory(join(path, "wal")) }),
    "Busy",
    new RegExp(String(process.pid)),
  ],
  "an unknown option": [
    (_, { path }) => open({ data: directory(path), sealbytes: 5 }),
    "Invalid",
    /sealbytes/,
  ],
  "an option out of range": [
    (_, { path }) => open({ data: directory(path), walSegmentBytes: 1 }),
    "Invalid",
    /wal_?segment_?bytes/i,
  ],
  "no store": [() => open({ data: "./db" }), "Invalid", /directory\(/],
};

/** All files and their bytes. */
function filesIn(path) {
  const names = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    names.map((entry) => {
      const file = join(entry.parentPath ?? entry.path, entry.name);
      return [file, readFileSync(file).toString("base64")];
    }),
  );
}

async function opened(path) {
  const db = await open({ data: directory(join(path, "data")), wal: directory(join(path, "wal")) });
  const table = await db.table("rows", fixtureTable);
  // What a device keeps beside its WAL comes behind the call.
  const isKept = () => ["uploads", "version"].every((name) => existsSync(join(path, "wal", name)));
  for (let i = 0; i < 1000 && !isKept(); i++) await delay(5);
  return { db, table };
}

for (const [name, [call, code, message]] of Object.entries(cases)) {
  test(`${name} is ${code}`, async (t) => {
    const { col } = await import("lakeshore");
    const path = temporary(t);
    const { db, table } = await opened(path);
    const before = filesIn(path);
    for (let round = 0; round < 2; round++) {
      const error = await Promise.resolve()
        .then(() => call(table, { db, path, col }))
        .then(
          () => assert.fail("it was not refused"),
          (error) => error,
        );
      assert.ok(error instanceof LakeshoreError, String(error?.stack ?? error));
      assert.equal(error.code, code, error.message);
      assert.equal(error.retryable, code === "Busy");
      if (message) assert.match(error.message, message);
    }
    assert.deepEqual(filesIn(path), before, "a refused call left something behind");
    await table.ingest(good());
    assert.equal(await table.scan().count(), 3);
    await db.close();
    const again = await opened(path);
    assert.equal(await again.table.scan().count(), 3);
    await again.db.close();
  });
}

test("table names are no paths", async (t) => {
  const path = temporary(t);
  const { db } = await opened(path);
  for (const name of ["../up", "a/b", "..", "C:\\x", "ünï", "con"]) {
    const table = await db.table(name, { schema: { id: "int64" }, primaryKey: ["id"] });
    await table.ingest([{ id: 1n }]);
  }
  await db.flush();
  await db.close();
  assert.deepEqual(readdirSync(path).sort(), ["data", "wal"]);
  const again = await opened(path);
  assert.equal((await again.db.tables()).length, 7);
  assert.equal(await (await again.db.table("../up")).scan().count(), 1);
  await again.db.close();
});

test("an empty batch is no commit", async (t) => {
  const path = temporary(t);
  const { db, table } = await opened(path);
  for (const empty of [fixture("pyarrow-empty"), []]) {
    assert.equal((await table.ingest(empty)).rows, 0);
    assert.equal((await table.delete([])).rows, 0);
  }
  await table.ingest(good());
  await db.close();
});

test("a column that is missing is null", async (t) => {
  const path = temporary(t);
  const { db, table } = await opened(path);
  await table.ingest(fixture("pyarrow-missing"));
  assert.deepEqual((await table.get({ id: 3 })).score, null);
  await db.close();
});

test("flipped bits never trap: a stream is refused, or is taken whole", async (t) => {
  const path = temporary(t);
  const { db, table } = await opened(path);
  const next = random();
  const end = Date.now() + (process.env.LAKESHORE_TEST_LONG ? 60_000 : 5_000);
  let refused = 0;
  let taken = 0;
  while (Date.now() < end) {
    const source = fixture(
      ["pyarrow-stream", "pyarrow-file", "pyarrow-lz4", "pyarrow-dictionary", "polars-stream"][
        Math.floor(next() * 5)
      ],
    );
    const bytes = source.slice(0, next() < 0.3 ? Math.floor(next() * source.length) : source.length);
    for (let flips = Math.floor(next() * 4); flips >= 0; flips--) {
      bytes[Math.floor(next() * bytes.length)] ^= 1 << Math.floor(next() * 8);
    }
    try {
      await table.ingest(bytes);
      taken += 1;
    } catch (error) {
      assert.ok(["Invalid", "Unsupported"].includes(error.code), String(error.stack));
      refused += 1;
    }
  }
  console.log(`${refused} refused, ${taken} taken`);
  assert.ok(refused > 0);
  await db.close();
  const again = await opened(path);
  await again.table.ingest(good());
  await again.table.scan().toArray();
  await again.db.close();
});
