// Tags, versions, gc, settings; the change feed; alterations of a table.

import assert from "node:assert/strict";
import { test } from "node:test";
import { tableFromIPC } from "apache-arrow";
import { LakeshoreError, memory, open } from "lakeshore";

const definition = { schema: { id: "int64", n: "int32" }, primaryKey: ["id"] };

async function opened(t, options = { data: memory() }) {
  const db = await open(options);
  t.after(() => db.close());
  return { db, a: await db.table("a", definition) };
}

const rows = (...pairs) => pairs.map(([id, n]) => ({ id: BigInt(id), n }));
const pairs = async (table) => (await table.scan().toArray()).map(({ id, n }) => [Number(id), n]);
const ofKind = (code, message = /./) => {
  return (error) => error instanceof LakeshoreError && error.code === code && message.test(error.message);
};

test("a tag names a moment for every handle, until it is removed", async (t) => {
  const data = memory();
  const [ours, theirs] = [await opened(t, { data }), await opened(t, { data })];
  await assert.rejects(
    async () => (await open({ data: memory() })).tag("v0"),
    ofKind("Invalid", /no database/),
  );
  const { timestamp: first } = await ours.a.ingest(rows([1, 1]));
  assert.equal(await ours.db.tag("v1"), first);
  const { timestamp: second } = await ours.a.ingest(rows([1, 2]));
  assert.equal(await ours.db.tag("v2", { asOf: second }), second);
  const { timestamp: third } = await ours.a.ingest(rows([1, 3]));
  assert.equal(await ours.db.tag("old", { asOf: "v1" }), first);
  const snapshot = await theirs.db.snapshot({ asOf: "v1" });
  assert.equal(snapshot.timestamp, first);
  assert.deepEqual(await pairs(snapshot.table("a")), [[1, 1]]);
  const named = (name, timestamp) => ({ name, timestamp });
  assert.deepEqual(await ours.db.tags(), [named("old", first), named("v1", first), named("v2", second)]);

  const versions = await ours.db.versions();
  const stamps = versions.map(({ timestamp }) => timestamp);
  assert.deepEqual(stamps, [...stamps].sort((a, b) => (a > b ? -1 : 1))); // prettier-ignore
  const at = (timestamp) => versions.find((version) => version.timestamp === timestamp).tags;
  assert.deepEqual([at(first), at(second), at(third)], [["old", "v1"], ["v2"], []]); // prettier-ignore
  assert.deepEqual(await ours.db.versions({ limit: 2 }), versions.slice(0, 2));

  assert.deepEqual([await ours.db.untag("v1"), await ours.db.untag("v1")], [true, false]);
  await assert.rejects(ours.db.snapshot({ asOf: "v1" }), ofKind("Invalid", /no tag "v1".*old, v2/));
  await assert.rejects(ours.db.tag("v2"), ofKind("Invalid", /exists/));
  await assert.rejects(ours.db.tag(""), ofKind("Invalid", /tag/));
  await assert.rejects(ours.db.tag(5), ofKind("Invalid", /takes a name/));
  await assert.rejects(ours.db.tag("x", { asOf: 5 }), ofKind("Invalid", /takes a Date/));
  await assert.rejects(ours.db.versions({ limit: -1 }), ofKind("Invalid", /limit/));
});

test("gc says what it does; settings are the same for all handles", async (t) => {
  const data = memory();
  const options = { graceMs: 20 * 60_000, retentionMs: 3_600_000, checkpointRecords: 7 };
  const [ours, theirs] = [await opened(t, { data, ...options }), await opened(t, { data })];
  const settings = { ...options, inlineCommitBytes: 262144, checkpointBytes: 1048576 };
  assert.deepEqual([await ours.db.settings(), await theirs.db.settings()], [settings, settings]);
  const next = await theirs.db.configure({ retentionMs: 7_200_000.5, checkpointRecords: undefined });
  assert.deepEqual(next, { ...settings, retentionMs: 7_200_000.5 });
  await ours.db.refresh();
  assert.deepEqual(await ours.db.settings(), next);
  await assert.rejects(ours.db.configure({ graceMs: 900_000 }), ofKind("Invalid", /grace.*shorter/));
  await assert.rejects(
    ours.db.configure({ checkpointRecords: 0 }),
    ofKind("Invalid", /checkpointRecords is 0/),
  );
  await assert.rejects(ours.db.configure({ nonsense: 1 }), ofKind("Invalid", /no setting "nonsense"/));
  await assert.rejects(ours.db.configure({ graceMs: -1 }), ofKind("Invalid", /graceMs/));

  await ours.a.ingest(rows([1, 1]));
  await ours.db.flush();
  const before = (await ours.db.stats()).data;
  const report = await ours.db.gc({ dryRun: true });
  const after = (await ours.db.stats()).data;
  assert.deepEqual([report.records, report.checkpoints, report.files, report.bytes], [0, 0, 0, 0]);
  assert.deepEqual([typeof report.watermark, report.committed], ["bigint", undefined]);
  assert.deepEqual(
    [after.put, after.putIfAbsent, after.delete],
    [before.put, before.putIfAbsent, before.delete],
  );
  assert.equal((await ours.db.gc()).records, 0);
});

/** The next so many changes, as `[cursor, uploaded, "table kind pairs"]`. */
async function take(iterator, count) {
  const taken = [];
  while (taken.length < count) {
    const { value, done } = await iterator.next();
    if (done) break;
    const tables = value.tables.map(({ table, kind, rows }) => [
      table,
      kind,
      rows.map(({ id, n }) => (kind === "upsert" ? [Number(id), n] : Number(id))),
    ]);
    taken.push({ ...value, tables });
  }
  return taken;
}

test("a feed gives every commit once, in order, whoever made it, and goes on where it was left", async (t) => {
  const data = memory();
  const [ours, theirs] = [await opened(t, { data }), await opened(t, { data })];
  const b = await ours.db.table("b", definition);
  const feed = ours.db.changes();
  const live = feed.rows();
  const { timestamp } = await ours.a.ingest(rows([1, 1], [2, 2]));
  await theirs.a.delete([{ id: 1n }]);
  await b.ingest(rows([5, 5]));
  await ours.db.transaction(async (tx) => {
    await tx.table("a").ingest(rows([3, 3]));
    await tx.table("a").delete([{ id: 2n }]);
    await tx.table("b").ingest(rows([6, 6]));
  });
  const seen = await take(live, 4);
  assert.deepEqual(
    seen.map(({ tables }) => tables),
    [
      [["a", "upsert", [[1, 1], [2, 2]]]], // prettier-ignore
      [["a", "delete", [1]]],
      [["b", "upsert", [[5, 5]]]],
      [["a", "upsert", [[3, 3]]], ["a", "delete", [2]], ["b", "upsert", [[6, 6]]]], // prettier-ignore
    ],
  );
  assert.equal(seen[0].timestamp, timestamp);
  assert.ok(seen.every(({ uploaded, more }) => uploaded && !more));
  await assert.rejects(feed.rows().next(), ofKind("Invalid", /read once/));

  const again = theirs.db.changes({ since: seen[1].cursor, tables: ["b"], endAtHead: true });
  const later = await take(again.rows(), 9);
  assert.deepEqual(
    later.map(({ tables }) => tables),
    [[["b", "upsert", [[5, 5]]]], [["b", "upsert", [[6, 6]]]]], // prettier-ignore
  );
  const all = [];
  for await (const { tables } of theirs.db.changes({ since: "start", endAtHead: true })) {
    for (const { kind, ipc } of tables) all.push([kind, tableFromIPC(ipc).numRows]);
  }
  assert.deepEqual(all, [["upsert", 2], ["delete", 1], ["upsert", 1], ["upsert", 1], ["delete", 1], ["upsert", 1]]); // prettier-ignore
});

test("a feed waits for news, by polling for that of others, until it is ended", async (t) => {
  const data = memory();
  const [ours, theirs] = [await opened(t, { data }), await opened(t, { data })];
  const waiting = ours.db.changes().rows().next();
  const polling = theirs.db.changes({ pollMs: 5 }).rows().next();
  await new Promise((resolve) => setTimeout(resolve, 20));
  await ours.a.ingest(rows([1, 1]));
  for (const next of [waiting, polling]) assert.equal((await next).value.tables[0].rows[0].id, 1n);

  const controller = new AbortController();
  const aborted = ours.db.changes({ signal: controller.signal }).rows().next();
  controller.abort("enough");
  await assert.rejects(aborted, (reason) => reason === "enough");
  assert.throws(() => ours.db.changes({ signal: controller.signal }));

  // Ended while it waits for news, which may never come.
  for (const feed of [ours.db.changes()[Symbol.asyncIterator](), ours.db.changes().rows()]) {
    const next = feed.next();
    await feed.return();
    assert.equal((await next).done, true);
  }

  const bad = async (options) => ours.db.changes(options).rows().next();
  await assert.rejects(bad({ since: "5" }), ofKind("Invalid", /cursor/));
  await assert.rejects(bad({ since: 5 }), ofKind("Invalid", /since.*cursor/));
  await assert.rejects(bad({ tables: ["nope"] }), ofKind("Invalid", /no table "nope"/));
  await assert.rejects(bad({ tables: "a" }), ofKind("Invalid", /tables takes an array/));
  await assert.rejects(bad({ pollMs: -1 }), ofKind("Invalid", /pollMs/));
  await assert.rejects(bad({ endAtHead: 1 }), ofKind("Invalid", /endAtHead takes a boolean/));
  const foreign = `999-${"0".repeat(64)}`;
  await assert.rejects(bad({ since: foreign, endAtHead: true }), ofKind("Invalid", /another database/));

  const last = ours.db.changes().rows().next();
  const closed = assert.rejects(last, ofKind("Closed"));
  await ours.db.close();
  await closed;
});

test("with a WAL rows of this device come at once, and again when they are uploaded", async (t) => {
  const { db, a } = await opened(t, { data: memory(), wal: memory() });
  const feed = db.changes().rows();
  await a.ingest(rows([1, 1]));
  const [preview] = await take(feed, 1);
  assert.deepEqual([preview.uploaded, preview.tables], [false, [["a", "upsert", [[1, 1]]]]]);
  await db.flush();
  const [record] = await take(feed, 1);
  assert.deepEqual([record.uploaded, record.tables], [true, preview.tables]);
  await feed.return();
});

test("a table is altered without rewriting rows, and handles that were there go on", async (t) => {
  const data = memory();
  const [{ db, a }, other] = [await opened(t, { data }), await opened(t, { data })];
  await a.ingest(rows([1, 1]));
  await db.flush();
  await a.ingest(rows([2, 2]));
  await other.db.refresh();
  const tx = await db.begin();
  await tx.table("a").ingest(rows([3, 3]));
  const then = await db.snapshot();
  const altered = await db.alterTable("a", [
    { addColumn: "note", type: "utf8" },
    { widen: "n", to: "int64" },
    { renameColumn: "n", to: "count" },
  ]);
  const columns = ({ columns }) => columns.map(({ name, type }) => `${name}: ${type}`);
  assert.deepEqual([altered.name, columns(altered)], ["a", ["id: int64", "count: int64", "note: utf8"]]);
  await altered.ingest([{ id: 4n, count: 2n ** 40n, note: "big" }]);
  assert.deepEqual(await altered.get({ id: 1n }), { id: 1n, count: 1n, note: null });
  assert.deepEqual(await pairs(then.table("a")), [[1, 1], [2, 2]]); // prettier-ignore

  // A handle of before: told what does not fit any more, it takes what fits now.
  assert.deepEqual(await a.get({ id: 4n }), { id: 4n, count: 2n ** 40n, note: "big" });
  assert.equal(await a.scan().count(), 3);
  await assert.rejects(a.ingest(rows([5, 5])), ofKind("Invalid", /"n"/));
  assert.deepEqual(columns(a), columns(altered));
  await a.ingest([{ id: 5n, count: 5n, note: "five" }]);
  assert.deepEqual(await a.get({ id: 5n }, { select: ["note"] }), { note: "five" });
  await tx.commit();
  assert.deepEqual(await altered.get({ id: 3n }), { id: 3n, count: 3n, note: null });

  // Another's is altered by a column that goes and one of its type that comes: no value goes astray.
  const theirs = await other.db.table("a");
  await db.alterTable("a", [{ dropColumn: "note" }, { addColumn: "text", type: "utf8" }]);
  await other.db.refresh();
  await assert.rejects(theirs.ingest([{ id: 6n, note: "lost" }]), ofKind("Invalid", /"note"/));
  assert.equal(await theirs.get({ id: 6n }), undefined);
  await theirs.ingest([{ id: 6n, text: "kept" }]);
  await theirs.delete([{ id: 5n }]);
  assert.deepEqual(await theirs.get({ id: 6n }), { id: 6n, count: null, text: "kept" });

  const renamed = await db.alterTable("a", [{ renameTable: "c" }]);
  assert.equal(renamed.name, "c");
  assert.deepEqual(
    (await db.tables()).map(({ name }) => name),
    ["c"],
  );
});

test("what is no alteration, or cannot be made, is told with the remedy and changes nothing", async (t) => {
  const { db, a } = await opened(t);
  await a.ingest(rows([1, 1]));
  const before = await db.tables();
  const shapes = [5, [5], [{}], [null], [{ addColumn: "x" }], [{ widen: "n", type: "int64" }], [{ dropColumn: 5 }],
    [{ dropColumn: "n", to: "m" }], [{ dropColumn: "n", renameTable: "b" }], [{ toString: "n" }]]; // prettier-ignore
  for (const changes of shapes) {
    await assert.rejects(
      db.alterTable("a", changes),
      ofKind("Invalid", /addColumn: "note"/),
      JSON.stringify(changes),
    );
  }
  const impossible = [
    [[{ addColumn: "n", type: "utf8" }], /"n"/],
    [[{ addColumn: "x", type: "nonsense" }], /column "x".*nonsense/],
    [[{ widen: "n", to: "int16" }], /"n"/],
    [[{ dropColumn: "id" }], /"id"/],
    [[{ dropColumn: "nope" }], /"nope"/],
    [[{ renameTable: "" }], /name/],
  ];
  for (const [changes, message] of impossible) {
    await assert.rejects(db.alterTable("a", changes), ofKind("Invalid", message), JSON.stringify(changes));
  }
  await assert.rejects(db.alterTable("nope", [{ dropColumn: "n" }]), ofKind("Invalid", /no table "nope"/));
  await assert.rejects(db.alterTable(5, []), ofKind("Invalid", /name of a table/));
  assert.deepEqual(await db.tables(), before);
  assert.deepEqual(await pairs(a), [[1, 1]]);

  assert.deepEqual([await db.dropTable("a"), await db.dropTable("a")], [true, false]);
  await assert.rejects(a.get({ id: 1n }), ofKind("Invalid", /dropped/));
  await assert.rejects(a.ingest(rows([1, 1])), ofKind("Invalid", /dropped/));
  assert.deepEqual(await db.tables(), []);
  assert.deepEqual(await pairs(await db.table("a", definition)), []);
});
