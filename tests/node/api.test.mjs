// How the package behaves: streams, progress, signals, cancelling, closing.

import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tableFromArrays, tableToIPC } from "apache-arrow";
import { and, col, directory, host, LakeshoreError, memory, not, open, or } from "lakeshore";
import { root } from "../../scripts/lib.mjs";
import { temporary } from "./support/process.mjs";

const definition = { schema: { id: "float64", n: "float64", text: "utf8" }, primaryKey: ["id"] };

async function opened(t, options = { data: memory() }) {
  const db = await open(options);
  t.after(() => db.close());
  return { db, table: await db.table("rows", definition) };
}

function ipc(from, to) {
  const ids = Array.from({ length: to - from }, (_, i) => from + i);
  return tableToIPC(
    tableFromArrays({ id: ids, n: ids.map((id) => id % 10), text: ids.map(String) }),
    "stream",
  );
}

async function ids(scan) {
  return (await scan.toArray()).map(({ id }) => id);
}

test("a stream is one commit per item, whatever the kind of stream", async (t) => {
  const items = () => [ipc(0, 3), ipc(3, 5), ipc(5, 9)];
  const inputs = {
    "an array": items(),
    "a generator": (function* () {
      yield* items();
    })(),
    "an async generator": (async function* () {
      yield* items();
    })(),
    "a ReadableStream": new ReadableStream({
      start(controller) {
        for (const item of items()) controller.enqueue(item);
        controller.close();
      },
    }),
    "array buffers": items().map((bytes) => bytes.slice().buffer),
    "things with toIPC": items().map((bytes) => ({ toIPC: () => bytes })),
    "arrays of rows": [
      [{ id: 0 }, { id: 1 }, { id: 2 }],
      [{ id: 3 }, { id: 4 }],
      [5, 6, 7, 8].map((id) => ({ id })),
    ],
  };
  for (const [name, input] of Object.entries(inputs)) {
    const { table } = await opened(t);
    const progress = [];
    const done = await table.ingest(input, { onProgress: (p) => progress.push({ ...p }) });
    assert.deepEqual(
      progress,
      [
        { commits: 1, rows: 3 },
        { commits: 2, rows: 5 },
        { commits: 3, rows: 9 },
      ],
      name,
    );
    assert.equal(done.commits, 3);
    assert.equal(typeof done.timestamp, "bigint");
    assert.equal(await table.scan().count(), 9);
  }
});

test("an error in a stream says how many items went in", async (t) => {
  const { table } = await opened(t);
  await assert.rejects(table.ingest([ipc(0, 3), ipc(3, 5), new Uint8Array(9), ipc(5, 9)]), (error) => {
    assert.equal(error.code, "Invalid");
    assert.equal(error.committed, 2);
    return true;
  });
  assert.equal(await table.scan().count(), 5);
  const broken = (async function* () {
    yield ipc(5, 6);
    throw new Error("the source broke");
  })();
  await assert.rejects(table.ingest(broken), /the source broke/);
  assert.equal(await table.scan().count(), 6);
});

test("of equal keys the last row wins, and a delete is final until the next ingest", async (t) => {
  const { table } = await opened(t);
  await table.ingest([
    { id: 1, text: "a" },
    { id: 1, text: "b" },
  ]);
  assert.equal((await table.get({ id: 1 })).text, "b");
  await table.ingest([{ id: 1, n: 5 }]);
  assert.deepEqual(await table.get({ id: 1 }), { id: 1, n: 5, text: null });
  await table.delete(tableToIPC(tableFromArrays({ id: [1] }), "stream"));
  assert.equal(await table.get({ id: 1 }), undefined);
  await table.ingest([{ id: 1 }]);
  assert.equal(await table.scan().count(), 1);
});

test("ingests commit in call order without being awaited", async (t) => {
  const { table } = await opened(t);
  const calls = Array.from({ length: 50 }, (_, n) => table.ingest([{ id: 0, n }]));
  await Promise.all(calls);
  assert.equal((await table.get({ id: 0 })).n, 49);
});

test("filters, projection, order, range, limit", async (t) => {
  const { db, table } = await opened(t);
  await table.ingest(ipc(0, 100));
  await table.ingest([{ id: 100 }]);
  for (const flush of [false, true]) {
    if (flush) await db.flush();
    const where = (predicate) => ids(table.scan({ where: predicate }));
    assert.deepEqual(await where(col("id").lt(3)), [0, 1, 2]);
    assert.deepEqual(await where(col("id").lte(1).or(col("id").gte(99))), [0, 1, 99, 100]);
    assert.deepEqual(await where(col("n").eq(3).and(col("id").gt(80))), [83, 93]);
    assert.deepEqual(await where(and(col("id").in([5, 7, 500]), not(col("id").eq(5)))), [7]);
    assert.deepEqual(await where(or(col("text").isNull(), col("text").startsWith("9"))), [
      9,
      ...range(90, 101),
    ]);
    assert.deepEqual(await where(col("id").between(10, 12)), [10, 11, 12]);
    assert.equal(await table.scan({ where: col("n").ne(3) }).count(), 90);
    assert.deepEqual(await where(or()), []);
    assert.equal(await table.scan({ where: and() }).count(), 101);
    assert.deepEqual(await ids(table.scan({ limit: 2, reverse: true })), [100, 99]);
    assert.deepEqual(
      await ids(table.scan({ range: { from: { id: 5 }, to: { id: 8 } }, reverse: true })),
      [7, 6, 5],
    );
    assert.deepEqual(await table.scan({ where: col("id").eq(42), select: ["text"] }).toArray(), [
      { text: "42" },
    ]);
    assert.deepEqual(await table.get({ id: 42 }, { select: ["n", "id"] }), { n: 2, id: 42 });
    const chain = range(0, 3000).reduce((p, id) => p.or(col("id").eq(id)), col("id").eq(-1));
    assert.equal(await table.scan({ where: chain }).count(), 101);
  }
});

function range(from, to) {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

test("a scan reads the state of the moment it was called", async (t) => {
  const { db, table } = await opened(t);
  await table.ingest(ipc(0, 10));
  const scans = [table.scan(), table.scan(), table.scan()];
  const first = scans[0][Symbol.asyncIterator]();
  await table.ingest(ipc(5, 20));
  await table.delete([{ id: 0 }]);
  await db.flush();
  assert.equal((await first.next()).done, false);
  assert.deepEqual(await ids(scans[1]), range(0, 10));
  assert.equal(await scans[2].count(), 10);
  assert.equal(await table.scan().count(), 19);
});

test("leaving the loop ends a scan, and a scan is read once", async (t) => {
  const { table } = await opened(t);
  await table.ingest(ipc(0, 1000));
  const scan = table.scan({ batchRows: 10 });
  let batches = 0;
  for await (const _ of scan) if (++batches === 3) break;
  assert.equal(batches, 3);
  await assert.rejects(
    async () => {
      for await (const _ of scan);
    },
    { code: "Invalid", message: /once/ },
  );
  let rows = 0;
  for await (const _ of table.scan({ batchRows: 10 }).rows()) if (++rows === 25) break;
  assert.equal(rows, 25);
});

test("a signal ends the waiting, and a commit under way completes", async (t) => {
  const { table } = await opened(t);
  const reason = new Error("enough");
  await assert.rejects(table.ingest(ipc(0, 3), { signal: AbortSignal.abort(reason) }), reason);
  assert.equal(await table.scan().count(), 0);
  const controller = new AbortController();
  const ingest = table.ingest(ipc(0, 3), { signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(ingest, reason);
  await table.ingest(ipc(3, 4));
  assert.equal(await table.scan().count(), 4);
  const endless = (async function* () {
    for (let id = 10; ; id++) yield ipc(id, id + 1);
  })();
  const second = new AbortController();
  const onProgress = ({ commits }) => commits === 5 && second.abort(reason);
  await assert.rejects(table.ingest(endless, { signal: second.signal, onProgress }), reason);
  const count = await table.scan().count();
  assert.ok(count >= 9 && count <= 10, String(count));
});

test("a signal ends the waiting for a source that is silent", async (t) => {
  const { table } = await opened(t);
  const reason = new Error("enough");
  const silent = async function* () {
    yield ipc(0, 3);
    await new Promise(() => undefined);
  };
  for (const source of [silent(), new ReadableStream({ start: (to) => to.enqueue(ipc(0, 3)) })]) {
    const controller = new AbortController();
    const onProgress = () => setTimeout(() => controller.abort(reason));
    await assert.rejects(table.ingest(source, { signal: controller.signal, onProgress }), reason);
  }
  assert.equal(await table.scan().count(), 3);
});

test("a signal ends a scan", async (t) => {
  const { table } = await opened(t);
  await table.ingest(ipc(0, 1000));
  const reason = new Error("enough");
  const controller = new AbortController();
  let batches = 0;
  await assert.rejects(async () => {
    for await (const _ of table.scan({ batchRows: 10, signal: controller.signal })) {
      if (++batches === 2) controller.abort(reason);
    }
  }, reason);
  assert.equal(batches, 2);
  assert.throws(() => table.scan({ signal: AbortSignal.abort(reason) }), reason);
});

test("close refuses new calls, ends scans with Closed, and may be called again", async (t) => {
  const path = temporary(t);
  const { db, table } = await opened(t, { data: directory(path), wal: directory(join(path, "wal")) });
  await table.ingest(ipc(0, 1000));
  const scan = table.scan({ batchRows: 10 })[Symbol.asyncIterator]();
  await scan.next();
  const last = table.ingest(ipc(1000, 1001));
  await Promise.all([db.close(), db.close(), last]);
  await db.close();
  const closed = { name: "LakeshoreError", code: "Closed", retryable: false };
  await assert.rejects(scan.next(), closed);
  await assert.rejects(table.ingest(ipc(0, 1)), closed);
  await assert.rejects(table.delete([{ id: 1 }]), closed);
  await assert.rejects(table.get({ id: 1 }), closed);
  await assert.rejects(db.table("rows"), closed);
  await assert.rejects(db.flush(), closed);
  await assert.rejects(table.scan().count(), closed);
  const again = await opened(t, { data: directory(path), wal: directory(join(path, "wal")) });
  assert.equal(await again.table.scan().count(), 1001);
  // Before its directory goes: a close syncs what the open found, too.
  await again.db.close();
});

test("a path is short for a directory and its WAL", async (t) => {
  const path = join(temporary(t), "new", "db");
  const { db, table } = await opened(t, path);
  await table.ingest(ipc(0, 10));
  const stats = await db.stats();
  assert.equal(stats.durability, "local");
  assert.ok(stats.walPlace.endsWith("wal"));
  assert.equal(stats.rowsCommitted, 10);
  assert.equal(stats.tables[0].memtableRows, 10);
  assert.ok(stats.wasmMemoryBytes > 0);
});

test("without a WAL each commit is in the store at once", async (t) => {
  const path = temporary(t);
  const { db, table } = await opened(t, { data: directory(path) });
  assert.equal((await table.ingest(ipc(0, 10))).uploaded, true);
  assert.equal((await db.stats()).durability, "remote");
  const { table: reader } = await opened(t, { data: directory(path) });
  assert.equal(await reader.scan().count(), 10);
});

test("a refresh reads what another handle wrote, flushed or not", async (t) => {
  const data = memory();
  const { db, table } = await opened(t, { data });
  const { db: other, table: theirs } = await opened(t, { data });
  assert.equal(await db.refresh(), false);
  await theirs.ingest(ipc(0, 3));
  await table.ingest(ipc(3, 5)); // goes past their record
  assert.deepEqual(await ids(table.scan()), [0, 1, 2, 3, 4]);
  assert.equal(await other.refresh(), true);
  await other.flush();
  assert.equal(await db.refresh(), true);
  assert.equal(await db.refresh(), false);
  const stats = await db.stats();
  assert.deepEqual([stats.tables[0].fileRows, stats.tables[0].memtableRows], [5, 0]);
  assert.deepEqual(await ids(table.scan()), [0, 1, 2, 3, 4]);
});

test("calls of one turn are one record where no task is detached, and a WAL is refused there", async (t) => {
  const { db, table } = await opened(t, { data: memory(), detachedTasks: false });
  const before = await db.stats();
  await Promise.all([table.ingest(ipc(0, 3)), table.ingest(ipc(2, 5)), table.delete([{ id: 1 }])]);
  const after = await db.stats();
  assert.equal(after.data.putIfAbsent - before.data.putIfAbsent, 1);
  assert.deepEqual(await ids(table.scan()), [0, 2, 3, 4]);
  await assert.rejects(
    open({ data: memory(), wal: memory(), detachedTasks: false }),
    (error) => error.code === "Invalid" && /WAL.*detachedTasks/s.test(error.message),
  );
});

test("a schema can be given as Arrow IPC, and tables tell theirs", async (t) => {
  const { db } = await opened(t);
  const table = await db.table("arrow", { schema: ipc(0, 1), primaryKey: ["id"] });
  assert.deepEqual(
    table.columns.map(({ name, type }) => [name, type]),
    [
      ["id", "float64"],
      ["n", "float64"],
      ["text", "dictionary<int32, utf8>"],
    ],
  );
  assert.deepEqual(
    (await db.tables()).map(({ name, primaryKey }) => [name, primaryKey]),
    [
      ["arrow", ["id"]],
      ["rows", ["id"]],
    ],
  );
  await table.ingest(ipc(0, 5));
  assert.equal((await table.get({ id: 3 })).text, "3");
});

test("sync policies are taken", async (t) => {
  for (const sync of ["always", "never", { intervalMs: 50 }, { bytes: 1000 }]) {
    const { table } = await opened(t, { data: memory(), wal: memory(), sync });
    await table.ingest(ipc(0, 10));
    assert.equal(await table.scan().count(), 10);
  }
  for (const sync of ["sometimes", 5, { bytes: -1 }, {}]) {
    await assert.rejects(open({ data: memory(), sync }), { code: "Invalid", message: /sync/ });
  }
});

test("a memory store outlives the database on it", async (t) => {
  const store = memory();
  const wal = memory();
  const first = await opened(t, { data: store, wal });
  await first.table.ingest(ipc(0, 10));
  await assert.rejects(open({ data: store, wal }), { code: "Busy" });
  await first.db.flush();
  await first.table.ingest(ipc(10, 15));
  await first.db.close();
  const second = await opened(t, { data: store, wal });
  assert.equal(await second.table.scan().count(), 15);
});

test("errors of a host of one's own keep their code", async (t) => {
  const inner = memory().host;
  const failing = Object.create(inner, {
    list: {
      value: () => {
        throw new LakeshoreError("Denied", "the key may not list");
      },
    },
  });
  await assert.rejects(open({ data: host(failing) }), { code: "Denied", message: /may not list/ });
});

test("`await using` closes the database", async (t) => {
  const { default: typescript } = await import("typescript");
  const path = temporary(t);
  const source = `
    import { open } from "lakeshore";
    export async function run(path) {
      await using db = await open(path);
      await db.table("t", { schema: { id: "int64" }, primaryKey: ["id"] });
      return db;
    }`;
  const { outputText } = typescript.transpileModule(source, {
    compilerOptions: { target: "es2022", module: "esnext" },
  });
  const file = join(root, "tests", "node", `.using-${process.pid}.mjs`);
  writeFileSync(file, outputText);
  t.after(() => rmSync(file));
  const { run } = await import(file);
  const db = await run(path);
  await assert.rejects(db.flush(), { code: "Closed" });
});

test("the package ships what its exports name", () => {
  const { exports, files } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const named = JSON.stringify(exports).match(/js\/[^"]+/g);
  for (const path of named) {
    assert.ok(readFileSync(join(root, path)).length > 0, path);
    assert.ok(
      files.some((prefix) => path.startsWith(prefix)),
      `${path} is not in "files"`,
    );
  }
});

test("a scan is a stream, too: it is copied into another table, and its keys are deleted", async (t) => {
  const { db, table } = await opened(t);
  await table.ingest([ipc(0, 50), ipc(50, 90)]);
  const copy = await db.table("copy", definition);
  const copied = await copy.ingest(table.scan({ batchRows: 30 }));
  assert.equal(copied.rows, 90);
  assert.deepEqual(await copy.scan().toArray(), await table.scan().toArray());
  const deleted = await table.delete(table.scan({ where: col("n").lt(5), select: ["id"] }));
  assert.equal(deleted.rows, 45);
  assert.ok((await table.scan().toArray()).every(({ n }) => n >= 5));
  assert.equal(await table.scan().count(), 45);
});
