// Where the worker comes from, who shares it, and what happens when it does not start, or dies.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sharedBrowser } from "./support/chromium.mjs";

const start = sharedBrowser();

/** How many workers a page has, once that has stayed the same for a while: the browser tells late. */
async function workersOf(page) {
  let count = -1;
  for (let same = 0; same < 5; same++) {
    await page.waitForTimeout(50);
    const now = page.workers().length;
    if (now !== count) same = 0;
    count = now;
  }
  return count;
}

/** What `open` in a new page rejects with. */
async function refusal(t, options, openOptions = {}) {
  const { run } = await start(t, options);
  return run(async (more) => {
    const { open, memory } = lakeshore;
    try {
      const db = await open({ data: memory(), ...more });
      await db.close();
      return "opened";
    } catch (error) {
      return { ours: error instanceof lakeshore.LakeshoreError, code: error.code, message: error.message };
    }
  }, openOptions);
}

test("databases share a worker, which ends with the last of them", async (t) => {
  const { page, run } = await start(t);
  const openOne = (name) =>
    run(async (name) => {
      globalThis[name] = await lakeshore.open({ data: lakeshore.memory() });
    }, name);
  const close = (name) => run((name) => globalThis[name].close(), name);
  const workers = () => workersOf(page);
  await Promise.all([openOne("a"), openOne("b")]);
  assert.equal(await workers(), 1);
  await close("a");
  assert.equal(await workers(), 1);
  await openOne("c");
  await run(() => globalThis.b.table("t", { schema: { id: "int64" }, primaryKey: ["id"] }));
  await close("b");
  await close("c");
  assert.equal(await workers(), 0);
  // Opened as the last closes: either in the same worker or in a new one, but opened.
  await run(async () => {
    const { open, memory } = lakeshore;
    let db = await open({ data: memory() });
    for (let turn = 0; turn < 20; turn++) {
      const next = open({ data: memory() });
      await db.close();
      db = await next;
      const closing = db.close();
      db = await open({ data: memory() });
      await closing;
    }
    await db.close();
  });
  assert.equal(await workers(), 0);
  await openOne("d");
  assert.equal(await workers(), 1);
  await assert.rejects(run(() => lakeshore.open({ data: lakeshore.memory(), nonsense: 1 })));
  assert.equal(await workers(), 1);
  await close("d");
  assert.equal(await workers(), 0);
  await assert.rejects(run(() => lakeshore.open({ data: lakeshore.memory(), nonsense: 1 })));
  assert.equal(await workers(), 0);
});

test("the worker may be given as a URL, a string, a function or itself", async (t) => {
  const { page, run } = await start(t);
  const counts = await run(async () => {
    const { open, memory } = lakeshore;
    const path = "/pkg/js/dist/worker.js";
    const make = () => new Worker(path, { type: "module" });
    const itself = make();
    const counts = [];
    for (const worker of [path, new URL(path, location.href), make, itself]) {
      const db = await open({ data: memory(), worker });
      const again = await open({ data: memory(), worker });
      const table = await db.table("t", { schema: { id: "int64" }, primaryKey: ["id"] });
      await table.ingest([{ id: 1n }]);
      counts.push(await table.scan().count());
      await Promise.all([db.close(), again.close()]);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    const refused = await open({ data: memory(), worker: itself }).catch((error) => error);
    return [...counts, refused.code, refused.message];
  });
  assert.deepEqual(counts.slice(0, 5), [1, 1, 1, 1, "Closed"]);
  assert.match(counts[5], /pass a new one/);
  assert.equal(await workersOf(page), 0);
});

test("what makes no worker, and an open that comes to nothing, leave no worker and no raw error", async (t) => {
  const { page, run } = await start(t);
  const outcomes = await run(async () => {
    const { host, init, memory, open, probe, LakeshoreError } = lakeshore;
    const outcome = (promise) =>
      promise.then(
        () => "opened",
        (error) => (error instanceof LakeshoreError ? error.code : `raw ${error}`),
      );
    const outcomes = [];
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    for (const made of [{}, null, undefined, 5, proxy, { postMessage() {} }])
      outcomes.push(await outcome(open({ data: memory(), worker: () => made })));
    // A host that cannot be offered: found out when the worker is there already.
    const spoilt = () => {
      let read = 0;
      const own = memory().host;
      return new Proxy(own, {
        get: (target, name) => {
          if (name === "list" && ++read > 1) throw new Error("spoilt");
          const member = target[name];
          return typeof member === "function" ? member.bind(target) : member;
        },
      });
    };
    const controller = new AbortController();
    const aborted = open({ data: memory(), signal: controller.signal });
    controller.abort(new LakeshoreError("Closed", "aborted"));
    const spoiltOnes = [open({ data: host(spoilt()) }), probe(host(spoilt()))];
    const later = await Promise.all([...spoiltOnes, aborted].map(outcome));
    outcomes.push(...later.map((one) => (one.startsWith("raw") ? one : "Invalid")));
    for (const module of [{}, "text", new Uint8Array(8), proxy]) {
      try {
        init(module);
        outcomes.push("taken");
      } catch (error) {
        outcomes.push(error instanceof LakeshoreError ? error.code : `raw ${error}`);
      }
    }
    return outcomes;
  });
  assert.deepEqual(new Set(outcomes), new Set(["Invalid"]), JSON.stringify(outcomes));
  assert.equal(await workersOf(page), 0);
  const count = await run(async () => {
    const { init, memory, open } = lakeshore;
    init(Promise.resolve(new Uint8Array(8)));
    const first = await open({ data: memory() }).catch((error) => error.code);
    init(WebAssembly.compileStreaming(fetch("/pkg/js/wasm/lakeshore_bg.wasm")));
    const db = await open({ data: memory() });
    await db.close();
    return first;
  });
  assert.equal(count, "Invalid");
  assert.equal(await workersOf(page), 0);
});

test("in a worker of one's own the engine runs in place", async (t) => {
  const { run } = await start(t);
  const count = await run(async () => {
    const worker = new Worker("/tests/browser/support/in-place-worker.mjs", { type: "module" });
    const answer = new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data.count);
      worker.onerror = (event) => reject(new Error(event.message));
    });
    worker.postMessage("go");
    return answer;
  });
  assert.equal(count, 2);
});

test("a worker that does not start says what to do", async (t) => {
  const wanted = { ours: true, code: "Unavailable" };
  const cases = [
    [{ missing: ["/worker.js"] }, {}],
    [
      {
        policy:
          "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'none'; connect-src 'self'",
      },
      {},
    ],
    [{}, { worker: "/pkg/README.md" }],
    [{}, { worker: "https://example.invalid/worker.js" }],
  ];
  for (const [options, openOptions] of cases) {
    const { message, ...error } = await refusal(t, options, openOptions);
    assert.deepEqual(error, wanted, message);
    assert.match(message, /worker\.js.*worker-src 'self'/);
  }
});

test("a module that is not there or not allowed says so, and a wrong type of it is no matter", async (t) => {
  const missing = await refusal(t, { missing: [".wasm"] });
  assert.equal(missing.code, "Unavailable");
  assert.match(missing.message, /http:.*lakeshore_bg\.wasm was answered by status 404: serve/);
  const forbidden = await refusal(t, { policy: "default-src 'self'" });
  assert.equal(forbidden.code, "Unsupported");
  assert.match(forbidden.message, /wasm-unsafe-eval/);
  assert.equal(await refusal(t, { wasmType: "application/octet-stream" }), "opened");
  assert.equal(await refusal(t, { wasmType: "text/plain" }), "opened");
});

test("a worker that is terminated rejects what waits, and the next open works", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const { open, memory, host } = lakeshore;
    const data = memory();
    const wal = memory();
    let made;
    const worker = () => (made = new Worker("/pkg/js/dist/worker.js", { type: "module" }));
    const db = await open({ data, wal, worker });
    const table = await db.table("t", { schema: { id: "int64" }, primaryKey: ["id"] });
    await table.ingest([{ id: 1n }]);
    const outcome = (promise) =>
      promise.then(
        () => "done",
        (error) => [error.code, error.message],
      );
    const calls = Array.from({ length: 20 }, () => outcome(table.scan().toArray()));
    const begin = performance.now();
    made.terminate();
    const outcomes = await Promise.all(calls);
    const ms = performance.now() - begin;
    const after = await outcome(table.get({ id: 1n }));
    const again = await open({ data, wal, worker });
    const count = await (await again.table("t")).scan().count();
    await again.close();
    return { last: outcomes.at(-1), after, count, ms };
  });
  assert.equal(seen.last[0], "Internal");
  assert.match(seen.last[1], /terminated/);
  assert.equal(seen.after[0], "Internal");
  assert.equal(seen.count, 1);
  assert.ok(seen.ms < 1000, `${seen.ms} ms`);
});

test("after a trap in a worker of one's own the next open there has the locks and files of the dead instance", async (t) => {
  const { run } = await start(t);
  const seen = await run(async () => {
    const worker = new Worker("/tests/browser/support/in-place-trap-worker.mjs", { type: "module" });
    const answer = new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(event.message));
    });
    worker.postMessage("go");
    return answer;
  });
  assert.deepEqual(seen, { trapped: ["Internal", "Internal", "Internal"], counts: [1, 2, 3] });
});

for (const way of ["panic", "out of memory"]) {
  test(`after a trap by ${way} of a page's engine over OPFS the next open has every acknowledged row`, async (t) => {
    const { run } = await start(t);
    const seen = await run(async (way) => {
      const { open, opfs } = lakeshore;
      const worker = "/tests/browser/support/fragile-worker.mjs";
      const counts = [];
      const codes = new Set();
      for (let round = 0; round < 3; round++) {
        const options = {
          data: opfs("trap"),
          wal: opfs("trap-wal"),
          worker,
          memoryBytes: 2 ** 40,
          commitBytes: 2 ** 30,
        };
        const db = await open(options);
        const table = await db.table("t", { schema: { id: "int64" }, primaryKey: ["id"] });
        await table.ingest([{ id: BigInt(round) }]);
        if (round === 1) await db.flush();
        counts.push(await table.scan().count());
        if (way === "panic") new BroadcastChannel("fragile").postMessage("panic");
        const bomb = new Uint8Array(way === "panic" ? 0 : 30_000_000);
        for (let tries = 0; tries < 100 && !codes.has(round); tries++) {
          const commit = way === "panic" ? [{ id: 0n }] : bomb;
          await table.ingest(commit).catch((error) => error.code === "Internal" && codes.add(round));
        }
      }
      return { counts, codes: [...codes] };
    }, way);
    assert.deepEqual(seen, { counts: [1, 2, 3], codes: [0, 1, 2] });
  });

  test(`a trap by ${way} rejects every call in flight, and the next open has every acknowledged row`, async (t) => {
    const { run } = await start(t);
    const seen = await run(async (way) => {
      const { open, memory, host } = lakeshore;
      const data = memory();
      const wal = memory();
      let hold;
      // A sync that waits: its ingest is in flight when the engine traps.
      const held = {};
      for (const name of ["get", "getRange", "getSuffix", "put", "putIfAbsent", "list", "delete", "lock"])
        held[name] = (...args) => wal.host[name](...args);
      held.append = (key) => {
        const file = wal.host.append(key);
        return { size: file.size, write: file.write, sync: () => hold, close: file.close };
      };
      const worker = "/tests/browser/support/fragile-worker.mjs";
      const rounds = [];
      for (let round = 0; round < 3; round++) {
        const db = await open({ data, wal: host(held), worker, memoryBytes: 2 ** 40, commitBytes: 2 ** 30 });
        const table = await db.table("t", { schema: { id: "int64", raw: "binary" }, primaryKey: ["id"] });
        const bystander = await open({ data: memory(), worker });
        const other = await bystander.table("other", { schema: { id: "int64" }, primaryKey: ["id"] });
        await table.ingest([{ id: BigInt(round) }]);
        await db.flush();
        await table.ingest([{ id: BigInt(100 + round) }]);
        const outcome = (promise) =>
          promise.then(
            () => "done",
            (error) => error.code,
          );
        let release;
        hold = new Promise((resolve) => (release = resolve));
        const calls = [outcome(table.ingest([{ id: 1000n }]))];
        await new Promise((resolve) => setTimeout(resolve, 20));
        const begin = performance.now();
        if (way === "panic") {
          new BroadcastChannel("fragile").postMessage("panic");
          // Until the worker has heard it.
          let code;
          do code = await outcome(db.refresh());
          while (code === "done");
          calls.push(code);
        } else {
          calls.push(outcome(table.ingest(new Uint8Array(30_000_000))));
        }
        calls.push(outcome(table.scan().toArray()));
        const others = [
          outcome(other.ingest([{ id: 1n }])),
          outcome(bystander.flush()),
          outcome(bystander.stats()),
        ];
        const outcomes = await Promise.all(calls);
        const ms = performance.now() - begin;
        const after = [await outcome(table.get({ id: 0n })), await outcome(db.close())];
        setTimeout(release, 20);
        const again = await open({ data, wal, worker });
        const found = await (await again.table("t")).scan({ select: ["id"] }).toArray();
        await again.close();
        hold = undefined;
        rounds.push({
          outcomes,
          others: await Promise.all(others),
          after,
          ids: found.map(({ id }) => Number(id)),
          ms,
        });
      }
      return rounds;
    }, way);
    for (const [round, { outcomes, others, after, ids, ms }] of seen.entries()) {
      assert.deepEqual(new Set([...outcomes, ...after]), new Set(["Internal"]), JSON.stringify(seen[round]));
      assert.deepEqual(others, ["done", "done", "done"], "another database goes on");
      for (let n = 0; n <= round; n++)
        assert.ok(ids.includes(n) && ids.includes(100 + n), `round ${round}: ${ids}`);
      assert.ok(ms < 1000, `${ms} ms`);
    }
  });
}

test("a module may be given by the page, where the worker would not find it", async (t) => {
  const { run } = await start(t, { missing: ["/pkg/js/wasm/lakeshore_bg.wasm"] });
  const count = await run(async () => {
    const { init, open, memory } = lakeshore;
    init(WebAssembly.compileStreaming(fetch("/elsewhere/lakeshore_bg.wasm")));
    const db = await open({ data: memory() });
    const table = await db.table("t", { schema: { id: "int64" }, primaryKey: ["id"] });
    await table.ingest([{ id: 1n }]);
    const count = await table.scan().count();
    await db.close();
    return count;
  });
  assert.equal(count, 1);
});

test("an access handle that comes when its call was given up is closed", async (t) => {
  const { run } = await start(t);
  const done = await run(async () => {
    const worker = new Worker("/tests/browser/support/slow-handles-worker.mjs", { type: "module" });
    const said = new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
    });
    worker.postMessage("go");
    const done = await said;
    worker.terminate();
    return done;
  });
  assert.deepEqual(done, { flushed: "enough", came: 1, ingested: 1, count: 2 });
});
