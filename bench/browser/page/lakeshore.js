// Lakeshore as a page uses it: data and WAL in OPFS, the engine in its worker, called from the page.

import { each, flights, percentiles, someId, timed } from "./measure.js";

const blocks = 10;
const commits = 50;

globalThis.measure = async (visit, rows) => (visit === "first" ? first(rows) : second(rows));

async function openDb() {
  const { open, opfs } = await import("lakeshore");
  return open({ data: opfs("bench/data"), wal: opfs("bench/wal") });
}

async function first(rows) {
  const figures = {};
  let db;
  figures.init_open_ms = await timed(async () => (db = await openDb()));
  const table = await db.table("flights", {
    schema: {
      id: { type: "int64", nullable: false },
      date: "timestamp[us]",
      delay: "int64",
      distance: "int64",
      origin: "utf8",
      destination: "utf8",
    },
    primaryKey: ["id"],
  });
  const batches = await flights();
  figures.ingest_s = (await timed(() => table.ingest(batches))) / 1000;
  figures.flush_s = (await timed(() => db.flush())) / 1000;
  figures.scan_s = (await timed(() => scan(table, rows))) / 1000;
  Object.assign(figures, percentiles("get", await each(500, (i) => table.get({ id: someId(i, rows) }))));
  Object.assign(figures, await commitsAndRaw(db, table, rows));
  figures.wasm_memory_bytes = (await db.stats()).wasmMemoryBytes;
  await db.close();
  return figures;
}

async function second(rows) {
  const figures = {};
  let db;
  figures.reopen_ms = await timed(async () => (db = await openDb()));
  const table = await db.table("flights");
  figures.first_get_after_reopen_ms = await timed(() => table.get({ id: 4711 }));
  figures.scan_after_reopen_s = (await timed(() => scan(table, rows))) / 1000;
  await db.close();
  return figures;
}

/** Takes every batch as Arrow IPC. */
async function scan(table, rows) {
  let bytes = 0;
  for await (const ipc of table.scan()) bytes += ipc.byteLength;
  if (bytes < rows * 8) throw new Error(`the scan of ${rows} rows gave ${bytes} bytes`);
}

/** Durable commits of one row, and writes of as many bytes to a raw OPFS file with a flush each, by turns; the latter
 *  timed in their worker, and from the page that posts to it. */
async function commitsAndRaw(db, table, rows) {
  const row = (id) => ({
    id,
    date: 978307260000000n,
    delay: 33n,
    distance: 2176n,
    origin: "LAS",
    destination: "PHL",
  });
  const before = (await db.stats()).wal;
  await each(commits, (i) => table.ingest([row(rows + i)]));
  const after = (await db.stats()).wal;
  const frameBytes = Math.round((after.bytesWritten - before.bytesWritten) / commits);

  const worker = new Worker(new URL("./raw-worker.js", import.meta.url), { type: "module" });
  const raw = (count) =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(event.message));
      worker.postMessage({ count, bytes: frameBytes });
    });
  await raw(commits);
  const ours = [];
  const theirs = [];
  const posted = [];
  for (let block = 0; block < blocks; block++) {
    theirs.push(...(await raw(commits)));
    posted.push(...(await each(commits, () => raw(1))));
    ours.push(...(await each(commits, (i) => table.ingest([row(rows + i)]))));
  }
  worker.terminate();
  return {
    ...percentiles("commit", ours),
    ...percentiles("raw_opfs", theirs),
    commit_frame_bytes: frameBytes,
  };
}
