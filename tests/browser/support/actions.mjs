// What tests do in a page. A database is `{ name, s3, options }`: its WAL is in OPFS, its data too or in S3.

import * as lakeshore from "/pkg/js/dist/browser.js";
import { batchRows, definition, readBatches, writeBatches } from "/tests/support/batches.mjs";

export { readBatches, writeBatches };

/** Opens a database. */
export function openAt({ name, s3: bucket, options }) {
  const data = bucket ? lakeshore.s3({ ...bucket, prefix: name }) : lakeshore.opfs(name);
  return lakeshore.open({ data, wal: lakeshore.opfs(`${name}-wal`), ...options });
}

/** Does something with a database, and closes it. */
export async function using(database, work) {
  const db = await openAt(database);
  try {
    return await work(db);
  } finally {
    await db.close();
  }
}

/** Writes batches; ends with or without close. */
export async function write({ end = "close", ...database }) {
  const db = await openAt(database);
  const timestamps = await writeBatches(db, database);
  const { flushes } = await db.stats();
  if (end === "close") await db.close();
  return { timestamps, flushes };
}

/** All rows, and the greatest timestamp. */
export function read(database) {
  return using(database, readBatches);
}

/** The names in a directory of OPFS, with those of its directories. */
export async function names(path) {
  const found = [];
  for await (const [name, handle] of await directory(path)) {
    found.push(name);
    if (handle.kind === "directory") found.push(...(await names(`${path}/${name}`)));
  }
  return found;
}

/** Removes a directory of OPFS. */
export async function remove(path) {
  const parts = path.split("/");
  const name = parts.pop();
  await (await directory(parts.join("/"))).removeEntry(name, { recursive: true });
}

async function directory(path) {
  let found = await navigator.storage.getDirectory();
  for (const part of path.split("/").filter(Boolean)) found = await found.getDirectoryHandle(part);
  return found;
}

/** Tells the server something that it will know whatever becomes of this page. */
async function say(line) {
  await fetch("/post", { method: "POST", body: line });
}

/** Ingests batch after batch for ever, saying what was acknowledged, and how many flushes are under way. */
export async function ingestUntilKilled({ first, rows, ...database }) {
  const db = await openAt(database);
  const into = await db.table("rows", definition);
  for (let n = first; ; n++) {
    await into.ingest(batchRows(n, rows));
    const { flushing } = await db.stats();
    await say(`${n} ${flushing}`);
  }
}
