// Batches of rows, and what a table holds after them: for Node and for pages.

export const definition = {
  schema: { id: "int64", batch: "int64", text: "utf8" },
  primaryKey: ["id"],
};

/** Rows of batch `n`: some new, one that every batch replaces. */
export function batchRows(n, rows = 10) {
  const fresh = Array.from({ length: rows }, (_, i) => BigInt(n * rows + i + 1));
  return [0n, ...fresh].map((id) => ({ id, batch: BigInt(n), text: `row ${id} of batch ${n}` }));
}

/** Keys that batch `n` deletes after it: every third batch takes two rows of the one before. */
export function batchDeletes(n, rows = 10) {
  if (n % 3 !== 2) return [];
  return [1, 2].map((i) => ({ id: BigInt((n - 1) * rows + i) }));
}

/** What is there after batches 0 to before `count`. */
export function model(count, rows) {
  const all = new Map();
  for (let n = 0; n < count; n++) {
    for (const row of batchRows(n, rows)) all.set(row.id, row);
    for (const { id } of batchDeletes(n, rows)) all.delete(id);
  }
  return [...all.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Writes batches `from` to before `to`; flushes after some. Gives the timestamps of its commits. */
export async function writeBatches(db, { from, to, rows: size, flushAfter = [], flushEach = false }) {
  const rows = await db.table("rows", definition);
  const timestamps = [];
  for (let n = from; n < to; n++) {
    timestamps.push((await rows.ingest(batchRows(n, size))).timestamp);
    const deletes = batchDeletes(n, size);
    if (deletes.length > 0) timestamps.push((await rows.delete(deletes)).timestamp);
    if (flushEach || flushAfter.includes(n)) await db.flush();
  }
  return timestamps;
}

/** All rows, and the greatest timestamp. */
export async function readBatches(db) {
  const rows = await db.table("rows");
  const all = await rows.scan().toArray();
  const count = await rows.scan().count();
  const { lastTimestamp } = await db.stats();
  return { all, count, lastTimestamp };
}
