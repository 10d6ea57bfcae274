// Many isolates, one log: eight instances of workerd commit to one prefix at once, through a proxy that is late, refuses
// with 503, breaks connections and loses replies of what was applied. A fresh handle then reads rows and log: what was
// acknowledged is there once, nothing else is, and the sums are right after every single commit. Half of the writers do
// not retry, so that their callers must. tests/s3/writers.rs does the same with processes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startProxy } from "../support/proxy.mjs";
import { lasting } from "./support/project.mjs";
import { place, server } from "./support/s3.mjs";
import { worker } from "./support/workerd.mjs";

const writers = 8;
const long = process.env.LAKESHORE_TEST_LONG !== undefined;
const [total, seconds] = long ? [1000, 600] : [200, 30];
const accounts = 8n;
const balance = 1000n;

const t = lasting();
let store;
before(async () => void (store = await server(t)));
after(() => t.end());

const faults = [
  { kind: "putIfAbsent", path: "/log/", nth: 3, every: 11, action: { lost: true } },
  { kind: "putIfAbsent", path: "/log/", nth: 5, every: 17, action: { lost: 503 } },
  { kind: "putIfAbsent", path: "/log/", nth: 7, every: 23, action: { reset: true } },
  { nth: 11, every: 19, action: { status: 503 } },
  { kind: "get", nth: 4, every: 13, action: { reset: true } },
  { nth: 2, every: 29, action: { delayMs: 100 } },
];

const split = (id) => [id / 1_000_000n, id % 1_000_000n];
const isTransfer = (serial) => serial % 5n === 4n;

test(
  `${writers} instances commit at once, and nothing is lost or there twice`,
  { timeout: 900_000 },
  async (t) => {
    const proxy = await startProxy({ target: store.endpoint });
    t.after(() => proxy.stop());
    const made = await worker("writers.mjs");
    const instances = Array.from({ length: writers }, () => made.start());
    t.after(() => Promise.all(instances.map((instance) => instance.stop())));
    const direct = place(store);
    await instances[0].call("prepare", { place: direct });

    const through = { ...direct, endpoint: proxy.endpoint };
    proxy.latency(10);
    for (const rule of faults) proxy.fault({ ...rule, times: 0 });
    const begin = (instance, i) => {
      const impatient = i % 2 === 1;
      const where = impatient ? { ...through, retries: 0 } : through;
      return instance.call("begin", { place: where, options: impatient ? { retries: 0 } : {} });
    };
    await Promise.all(instances.map(begin));
    const begun = performance.now();
    const times = [];
    const acknowledged = new Map();
    const write = async (instance, writer) => {
      for (let serial = 0; serial < total / writers; serial++) {
        if (performance.now() - begun > seconds * 1000) break;
        const start = performance.now();
        const timestamp = await instance.call("commit", { writer, serial });
        times.push(performance.now() - start);
        acknowledged.set(BigInt(writer) * 1_000_000n + BigInt(serial), timestamp);
      }
    };
    await Promise.all(instances.map(write));
    const took = (performance.now() - begun) / 1000;
    const ends = await Promise.all(instances.map((instance) => instance.call("end")));
    const sum = (name) => ends.reduce((all, of) => all + of[name], 0);
    const requests = proxy.log();
    const faulty = requests.filter(({ fault }) => fault !== undefined).length;
    const n = acknowledged.size;
    console.log(
      `${writers} instances of workerd: ${n} of ${total} commits in ${took.toFixed(1)} s, ` +
        `${(n / took).toFixed(1)} commits/s, ${(sum("requests") / n).toFixed(2)} requests a commit; ` +
        `${faulty} faults in ${requests.length} requests, ${sum("retries")} retries by the stores, ` +
        `${sum("unavailable")} calls made again, ${sum("conflicts")} conflicts, ` +
        `${sum("unknown")} unknown of which ${sum("applied")} were there; ` +
        `the slowest took ${(Math.max(...times) / 1000).toFixed(1)} s`,
    );
    check(await instances[0].call("readAll", { place: direct }), acknowledged);
    assert.ok(faulty > requests.length / 20, `${faulty} faults`);
    for (const { output } of instances) assert.doesNotMatch(output, /different request|hung|uncaught/i);
  },
);

function check({ rows, accounts: held, counters, log }, acknowledged) {
  const ascending = (ids) => [...ids].sort((a, b) => (a < b ? -1 : 1));
  const wanted = ascending(acknowledged.keys());
  assert.deepEqual(ascending(rows.map(({ id }) => id)), wanted, "rows are not what was acknowledged");
  const replayed = replay(log);
  assert.deepEqual(ascending(replayed.commits.keys()), wanted, "the log is not what was acknowledged");
  for (const [id, timestamp] of acknowledged) {
    if (timestamp !== undefined) assert.equal(replayed.commits.get(id), timestamp, `timestamp of ${id}`);
  }
  const transfers = wanted.filter((id) => isTransfer(split(id)[1])).length;
  assert.ok(transfers > 0, "no transfer was made");
  assert.equal(replayed.counter, BigInt(transfers));
  assert.deepEqual(counters, [{ id: 0n, n: BigInt(transfers) }]);
  assert.deepEqual(new Map(held.map(({ id, n }) => [id, n])), replayed.balances);
}

/** What the log makes of the database, checked after each commit. */
function replay(log) {
  const commits = new Map();
  const balances = new Map();
  const next = new Map();
  let counter = 0n;
  let last = 0n;
  for (const { timestamp, uploaded, more, tables } of log) {
    assert.deepEqual([uploaded, more], [true, false]);
    assert.ok(timestamp > last, `${timestamp} is not above ${last}`);
    last = timestamp;
    assert.ok(tables.every(({ kind }) => kind === "upsert"));
    const of = (name) => tables.filter(({ table }) => table === name).flatMap(({ rows }) => rows);
    const [own, moved, counted] = [of("rows"), of("accounts"), of("counters")];
    for (const { id, n } of moved) balances.set(id, n);
    const all = [...balances.values()].reduce((sum, n) => sum + n, 0n);
    assert.equal(all, accounts * balance, `the sum after ${timestamp}`);
    if (own.length === 0) {
      assert.equal(commits.size, 0, "only what was there before has no row");
      continue;
    }
    assert.equal(own.length, 1, "two commits in one record");
    const [{ id }] = own;
    assert.ok(!commits.has(id), `commit ${id} is in the log twice`);
    commits.set(id, timestamp);
    const [writer, serial] = split(id);
    assert.equal(serial, next.get(writer) ?? 0n, `writer ${writer} commits in its order`);
    next.set(writer, serial + 1n);
    const transfer = isTransfer(serial);
    assert.deepEqual([moved.length, counted.length], transfer ? [2, 1] : [0, 0], `commit ${id} is torn`);
    if (transfer) assert.equal(counted[0].n, ++counter);
  }
  return { commits, balances, counter };
}
