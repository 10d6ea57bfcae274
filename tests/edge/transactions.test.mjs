// Transactions of several instances that contend on one key, over S3: nobody's update is lost, and what it costs.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { deno } from "./support/deno.mjs";
import { lasting } from "./support/project.mjs";
import { place, server } from "./support/s3.mjs";
import { worker } from "./support/workerd.mjs";

const t = lasting();
let store;
before(async () => void (store = await server(t)));
after(() => t.end());

const times = 8;

/** What calls a function in one of two instances. */
const starters = {
  async workerd(t) {
    const made = await worker("transactions.mjs");
    const instances = [made.start(), made.start()];
    t.after(() => Promise.all(instances.map((instance) => instance.stop())));
    return (which, ...call) => instances[which].call(...call);
  },
  async Deno() {
    const made = await deno("transactions.mjs");
    return (_, ...call) => made.call(...call);
  },
};

for (const [name, start] of Object.entries(starters)) {
  test(`two instances of ${name} contend on one key, and no update is lost`, async (t) => {
    const call = await start(t);
    const where = place(store);
    await call(0, "prepare", { place: where });
    const { timestamp: begin } = await call(0, "read", { place: where });

    // Alone: a transaction over two tables is one PUT.
    const alone = await call(0, "add", { place: where, times: 2, first: 0n });
    assert.deepEqual(alone, { runs: 2, requests: { get: 0, put: 0, putIfAbsent: 2, list: 0, delete: 0 } });
    const { timestamp: middle } = await call(1, "read", { place: where });

    const both = [0, 1].map((i) => call(i, "add", { place: where, times, first: BigInt(100 + 100 * i) }));
    const done = await Promise.all(both);
    console.log(`${name}: ${done.map(({ runs, requests }) => `${runs} runs, ${JSON.stringify(requests)}`)}`);
    const sum = 2 + 2 * times;
    for (const { runs, requests } of done) {
      // Each run tries one record at most: who waits for a turn may read of the conflict before.
      assert.ok(times <= requests.putIfAbsent && requests.putIfAbsent <= runs);
      assert.deepEqual([requests.put, requests.delete], [0, 0]);
      assert.ok(requests.get + requests.list <= 2 * (runs - times), "a lost race costs two reads at most");
    }

    const { counter, notes } = await call(1, "read", { place: where });
    assert.equal(counter, BigInt(sum));
    // Every transaction saw another value: they ran one after the other.
    const seen = notes.map(({ n }) => n).sort((a, b) => Number(a - b));
    assert.deepEqual(
      seen,
      Array.from({ length: sum }, (_, n) => BigInt(n)),
    );
    const past = async (asOf) => {
      const { counter, notes } = await call(0, "read", { place: where, asOf });
      return [counter, notes.length];
    };
    assert.deepEqual([await past(begin), await past(middle)], [[0n, 0], [2n, 2]]); // prettier-ignore
  });
}
