// Arrow as other programs really send it, and what they read of ours.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tableFromArrays, tableFromIPC, tableToIPC, vectorFromArray, Table, Utf8, Int32 } from "apache-arrow";
import { memory, open } from "lakeshore";
import { fixture, fixtureTable, runPython } from "./support/fixtures.mjs";
import { temporary } from "./support/process.mjs";
import { flights, flightsTable } from "../../examples/flights.mjs";

const at = (day) => BigInt(Date.UTC(2001, 0, day)) * 1000n;
const zwei = (name) => ({ id: 2n, name, at: at(2), tags: [], score: -0 });
const rows = (name = "zwei") => [
  { id: 1n, name: null, at: at(1), tags: null, score: NaN },
  zwei(name),
  { id: 3n, name: "drei", at: at(3), tags: ["a", null], score: 1.5 },
];

async function opened(t, definition = fixtureTable) {
  const db = await open({ data: memory() });
  t.after(() => db.close());
  return { db, table: await db.table("rows", definition) };
}

const cases = {
  "pyarrow-stream": rows(),
  "pyarrow-file": rows(),
  "pyarrow-lz4": rows(),
  "pyarrow-dictionary": rows(),
  "pyarrow-large": rows(),
  "pyarrow-view": rows(),
  "pyarrow-narrow": rows(),
  "pyarrow-run-end": rows(),
  "pyarrow-seconds": rows(),
  "pyarrow-batches": rows(),
  "polars-stream": rows("a name that is long enough to be a view"),
  "polars-file": rows("a name that is long enough to be a view"),
  "polars-lz4": rows("a name that is long enough to be a view"),
};

for (const [name, wanted] of Object.entries(cases)) {
  test(`takes ${name}`, async (t) => {
    const { db, table } = await opened(t);
    const { rows: count } = await table.ingest(fixture(name));
    assert.equal(count, 3);
    assert.deepEqual(await table.scan().toArray(), wanted);
    await db.flush();
    assert.deepEqual(await table.scan().toArray(), wanted);
  });
}

test("zstd is Unsupported, with the remedy", async (t) => {
  const { table } = await opened(t);
  await assert.rejects(table.ingest(fixture("pyarrow-zstd")), { code: "Unsupported", message: /lz4/ });
});

test("nanoseconds do not fit a column of microseconds", async (t) => {
  const { table } = await opened(t);
  await assert.rejects(table.ingest(fixture("pyarrow-nanoseconds")), { code: "Invalid", message: /"at"/ });
});

test("takes what apache-arrow makes of JavaScript arrays: float64 for numbers, dictionaries for strings", async (t) => {
  const { table } = await opened(t, { schema: { id: "float64", name: "utf8" }, primaryKey: ["id"] });
  const made = tableFromArrays({ id: [2, 1], name: ["b", "a"] });
  await table.ingest(tableToIPC(made, "stream"));
  await table.ingest(tableToIPC(made, "file"));
  assert.deepEqual(await table.scan().toArray(), [
    { id: 1, name: "a" },
    { id: 2, name: "b" },
  ]);
});

test("apache-arrow reads scans, batch by batch and joined", async (t) => {
  const { table } = await opened(t);
  await table.ingest(fixture("pyarrow-stream"));
  for await (const ipc of table.scan({ batchRows: 2 })) assert.ok(tableFromIPC(ipc).numRows <= 2);
  const joined = tableFromIPC(await table.scan({ batchRows: 1 }).toIPC());
  assert.equal(joined.numRows, 3);
  assert.deepEqual([...joined.getChild("name")], [null, "zwei", "drei"]);
  const none = tableFromIPC(await table.scan({ limit: 0 }).toIPC());
  assert.equal(none.numRows, 0);
  assert.deepEqual(
    none.schema.fields.map(({ name }) => name),
    ["id", "name", "at", "tags", "score"],
  );
});

test("dictionary columns come back as such, joined over batches", async (t) => {
  const definition = { schema: { id: "int32", name: "dictionary<int32, utf8>" }, primaryKey: ["id"] };
  const { db, table } = await opened(t, definition);
  const ids = vectorFromArray([1, 2, 3, 4], new Int32());
  const names = vectorFromArray(["a", "b", null, "a"], new Utf8());
  await table.ingest(tableToIPC(new Table({ id: ids, name: names }), "stream"));
  await table.ingest([{ id: 5, name: "c" }]);
  for (const flush of [false, true]) {
    if (flush) await db.flush();
    const joined = tableFromIPC(await table.scan({ batchRows: 2 }).toIPC());
    assert.deepEqual([...joined.getChild("name")], ["a", "b", null, "a", "c"]);
    const plain = (await table.scan().toArray()).map(({ name }) => name);
    assert.deepEqual(plain, ["a", "b", null, "a", "c"]);
  }
});

test("takes parquet-wasm's tables as they are", async (t) => {
  const { readParquet, writeParquet, Table: WasmTable } = await import("parquet-wasm/node");
  const { table } = await opened(t, flightsTable);
  const [batch] = flights({ to: 1000, batchRows: 1000 });
  const parquet = writeParquet(WasmTable.fromIPCStream(tableToIPC(batch, "stream")));
  await table.ingest(readParquet(parquet));
  assert.equal(await table.scan().count(), 1000);
  const [first] = await table.scan({ limit: 1 }).toArray();
  assert.equal(first.id, 0n);
  assert.equal(first.origin, batch.getChild("origin").get(0));
});

test("pyarrow and polars read scans", async (t) => {
  const { table } = await opened(t);
  await table.ingest(fixture("pyarrow-stream"));
  const path = join(temporary(t), "scan");
  writeFileSync(path, await table.scan({ batchRows: 2 }).toIPC());
  const script = `
import sys, pyarrow.ipc, polars
table = pyarrow.ipc.open_stream(open(sys.argv[1], "rb")).read_all()
table.validate(full=True)
print(table["name"].to_pylist(), polars.read_ipc_stream(sys.argv[1])["id"].to_list())`;
  assert.equal(runPython("-c", script, path).trim(), "[None, 'zwei', 'drei'] [1, 2, 3]");
});

test("the files are Parquet: pyarrow reads an sstable", async (t) => {
  const { directory } = await import("lakeshore");
  const path = temporary(t);
  const db = await open({ data: directory(path) });
  const table = await db.table("rows", fixtureTable);
  await table.ingest(fixture("pyarrow-stream"));
  await db.flush();
  await db.close();
  const script = `
import sys, glob, pyarrow.parquet
[path] = glob.glob(sys.argv[1] + "/data/*/*.parquet")
print(pyarrow.parquet.read_table(path).select(["id", "name"]).to_pylist())`;
  const wanted = "[{'id': 1, 'name': None}, {'id': 2, 'name': 'zwei'}, {'id': 3, 'name': 'drei'}]";
  assert.equal(runPython("-c", script, path).trim(), wanted);
});
