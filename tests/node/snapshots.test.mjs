// Snapshots and time travel.

import assert from "node:assert/strict";
import { test } from "node:test";
import { col, LakeshoreError, memory, open } from "lakeshore";
import { random } from "./support/process.mjs";

const definition = { schema: { id: "int64", n: "int64" }, primaryKey: ["id"] };

async function opened(t, options) {
  const db = await open(options);
  t.after(() => db.close());
  return { db, a: await db.table("a", definition), b: await db.table("b", definition) };
}

const rows = (...pairs) => pairs.map(([id, n]) => ({ id: BigInt(id), n: BigInt(n) }));
const pairs = async (table, options) =>
  (await table.scan(options).toArray()).map(({ id, n }) => [Number(id), Number(n)]);
const both = async (snapshot) => [await pairs(snapshot.table("a")), await pairs(snapshot.table("b"))];
const ofKind = (code, message = /./) => {
  return (error) => error instanceof LakeshoreError && error.code === code && message.test(error.message);
};

test("a snapshot sees all tables at one moment, whatever happens after it", async (t) => {
  for (const wal of [undefined, memory()]) {
    const { db, a, b } = await opened(t, { data: memory(), ...(wal && { wal }) });
    await a.ingest(rows([1, 1], [2, 2], [3, 3]));
    await db.flush();
    const { timestamp } = await b.ingest(rows([1, -1]));
    const snapshot = await db.snapshot();
    assert.equal(snapshot.timestamp, timestamp);
    await a.ingest(rows([1, 10], [4, 40]));
    await a.delete([{ id: 2n }]);
    await b.delete([{ id: 1n }]);
    await db.table("later", definition);
    for (const flush of [false, true]) {
      if (flush) await db.flush();
      const table = snapshot.table("a");
      assert.deepEqual(await both(snapshot), [[[1, 1], [2, 2], [3, 3]], [[1, -1]]]); // prettier-ignore
      assert.deepEqual(await pairs(table, { reverse: true, limit: 1 }), [[3, 3]]);
      assert.deepEqual(await pairs(table, { where: col("n").lt(3), range: { from: { id: 2 } } }), [[2, 2]]);
      assert.equal(await table.scan().count(), 3);
      assert.deepEqual(await table.get({ id: 2n }), { id: 2n, n: 2n });
      assert.equal(await table.get({ id: 4n }), undefined);
      assert.deepEqual(await table.get({ id: 1n }, { select: ["n"] }), { n: 1n });
    }
    assert.deepEqual([table(snapshot).name, table(snapshot).primaryKey], ["a", ["id"]]);
    assert.deepEqual(
      snapshot.tables().map(({ name }) => name),
      ["a", "b"],
    );
    assert.ok(!("ingest" in snapshot.table("a")));
    assert.throws(() => snapshot.table("later"), ofKind("Invalid", /no table "later": there are a, b/));
    assert.deepEqual(await pairs(a), [[1, 10], [3, 3], [4, 40]]); // prettier-ignore
  }
});
const table = (snapshot) => snapshot.table("a");

test("as of any moment is the same for every handle, also after flushes and a reopen", async (t) => {
  const next = random();
  const data = memory();
  const writer = await opened(t, { data });
  const history = [];
  const models = { a: new Map(), b: new Map() };
  for (let step = 0; step < 40; step++) {
    const name = next() < 0.5 ? "a" : "b";
    const id = BigInt(Math.floor(next() * 6));
    const gone = next() < 0.3;
    const done = await (gone
      ? writer[name].delete([{ id }])
      : writer[name].ingest([{ id, n: BigInt(step) }]));
    if (gone) models[name].delete(id);
    else models[name].set(id, step);
    const state = (map) => [...map].map(([id, n]) => [Number(id), n]).sort(([x], [y]) => x - y);
    history.push({ timestamp: done.timestamp, content: [state(models.a), state(models.b)] });
    if (next() < 0.2) await writer.db.flush();
    if (next() < 0.1) await writer.db.checkpoint();
  }
  for (const db of [writer.db, (await opened(t, { data })).db]) {
    for (const [i, { timestamp, content }] of history.entries()) {
      const before = (history[i + 1]?.timestamp ?? timestamp + 1n) - 1n;
      for (const asOf of [timestamp, before]) {
        const snapshot = await db.snapshot({ asOf });
        assert.equal(snapshot.timestamp, asOf);
        assert.deepEqual(await both(snapshot), content, `as of ${asOf}`);
        snapshot.close();
      }
    }
  }
});

test("a Date is a moment, too; one beyond the end of the log means its end, which is looked for", async (t) => {
  const data = memory();
  const { db, a } = await opened(t, { data });
  const other = await opened(t, { data });
  await a.ingest(rows([1, 1]));
  await new Promise((resolve) => setTimeout(resolve, 5));
  const between = new Date();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const { timestamp } = await other.a.ingest(rows([1, 2], [2, 2]));
  const now = await db.snapshot({ asOf: new Date(Date.now() + 3_600_000) });
  assert.equal(now.timestamp, timestamp);
  assert.deepEqual(await pairs(now.table("a")), [[1, 2], [2, 2]]); // prettier-ignore
  const then = await db.snapshot({ asOf: between });
  assert.equal(then.timestamp, BigInt(between.getTime()) * 1000n);
  assert.deepEqual(await pairs(then.table("a")), [[1, 1]]);
  assert.deepEqual(await pairs(a), [[1, 2], [2, 2]]); // prettier-ignore
});

test("as of a moment is what the log has: what is in the WAL alone is seen without it", async (t) => {
  const { db, a } = await opened(t, { data: memory(), wal: memory() });
  await a.ingest(rows([1, 1]));
  await db.flush();
  const { uploaded } = await a.ingest(rows([2, 2]));
  assert.equal(uploaded, false);
  const far = new Date(Date.now() + 3_600_000);
  assert.deepEqual(await pairs((await db.snapshot()).table("a")), [[1, 1], [2, 2]]); // prettier-ignore
  assert.deepEqual(await pairs((await db.snapshot({ asOf: far })).table("a")), [[1, 1]]);
  await db.flush();
  assert.deepEqual(await pairs((await db.snapshot({ asOf: far })).table("a")), [[1, 1], [2, 2]]); // prettier-ignore
});

test("a closed snapshot says so; a scan under way goes on", async (t) => {
  const { db, a } = await opened(t, { data: memory() });
  await a.ingest(rows([1, 1], [2, 2]));
  const snapshot = await db.snapshot();
  const table = snapshot.table("a");
  const scan = table.scan({ batchRows: 1 }).rows();
  assert.equal((await scan.next()).value.id, 1n);
  snapshot.close();
  snapshot.close();
  assert.equal((await scan.next()).value.id, 2n);
  assert.equal((await scan.next()).done, true);
  const closed = ofKind("Invalid", /the snapshot was closed: take a new one/);
  assert.throws(() => snapshot.table("a"), closed);
  await assert.rejects(table.get({ id: 1n }), closed);
  await assert.rejects(table.scan().count(), closed);
  await assert.rejects(table.scan({ limit: 0 }).toIPC(), closed);

  const open = await db.snapshot();
  await db.close();
  await assert.rejects(open.table("a").get({ id: 1n }), ofKind("Closed"));
  await assert.rejects(db.snapshot(), ofKind("Closed"));
  await assert.rejects(db.snapshot({ asOf: 1n }), ofKind("Closed"));
  open.close();
});

test("a moment that is none is Invalid, with the remedy", async (t) => {
  const { db } = await opened(t, { data: memory() });
  const takes = /it takes a Date, microseconds since 1970 as a bigint, or the name of a tag/;
  for (const asOf of [5, null, new Date(NaN), {}, 2n ** 63n, -(2n ** 63n) - 1n, true]) {
    await assert.rejects(db.snapshot({ asOf }), ofKind("Invalid", takes), String(asOf));
  }
  await assert.rejects(db.snapshot({ asOf: "v1" }), ofKind("Invalid", /no tag "v1": there is none/));
});

test("what only closed snapshots saw does not stay in memory", async (t) => {
  const db = await open({ data: memory(), wal: memory() });
  t.after(() => db.close());
  const texts = await db.table("texts", { schema: { id: "int64", text: "utf8" }, primaryKey: ["id"] });
  const big = Array.from({ length: 1000 }, (_, id) => ({ id: BigInt(id), text: "x".repeat(2000) }));
  const round = async () => {
    await texts.ingest(big);
    const snapshot = await db.snapshot();
    assert.equal((await snapshot.table("texts").get({ id: 5n })).text.length, 2000);
    await db.flush();
    snapshot.close();
  };
  for (let i = 0; i < 3; i++) await round();
  const { wasmMemoryBytes: before } = await db.stats();
  for (let i = 0; i < 40; i++) await round();
  const { wasmMemoryBytes: after } = await db.stats();
  console.log(`40 snapshots of 2 MB, closed, took ${(after - before) >> 20} MB more`);
  assert.ok(after - before < 24 * 2 ** 20);
});

test("a snapshot and a tag show tables, names and columns as they were", async (t) => {
  for (const wal of [undefined, memory()]) {
    const { db, a, b } = await opened(t, { data: memory(), ...(wal && { wal }) });
    await a.ingest(rows([1, 1], [2, 2]));
    await b.ingest(rows([1, -1]));
    const tagged = await db.tag("v1");
    await db.alterTable("a", [{ dropColumn: "n" }, { addColumn: "m", type: "utf8" }, { renameTable: "c" }]);
    await db.dropTable("b");
    await (await db.table("b", { schema: { key: "utf8" }, primaryKey: ["key"] })).ingest([{ key: "new" }]);
    for (const step of ["as written", "flushed", "from a checkpoint"]) {
      for (const asOf of ["v1", tagged]) {
        const then = await db.snapshot({ asOf });
        const names = then.tables().map(({ name }) => name);
        assert.deepEqual(names, ["a", "b"], step);
        assert.deepEqual(await both(then), [[[1, 1], [2, 2]], [[1, -1]]], step); // prettier-ignore
        assert.deepEqual(await then.table("a").get({ id: 2n }), { id: 2n, n: 2n });
        assert.deepEqual(await pairs(then.table("a"), { where: col("n").gt(1) }), [[2, 2]]);
        assert.throws(() => then.table("c"), ofKind("Invalid", /no table "c": there are a, b/));
      }
      const now = await db.snapshot();
      assert.deepEqual(await now.table("c").get({ id: 2n }), { id: 2n, m: null });
      assert.deepEqual(await now.table("b").scan().toArray(), [{ key: "new" }]);
      await (step === "as written" ? db.flush() : db.checkpoint());
    }
  }
});
