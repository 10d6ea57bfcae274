// Offline: opening and committing while the data store is away; uploads in steps, as a loop, and how one knows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { host, LakeshoreError, memory, open } from "lakeshore";

const definition = { schema: { id: "int64", n: "int32" }, primaryKey: ["id"] };
const rows = (...ids) => ids.map((id) => ({ id: BigInt(id), n: id }));
const ids = async (table) => (await table.scan().toArray()).map(({ id }) => Number(id));
const ofKind = (code, message = /./) => {
  return (error) => error instanceof LakeshoreError && error.code === code && message.test(error.message);
};

/** A store that can be out of reach. */
function away(store) {
  const state = { away: false };
  const inner = store.host;
  const methods = ["get", "getRange", "getSuffix", "put", "putIfAbsent", "list", "delete"].map((name) => {
    const method = async (...args) => {
      if (state.away) throw Object.assign(new Error("the train is in a tunnel"), { code: "Unavailable" });
      return inner[name](...args);
    };
    return [name, method];
  });
  return Object.assign(state, { store: host({ describe: () => "a store", ...Object.fromEntries(methods) }) });
}

async function opened(t, data, wal, options = {}) {
  const db = await open({ data: data.store, wal, retries: 0, ...options });
  t.after(() => db.close());
  return { db, a: await db.table("a", definition) };
}

test("a database that was open once opens and commits offline, and uploads when the store is back", async (t) => {
  const [data, wal] = [away(memory()), memory()];
  const first = await opened(t, data, wal);
  await first.a.ingest(rows(1));
  await first.db.close();

  data.away = true;
  await assert.rejects(open({ data: data.store, wal, retries: 0, offline: "refuse" }), ofKind("Unavailable"));
  const { db, a } = await opened(t, data, wal);
  const committed = await a.ingest(rows(2));
  const [moved] = await Promise.all([
    db.transaction(async (tx) => {
      await tx.table("a").ingest(rows(3));
      return tx.table("a").scan().count();
    }),
  ]);
  assert.equal(moved, 3);
  assert.deepEqual(await ids(a), [1, 2, 3]);
  assert.deepEqual([committed.uploaded, typeof committed.position], [false, "string"]);
  assert.equal(await db.isUploaded(committed), false);
  const uploaded = db.uploaded(committed);
  await assert.rejects(db.upload(), ofKind("Unavailable", /tunnel/));
  const stats = await db.stats();
  assert.deepEqual([stats.online, stats.backlogCommits, stats.backlogRows], [false, 3, 3]);
  assert.match(stats.uploadError, /tunnel/);
  assert.deepEqual([typeof stats.uploadErrorAt, typeof stats.backlogSince], ["bigint", "bigint"]);
  const patience = new AbortController();
  const impatient = db.uploaded(committed, { signal: patience.signal });
  patience.abort("enough");
  await assert.rejects(impatient, (reason) => reason === "enough");

  data.away = false;
  const done = await db.upload();
  assert.deepEqual([done.commits, done.rows, done.remainingRows, done.remainingBytes], [3, 3, 0, 0]);
  await uploaded;
  assert.equal(await db.isUploaded(committed), true);
  const after = await db.stats();
  assert.deepEqual([after.online, after.backlogCommits, after.uploadError], [true, 0, undefined]);
  const other = await open({ data: data.store });
  t.after(() => other.close());
  assert.deepEqual(await ids(await other.table("a")), [1, 2, 3]);
});

test("an upload does a part at a time", async (t) => {
  const data = away(memory());
  const { db, a } = await opened(t, data, memory(), { sealBatches: 2 });
  data.away = true;
  for (let id = 0; id < 6; id++) await a.ingest(rows(id));
  data.away = false;
  const left = [];
  for (let step = 0; step < 3; step++) left.push((await db.upload({ maxBytes: 1 })).remainingRows);
  assert.deepEqual(left, [4, 2, 0]);
  assert.equal((await db.upload({ maxMs: 0 })).commits, 0);
  await assert.rejects(db.upload({ maxBytes: -1 }), ofKind("Invalid", /maxBytes/));
  await assert.rejects(db.upload({ maxMs: "soon" }), ofKind("Invalid", /maxMs/));
});

test("a loop uploads what is committed, until its signal or the close ends it", async (t) => {
  const data = away(memory());
  const { db, a } = await opened(t, data, memory());
  const controller = new AbortController();
  const ended = db.keepUploaded({ intervalMs: 5, longestPauseMs: 10, signal: controller.signal });
  data.away = true;
  const committed = await a.ingest(rows(1));
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(await db.isUploaded(committed), false);
  data.away = false;
  await db.uploaded(committed);
  controller.abort();
  await ended;
  const late = await a.ingest(rows(2));
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(await db.isUploaded(late), false);
  await db.keepUploaded({ signal: controller.signal });
  await assert.rejects(db.keepUploaded({ intervalMs: -1 }), ofKind("Invalid", /intervalMs/));

  const untilClosed = db.keepUploaded({ intervalMs: 100_000 });
  const waiting = assert.rejects(db.uploaded(await a.ingest(rows(3))), ofKind("Closed"));
  await db.close();
  await untilClosed;
  await waiting;
});

test("without a WAL all is uploaded at once; what is no commit is told", async (t) => {
  const db = await open({ data: memory() });
  t.after(() => db.close());
  const a = await db.table("a", definition);
  const committed = await a.ingest(rows(1));
  assert.deepEqual([committed.uploaded, committed.position], [true, undefined]);
  assert.equal(await db.isUploaded(committed), true);
  await db.uploaded(committed);
  assert.equal((await db.upload()).commits, 0);
  for (const commit of [{}, { ...committed, position: "x" }, { ...committed, position: 5 }]) {
    await assert.rejects(db.uploaded(commit), ofKind("Invalid", /what a commit gave/));
  }
  assert.deepEqual([await db.parked(), await db.restoreParked(), await db.discardParked()], [[], 0, 0]);
});
