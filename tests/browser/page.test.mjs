// The package in a page: the engine is in a worker, the page sees no difference.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sharedBrowser } from "./support/chromium.mjs";

const start = sharedBrowser();

test("tables, rows, Arrow, scans and errors are what they are elsewhere", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const { open, memory, col, LakeshoreError } = lakeshore;
    const db = await open({ data: memory(), wal: memory() });
    const schema = { id: "int64", at: "timestamp[ms]", text: "utf8", tags: "list<utf8>", raw: "binary" };
    const table = await db.table("rows", { schema, primaryKey: ["id"] });
    const row = (i) => ({
      ...{ id: BigInt(i), at: new Date(i * 1000), text: i % 7 ? `row ${i}` : null, tags: ["a", String(i)] },
      raw: Uint8Array.of(i & 255, 1),
    });
    const rows = Array.from({ length: 1000 }, (_, i) => row(i));
    const committed = await table.ingest(rows);
    const ipc = await table.scan().toIPC();
    const length = ipc.byteLength;
    const copy = await db.table("copy", { schema: ipc, primaryKey: ["id"] });
    await copy.ingest(ipc);
    await copy.ingest(ipc.buffer);
    const progress = [];
    const items = new ReadableStream({
      start(controller) {
        for (const item of [ipc, [row(1000)], [row(1001), row(1002)]]) controller.enqueue(item);
        controller.close();
      },
    });
    await copy.ingest(items, { onProgress: ({ rows }) => progress.push(rows) });
    await copy.delete([{ id: 0n }]);
    const errors = [];
    const attempt = async (action) => {
      try {
        await action();
      } catch (error) {
        const isOurs = error instanceof LakeshoreError;
        errors.push([isOurs, error.code, error.retryable, error.committed, error.message]);
      }
    };
    await attempt(() => table.ingest([{ id: 1n, oops: 1 }]));
    await attempt(() => table.ingest([new Uint8Array(9)]));
    await attempt(() => table.scan({ where: col("nope").gt(1) }).count());
    await attempt(() => table.scan({ where: col("id").gt(() => 1) }).count());
    await attempt(() => db.table("missing"));
    await attempt(() => open({ data: memory(), nonsense: 1 }));
    await attempt(() => open({ data: { host: {} } }));
    await attempt(() => open({ data: 5 }));
    const empty = await table.scan({ limit: 0 }).toIPC();
    const result = {
      rows: committed.rows,
      stamp: typeof committed.timestamp,
      kept: ipc.byteLength === length,
      same: JSON.stringify(await table.get({ id: 8n }), (_, v) => (typeof v === "bigint" ? `${v}n` : v)),
      gone: await copy.get({ id: 0n }),
      last: (await copy.get({ id: 1002n }, { select: ["text"] })).text,
      count: await copy.scan({ where: col("text").isNull().not() }).count(),
      reverse: (await copy.scan({ reverse: true, limit: 2, select: ["id"] }).toArray()).map(({ id }) => id),
      range: (await table.scan({ range: { from: { id: 5 }, to: { id: 7 } } }).toArray()).length,
      empty: empty.byteLength > 0,
      names: (await db.tables()).map(({ name }) => name),
      columns: table.columns.map(({ type }) => type),
      ...{ progress, errors },
    };
    await db.flush();
    await db.checkpoint();
    const { flushes, checkpoints, wasmMemoryBytes } = await db.stats();
    await db.close();
    await db.close();
    await attempt(() => db.stats());
    await attempt(() => table.get({ id: 1n }));
    await attempt(() => table.scan().count());
    return { ...result, flushes, checkpoints, wasmMemoryBytes };
  });
  const { errors, ...rest } = seen;
  assert.deepEqual(rest, {
    rows: 1000,
    stamp: "bigint",
    kept: true,
    same: '{"id":"8n","at":"1970-01-01T00:00:08.000Z","text":"row 8","tags":["a","8"],"raw":{"0":8,"1":1}}',
    gone: undefined,
    last: "row 1002",
    count: 859,
    reverse: [1002n, 1001n],
    range: 2,
    empty: true,
    names: ["copy", "rows"],
    columns: ["int64", "timestamp[ms]", "utf8", "list<utf8>", "binary"],
    progress: [1000, 1001, 1003],
    flushes: 1,
    checkpoints: rest.checkpoints,
    wasmMemoryBytes: rest.wasmMemoryBytes,
  });
  assert.ok(rest.checkpoints >= 1 && rest.wasmMemoryBytes > 2 ** 20);
  const wanted = [
    ["Invalid", /oops/],
    ["Invalid", /IPC/],
    ["Invalid", /nope/],
    ["Invalid", /is a function/],
    ["Invalid", /missing/],
    ["Invalid", /nonsense/],
    ["Invalid", /host\.get/],
    ["Invalid", /data takes a store/],
    ["Closed", /closed/],
    ["Closed", /closed/],
    ["Closed", /closed/],
  ];
  assert.equal(errors.length, wanted.length, JSON.stringify(errors));
  for (const [i, [code, message]] of wanted.entries()) {
    assert.deepEqual(errors[i].slice(0, 3), [true, code, false], errors[i][4]);
    assert.match(errors[i][4], message);
  }
  assert.equal(errors[1][3], 0);
});

test("calls take effect in call order, a scan reads the state of the moment it was called", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const { open, memory } = lakeshore;
    const db = await open({ data: memory(), wal: memory() });
    const table = await db.table("rows", { schema: { id: "int64", n: "int32" }, primaryKey: ["id"] });
    const calls = Array.from({ length: 200 }, (_, n) => table.ingest([{ id: 0n, n }]));
    const scans = [table.scan(), table.scan()];
    calls.push(table.ingest([{ id: 1n, n: 1 }]));
    const batch = scans[0].rows()[Symbol.asyncIterator]();
    await Promise.all(calls);
    await table.delete([{ id: 0n }]);
    await db.flush();
    const first = (await batch.next()).value;
    const counts = [await scans[1].count(), await table.scan().count()];
    await db.close();
    return { first, counts };
  });
  // What was not acknowledged when the scan was called may or may not be in it; what came after it is not.
  assert.deepEqual(seen.counts, [seen.first === undefined ? 0 : 1, 1]);
  assert.notEqual(seen.first?.id, 1n);
});

test("a signal ends the waiting on the page, and the scan in the worker", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const { open, memory, host } = lakeshore;
    const inner = memory().host;
    let release;
    const slow = new Proxy(inner, {
      get(target, name) {
        const member = target[name];
        if (name !== "append") return typeof member === "function" ? member.bind(target) : member;
        return (key) => {
          const file = target.append(key);
          const sync = () => release && new Promise((resolve) => (release = resolve));
          return { size: file.size, write: file.write, sync, close: file.close };
        };
      },
    });
    const db = await open({ data: memory(), wal: host(slow) });
    const table = await db.table("rows", { schema: { id: "int64" }, primaryKey: ["id"] });
    await table.ingest(Array.from({ length: 10_000 }, (_, i) => ({ id: BigInt(i) })));
    const reason = new Error("enough");
    const outcome = (promise) =>
      promise.then(
        () => "done",
        (error) => (error === reason ? "aborted" : error.message),
      );
    release = () => undefined;
    const controller = new AbortController();
    const ingest = outcome(table.ingest([{ id: -1n }], { signal: controller.signal }));
    while (release.name !== "") await new Promise((resolve) => setTimeout(resolve, 1));
    setTimeout(() => controller.abort(reason), 10);
    const first = await ingest;
    const go = release;
    release = undefined;
    go();
    await table.ingest([{ id: -2n }]);
    const second = new AbortController();
    let batches = 0;
    const reading = async () => {
      for await (const _ of table.scan({ batchRows: 10, signal: second.signal }))
        if (++batches === 3) second.abort(reason);
    };
    const scan = await outcome(reading());
    const before = outcome(table.get({ id: 1n }, { signal: AbortSignal.abort(reason) }));
    const count = await table.scan().count();
    await db.close();
    return { first, scan, batches, before: await before, count };
  });
  assert.deepEqual(seen, { first: "aborted", scan: "aborted", batches: 3, before: "aborted", count: 10_002 });
});

test("a signal ends calls in the worker, with the page's own reason", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const { open, memory, host, probe } = lakeshore;
    const inner = memory().host;
    const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    let calls = 0;
    let stuck = false;
    let freed = [];
    const names = ["get", "getRange", "getSuffix", "put", "putIfAbsent", "list", "delete"];
    const method =
      (name) =>
      async (...args) => {
        calls++;
        if (stuck) await new Promise((resolve) => freed.push(resolve));
        return inner[name](...args);
      };
    const data = host(Object.fromEntries(names.map((name) => [name, method(name)])));
    const db = await open({ data });
    const definition = { schema: { id: "int64" }, primaryKey: ["id"] };
    const table = await db.table("t", definition);
    await table.ingest([{ id: 1n }]);
    const all = {
      open: (options) => open({ data, ...options }),
      table: (options) => db.table("new", { ...definition, ...options }),
      refresh: (options) => db.refresh(options),
      flush: (options) => db.flush(options),
      checkpoint: (options) => db.checkpoint(options),
      gc: (options) => db.gc(options),
      snapshot: (options) => db.snapshot({ asOf: new Date(Date.now() + 60_000), ...options }),
      probe: (options) => probe(data, options),
    };
    const outcomes = {};
    for (const [name, call] of Object.entries(all)) {
      const reason = { name };
      const controller = new AbortController();
      stuck = true;
      const outcome = call({ signal: controller.signal }).then(
        () => "done",
        (error) => (error === reason ? "aborted" : String(error)),
      );
      await sleep(50);
      controller.abort(reason);
      const first = await Promise.race([outcome, sleep(1_000).then(() => "late")]);
      await sleep(50);
      stuck = false;
      const before = calls;
      for (const free of freed.splice(0)) free();
      await sleep(50);
      const reads = ["open", "refresh", "snapshot"].includes(name);
      outcomes[name] = reads && calls > before ? "went on" : first;
      await table.ingest([{ id: 2n }]);
    }
    const report = await probe(data);
    stuck = true;
    const written = table.ingest([{ id: 3n }]).then(() => "written");
    const closing = new AbortController();
    const closed = db.close({ signal: closing.signal }).catch((error) => error);
    closing.abort("no patience");
    const close = await closed;
    stuck = false;
    for (const free of freed.splice(0)) free();
    await db.close();
    return { outcomes, close, written: await written, ok: report.ok, checks: report.checks.length };
  });
  assert.deepEqual([...new Set(Object.values(seen.outcomes))], ["aborted"], JSON.stringify(seen.outcomes));
  assert.deepEqual([seen.close, seen.written, seen.ok, seen.checks], ["no patience", "written", true, 10]);
});

test("a scan runs a few batches ahead of its reader, and no further", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const { open, memory } = lakeshore;
    const data = memory();
    const table = async (db) =>
      db.table("rows", { schema: { id: "int64", text: "utf8" }, primaryKey: ["id"] });
    const first = await open({ data });
    const rows = await table(first);
    for (let file = 0; file < 40; file++) {
      await rows.ingest(
        Array.from({ length: 500 }, (_, i) => ({ id: BigInt(file * 500 + i), text: String(Math.random()) })),
      );
      await first.flush();
    }
    await first.close();
    const db = await open({ data, concurrency: 1 });
    const reads = async () => (await db.stats()).data.get;
    const before = await reads();
    const scan = (await table(db)).scan({ batchRows: 500 })[Symbol.asyncIterator]();
    const steps = [];
    for (let step = 0; step < 3; step++) {
      await scan.next();
      await new Promise((resolve) => setTimeout(resolve, 100));
      steps.push((await reads()) - before);
    }
    let batches = 3;
    while (!(await scan.next()).done) batches += 1;
    const all = (await reads()) - before;
    await db.close();
    return { steps, all, batches };
  });
  assert.ok(seen.batches >= 40 && seen.all >= 40, JSON.stringify(seen));
  for (const [step, reads] of seen.steps.entries()) {
    // Each file is read once or twice; the engine itself opens one more file ahead.
    assert.ok(reads >= step + 2 && reads <= 2 * (step + 5), JSON.stringify(seen));
  }
});

test("hosts of the page are called back, keep their bytes and their `this`, and may fail", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const { open, host, LakeshoreError } = lakeshore;
    const objects = new Map();
    const own = {
      objects,
      fail: undefined,
      describe: () => "a map",
      get(key) {
        if (this.fail) throw this.fail;
        return this.objects.get(key) ?? null;
      },
      getRange: (key, start, end) => objects.get(key)?.subarray(start, end) ?? null,
      getSuffix: async (key, length) => {
        const bytes = objects.get(key);
        return bytes
          ? { bytes: bytes.subarray(Math.max(0, bytes.length - length)), size: bytes.length }
          : null;
      },
      put: (key, bytes) => void objects.set(key, bytes),
      putIfAbsent: (key, bytes) => (objects.has(key) ? false : (objects.set(key, bytes), true)),
      list: (prefix, after = "") =>
        [...objects]
          .filter(([key]) => key.startsWith(prefix) && key > after)
          .map(([key, { length }]) => ({ key, size: length })),
      delete: (key) => void objects.delete(key),
    };
    const outcome = async () => {
      try {
        const db = await open({ data: host(own) });
        const table = await db.table("rows", { schema: { id: "int64" }, primaryKey: ["id"] });
        await table.ingest([{ id: BigInt(objects.size) }]);
        await db.flush();
        const { dataPlace } = await db.stats();
        const count = await table.scan().count();
        await db.close();
        return [dataPlace, count];
      } catch (error) {
        return [error.code, error.message];
      }
    };
    const results = [await outcome()];
    own.fail = new LakeshoreError("Denied", "the key may not read");
    results.push(await outcome());
    own.fail = Object.assign(new Error("no entry"), { code: "EACCES" });
    results.push(await outcome());
    own.fail = undefined;
    results.push(await outcome());
    return { results, whole: [...objects.values()].every((bytes) => bytes.byteLength > 0) };
  });
  assert.deepEqual(seen.results[0], ["a map", 1]);
  assert.deepEqual(seen.results[1], ["Denied", "the key may not read"]);
  assert.equal(seen.results[2][0], "Denied");
  assert.match(seen.results[2][1], /no entry/);
  assert.deepEqual(seen.results[3], ["a map", 2]);
  assert.ok(seen.whole, "bytes of the host were taken from it");
});

test("whatever a host of the page throws, the call settles with an error", async (t) => {
  const { run } = await start(t);
  const outcomes = await run(async () => {
    const { host, memory, open } = lakeshore;
    const boom = () => {
      throw new Error("thrown by a getter");
    };
    const revoked = () => {
      const { proxy, revoke } = Proxy.revocable({}, {});
      revoke();
      return proxy;
    };
    const thrown = {
      "a revoked proxy": revoked,
      getters: () => ({ get code() { return boom(); }, get name() { return boom(); }, get message() { return boom(); } }), // prettier-ignore
      "a toString": () => ({ toString: boom, [Symbol.toPrimitive]: boom, toJSON: boom }),
      nothing: () => undefined,
      "a symbol": () => Symbol("thrown"),
      "a function": () => boom,
      "an object without prototype": () => Object.create(null),
    };
    const outcomes = [];
    for (const [name, make] of Object.entries(thrown)) {
      for (const way of ["thrown", "rejected"]) {
        const own = memory().host;
        const lying = {};
        for (const method of Object.keys(own).concat(Object.getOwnPropertyNames(Object.getPrototypeOf(own))))
          if (typeof own[method] === "function") lying[method] = (...args) => own[method](...args);
        lying.list = () => {
          if (way === "rejected") return Promise.reject(make());
          throw make();
        };
        const settled = open({ data: host(lying), retries: 0 }).then(
          (db) => db.close().then(() => "opened"),
          (error) => (error instanceof lakeshore.LakeshoreError ? error.code : `raw ${error}`),
        );
        const late = new Promise((resolve) => setTimeout(resolve, 10_000, "it did not settle"));
        outcomes.push([name, way, await Promise.race([settled, late])]);
      }
    }
    return outcomes;
  });
  for (const [name, way, outcome] of outcomes)
    assert.match(outcome, /^(Unavailable|Unknown|Invalid)$/, `${name}, ${way}: ${outcome}`);
});

test("a host of the page is asked whether its WAL is still its own before rows are acknowledged", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const { host, memory, open } = lakeshore;
    const seen = [];
    for (const where of ["file", "lock", "lock alone"]) {
      const own = memory().host;
      const state = { asked: 0, lost: false };
      const confirm = () => {
        state.asked += 1;
        if (state.lost) throw Object.assign(new Error("somebody else has it"), { code: "Closed" });
      };
      const wal = {};
      for (const name of "get getRange getSuffix put putIfAbsent list delete create".split(" "))
        if (typeof own[name] === "function") wal[name] = (...args) => own[name](...args);
      wal.append = async (key) => {
        const file = await own.append(key);
        const sizes = { size: BigInt(file.size) };
        const methods = { write: (b) => file.write(b), sync: () => file.sync(), close: () => file.close() };
        return { ...sizes, ...methods, ...(where === "file" && { confirm: async () => confirm() }) };
      };
      wal.lock = async (name) => {
        const lock = await own.lock(name);
        return { release: () => lock.release(), ...(where !== "file" && { confirm }) };
      };
      const db = await open({ data: memory(), wal: host(wal) });
      const table = await db.table("t", { schema: { id: "int64" }, primaryKey: ["id"] });
      await table.ingest([{ id: 1n }]);
      const before = state.asked;
      state.lost = true;
      const codes = [];
      for (const id of [2n, 3n])
        codes.push(
          await table.ingest([{ id }]).then(
            () => "acknowledged",
            (error) => `${error.code} ${/somebody else has it/.test(error.message)}`,
          ),
        );
      await db.close().catch(() => undefined);
      seen.push([where, before > 0, ...codes]);
    }
    return seen;
  });
  for (const [where, asked, first, second] of seen) {
    assert.ok(asked, `${where} was not asked`);
    assert.match(first, /^(Closed|Unknown) true$/, `${where}: ${first}`);
    assert.match(second, /^Closed true$/, `${where}: ${second}`);
  }
});

test("rows on a page are what they were when ingest was called, also where the table was altered", async (t) => {
  const { run } = await start(t);
  const work = async (keeps) => {
    const { memory, open } = lakeshore;
    const data = memory();
    const options = keeps ? { waitUntil: () => undefined } : {};
    const [db, other] = [await open({ data }), await open({ data, ...options })];
    await db.table("t", { schema: { id: "int64", raw: "binary", text: "utf8" }, primaryKey: ["id"] });
    await other.refresh();
    const write = async (change, given) => {
      const stale = await other.table("t");
      await db.alterTable("t", change);
      await other.refresh();
      const writing = stale.ingest(given);
      for (const row of given) for (const name of Object.keys(row)) delete row[name];
      given.length = 0;
      await writing;
    };
    await write([{ addColumn: "list", type: "list<int32>" }], [{ id: 1n, list: [1, 2] }]);
    await write([{ dropColumn: "raw" }], [{ id: 2n, text: "kept" }]);
    await other.refresh();
    const rows = await (await other.table("t")).scan().toArray();
    await Promise.all([db.close(), other.close()]);
    return rows.map(({ id, ...rest }) => ({ id: Number(id), ...rest }));
  };
  for (const keeps of [false, true])
    assert.deepEqual(await run(work, keeps), [
      { id: 1, text: null, list: [1, 2] },
      { id: 2, text: "kept", list: null },
    ]);
});

test("a large ingest leaves the page responsive", async (t) => {
  const { run } = await start(t);
  const { longest, rows } = await run(async () => {
    const { open, memory } = lakeshore;
    const db = await open({ data: memory(), wal: memory() });
    const schema = { id: "int64", text: "utf8" };
    const table = await db.table("rows", { schema, primaryKey: ["id"] });
    const size = 20_000;
    await table.ingest(
      Array.from({ length: size }, (_, i) => ({ id: BigInt(i), text: `some text of row ${i}` })),
    );
    const ipc = await table.scan().toIPC();
    let last = performance.now();
    let longest = 0;
    const timer = setInterval(() => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }, 5);
    const { rows } = await table.ingest(Array.from({ length: 100 }, () => ipc));
    await db.flush();
    clearInterval(timer);
    await db.close();
    return { longest, rows };
  });
  console.log(`${rows} rows in: the page stood still for ${longest.toFixed(0)} ms at most`);
  assert.equal(rows, 2_000_000);
  // Seconds, where the engine runs in the page.
  assert.ok(longest < 500, `${longest} ms`);
});

test("an uncaught error in a worker of the user's own is not the engine's end", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const { open, memory } = lakeshore;
    const worker = new Worker("/tests/browser/support/noisy-worker.mjs", { type: "module" });
    const noises = [];
    worker.addEventListener("error", (event) => (event.preventDefault(), noises.push(event.message)));
    const db = await open({ data: memory(), worker });
    const table = await db.table("t", { schema: { id: "int64" }, primaryKey: ["id"] });
    await table.ingest([{ id: 1n }]);
    new BroadcastChannel("noisy").postMessage("throw");
    while (noises.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const count = await table.scan().count();
    await db.close();
    return { count, noises };
  });
  assert.equal(seen.count, 1);
  assert.match(seen.noises[0], /a defect of the user/);
});
