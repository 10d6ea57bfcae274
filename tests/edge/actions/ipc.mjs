// Arrow in, Arrow out.

import { col, open, s3 } from "lakeshore";

export async function ingest({ place, table, ipc, flush }) {
  const db = await open({ data: s3(place) });
  const into = await db.table(table.name, table.definition);
  const { rows } = await into.ingest(ipc);
  if (flush) await db.flush();
  await db.close();
  return rows;
}

/** Batches of a scan, each a whole IPC stream. */
export async function scan({ place, table, column, above }) {
  const db = await open({ data: s3(place) });
  const from = await db.table(table.name);
  const batches = [];
  for await (const ipc of from.scan({ where: col(column).gt(above) })) batches.push(ipc);
  await db.close();
  return batches;
}
