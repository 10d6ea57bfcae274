// The doors: what is misspelt, misplaced or no longer there is refused, in the caller's own words; what has an odd name
// works as any other; and no call ends the engine.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import vm from "node:vm";
import { gzipSync } from "node:zlib";
import {
  Bool,
  Field,
  List,
  Table as ArrowTable,
  tableFromArrays,
  tableToIPC,
  TimeUnit,
  Timestamp,
  Utf8,
  vectorFromArray,
} from "apache-arrow";
import { and, col, host, LakeshoreError, memory, open, or, s3 } from "lakeshore";
import { fixture } from "./support/fixtures.mjs";

const definition = { schema: { id: "int64", text: "utf8", raw: "binary" }, primaryKey: ["id"] };
const rows = (count) => Array.from({ length: count }, (_, i) => ({ id: BigInt(i), text: `row ${i}` }));

async function opened(t, options = {}) {
  const db = await open({ data: memory(), ...options });
  t.after(() => db.close());
  const table = await db.table("rows", definition);
  await table.ingest(rows(10));
  return { db, table };
}

/** The call is refused: at once, or by its promise. */
async function refused(call, code, ...messages) {
  const error = await (async () => call())().then(
    () => assert.fail(`it was not refused: ${call}`),
    (error) => error,
  );
  assert.ok(error instanceof LakeshoreError, `${call}: ${String(error?.stack ?? error)}`);
  assert.equal(error.code, code, `${call}: ${error.message}`);
  for (const message of messages) assert.match(error.message, message, String(call));
  return error;
}

function detached(make = (bytes) => bytes) {
  const bytes = new Uint8Array(16);
  const value = make(bytes);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return value;
}

test("nothing that is passed ends the engine", async (t) => {
  const { table, db } = await opened(t);
  const boom = new Error("thrown by a getter");
  const thrower = () => ({
    get id() {
      throw boom;
    },
  });
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const calls = [
    () => table.get({ id: 1n }, { select: [undefined] }),
    () => table.get({ id: 1n }, { select: [Symbol()] }),
    () => table.ingest(detached()),
    () => table.ingest(detached((bytes) => bytes.buffer)),
    () => table.ingest(detached((bytes) => new DataView(bytes.buffer))),
    () => table.delete(detached()),
    () => col("raw").eq(detached()),
    () => col("raw").in([detached()]),
    () => col("raw").startsWith(detached((bytes) => bytes.buffer)),
    () => db.table("other", { schema: detached(), primaryKey: ["id"] }),
    () => table.ingest([thrower()]),
    () => table.get(thrower()),
    () => table.delete([thrower()]),
    () => table.get(proxy),
    () => table.scan(proxy),
    () => table.ingest(proxy),
    () => table.ingest([proxy]),
    () => table.get({ id: Symbol() }),
    () => col("id").eq(Symbol()),
    () => col("id").eq(() => 5),
    () => col("id").eq(2n ** 70_000n),
    () =>
      col("text")
        .eq("x".repeat(2 ** 28))
        .and(col("id").gt(1)) && table.scan({ where: col("text").eq("x".repeat(2 ** 28)) }).count(),
    () => db.changes({ since: Symbol() }),
    () => db.configure({ graceMs: Symbol() }),
    () => db.isUploaded({ rows: Symbol() }),
  ];
  for (const call of calls) await refused(call, "Invalid");
  const error = await refused(() => table.get(thrower()), "Invalid", /thrown by a getter/);
  assert.equal(error.cause, boom);
  assert.equal(await table.scan().count(), 10);
});

test("what a host or a fetch answers never ends the engine", async (t) => {
  const { table } = await opened(t);
  const store = memory().host;
  const answers = {
    "detached bytes": () => detached(),
    "a detached buffer": () => detached((bytes) => bytes.buffer),
    "a symbol": () => Symbol(),
    "a promise whose constructor throws": () =>
      Object.defineProperty(Promise.resolve(null), "constructor", {
        get() {
          throw new Error("no constructor");
        },
      }),
    "a then that throws": () => ({
      get then() {
        throw new Error("no then");
      },
    }),
  };
  for (const [name, answer] of Object.entries(answers)) {
    const lying = {};
    for (const method of ["get", "getRange", "getSuffix", "put", "putIfAbsent", "list", "delete"])
      lying[method] = (...args) => (method.startsWith("get") ? answer() : store[method](...args));
    const error = await open({ data: host(lying), retries: 0 }).then(
      (db) => db.close(),
      (error) => error,
    );
    if (error !== undefined)
      assert.ok(error instanceof LakeshoreError && error.code !== "Internal", `${name}: ${error}`);
  }
  for (const body of [
    () => detached((bytes) => bytes.buffer),
    () => 5,
    () => Symbol(),
    () => ({ length: 8 }),
  ]) {
    const fetch = async () => ({ status: 200, headers: new Headers(), arrayBuffer: async () => body() });
    const data = s3({ bucket: "b", endpoint: "http://127.0.0.1:9", anonymous: true, retries: 0, fetch });
    const error = await open({ data, retries: 0 }).then(
      () => assert.fail("it opened"),
      (error) => error,
    );
    assert.ok(error instanceof LakeshoreError && error.code !== "Internal", String(error));
  }
  assert.equal(await table.scan().count(), 10);
});

test("an option that a call does not know is refused, with what was meant", async (t) => {
  const { db, table } = await opened(t);
  const where = col("id").eq(1n);
  const meant = (name) => new RegExp(`did you mean ${name}\\?`);
  await refused(() => table.scan({ filter: where }), "Invalid", /"filter"/, meant("where"));
  await refused(() => table.scan(where), "Invalid", /where/);
  await refused(() => table.scan(null), "Invalid", /scan\(\) takes options/);
  await refused(() => table.scan([]), "Invalid");
  await refused(() => table.scan({ range: { gte: { id: 1n } } }), "Invalid", /"gte"/, meant("from"));
  await refused(() => table.scan({ range: { id: 1n } }), "Invalid", /"id"/);
  await refused(() => table.scan({ range: { from: 1n } }), "Invalid", /from/);
  await refused(() => table.scan({ select: [5] }), "Invalid", /select/);
  await refused(() => table.scan({ select: "id" }), "Invalid", /select/);
  await refused(() => table.scan({ where: { where } }), "Invalid", /col\(/);
  await refused(() => table.scan({ limit: { limit: 5 } }), "Invalid", /limit/);
  await refused(() => table.scan({ reverse: "no" }), "Invalid", /reverse/);
  await refused(() => table.scan({ batch_rows: 5 }), "Invalid", meant("batchRows"));
  await refused(() => table.scan({ signal: new AbortController() }), "Invalid", /controller\.signal/);
  await refused(() => table.get({ id: 1n }, ["text"]), "Invalid", /get\(\) takes options/);
  await refused(() => table.ingest([], { signal: {} }), "Invalid", /signal/);
  await refused(() => table.ingest([], { onprogress: () => 5 }), "Invalid", meant("onProgress"));
  await refused(() => db.snapshot({ asof: "now" }), "Invalid", meant("asOf"));
  await refused(() => db.snapshot(5n), "Invalid", /asOf/);
  await refused(() => db.snapshot(new Date()), "Invalid", /asOf/);
  await refused(() => db.snapshot({ asOf: 5 }), "Invalid", /asOf.*5/);
  await refused(() => db.snapshot({ asOf: new Date(NaN) }), "Invalid", /invalid Date/);
  await refused(() => db.tag("name", 5n), "Invalid", /asOf/);
  await refused(() => db.tag("name", {}, 5n), "Invalid", /two arguments/);
  await refused(() => db.changes({ from: "start" }), "Invalid", meant("since"));
  await refused(() => db.gc({ dryrun: true }), "Invalid", meant("dryRun"));
  await refused(() => db.gc({ dryRun: 1 }), "Invalid", /dryRun/);
  await refused(() => db.gc(true), "Invalid", /dryRun/);
  await refused(() => db.upload({ maxbytes: 5 }), "Invalid", meant("maxBytes"));
  await refused(() => db.keepUploaded({ interval: 5 }), "Invalid", meant("intervalMs"));
  await refused(() => db.configure({ gracems: 5 }), "Invalid", meant("graceMs"));
  await refused(() => db.begin("serializable"), "Invalid", /isolation/);
  await refused(() => db.transaction(async () => 5, { retries: 5 }), "Invalid", meant("attempts"));
  await refused(() => db.versions(5), "Invalid", /limit/);
  await refused(() => db.flush({ wait: true }), "Invalid");
  await refused(() => table.scan().count({ where }), "Invalid");
  await refused(
    () => db.table("t", { schema: { id: "int64" }, key: ["id"] }),
    "Invalid",
    meant("primaryKey"),
  );
  await refused(
    () => db.table("t", { schema: { id: { type: "int64", null: true } }, primaryKey: ["id"] }),
    "Invalid",
  );
  await refused(() => db.table("t", { schema: { id: "int64" }, primaryKey: "id" }), "Invalid", /primaryKey/);
  await refused(() => db.alterTable("rows", { addColumn: "a", type: "utf8" }), "Invalid", /array/);
  await refused(
    () => db.alterTable("rows", [{ addcolumn: "a", type: "utf8" }]),
    "Invalid",
    meant("addColumn"),
  );
  await refused(() => open({ data: memory(), walSegmentbytes: 5 }), "Invalid", meant("walSegmentBytes"));
  await refused(() => open({ data: memory(), sync: { intervalms: 5 } }), "Invalid", meant("intervalMs"));
  await refused(() => open({ data: memory(), batchRows: 0 }), "Invalid", /batchRows/);
  await refused(() => open({ store: memory() }), "Invalid", meant("data"));
  await refused(() => open({ data: { s3: { bucket: "b" } } }), "Invalid", /s3\(\)/);
  await refused(() => s3({ bucket: "b", anonymous: true, constructor: 5 }), "Invalid", /"constructor"/);
  await refused(() => s3({ bucket: "b", anonymous: true, toString: 5 }), "Invalid", /"toString"/);
  await refused(() => s3({ buckets: "b", anonymous: true }), "Invalid", meant("bucket"));
  await refused(() => col("id").in("abc"), "Invalid", /array/);
  await refused(() => col("id").in(5), "Invalid", /array/);
  await refused(() => col("id").in([undefined]), "Invalid", /undefined/);
  await refused(() => col("id").between(undefined, 5), "Invalid", /low/);
  await refused(() => col("id").between(1), "Invalid", /high/);
  await refused(() => col("id").eq(1, 2), "Invalid", /one argument/);
  await refused(() => or(null), "Invalid", /col\(/);
  assert.equal(await table.scan({ limit: undefined, where: undefined, range: undefined }).count(), 10);
  assert.equal((await db.tags()).length, 0);
});

test("errors speak the caller's language", async (t) => {
  const { db, table } = await opened(t);
  const says = async (call, wanted, never) => {
    const error = await refused(call, "Invalid", wanted);
    assert.doesNotMatch(error.message, never);
  };
  await says(() => open({ data: memory(), walSegmentBytes: 5 }), /walSegmentBytes/, /wal_segment/);
  await says(() => table.scan({ batchRows: 0 }), /batchRows/, /batch_rows/);
  const wider = { schema: { id: "int64", text: "large_utf8" }, primaryKey: ["id"] };
  await says(() => db.table("rows", wider), /large_utf8/, /LargeUtf8/);
  await says(
    () => db.table("t", { schema: { id: "list<int64>" }, primaryKey: ["id"] }),
    /list<int64>/,
    /Int64/,
  );
  const small = await open({ data: memory(), commitBytes: 1024 });
  t.after(() => small.close());
  const tight = await small.table("rows", definition);
  await says(() => tight.ingest([{ id: 1n, text: "x".repeat(2000) }]), /commitBytes/, /commit_bytes/);
  await says(() => tight.ingest(new Uint8Array(2000)), /commitBytes/, /commit_bytes/);
  // What is the caller's stays as the caller has it.
  await says(() => table.get({ batch_rows: 1n }), /"batch_rows"/, /"batchRows"/);
});

test("half of a surrogate pair is refused in every name and filter", async (t) => {
  const { db, table } = await opened(t);
  const half = "a\ud800";
  const table2 = { schema: { [half]: "int64" }, primaryKey: [half] };
  const calls = [
    () => db.table(half, definition),
    () => db.table("t", table2),
    () => db.tag(half),
    () => db.untag(half),
    () => db.dropTable(half),
    () => db.changes({ tables: [half] }),
    () => db.snapshot({ asOf: half }),
    () => db.alterTable("rows", [{ renameColumn: "text", to: half }]),
    () => db.alterTable(half, [{ dropColumn: "text" }]),
    () => col(half),
    () => col("text").eq(half),
    () => col("text").in([half]),
    () => col("text").startsWith(half),
    () => table.scan({ select: [half] }),
    () => table.get({ id: half }),
    () => open(half),
  ];
  for (const call of calls) await refused(call, "Invalid");
  assert.deepEqual(
    (await db.tables()).map(({ name }) => name),
    ["rows"],
  );
});

test("columns of odd names are columns as any other", async (t) => {
  const db = await open({ data: memory() });
  t.after(() => db.close());
  const names = ["constructor", "toString", "__proto__", "hasOwnProperty", "then", "valueOf"];
  const own = (value) => {
    const object = {};
    for (const name of names) Object.defineProperty(object, name, { value: value(name), enumerable: true });
    return object;
  };
  const table = await db.table("odd", {
    schema: own(() => "utf8"),
    primaryKey: ["constructor", "__proto__"],
  });
  await table.ingest([own((name) => `first ${name}`), own((name) => `second ${name}`)]);
  const key = (which) => {
    const object = {};
    for (const name of ["constructor", "__proto__"])
      Object.defineProperty(object, name, { value: `${which} ${name}`, enumerable: true });
    return object;
  };
  for (const name of names) {
    const found = await table.scan({ where: col(name).eq(`second ${name}`), select: [name] }).toArray();
    assert.deepEqual(
      found.map((row) => Object.entries(row)),
      [[[name, `second ${name}`]]],
    );
  }
  const found = await table.get(key("first"));
  assert.deepEqual(Object.entries(found).length, names.length);
  assert.equal(await table.scan({ range: { from: key("second") } }).count(), 1);
  await refused(() => table.get({}), "Invalid", /"constructor"/);
  await table.delete([key("first")]);
  assert.equal(await table.scan().count(), 1);
});

test("values of another realm are what they are", async (t) => {
  const db = await open({ data: memory() });
  t.after(() => db.close());
  const table = await db.table("t", { schema: { raw: "binary", at: "timestamp[ms]" }, primaryKey: ["raw"] });
  await table.ingest([{ raw: new Uint8Array([1, 2]), at: new Date(5) }]);
  const [bytes, date, list, options] = vm.runInNewContext(
    "[new Uint8Array([1, 2]), new Date(5), [new Date(5)], { limit: 1 }]",
  );
  assert.equal(await table.scan({ where: col("raw").eq(bytes) }).count(), 1);
  assert.equal(await table.scan({ where: col("at").eq(date) }).count(), 1);
  assert.equal(await table.scan({ where: col("at").in(list) }).count(), 1);
  assert.equal((await table.scan(options).toArray()).length, 1);
  assert.ok(await table.get({ raw: bytes }));
});

test("an or of 8,000 terms is made in a moment, and what is nested too deep is refused", async (t) => {
  const { table } = await opened(t);
  let any = col("id").eq(0n);
  let all = col("id").ne(-1n);
  for (let i = 1n; i < 8000n; i++) {
    any = any.or(col("id").eq(i));
    all = all.and(col("id").ne(-i));
  }
  assert.equal(await table.scan({ where: and(any, all) }).count(), 10);
  // What is copied at each step takes half a minute for so many.
  const begin = performance.now();
  for (let i = 0; i < 200_000; i++) any = any.or(col("id").eq(i));
  const took = performance.now() - begin;
  assert.ok(took < 5000, `${took} ms`);
  let deep = col("id").gt(5);
  for (let i = 0; i < 50_000; i++) deep = i % 2 ? deep.not() : deep.and(or(deep, col("id").gt(i)));
  await refused(() => table.scan({ where: deep }).count(), "Invalid", /levels deep|parts/);
  let nots = col("id").gt(5);
  for (let i = 0; i < 50_000; i++) nots = nots.not();
  await refused(() => table.scan({ where: nots }).count(), "Invalid", /levels deep/);
  let some = col("id").gt(5);
  for (let i = 0; i < 40; i++) some = some.not();
  assert.equal(await table.scan({ where: some }).count(), 4);
});

test("a signal for a hundred calls warns nobody, and is let go of", async (t) => {
  const { table } = await opened(t);
  const warnings = [];
  const note = (warning) => warnings.push(warning);
  process.on("warning", note);
  t.after(() => process.off("warning", note));
  const { signal } = new AbortController();
  let listeners = 0;
  const [add, remove] = [signal.addEventListener, signal.removeEventListener];
  signal.addEventListener = (...args) => (listeners++, add.apply(signal, args));
  signal.removeEventListener = (...args) => (listeners--, remove.apply(signal, args));
  await Promise.all(Array.from({ length: 100 }, (_, i) => table.get({ id: BigInt(i) }, { signal })));
  await sleep(10);
  assert.deepEqual(warnings.map(String), []);
  assert.equal(listeners, 0);
});

test("an error says how many items were committed if a stream broke off, and only then", async (t) => {
  const { table } = await opened(t);
  const broken = async function* (error) {
    yield [{ id: 100n }];
    yield [{ id: 101n }];
    throw error;
  };
  const caught = async (promise) =>
    promise.then(
      () => assert.fail("it was not refused"),
      (error) => error,
    );
  const mine = new Error("the source broke");
  const error = await caught(table.ingest(broken(mine)));
  assert.equal(error, mine);
  assert.equal(error.committed, 2);
  const shared = new LakeshoreError("Unavailable", "shared");
  assert.equal((await caught(table.ingest(broken(shared)))).committed, 2);
  assert.equal(Object.hasOwn(shared, "committed"), false);
  const controller = new AbortController();
  const reason = new Error("enough");
  const silent = async function* () {
    yield [{ id: 100n }];
    controller.abort(reason);
    await new Promise(() => undefined);
  };
  const aborted = await caught(table.ingest(silent(), { signal: controller.signal }));
  assert.deepEqual([aborted.committed, aborted.cause, aborted.message], [1, reason, "enough"]);
  assert.ok(aborted instanceof Error);
  assert.equal(Object.hasOwn(reason, "committed"), false);
  // Whatever breaks a stream off: what cannot carry the number is the cause of what does.
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const frozen = Object.freeze(Object.assign(new Error("hardened", { cause: 1 }), { committed: 7 }));
  for (const thrown of [
    "text",
    5,
    null,
    undefined,
    Object.freeze(new Error("frozen")),
    frozen,
    proxy,
    mine,
  ]) {
    const error = await caught(table.ingest(broken(thrown)));
    assert.equal(error.committed, 2);
    assert.equal(error.cause, thrown);
  }
  assert.equal(mine.committed, 2);
  assert.equal(Object.hasOwn(await caught(table.ingest([{ id: "no" }])), "committed"), false);
});

test("streams that share a signal are told their own numbers, and other calls none", async (t) => {
  const { table } = await opened(t);
  const reasons = [
    undefined,
    new Error("enough"),
    new LakeshoreError("Busy", "ours"),
    "text",
    Object.freeze({}),
  ];
  for (const reason of reasons) {
    const controller = new AbortController();
    const { signal } = controller;
    const silent = async function* (count) {
      for (let i = 0; i < count; i++) yield [{ id: 200n }];
      if (count === 3) controller.abort(reason);
      await new Promise(() => undefined);
    };
    const calls = [1, 2, 3].map((count) => table.ingest(silent(count), { signal }));
    const errors = (await Promise.allSettled(calls)).map((call) => call.reason);
    assert.equal(new Set(errors).size, 3);
    assert.ok(errors[0].committed <= 1 && errors[1].committed <= 2 && errors[2].committed === 3);
    const given = signal.reason;
    for (const error of errors) {
      if (given instanceof LakeshoreError) assert.equal(error.code, "Busy");
      else assert.equal(error.cause, given);
      if (given instanceof DOMException)
        assert.ok(error instanceof DOMException && error.name === "AbortError");
    }
    const single = await table.ingest([{ id: 1n }], { signal }).catch((error) => error);
    assert.equal(single, given);
    assert.equal(single?.committed, undefined);
    // Nor is it there before any stream began.
    const before = await table.ingest(silent(0), { signal }).catch((error) => error);
    assert.equal(before, given);
  }
});

test("an aborted stream is cancelled, with the reason, also one that is silent or was never begun", async (t) => {
  const { table } = await opened(t);
  const reason = new Error("enough");
  const streamOf = (pull) => {
    const seen = {};
    seen.cancelled = new Promise((resolve) => {
      seen.stream = new ReadableStream({ pull, cancel: resolve });
    });
    return seen;
  };
  const silent = streamOf(() => new Promise(() => undefined));
  const controller = new AbortController();
  const reading = table.ingest(silent.stream, { signal: controller.signal });
  await sleep(5);
  controller.abort(reason);
  await assert.rejects(reading, { message: "enough", committed: 0 });
  assert.equal(await silent.cancelled, reason);
  const unread = streamOf(() => undefined);
  await assert.rejects(table.ingest(unread.stream, { signal: controller.signal }), { message: "enough" });
  assert.equal(await unread.cancelled, reason);
  // One whose items do not fit is given up, too.
  const wrong = streamOf((stream) => stream.enqueue([{ id: "no" }]));
  await refused(() => table.ingest(wrong.stream), "Invalid");
  assert.equal(await wrong.cancelled, undefined);
  assert.equal(wrong.stream.locked, false);
  const whole = new ReadableStream({
    start(stream) {
      stream.enqueue([{ id: 300n }]);
      stream.close();
    },
  });
  assert.equal((await table.ingest(whole)).rows, 1);
  assert.equal(whole.locked, false);
});

test("a stream that is none is told as that, and never by an error of the language", async (t) => {
  const { table } = await opened(t);
  const locked = new ReadableStream();
  locked.getReader();
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const of = (next) => ({ [Symbol.iterator]: () => ({ next }) });
  const boom = () => {
    throw new TypeError("thrown by a getter");
  };
  const streams = [
    { [Symbol.iterator]: () => ({}) },
    { [Symbol.asyncIterator]: () => ({ next: 5 }) },
    { [Symbol.asyncIterator]: () => proxy },
    of(() => proxy),
    of(() => ({ get done() { return boom(); } })), // prettier-ignore
    of(() => ({ done: false, get value() { return boom(); } })), // prettier-ignore
    of(() => ({ done: false, value: proxy })),
    of(() => ({ done: false, value: { get then() { return boom(); } } })), // prettier-ignore
    locked,
  ];
  for (const stream of streams) {
    const error = await refused(() => table.ingest(stream), "Invalid", /stream/);
    assert.equal(error.committed, 0);
  }
});

test("rows are what they were when ingest was called, also where the table was altered meanwhile", async (t) => {
  const data = memory();
  const [{ db, table }, other] = [await opened(t, { data }), await open({ data })];
  t.after(() => other.close());
  const fresh = async () => (await other.refresh(), await other.table("rows"));
  const empty = (rows) => {
    for (const row of rows) for (const name of Object.keys(row)) delete row[name];
    rows.length = 0;
  };
  // Rows that fit only what the table is now.
  let stale = await fresh();
  await db.alterTable("rows", [{ addColumn: "list", type: "list<int32>" }]);
  await other.refresh();
  let given = [{ id: 50n, list: [1, 2] }, { id: 51n, list: [3] }]; // prettier-ignore
  let writing = stale.ingest(given);
  given[0].list.length = 0;
  empty(given);
  assert.equal((await writing).rows, 2);
  assert.deepEqual((await (await fresh()).get({ id: 50n })).list, [1, 2]);
  // Rows that fitted what it was, and still do.
  stale = await fresh();
  await db.alterTable("rows", [{ dropColumn: "raw" }, { renameColumn: "id", to: "number" }]);
  await other.refresh();
  given = [{ number: 52n, text: "kept" }];
  writing = stale.ingest(given);
  empty(given);
  assert.equal((await writing).rows, 1);
  assert.equal((await (await fresh()).get({ number: 52n })).text, "kept");
  stale = await fresh();
  await db.alterTable("rows", [{ dropColumn: "list" }]);
  await other.refresh();
  given = [{ number: 53n, text: "kept" }];
  writing = stale.ingest(given);
  empty(given);
  assert.equal((await writing).rows, 1);
  assert.equal((await (await fresh()).get({ number: 53n })).text, "kept");
});

test("rows that did not fit are refused at once, whatever their bytes are views of", async (t) => {
  const { table } = await opened(t);
  const file = new Uint8Array(64 << 20);
  const rows = Array.from({ length: 4000 }, (_, i) => ({ id: BigInt(i), raw: file.subarray(i, i + 16) }));
  rows.at(-1).typo = 1;
  const before = process.memoryUsage().arrayBuffers;
  await refused(() => table.ingest(rows), "Invalid", /typo/);
  assert.ok(process.memoryUsage().arrayBuffers - before < 16 << 20);
});

test("rows of a reactive framework are fitted to a table that was altered, too", async (t) => {
  const data = memory();
  const [{ db }, other] = [await opened(t, { data }), await open({ data })];
  t.after(() => other.close());
  const stale = await other.table("rows");
  const type = "struct<days: list<date32>, by: map<utf8, int32>, raw: binary, items: list<float64>>";
  await db.alterTable("rows", [{ addColumn: "value", type }]);
  await other.refresh();
  const reactive = (value) => {
    if (!Array.isArray(value) && Object.getPrototypeOf(value) !== Object.prototype) return value;
    return new Proxy(value, {
      get: (of, name) => (typeof of[name] === "object" && of[name] ? reactive(of[name]) : of[name]),
    });
  };
  const bytes = Uint8Array.of(9, 1, 2, 3, 9);
  const value = {
    ...{ days: [new Date(86_400_000), null], by: new Map([["a", 1]]) },
    ...{ raw: bytes.subarray(1, 4), items: Float64Array.of(1.5) },
  };
  const writing = stale.ingest([reactive({ id: 60n, value })]);
  bytes.fill(0);
  value.by.set("a", 2);
  value.days[0].setTime(0);
  value.items[0] = 0;
  await writing;
  assert.deepEqual((await (await other.table("rows")).get({ id: 60n })).value, {
    ...{ days: [new Date(86_400_000), null], by: new Map([["a", 1]]) },
    ...{ raw: Uint8Array.of(1, 2, 3), items: [1.5] },
  });
});

test("a stream's end is its own: what it returns is not looked at, and a web stream is let go of", async (t) => {
  const { table } = await opened(t);
  const unhandled = [];
  const note = (reason) => unhandled.push(reason);
  process.on("unhandledRejection", note);
  t.after(() => process.off("unhandledRejection", note));
  const returning = {
    [Symbol.iterator]: () => {
      const own = Promise.reject(new Error("cleanup"));
      own.catch(() => undefined);
      let given = false;
      return {
        next: () => (given ? { done: true, value: own } : ((given = true), { done: false, value: rows(1) })),
      };
    },
  };
  assert.equal((await table.ingest(returning)).commits, 1);
  await sleep(20);
  assert.deepEqual(unhandled, []);
  const stream = new ReadableStream({ pull: (controller) => controller.error(new Error("it broke")) });
  await assert.rejects(table.ingest(stream), /it broke/);
  assert.equal(stream.locked, false);
});

test("what becomes of a transaction does not depend on when a write failed", async (t) => {
  const { db, table } = await opened(t);
  const bad = () => [{ id: 1n, oops: 1 }];
  const pauses = { "at once": () => undefined, "a moment later": () => sleep(5) };
  for (const [name, pause] of Object.entries(pauses)) {
    const hushed = await db.begin();
    hushed
      .table("rows")
      .ingest(bad())
      .catch(() => undefined);
    await hushed.table("rows").ingest([{ id: 50n, text: name }]);
    await pause();
    await refused(() => hushed.commit(), "Invalid", /oops/);
    const awaited = await db.begin();
    const trying = (async () => {
      try {
        await awaited.table("rows").ingest(bad());
      } catch {
        // It is known.
      }
    })();
    awaited.table("rows").ingest([{ id: 51n, text: name }]);
    await pause();
    assert.equal((await awaited.commit()).rows, 1, name);
    await trying;
  }
  assert.equal(await table.get({ id: 50n }), undefined);
  assert.equal((await table.get({ id: 51n })).text, "a moment later");
});

test("a kept table reads by the new name of its key column", async (t) => {
  const { db, table } = await opened(t);
  const snapshot = await db.snapshot();
  await db.alterTable("rows", [{ renameColumn: "id", to: "number" }]);
  assert.equal((await table.get({ number: 3n })).text, "row 3");
  assert.equal(await table.scan({ range: { from: { number: 2n }, to: { number: 5n } } }).count(), 3);
  await table.delete([{ number: 3n }]);
  assert.equal(await table.get({ number: 3n }), undefined);
  const other = await db.table("rows");
  await db.alterTable("rows", [{ renameColumn: "number", to: "no" }]);
  assert.deepEqual(
    (await other.scan({ range: { to: { no: 2n } } }).toArray()).map(({ no }) => no),
    [0n, 1n],
  );
  await refused(() => other.get({ id: 1n }), "Invalid", /"id"/);
  snapshot.close();
});

test("an explicit undefined is not given", async (t) => {
  const { table } = await opened(t, { wal: undefined, sync: undefined, detachedTasks: undefined });
  assert.equal(await table.scan({ select: undefined, reverse: undefined, signal: undefined }).count(), 10);
});

test("a table of apache-arrow, its batches and arrays of them go in as they are", async (t) => {
  const { db } = await opened(t);
  const schema = {
    id: "int64",
    text: "utf8",
    at: "timestamp[us]",
    ok: "bool",
    tags: "list<utf8>",
    size: "int32",
  };
  const make = (from) =>
    new ArrowTable({
      id: vectorFromArray([from, from + 1n, from + 2n]),
      text: vectorFromArray(["a", null, "ü"], new Utf8()),
      at: vectorFromArray([1, null, 3], new Timestamp(TimeUnit.MICROSECOND)),
      ok: vectorFromArray([true, false, null], new Bool()),
      tags: vectorFromArray([["x", "y"], [], ["z"]], new List(new Field("item", new Utf8(), true))),
      size: vectorFromArray([1, 2, 3]),
    });
  const inputs = {
    "a table": (from) => make(from),
    "an array of a table": (from) => [make(from)],
    batches: (from) => make(from).batches,
    "a slice": (from) =>
      make(from - 1n)
        .concat(make(from + 10n))
        .slice(1, 4),
    "the same in IPC": (from) => tableToIPC(make(from)),
  };
  for (const [name, input] of Object.entries(inputs)) {
    const table = await db.table(`arrow ${name}`, { schema, primaryKey: ["id"] });
    const ipc = await db.table(`ipc ${name}`, { schema, primaryKey: ["id"] });
    const given = input(10n);
    const done = await table.ingest(given);
    assert.equal(done.rows, 3, name);
    const parts =
      given instanceof Uint8Array
        ? [given]
        : [given].flat().map((part) => tableToIPC(part instanceof ArrowTable ? part : new ArrowTable(part)));
    for (const part of parts) await ipc.ingest(part);
    assert.deepEqual(await table.scan().toArray(), await ipc.scan().toArray(), name);
  }
  const keys = await db.table("arrow a table");
  await keys.delete(new ArrowTable({ id: vectorFromArray([10n]) }));
  assert.equal(await keys.scan().count(), 2);
  await refused(() => keys.ingest(tableFromArrays({ nope: [1] })), "Invalid", /"nope"/);
});

test("bytes that are no Arrow are named for what they are, with the remedy", async (t) => {
  const { table } = await opened(t);
  const text = (text) => new TextEncoder().encode(text);
  const cases = [
    [text("<!doctype html><html><body>Not found</body></html>"), /HTML/],
    [text("\n  <html lang=en>"), /HTML/],
    [text("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"), /XML/],
    [text("id,text\n1,a\n2,b\n"), /CSV/],
    [text("id\ttext\n1\ta\n"), /tab-separated/],
    [text('[{"id": 1, "text": "a"}]'), /JSON\.parse/],
    [text('{"id": 1}\n{"id": 2}\n'), /JSON lines/],
    [text("PAR1" + "\0".repeat(100)), /Parquet.*parquet-wasm/],
    [text("FEA1" + "\0".repeat(100)), /Feather V1.*V2/],
    [text("PK\x03\x04" + "\0".repeat(100)), /zip/],
    [new Uint8Array(gzipSync(fixture("pyarrow-stream"))), /gzip.*decompress/],
    [Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, ...new Uint8Array(50)), /zstd/],
    [new Uint8Array(), /empty/],
    [fixture("pyarrow-stream").slice(0, 100), /pieces of one IPC stream/],
  ];
  for (const [bytes, message] of cases) {
    const error = await refused(() => table.ingest(bytes), "Invalid", message);
    assert.equal(Object.hasOwn(error, "committed"), false);
    await refused(
      () => table.ingest(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)),
      "Invalid",
      message,
    );
  }
  const ipc = fixture("pyarrow-stream");
  const body = new Response(ipc).body;
  const chunks = new ReadableStream({
    start(controller) {
      for (let at = 0; at < ipc.length; at += 200) controller.enqueue(ipc.slice(at, at + 200));
      controller.close();
    },
  });
  const error = await refused(() => table.ingest(chunks), "Invalid", /arrayBuffer\(\)/);
  assert.equal(error.committed, 0);
  await refused(() => table.ingest(new Response(ipc)), "Invalid", /arrayBuffer\(\)/);
  await refused(() => table.ingest(new Blob([ipc])), "Invalid", /arrayBuffer\(\)/);
  await body.cancel();
  assert.equal(await table.scan().count(), 10);
});
