// A write whose client hangs up: an sstable, then the record that names it.

import { waitUntil } from "cloudflare:workers";
import { open, s3 } from "lakeshore";
import { batchRows, definition } from "./batches.mjs";

const bounds = { inlineCommitBytes: 1 };

export async function create({ place }) {
  const db = await open({ data: s3(place), ...bounds });
  await db.table("rows", definition);
  await db.close();
}

export async function write({ place, keep }) {
  const db = await open({ data: s3(place), ...bounds, ...(keep && { waitUntil }) });
  const table = await db.table("rows");
  await table.ingest(batchRows(0));
}

export async function count({ place }) {
  const db = await open({ data: s3(place) });
  return (await db.table("rows")).scan().count();
}
