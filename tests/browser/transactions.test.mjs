// Transactions, snapshots, the change feed and alterations of a page, over the message port to the worker that has the engine.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ready, sharedBrowser } from "./support/chromium.mjs";

const start = sharedBrowser();

test("transactions and snapshots are what they are elsewhere", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const { open, memory, col, LakeshoreError } = lakeshore;
    const data = memory();
    const definition = { schema: { id: "int64", n: "int64", text: "utf8" }, primaryKey: ["id"] };
    const [ours, theirs] = [await open({ data }), await open({ data })];
    for (const name of ["a", "b"]) await ours.table(name, definition);
    const a = await ours.table("a");
    const { timestamp: then } = await a.ingest([{ id: 1n, n: 1n }]);
    const errors = [];
    const attempt = async (action) => {
      try {
        await action();
      } catch (error) {
        errors.push([error instanceof LakeshoreError, error.code, error.message]);
      }
    };
    const pairs = async (table) => (await table.scan().toArray()).map(({ id, n }) => [id, n]);

    const tx = await ours.begin();
    const ipc = await a.scan().toIPC();
    await tx.table("b").ingest(ipc);
    await tx.table("a").ingest([{ id: 2n, n: 2n }]);
    await tx.table("a").delete([{ id: 1n }]);
    const own = await pairs(tx.table("a"));
    const filtered = await tx
      .table("b")
      .scan({ where: col("n").lt(5), reverse: true, limit: 1 })
      .count();
    const kept = ipc.byteLength > 0;
    const outside = await pairs(a);
    const snapshot = await ours.snapshot();
    const { rows } = await tx.commit();
    const inside = [await pairs(a), await pairs(await ours.table("b"))];

    await theirs.refresh();
    let runs = 0;
    const value = await ours.transaction(async (tx) => {
      runs += 1;
      const table = tx.table("a");
      const { n } = await table.get({ id: 2n });
      if (runs === 1) await (await theirs.table("a")).ingest([{ id: 2n, n: 20n }]);
      await table.ingest([{ id: 2n, n: n + 1n }]);
      return `run ${runs}`;
    });
    const past = await ours.snapshot({ asOf: then });
    const before = [await pairs(snapshot.table("a")), await pairs(past.table("a")), past.timestamp === then];
    const names = snapshot.tables().map(({ name }) => name);
    const scan = snapshot.table("a").scan().rows();
    const first = (await scan.next()).value.id;
    snapshot.close();

    await attempt(() => snapshot.table("a"));
    await attempt(() => tx.table("a"));
    await attempt(() => tx.commit());
    await attempt(async () => (await ours.begin()).table("c"));
    await attempt(() => ours.snapshot({ asOf: 5 }));
    await attempt(() => ours.snapshot({ asOf: "nope" }));
    await attempt(() => ours.transaction((tx) => tx.table("a").ingest([{ id: 1n, oops: 1 }])));
    const mine = new Error("mine");
    const passed = await ours.transaction(() => Promise.reject(mine)).catch((error) => error === mine);
    const reason = await ours
      .transaction(() => new Promise(() => undefined), { signal: AbortSignal.timeout(20) })
      .catch(({ name }) => name);
    const open_ = await ours.begin();
    const table = open_.table("a");
    await table.ingest([{ id: 9n, n: 9n }]);
    await ours.close();
    await attempt(() => table.get({ id: 9n }));
    await attempt(() => open_.commit());
    await open_.rollback();
    const last = await pairs(await theirs.table("a"));
    await theirs.close();
    return {
      ...{ own, filtered, kept, outside, rows, inside, value, before, names, first },
      ...{ passed, reason, last, errors },
    };
  });
  const { errors, ...rest } = seen;
  assert.deepEqual(rest, {
    own: [[2n, 2n]],
    filtered: 1,
    kept: true,
    outside: [[1n, 1n]],
    rows: 3,
    inside: [[[2n, 2n]], [[1n, 1n]]],
    value: "run 2",
    before: [[[1n, 1n]], [[1n, 1n]], true],
    names: ["a", "b"],
    first: 1n,
    passed: true,
    reason: "TimeoutError",
    last: [[2n, 20n]],
  });
  const wanted = [
    ["Invalid", /snapshot was closed/],
    ["Invalid", /transaction has ended/],
    ["Invalid", /transaction has ended/],
    ["Invalid", /no table "c": there are a, b/],
    ["Invalid", /it takes a Date/],
    ["Invalid", /no tag "nope"/],
    ["Invalid", /oops/],
    ["Closed", /closed/],
    ["Closed", /closed/],
  ];
  assert.equal(errors.length, wanted.length, JSON.stringify(errors));
  for (const [i, [code, message]] of wanted.entries()) {
    assert.deepEqual(errors[i].slice(0, 2), [true, code], errors[i][2]);
    assert.match(errors[i][2], message);
  }
});

test("a page that vanishes takes its transaction with it, and leaves nothing of it", async (t) => {
  const { page, run } = await start(t);
  await run(async () => {
    const { open, opfs } = lakeshore;
    const db = await open({ data: opfs("tx-data"), wal: opfs("tx-wal") });
    const a = await db.table("a", { schema: { id: "int64", n: "int64" }, primaryKey: ["id"] });
    await a.ingest([{ id: 1n, n: 1n }]);
    const tx = await db.begin();
    await tx.table("a").ingest([{ id: 1n, n: 2n }, { id: 2n, n: 2n }]); // prettier-ignore
    globalThis.left = tx;
  });
  await page.reload();
  await ready(page);
  const rows = await run(async () => {
    const { open, opfs } = lakeshore;
    const db = await open({ data: opfs("tx-data"), wal: opfs("tx-wal") });
    await db.transaction(async (tx) => {
      const { n } = await tx.table("a").get({ id: 1n });
      await tx.table("a").ingest([{ id: 1n, n: n + 10n }]);
    });
    const all = await (await db.table("a")).scan().toArray();
    await db.close();
    return all;
  });
  assert.deepEqual(rows, [{ id: 1n, n: 11n }]);
});

test("the worker lets go of what ended transactions and closed snapshots held", async (t) => {
  const { run } = await start(t);
  const grown = await run(async () => {
    const { open, memory } = lakeshore;
    const db = await open({ data: memory(), wal: memory() });
    const texts = await db.table("texts", { schema: { id: "int64", text: "utf8" }, primaryKey: ["id"] });
    const big = Array.from({ length: 1000 }, (_, id) => ({ id: BigInt(id), text: "x".repeat(2000) }));
    const round = async () => {
      await texts.ingest(big);
      const snapshot = await db.snapshot();
      await snapshot.table("texts").get({ id: 5n });
      const tx = await db.begin();
      await tx.table("texts").ingest(big);
      await tx.rollback();
      await db.flush();
      snapshot.close();
    };
    for (let i = 0; i < 3; i++) await round();
    const { wasmMemoryBytes: before } = await db.stats();
    for (let i = 0; i < 20; i++) await round();
    const { wasmMemoryBytes: after } = await db.stats();
    await db.close();
    return after - before;
  });
  console.log(`20 rounds of 4 MB took ${grown >> 20} MB more`);
  assert.ok(grown < 24 * 2 ** 20);
});

test("the change feed, tags, alterations and uploads are what they are elsewhere", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const { open, memory } = lakeshore;
    const db = await open({ data: memory(), wal: memory() });
    const a = await db.table("a", { schema: { id: "int64", n: "int32" }, primaryKey: ["id"] });
    const feed = db.changes().rows();
    const next = feed.next();
    const committed = await a.ingest([{ id: 1n, n: 1 }]);
    const { value: preview } = await next;
    const keeping = db.keepUploaded({ intervalMs: 10 });
    await db.uploaded(committed);
    const { value: record } = await feed.next();
    await feed.return();
    const tagged = (await db.tag("v1")) === record.timestamp;
    await a.delete([{ id: 1n }]);
    const again = await db.alterTable("a", [{ widen: "n", to: "int64" }, { addColumn: "text", type: "utf8" }]); // prettier-ignore
    await again.ingest([{ id: 2n, n: 2n ** 40n, text: "two" }]);
    await a.ingest([{ id: 3n, n: 3n }]);
    await db.flush();
    const past = await db.snapshot({ asOf: "v1" });
    const then = await past.table("a").scan().toArray();
    const all = await again.scan().toArray();
    const changes = [];
    for await (const { tables } of db.changes({ since: record.cursor, endAtHead: true })) {
      for (const { kind, ipc } of tables) changes.push([kind, ipc.byteLength > 0]);
    }
    const ended = new AbortController();
    const waiting = db.changes({ signal: ended.signal }).rows().next().catch((reason) => reason); // prettier-ignore
    ended.abort("enough");
    const { records } = await db.gc({ dryRun: true });
    const versions = await db.versions({ limit: 2 });
    const code = await db.alterTable("a", [{ dropColumn: "id" }]).catch(({ code }) => code);
    const dropped = await db.dropTable("a");
    const reason = await waiting;
    await db.close();
    await keeping;
    return {
      ...{
        preview: [preview.uploaded, preview.tables],
        record: [record.uploaded, record.tables],
        tagged,
        then,
      },
      ...{ all, changes, records, code, dropped, reason, versions: versions.length },
    };
  });
  const tables = [{ table: "a", kind: "upsert", rows: [{ id: 1n, n: 1 }] }];
  assert.deepEqual(seen, {
    preview: [false, tables],
    record: [true, tables],
    tagged: true,
    then: [{ id: 1n, n: 1 }],
    all: [
      { id: 2n, n: 2n ** 40n, text: "two" },
      { id: 3n, n: 3n, text: null },
    ],
    changes: seen.changes,
    ...{ records: 0, code: "Invalid", dropped: true, reason: "enough", versions: 2 },
  });
  assert.ok(seen.changes.every(([, bytes]) => bytes));
  assert.ok(
    seen.changes.some(([kind]) => kind === "delete") && seen.changes.some(([kind]) => kind === "upsert"),
  );
});
