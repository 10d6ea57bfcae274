// What each of many requests of one isolate does: it reads a prefix that all share and writes one of its own.

import { col, open, s3 } from "lakeshore";
import { batchRows, definition } from "./batches.mjs";

/** The shared database, kept from one request to the next. */
let kept;

/** `keep`: read by the kept handle, else by one that this request opens. */
export async function request({ keep, shared, own, id }) {
  const db = (keep ? kept : undefined) ?? (await open({ data: s3(shared) }));
  if (keep) kept ??= db;
  const rows = await db.table("rows");
  const [count, row, some] = await Promise.all([
    rows.scan().count(),
    rows.get({ id: 0n }),
    rows.scan({ where: col("id").lt(5) }).toArray(),
  ]);
  const mine = await open({ data: s3(own) });
  const table = await mine.table("rows", definition);
  const commits = await Promise.all([table.ingest(batchRows(id)), table.ingest([{ id: -1n, text: "more" }])]);
  await mine.flush();
  const written = await table.scan().count();
  await mine.close();
  if (db !== kept) await db.close();
  return { count, row, some: some.length, commits: commits.length, written };
}

/** Writes a row by the kept handle, and reads it back. */
export async function writeKept({ shared, id }) {
  const db = kept ?? (await open({ data: s3(shared) }));
  kept ??= db;
  const rows = await db.table("rows");
  const row = { id, batch: -1n, text: `row ${id}` };
  await rows.ingest([row]);
  return { found: await rows.get({ id }) };
}

/** The rows from `from` on, by a fresh handle. */
export async function idsFrom({ shared, from }) {
  const db = await open({ data: s3(shared) });
  const rows = await db.table("rows");
  const found = await rows.scan({ where: col("id").gte(from), select: ["id"] }).toArray();
  await db.close();
  return found.map(({ id }) => id);
}
