// Time and ends are the caller's: signals end calls and what they read, an open has a deadline, a store proves itself
// before it holds a database, and writes outlive the client where the runtime lets them.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { col, directory, host, LakeshoreError, memory, open, probe, s3 } from "lakeshore";
import { temporary } from "./support/process.mjs";
import { bucket, proxyFor, skipFaults } from "./support/s3.mjs";

const definition = { schema: { id: "int64", n: "int32" }, primaryKey: ["id"] };
const rows = (from, to, n = 1) => Array.from({ length: to - from }, (_, i) => ({ id: BigInt(from + i), n }));
const ids = async (table) => (await table.scan().toArray()).map(({ id }) => Number(id));
const ofKind = (code, message = /./) => {
  return (error) => error instanceof LakeshoreError && error.code === code && message.test(error.message);
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const methods = ["get", "getRange", "getSuffix", "put", "putIfAbsent", "list", "delete"];

/** A store in memory that can be stuck, or slow, and counts its calls. */
function controlled(store = memory()) {
  const state = { stuck: false, ms: 0, calls: 0, freed: [] };
  const wrap =
    (name) =>
    async (...args) => {
      state.calls++;
      if (state.stuck) await new Promise((resolve) => state.freed.push(resolve));
      if (state.ms > 0) await sleep(state.ms);
      return store.host[name](...args);
    };
  const free = () => {
    state.stuck = false;
    for (const resolve of state.freed.splice(0)) resolve();
  };
  const made = {
    describe: () => "a store",
    ...Object.fromEntries(methods.map((name) => [name, wrap(name)])),
  };
  return Object.assign(state, { free, store: host(made) });
}

test("a signal ends every call with the caller's reason, and the database goes on", async (t) => {
  for (const wal of [undefined, memory()]) {
    const data = controlled();
    const db = await open({ data: data.store, ...(wal && { wal }), openTimeoutMs: 60_000 });
    t.after(() => db.close());
    const table = await db.table("t", definition);
    await table.ingest(rows(0, 10));
    const calls = {
      table: (options) => db.table("new", { ...definition, ...options }),
      flush: (options) => db.flush(options),
      upload: (options) => (wal ? db.upload(options) : db.refresh(options)),
      refresh: (options) => db.refresh(options),
      checkpoint: (options) => db.checkpoint(options),
      gc: (options) => db.gc(options),
      snapshot: (options) => db.snapshot({ asOf: new Date(Date.now() + 60_000), ...options }),
      open: (options) => open({ data: data.store, ...options }),
    };
    for (const [name, call] of Object.entries(calls)) {
      const reason = { name };
      await assert.rejects(call({ signal: AbortSignal.abort(reason) }), (thrown) => thrown === reason, name);
      data.stuck = true;
      const controller = new AbortController();
      const called = call({ signal: controller.signal });
      const outcome = called.then(
        () => "done",
        (thrown) => thrown,
      );
      assert.equal(await Promise.race([outcome, sleep(60).then(() => "waits")]), "waits", name);
      controller.abort(reason);
      assert.equal(await Promise.race([outcome, sleep(500).then(() => "late")]), reason, name);
      const before = data.calls;
      data.free();
      await sleep(60);
      // What was asked may end, and a commit is found out about; what only reads is dropped.
      if (["refresh", "snapshot", "open"].includes(name)) assert.equal(data.calls, before, name);
      await table.ingest(rows(10, 20));
      assert.equal(await table.scan().count(), 20, name);
    }
    const controller = new AbortController();
    assert.ok((await db.table("t", { signal: controller.signal })) !== undefined);
    await db.flush({ signal: controller.signal });
    assert.equal(await db.refresh({ signal: controller.signal }), false);
    (await db.snapshot({ signal: controller.signal })).close();
    controller.abort();
    await assert.rejects(db.table("t", { signal: controller.signal }));
    assert.deepEqual(
      await ids(table),
      rows(0, 20).map(({ id }) => Number(id)),
    );
  }
});

test("a signal ends the waiting for a close, which goes on", async () => {
  const data = controlled();
  const db = await open({ data: data.store });
  const table = await db.table("t", definition);
  data.stuck = true;
  const written = table.ingest(rows(0, 1));
  const controller = new AbortController();
  const closing = db.close({ signal: controller.signal });
  const reason = new Error("no patience");
  setTimeout(() => controller.abort(reason), 20);
  await assert.rejects(closing, (thrown) => thrown === reason);
  data.free();
  assert.equal((await written).rows, 1);
  await db.close();
});

test("an open that a signal ended lets go of its WAL", async () => {
  const [data, wal] = [controlled(), memory()];
  data.stuck = true;
  const controller = new AbortController();
  const opening = open({ data: data.store, wal, signal: controller.signal });
  setTimeout(() => controller.abort("enough"), 20);
  await assert.rejects(opening, (thrown) => thrown === "enough");
  data.free();
  await sleep(20);
  await (await open({ data: data.store, wal })).close();
});

/** A directory whose lock takes a while to get. */
function slowToLock(path, ms) {
  const inner = directory(path).host;
  const passed = [...methods, "create", "append", "describe"];
  return host({
    ...Object.fromEntries(passed.map((name) => [name, (...args) => inner[name](...args)])),
    lock: async (name) => {
      await sleep(ms);
      return inner.lock(name);
    },
  });
}

test("a lock that comes when its open was given up is given back, and the next open waits for it", async (t) => {
  for (const slow of [true, false]) {
    const path = temporary(t);
    const [data, wal] = [memory(), slow ? slowToLock(path, 200) : directory(path)];
    for (const ms of slow ? [50, 150] : [0, 1, 2, 3, 5, 8, 13, 21]) {
      const controller = new AbortController();
      const opening = open({ data, wal, signal: controller.signal });
      const opened = opening.then(
        (db) => db.close(),
        (thrown) => assert.equal(thrown, "enough"),
      );
      setTimeout(() => controller.abort("enough"), ms);
      await opened;
      const db = await open({ data, wal });
      const table = await db.table("t", definition);
      await table.ingest(rows(0, 1));
      await db.close();
      const left = readdirSync(path).filter((name) => /\.(beat|socket)\.lock$/.test(name));
      assert.deepEqual(left, [], `after ${ms} ms`);
    }
  }
});

test("what a host opens for a call that was given up is closed", async (t) => {
  const inner = memory().host;
  const state = { ms: 0, open: 0, made: 0 };
  const data = host({
    ...Object.fromEntries(methods.map((name) => [name, (...args) => inner[name](...args)])),
    create: async (key) => {
      await sleep(state.ms);
      const bytes = [];
      state.open++;
      state.made++;
      const end = () => void state.open--;
      const finish = async () => {
        end();
        await inner.put(key, Buffer.concat(bytes));
      };
      return { write: (chunk) => void bytes.push(chunk.slice()), finish, abort: end };
    },
  });
  const db = await open({ data });
  t.after(() => db.close());
  const table = await db.table("t", definition);
  await table.ingest(rows(0, 10));
  state.ms = 100;
  const controller = new AbortController();
  const flushing = db.flush({ signal: controller.signal });
  setTimeout(() => controller.abort("enough"), 30);
  await assert.rejects(flushing, (thrown) => thrown === "enough");
  await sleep(300);
  assert.deepEqual([state.made, state.open], [1, 0]);
  state.ms = 0;
  await db.flush();
  assert.deepEqual(state.open, 0);
});

test("a count or scan that is aborted, left or closed asks for nothing more", async (t) => {
  const data = controlled();
  const writer = await open({ data: data.store });
  t.after(() => writer.close());
  const written = await writer.table("t", definition);
  for (let i = 0; i < 40; i++) {
    await written.ingest(rows(i * 10, i * 10 + 5, 1));
    await written.ingest(rows(i * 10 + 5, i * 10 + 10, 2));
    await writer.flush();
  }
  const where = col("n").eq(1);
  for (const [how, read] of Object.entries({
    count: (table, signal) => table.scan({ where, signal }).count(),
    rows: (table, signal) => table.scan({ where, signal }).toArray(),
    get: (table, signal) => table.get({ id: 7 }, { signal }),
    "closed count": (table) => table.scan({ where }).count(),
    "closed rows": (table) => table.scan({ where }).toArray(),
    "closed get": (table) => table.get({ id: 7 }),
  })) {
    const db = await open({ data: data.store });
    const table = await db.table("t");
    data.ms = how.includes("get") ? 1_000 : 40;
    const controller = new AbortController();
    const reading = read(table, controller.signal);
    reading.catch(() => undefined);
    await sleep(90);
    const began = performance.now();
    const reason = new Error("stop");
    if (how.startsWith("closed")) {
      await db.close();
      await assert.rejects(reading, ofKind("Closed"), how);
    } else {
      controller.abort(reason);
      await assert.rejects(reading, (thrown) => thrown === reason, how);
    }
    assert.ok(performance.now() - began < 300, `${how} took ${performance.now() - began} ms to end`);
    const before = data.calls;
    await sleep(400);
    assert.equal(data.calls, before, `${how} went on reading`);
    data.ms = 0;
    await db.close();
  }
});

test("opening has a deadline, and then goes on offline", async (t) => {
  const [data, wal] = [controlled(), memory()];
  const first = await open({ data: data.store, wal });
  await (await first.table("t", definition)).ingest(rows(0, 3));
  await first.close();
  data.stuck = true;
  for (const openTimeoutMs of [undefined, 300]) {
    const began = performance.now();
    const db = await open({ data: data.store, wal, openTimeoutMs });
    const took = performance.now() - began;
    const expected = openTimeoutMs ?? 5_000;
    assert.ok(took > expected - 50 && took < expected + 1_500, `${took} ms`);
    const { online, unreachable } = await db.stats();
    assert.equal(online, false);
    assert.match(unreachable, /within \d+ ms/);
    assert.equal(await (await db.table("t")).scan().count(), 3);
    await db.close();
  }
  await assert.rejects(
    open({ data: data.store, wal: memory(), openTimeoutMs: 100 }),
    ofKind("Unavailable", /opened online once/),
  );
  await assert.rejects(open({ data: data.store, openTimeoutMs: 100 }), ofKind("Unavailable", /100 ms/));
  await assert.rejects(open({ data: data.store, openTimeoutMs: "soon" }), ofKind("Invalid", /openTimeoutMs/));
  t.after(() => data.free());
});

/** Stores that do not keep what a log stands on. */
const broken = {
  "lets both create": (objects) => (key, bytes) => {
    objects.set(key, bytes);
    return true;
  },
  "refuses the second and replaces it": (objects) => (key, bytes) => {
    const absent = !objects.has(key);
    objects.set(key, bytes);
    return absent;
  },
  "lets both create, keeping the first": (objects) => (key, bytes) => {
    if (!objects.has(key)) objects.set(key, bytes);
    return true;
  },
};

test("a store that does not refuse to create an object twice holds no database", async (t) => {
  for (const [how, make] of Object.entries(broken)) {
    const inner = memory().host;
    const objects = new Map();
    const store = host({
      get: (key) => objects.get(key) ?? null,
      getRange: (key, start, end) => objects.get(key)?.subarray(start, end) ?? null,
      getSuffix: inner.getSuffix.bind(inner),
      put: (key, bytes) => void objects.set(key, bytes),
      putIfAbsent: make(objects),
      list: (prefix, after = "") =>
        [...objects]
          .map(([key, { length: size }]) => ({ key, size }))
          .filter(({ key }) => key.startsWith(prefix) && key > after)
          .sort((a, b) => (a.key < b.key ? -1 : 1)),
      delete: (key) => void objects.delete(key),
    });
    const db = await open({ data: store });
    t.after(() => db.close());
    await assert.rejects(db.table("t", definition), ofKind("Unsupported", /cannot hold a database/), how);
    assert.equal(objects.size, 0, `${how}: nothing stays behind`);
    const report = await probe(store);
    assert.equal(report.ok, false);
    assert.ok(!report.checks.find(({ name }) => name === "create if absent").ok, how);
  }
});

test("a probe tells what a store does, and leaves nothing behind", async (t) => {
  const path = temporary(t);
  for (const store of [memory(), directory(path)]) {
    const report = await probe(store);
    assert.ok(report.ok, JSON.stringify(report, null, 1));
    assert.deepEqual(
      report.checks.map(({ name }) => name),
      [
        "write and read",
        "missing objects",
        "ranges",
        "listing",
        "create if absent",
        "create if absent, many at once",
        "delete",
        "large objects",
        "clock",
        "clean up",
      ],
    );
    assert.deepEqual(await store.host.list(""), []);
  }
  const data = controlled();
  data.stuck = true;
  // A signal's timer keeps no process alive.
  const awake = setTimeout(() => undefined, 10_000);
  await assert.rejects(probe(data.store, { signal: AbortSignal.timeout(30) }), { name: "TimeoutError" });
  clearTimeout(awake);
  data.free();
  await assert.rejects(probe("bucket"), ofKind("Invalid"));
  const nowhere = s3({ bucket: "nowhere", endpoint: "http://127.0.0.1:1", anonymous: true, retries: 0 });
  const { ok, checks } = await probe(nowhere);
  assert.ok(!ok && checks.every((check) => check.name === "clock" || !check.ok));
});

test("each write is given to waitUntil, and settles once it is done", async (t) => {
  const data = controlled();
  const kept = [];
  const db = await open({ data: data.store, waitUntil: (write) => kept.push(write) });
  t.after(() => db.close());
  const table = await db.table("t", definition);
  assert.equal(kept.length, 1);
  data.ms = 20;
  // The client hangs up: nobody awaits the write but the runtime.
  const controller = new AbortController();
  const gone = table.ingest(rows(0, 5), { signal: controller.signal });
  controller.abort("gone");
  await assert.rejects(gone, (thrown) => thrown === "gone");
  assert.equal(kept.length, 2);
  assert.equal(await kept[1], undefined);
  assert.equal(await table.scan().count(), 5);
  await db.transaction(async (tx) => void (await tx.table("t").ingest(rows(5, 6))));
  await table.delete([{ id: 0 }]);
  await db.flush();
  // A write in a transaction is kept, too, beside the commit.
  assert.equal(kept.length, 6);
  await assert.rejects(table.ingest("no rows"));
  await Promise.all(kept);
  await assert.rejects(open({ data: memory(), waitUntil: true }), ofKind("Invalid", /waitUntil/));
});

test(
  "behind a portal a database opens offline, and its uploads go on once it is through",
  { skip: skipFaults },
  async (t) => {
    const proxy = await proxyFor(t);
    const options = { ...bucket({ endpoint: proxy.endpoint, retries: 1 }) };
    const wal = memory();
    const first = await open({ data: s3(options), wal });
    await (await first.table("t", definition)).ingest(rows(0, 3));
    await first.flush();
    await first.close();
    await proxy.fault({ times: 0, action: { page: 200 } });
    const db = await open({ data: s3(options), wal });
    t.after(() => db.close());
    assert.match((await db.stats()).unreachable, /looks like a web page \(text\/html\)/);
    const table = await db.table("t");
    const controller = new AbortController();
    let ended = false;
    const loop = db
      .keepUploaded({ intervalMs: 20, longestPauseMs: 50, signal: controller.signal })
      .finally(() => (ended = true));
    const written = await table.ingest(rows(3, 6));
    await sleep(1_500);
    assert.equal(ended, false);
    await proxy.clear();
    await db.uploaded(written, { signal: AbortSignal.timeout(30_000) });
    controller.abort();
    await loop;
    assert.equal(await table.scan().count(), 6);
  },
);

test("an aborted count over S3 ends its requests", { skip: skipFaults }, async (t) => {
  const proxy = await proxyFor(t);
  const options = bucket({ endpoint: proxy.endpoint });
  const writer = await open({ data: s3(options) });
  t.after(() => writer.close());
  const written = await writer.table("t", definition);
  for (let i = 0; i < 20; i++) {
    await written.ingest(rows(i * 10, i * 10 + 5, 1));
    await written.ingest(rows(i * 10 + 5, i * 10 + 10, 2));
    await writer.flush();
  }
  const db = await open({ data: s3(options) });
  t.after(() => db.close());
  const table = await db.table("t");
  await proxy.latency(100);
  await proxy.reset();
  const signal = AbortSignal.timeout(350);
  await assert.rejects(table.scan({ where: col("n").eq(1), signal }).count(), { name: "TimeoutError" });
  const { total } = await proxy.counts();
  await sleep(600);
  const later = (await proxy.counts()).total;
  assert.ok(total > 0 && later - total <= 1, `${total} requests, then ${later - total} more`);
});
