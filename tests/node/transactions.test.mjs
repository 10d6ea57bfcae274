// Transactions: what they see, what conflicts, how they end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { tableFromArrays, tableToIPC } from "apache-arrow";
import { col, LakeshoreError, memory, open } from "lakeshore";
import { random } from "./support/process.mjs";

const definition = { schema: { id: "int64", n: "int64" }, primaryKey: ["id"] };

/** Handles on one database with the tables `a` and `b`: each commit a log record, or, `local`, in a WAL first. */
async function handles(t, { count = 1, local = false, options = {} } = {}) {
  const data = memory();
  const all = [];
  for (let i = 0; i < count; i++) {
    const db = await open({ data, ...(local && { wal: memory() }), ...options });
    t.after(() => db.close());
    all.push({ db, a: await db.table("a", definition), b: await db.table("b", definition) });
  }
  return all;
}

const rows = (...pairs) => pairs.map(([id, n]) => ({ id: BigInt(id), n: BigInt(n) }));
const pairs = async (table, options) =>
  (await table.scan(options).toArray()).map(({ id, n }) => [Number(id), Number(n)]);
const ofKind = (code, message = /./) => {
  return (error) => error instanceof LakeshoreError && error.code === code && message.test(error.message);
};
/** Reads and adds one, in a transaction. */
const increment = async (tx, id) => {
  const table = tx.table("a");
  const { n } = (await table.get({ id })) ?? { n: 0n };
  await table.ingest([{ id, n: n + 1n }]);
};

for (const local of [false, true]) {
  const where = local ? "with a WAL" : "without";
  test(`reads see the snapshot and own writes, others see all of it at once, ${where}`, async (t) => {
    const [{ db, a, b }] = await handles(t, { local });
    await a.ingest(rows([1, 1], [2, 2], [3, 3]));
    const tx = await db.begin();
    const table = tx.table("a");
    assert.deepEqual([table.name, table.primaryKey, table.columns[1].type], ["a", ["id"], "int64"]);
    await a.ingest(rows([1, 100], [9, 9]));
    assert.equal(await table.ingest(rows([2, 20], [4, 40])), 2);
    const ipc = tableToIPC(tableFromArrays({ id: BigInt64Array.of(5n), n: BigInt64Array.of(50n) }), "stream");
    assert.equal(await table.ingest(ipc), 1);
    assert.equal(await table.ingest({ toIPC: () => ipc }), 1);
    assert.equal(await table.delete([{ id: 3n }]), 1);
    assert.equal(await tx.table("b").ingest(rows([1, -1])), 1);

    const own = [[1, 1], [2, 20], [4, 40], [5, 50]]; // prettier-ignore
    assert.deepEqual(await pairs(table), own);
    assert.deepEqual(await pairs(tx.table("a"), { reverse: true, limit: 2 }), own.slice(2).reverse());
    assert.deepEqual(await pairs(table, { where: col("n").gt(20), range: { to: { id: 5 } } }), [[4, 40]]);
    assert.deepEqual(await table.scan({ select: ["n"], limit: 1 }).toArray(), [{ n: 1n }]);
    assert.equal(await table.scan({ where: col("n").lt(30) }).count(), 2);
    assert.equal((await table.scan().toIPC()).byteLength > 0, true);
    assert.equal(await table.get({ id: 3n }), undefined);
    assert.deepEqual(await table.get({ id: 4n }, { select: ["n"] }), { n: 40n });

    const before = [[1, 100], [2, 2], [3, 3], [9, 9]]; // prettier-ignore
    assert.deepEqual([await pairs(a), await pairs(b)], [before, []]);
    const committed = await tx.commit();
    assert.deepEqual([committed.commits, committed.rows, committed.uploaded], [1, 5, !local]);
    assert.equal(typeof committed.timestamp, "bigint");
    const after = [[1, 100], [2, 20], [4, 40], [5, 50], [9, 9]]; // prettier-ignore
    assert.deepEqual([await pairs(a), await pairs(b)], [after, [[1, -1]]]);
  });

  test(`a lost update is a conflict, and the transaction runs again on what is there then, ${where}`, async (t) => {
    const all = await handles(t, { count: local ? 1 : 2, local });
    const [ours, theirs] = [all[0], all.at(-1)];
    const first = await ours.db.begin();
    await increment(first, 7n);
    await theirs.db.transaction((tx) => increment(tx, 7n));
    await assert.rejects(
      first.commit(),
      (error) => ofKind("Conflict", /"a".*again/)(error) && error.retryable,
    );

    let runs = 0;
    const value = await ours.db.transaction(async (tx) => {
      runs += 1;
      await increment(tx, 7n);
      if (runs === 1) await theirs.db.transaction((tx) => increment(tx, 7n));
      return `run ${runs}`;
    });
    assert.equal(value, "run 2");
    assert.equal((await ours.a.get({ id: 7n })).n, 3n);
  });

  test(`counters that many add to at once end right, ${where}`, async (t) => {
    const all = await handles(t, { count: local ? 1 : 3, local });
    let runs = 0;
    const adders = Array.from({ length: 12 }, async (_, i) => {
      const { db } = all[i % all.length];
      for (let n = 0; n < 4; n++) {
        await db.transaction(
          async (tx) => {
            runs += 1;
            await increment(tx, BigInt(n % 2));
          },
          { attempts: 1000 },
        );
      }
    });
    await Promise.all(adders);
    await all[0].db.refresh();
    assert.deepEqual(await pairs(all[0].a), [[0, 24], [1, 24]]); // prettier-ignore
    console.log(`48 increments took ${runs} runs`);
    assert.ok(runs > 48, "nobody ever met");
  });

  test(`money moved between two tables is neither made nor lost in any snapshot, ${where}`, async (t) => {
    const next = random();
    const all = await handles(t, { count: local ? 1 : 2, local });
    const accounts = Array.from({ length: 5 }, (_, i) => [i, 100]);
    await all[0].a.ingest(rows(...accounts));
    await all[0].b.ingest(rows(...accounts));
    await all.at(-1).db.refresh();
    let moving = true;
    const sum = async (tables) => {
      const parts = await Promise.all(["a", "b"].map((name) => pairs(tables.table(name))));
      return parts.flat().reduce((total, [, n]) => total + n, 0);
    };
    const watch = async ({ db }) => {
      for (let n = 0; moving || n < 2; n++) {
        if (next() < 0.3) await db.refresh();
        const snapshot = await db.snapshot();
        assert.equal(await sum(snapshot), 1000);
        snapshot.close();
        await db.transaction(async (tx) => assert.equal(await sum(tx), 1000));
        // In memory all is done between two turns of the event loop: let others have theirs.
        await new Promise(setImmediate);
      }
    };
    const move = async ({ db }, i) => {
      const [from, to] = next() < 0.5 ? ["a", "b"] : ["b", "a"];
      const [id, other, amount] = [next() * 5, next() * 5, next() * 50].map((n) => BigInt(Math.floor(n)));
      const run = async (tx) => {
        const [source, target] = [tx.table(from), tx.table(to)];
        await source.ingest([{ id, n: (await source.get({ id })).n - amount }]);
        await target.ingest([{ id: other, n: (await target.get({ id: other })).n + amount }]);
        if (i % 4 === 3) throw new Error("changed my mind");
      };
      const moved = db.transaction(run, { attempts: 1000 });
      await (i % 4 === 3 ? assert.rejects(moved, /changed my mind/) : moved);
      if (i % 7 === 6) await db.flush();
    };
    const watching = Promise.all(all.map(watch));
    const moves = Array.from({ length: 40 }, (_, i) => move(all[i % all.length], i));
    await Promise.all(moves).finally(() => (moving = false));
    await watching;
    await all[0].db.refresh();
    assert.equal(await sum(await all[0].db.snapshot()), 1000);
  });
}

test("two that read what the other writes: only serializable ones conflict", async (t) => {
  for (const isolation of ["snapshot", "serializable"]) {
    const [{ db, a }] = await handles(t);
    await a.ingest(rows([1, 1], [2, 1]));
    /** One of two must stay on call. */
    const leave = async (tx, id) => {
      const { n } = await tx.table("a").get({ id: id === 1n ? 2n : 1n });
      if (n === 1n) await tx.table("a").ingest([{ id, n: 0n }]);
    };
    const [one, two] = [await db.begin({ isolation }), await db.begin({ isolation })];
    await leave(one, 1n);
    await leave(two, 2n);
    await one.commit();
    if (isolation === "serializable") await assert.rejects(two.commit(), ofKind("Conflict"));
    else await two.commit();
    assert.deepEqual(await pairs(a), isolation === "serializable" ? [[1, 0], [2, 1]] : [[1, 0], [2, 0]]); // prettier-ignore
  }
});

test("a row that appears in a range that was read is a conflict of serializable ones, one beside it is not", async (t) => {
  const cases = [
    { isolation: "serializable", id: 15, conflicts: true },
    { isolation: "serializable", id: 20, conflicts: false },
    { isolation: "snapshot", id: 15, conflicts: false },
  ];
  for (const { isolation, id, conflicts } of cases) {
    const [{ db, a }] = await handles(t);
    const tx = await db.begin({ isolation });
    const range = { from: { id: 10 }, to: { id: 20 } };
    const found = await tx.table("a").scan({ range }).count();
    await tx.table("b").ingest(rows([1, found]));
    await a.ingest(rows([id, 1]));
    if (conflicts) await assert.rejects(tx.commit(), ofKind("Conflict"));
    else await tx.commit();
  }
});

test("a function that throws leaves nothing behind, and its error is passed on", async (t) => {
  const [{ db, a }] = await handles(t);
  const mine = new Error("no");
  let runs = 0;
  let kept;
  const failing = db.transaction(async (tx) => {
    runs += 1;
    kept = tx.table("a");
    await kept.ingest(rows([1, 1]));
    throw mine;
  });
  await assert.rejects(failing, (error) => error === mine);
  assert.equal(runs, 1);
  assert.equal(await a.scan().count(), 0);
  await assert.rejects(kept.ingest(rows([1, 1])), ofKind("Invalid", /has ended: begin a new one/));
  const thrown = db.transaction(() => {
    throw mine;
  });
  await assert.rejects(thrown, (error) => error === mine);
  assert.equal(await db.transaction(() => 5), 5);
});

test("attempts are bounded, and the last conflict is the answer", async (t) => {
  const [ours, theirs] = await handles(t, { count: 2 });
  for (const attempts of [1, 3]) {
    let runs = 0;
    const doomed = ours.db.transaction(
      async (tx) => {
        runs += 1;
        await tx.table("a").ingest(rows([1, 0]));
        await theirs.a.ingest(rows([1, runs]));
      },
      { attempts },
    );
    await assert.rejects(doomed, ofKind("Conflict"));
    assert.equal(runs, attempts);
  }
});

test("a signal rolls back, at once and whatever the function does", async (t) => {
  const [{ db, a }, theirs] = await handles(t, { count: 2 });
  const aborted = AbortSignal.abort("before");
  let runs = 0;
  const never = db.transaction(() => void runs++, { signal: aborted });
  await assert.rejects(never, (reason) => reason === "before");
  assert.equal(runs, 0);

  const controller = new AbortController();
  let goOn;
  let late;
  const waiting = db.transaction(
    async (tx) => {
      const table = tx.table("a");
      await table.ingest(rows([1, 1]));
      controller.abort("meanwhile");
      await new Promise((resolve) => (goOn = resolve));
      const calls = [table.ingest(rows([2, 2])), table.get({ id: 1n }), (async () => tx.table("b"))()];
      late = Promise.allSettled(calls);
    },
    { signal: controller.signal },
  );
  await assert.rejects(waiting, (reason) => reason === "meanwhile");
  goOn();
  await new Promise(setImmediate);
  for (const { reason } of await late) assert.ok(ofKind("Invalid", /has ended/)(reason));
  assert.equal(await a.scan().count(), 0);

  // Between two attempts, too.
  const between = new AbortController();
  const pausing = db.transaction(
    async (tx) => {
      runs += 1;
      await tx.table("a").ingest(rows([1, 1]));
      await theirs.a.ingest(rows([1, runs]));
      if (runs === 5) queueMicrotask(() => setTimeout(() => between.abort("between")));
    },
    { signal: between.signal, attempts: 1_000_000 },
  );
  await assert.rejects(pausing, (reason) => reason === "between");
});

test("what is misused is told, with the remedy, and changes nothing", async (t) => {
  const [{ db, a }] = await handles(t);
  const tx = await db.begin();
  assert.throws(() => tx.table("c"), ofKind("Invalid", /no table "c": there are a, b/));
  assert.throws(() => tx.table(5), ofKind("Invalid", /name of a table/));
  const table = tx.table("a");
  await assert.rejects(table.ingest([[{ id: 1 }]]), ofKind("Invalid", /one by one/));
  await assert.rejects(table.ingest(new ReadableStream()), ofKind("Invalid", /one by one/));
  await assert.rejects(table.ingest([{ id: 1n, oops: 1 }]), ofKind("Invalid", /oops/));
  await assert.rejects(table.ingest(new Uint8Array(9)), ofKind("Invalid", /IPC/));
  await assert.rejects(table.scan({ where: col("nope").gt(1) }).count(), ofKind("Invalid", /nope/));
  await table.ingest(rows([1, 1]));
  assert.equal((await tx.commit()).rows, 1);
  assert.deepEqual(await pairs(a), [[1, 1]]);

  const scan = table.scan();
  const calls = [
    () => tx.commit(),
    () => tx.table("a"),
    () => table.get({ id: 1n }),
    () => table.ingest(rows([2, 2])),
    () => table.delete([{ id: 1n }]),
    () => scan.count(),
  ];
  const ended = ofKind("Invalid", /the transaction has ended: begin a new one/);
  for (const call of calls) await assert.rejects(async () => call(), ended, String(call));
  await tx.rollback();
  assert.deepEqual(await pairs(a), [[1, 1]]);

  await assert.rejects(db.begin({ isolation: "chaos" }), ofKind("Invalid", /"snapshot" or "serializable"/));
  await assert.rejects(db.transaction(), ofKind("Invalid", /takes a function/));
  for (const attempts of [0, 1.5, NaN, "3"]) {
    const bad = db.transaction(() => 1, { attempts });
    await assert.rejects(bad, ofKind("Invalid", /attempts is .* at least 1/));
  }
  const open = await db.begin();
  await db.close();
  await assert.rejects(open.commit(), ofKind("Closed"));
  await assert.rejects(db.begin(), ofKind("Closed"));
  await assert.rejects(
    db.transaction(() => 1),
    ofKind("Closed"),
  );
  await open.rollback();
});

test("a write that was not awaited and fails fails the commit", async (t) => {
  const [{ db, a }] = await handles(t);
  for (const bad of [[{ id: 1n, oops: 1 }], new Uint8Array(9)]) {
    const tx = await db.begin();
    await tx.table("a").ingest(rows([1, 1]));
    const forgotten = tx.table("a").ingest(bad);
    forgotten.catch(() => undefined);
    await assert.rejects(tx.commit(), ofKind("Invalid", /oops|IPC/));
    assert.equal(await a.scan().count(), 0);
  }
  const tx = await db.begin();
  const unawaited = [1, 2, 3].map((n) => tx.table("a").ingest(rows([n, n], [9, n])));
  assert.equal((await tx.commit()).rows, 4);
  await Promise.all(unawaited);
  assert.deepEqual(await pairs(a), [[1, 1], [2, 2], [3, 3], [9, 3]]); // prettier-ignore
});

test("a write that nobody asked about and that failed long ago fails the commit, too", async (t) => {
  const [{ db, a }] = await handles(t);
  for (const asked of [false, true]) {
    const tx = await db.begin();
    const forgotten = tx.table("a").ingest([{ id: 1n, oops: 1 }]);
    // Else the runtime ends this process; a browser only writes a line.
    Promise.prototype.then.call(forgotten, undefined, () => undefined);
    await tx.table("a").ingest(rows([2, 2]));
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (asked) {
      await assert.rejects(forgotten, ofKind("Invalid", /oops/));
      await tx.commit();
    } else {
      await assert.rejects(tx.commit(), ofKind("Invalid", /oops/));
    }
    assert.deepEqual(await pairs(a), asked ? [[2, 2]] : []);
  }
});

test("a write in transaction() that nobody awaited is told by transaction() alone", async (t) => {
  const [{ db, a }] = await handles(t);
  const lost = [];
  const note = (reason) => lost.push(reason);
  process.on("unhandledRejection", note);
  t.after(() => process.off("unhandledRejection", note));
  const pause = () => new Promise((resolve) => setTimeout(resolve, 5));
  for (const wait of [() => undefined, pause]) {
    for (const bad of [[{ id: 1n, oops: 1 }], new Uint8Array(9)]) {
      const failing = db.transaction(async (tx) => {
        await tx.table("a").ingest(rows([1, 1]));
        tx.table("a").ingest(bad);
        await wait();
      });
      await assert.rejects(failing, ofKind("Invalid", /oops|IPC/));
      const tx = await db.begin();
      tx.table("a").ingest(bad);
      await assert.rejects(tx.commit(), ofKind("Invalid", /oops|IPC/));
    }
  }
  await pause();
  assert.deepEqual(lost, []);
  assert.equal(await a.scan().count(), 0);
});

test("what is written after commit() was called is refused, and never in it", async (t) => {
  const [{ db, a }] = await handles(t);
  for (const unasked of [false, true]) {
    const tx = await db.begin();
    const table = tx.table("a");
    await table.ingest(rows([1, 1]));
    // One that is not awaited: the commit waits for it.
    if (unasked) table.ingest(rows([2, 2]));
    const committing = tx.commit();
    const late = [table.ingest(rows([3, 3])), table.delete([{ id: 1n }])];
    for (const write of late) await assert.rejects(write, ofKind("Invalid", /transaction has ended/));
    assert.equal((await committing).rows, unasked ? 2 : 1);
    assert.deepEqual(await pairs(a), unasked ? [[1, 1], [2, 2]] : [[1, 1]]); // prettier-ignore
    await assert.rejects(table.ingest(rows([4, 4])), ofKind("Invalid", /transaction has ended/));
    await a.delete([{ id: 2n }]);
  }
});

test("whatever a function throws comes out of transaction(), with nothing of ours in its way", async (t) => {
  const [{ db }] = await handles(t);
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  for (const thrown of [proxy, null, undefined, 5, Object.create(null)]) {
    let caught;
    await db.transaction(() => Promise.reject(thrown)).catch((error) => (caught = [error]));
    assert.equal(caught[0], thrown);
  }
});

test("commits happen in call order, those of transactions too", async (t) => {
  const [{ db, a }] = await handles(t);
  const tx = await db.begin();
  await tx.table("a").ingest(rows([1, 1]));
  await Promise.all([tx.commit(), a.ingest(rows([1, 2]))]);
  assert.deepEqual(await pairs(a), [[1, 2]]);
});

test("one over two tables is one request, one that writes nothing or is left open none", async (t) => {
  const [{ db, a }] = await handles(t);
  await a.ingest(rows([1, 1]));
  const cost = async (work) => {
    const before = (await db.stats()).data;
    await work();
    const after = (await db.stats()).data;
    return Object.keys(after).filter((kind) => !kind.startsWith("bytes") && after[kind] !== before[kind]);
  };
  const both = await cost(() =>
    db.transaction(async (tx) => {
      await tx.table("a").ingest(rows([2, 2]));
      await tx.table("b").ingest(rows([2, 2]));
    }),
  );
  assert.deepEqual(both, ["putIfAbsent"]);
  const reading = async (tx) => assert.equal(await tx.table("a").scan().count(), 2);
  assert.deepEqual(await cost(() => db.transaction(reading)), []);
  const left = await cost(async () => {
    const tx = await db.begin();
    await tx.table("a").ingest(rows([3, 3]));
  });
  assert.deepEqual(left, []);
  // Nobody waits for it, and nothing of it is there.
  await db.transaction((tx) => tx.table("a").ingest(rows([3, 4])));
  await db.flush();
  assert.deepEqual(await pairs(a), [[1, 1], [2, 2], [3, 4]]); // prettier-ignore
});

test("what ended transactions wrote does not stay in memory", async (t) => {
  const [{ db }] = await handles(t);
  const big = Array.from({ length: 1000 }, (_, id) => ({ id: BigInt(id), text: "x".repeat(2000) }));
  await db.table("texts", { schema: { id: "int64", text: "utf8" }, primaryKey: ["id"] });
  const round = async () => {
    const tx = await db.begin();
    await tx.table("texts").ingest(big);
    await tx.rollback();
  };
  await round();
  const { wasmMemoryBytes: before } = await db.stats();
  for (let i = 0; i < 60; i++) await round();
  const { wasmMemoryBytes: after } = await db.stats();
  console.log(`60 transactions of 2 MB, rolled back, took ${(after - before) >> 20} MB more`);
  assert.ok(after - before < 24 * 2 ** 20);
});
