// After a trap nothing inside the instance settles by itself: every call in flight is rejected with `Internal`, and
// the next `open` has a fresh instance, with the locks free and every acknowledged row there.

import assert from "node:assert/strict";
import { test } from "node:test";
import { col, directory, host, open } from "lakeshore";
import { temporary } from "./support/process.mjs";

const definition = { schema: { id: "int64", text: "utf8" }, primaryKey: ["id"] };

/** Passes a host's calls on; `bomb` makes reads give 4 GiB, which no memory has; `hold` makes writes wait. */
function dangerous(inner) {
  const state = { bomb: false, hold: undefined };
  const outer = { describe: () => inner.describe(), state };
  for (const name of ["list", "delete", "create", "put", "putIfAbsent", "lock"]) {
    outer[name] = (...args) => inner[name](...args);
  }
  for (const name of ["get", "getRange", "getSuffix"]) {
    outer[name] = async (...args) => {
      if (!state.bomb) return inner[name](...args);
      const bytes = new Uint8Array(2 ** 32 - 1);
      return name === "getSuffix" ? { bytes, size: bytes.length } : bytes;
    };
  }
  outer.append = async (key) => {
    const file = await inner.append(key);
    return {
      size: file.size,
      write: async (bytes) => {
        await state.hold;
        return file.write(bytes);
      },
      sync: () => file.sync(),
      close: () => file.close(),
    };
  };
  return outer;
}

const internal = { name: "LakeshoreError", code: "Internal", retryable: false };

test("a trap rejects what is in flight, and the next open works", async (t) => {
  const path = temporary(t);
  const stores = () => {
    const data = dangerous(directory(`${path}/data`).host);
    const wal = dangerous(directory(`${path}/wal`).host);
    return { data, wal, options: { data: host(data), wal: host(wal) } };
  };
  for (let round = 0; round < 3; round++) {
    const bystander = await open({ data: directory(`${path}/other`) });
    const { data, wal, options } = stores();
    const db = await open(options);
    const table = await db.table("rows", definition);
    await table.ingest([{ id: BigInt(round), text: `round ${round}` }]);
    await db.flush();
    await db.close();
    const again = await open(options);
    const rows = await again.table("rows");
    assert.equal(await rows.scan({ where: col("id").lt(100) }).count(), round + 1);
    await again.close();

    const last = await open(options);
    const bombed = await last.table("rows");
    await bombed.ingest([{ id: BigInt(100 + round) }]);
    let release;
    wal.state.hold = new Promise((resolve) => (release = resolve));
    const waiting = bombed.ingest([{ id: BigInt(200 + round) }]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    data.state.bomb = true;
    const scanning = bombed.scan({ reverse: true }).toArray();
    await assert.rejects(scanning, internal);
    await assert.rejects(waiting, internal);
    await assert.rejects(bombed.get({ id: 0n }), internal);
    await assert.rejects(bombed.scan().count(), internal);
    // Another database has an instance of its own.
    await bystander.flush();
    release();
    data.state.bomb = false;

    const reopened = await open(stores().options);
    const found = await (await reopened.table("rows")).scan({ select: ["id"] }).toArray();
    const kept = new Set(found.map(({ id }) => Number(id)));
    for (let done = 0; done <= round; done++)
      assert.ok(kept.has(done) && kept.has(100 + done), `round ${done}`);
    await reopened.flush();
    await reopened.close();
    // Nothing that the dead instance left may stir.
    await new Promise((resolve) => setTimeout(resolve, 20));
    globalThis.gc?.();
  }
});
