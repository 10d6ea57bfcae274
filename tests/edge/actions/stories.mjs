// What the durability stories do: each function opens what it needs.

import { open, s3 } from "lakeshore";
import { readBatches, writeBatches } from "./batches.mjs";

/** Opens the database at `place`, the arguments of `s3()`, and writes batches; ends with or without close. */
export async function write({ place, options, end = "close", ...batches }) {
  const db = await open({ data: s3(place), ...options });
  const timestamps = await writeBatches(db, batches);
  const { flushes } = await db.stats();
  if (end === "close") await db.close();
  return { timestamps, flushes };
}

/** All rows, and the greatest timestamp. */
export async function read({ place, options }) {
  const db = await open({ data: s3(place), ...options });
  try {
    return await readBatches(db);
  } finally {
    await db.close();
  }
}
