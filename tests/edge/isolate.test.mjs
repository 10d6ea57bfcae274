// Many requests at once in one isolate, a third of them aborted by the client: none hangs, none touches another's I/O,
// later ones still work. I/O belongs to the request that began it: whoever waits for another's waits for ever once
// that one is gone, or is told "Cannot perform I/O on behalf of a different request".

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { model, batchRows } from "../support/batches.mjs";
import { startProxy } from "../support/proxy.mjs";
import { random } from "../node/support/process.mjs";
import { lasting } from "./support/project.mjs";
import { place, server } from "./support/s3.mjs";
import { worker } from "./support/workerd.mjs";

const requests = 50;
const rounds = process.env.LAKESHORE_TEST_LONG ? 20 : 4;
const batches = 6;

const t = lasting();
let store;
let busy;
let inStories;
let shared;
before(async () => {
  store = await server(t);
  busy = await worker("busy.mjs");
  shared = place(store);
  const stories = (await worker("stories.mjs")).start();
  t.after(() => stories.stop());
  inStories = (...call) => stories.call(...call);
  await inStories("write", { place: shared, from: 0, to: batches, flushAfter: [1, 3] });
});
after(() => t.end());

function check(answer, id) {
  const wanted = model(batches);
  assert.equal(answer.count, wanted.length);
  assert.deepEqual(answer.row, wanted[0]);
  assert.equal(answer.some, wanted.filter((row) => row.id < 5n).length);
  assert.equal(answer.commits, 2);
  assert.equal(answer.written, batchRows(id).length + 1);
}

/** Rounds of many calls at once, every third aborted; after each round three that are not. */
async function rush(instance, proxy, call) {
  const next = random();
  for (let round = 0; round < rounds; round++) {
    const begin = performance.now();
    // The first of all, which makes the kept handle, is aborted, too.
    const aborted = (n) => n % 3 === 0;
    proxy.latency(5);
    const calls = Array.from({ length: requests }, (_, n) =>
      call(n, aborted(n) ? 20 + next() * 1500 : undefined),
    );
    let gone = 0;
    for (const [n, { status, reason }] of (await Promise.allSettled(calls)).entries()) {
      if (status === "fulfilled") continue;
      if (!aborted(n) || reason.name !== "TimeoutError") throw reason;
      gone += 1;
    }
    console.log(`round ${round}: ${gone} aborted, ${Math.round(performance.now() - begin)} ms`);
    proxy.latency(0);
    for (let n = 0; n < 3; n++) await call(n);
  }
  const { started, finished } = await instance.call("counters");
  console.log(`${started} requests were begun, ${started - finished} cut off`);
  assert.ok(started > finished, "no request was cut off");
  assert.doesNotMatch(instance.output, /different request|never generate a response|hung|uncaught/i);
}

/** A fresh isolate, and the shared place by a proxy of its own. */
async function isolate(t) {
  const proxy = await startProxy({ target: store.endpoint });
  t.after(() => proxy.stop());
  const instance = busy.start();
  t.after(() => instance.stop());
  return { proxy, instance };
}

for (const keep of [false, true]) {
  const how = keep ? "a handle kept in a global" : "a handle per request";
  test(`${requests} requests at once, a third aborted, with ${how}`, async (t) => {
    const { proxy, instance } = await isolate(t);
    const through = { ...shared, endpoint: proxy.endpoint };
    await rush(instance, proxy, async (id, abortAfterMs) => {
      const args = { keep, shared: through, own: place(store, proxy), id };
      check(await instance.call("request", args, { abortAfterMs }), id);
    });
  });
}

test(`${requests} requests at once, a third aborted, all writing by one handle kept in a global`, async (t) => {
  const { proxy, instance } = await isolate(t);
  const where = place(store, proxy);
  const stories = { place: where, from: 0, to: batches, flushAfter: [1, 3] };
  await inStories("write", stories);
  const first = 10_000n;
  let last = first;
  const acknowledged = [];
  await rush(instance, proxy, async (_, abortAfterMs) => {
    const id = last++;
    const { found } = await instance.call("writeKept", { shared: where, id }, { abortAfterMs });
    assert.equal(found?.text, `row ${id}`);
    acknowledged.push(id);
  });
  const found = new Set(await instance.call("idsFrom", { shared: where, from: first }));
  for (const id of acknowledged) assert.ok(found.has(id), `row ${id} was acknowledged and is gone`);
  assert.ok([...found].every((id) => id < last));
});
