// DuckDB-Wasm with its database in OPFS.

import { each, flights, percentiles, someId, timed } from "./measure.js";
import wasm from "@duckdb/duckdb-wasm/dist/duckdb-eh.wasm?url";
import script from "@duckdb/duckdb-wasm/dist/duckdb-browser-eh.worker.js?url";

globalThis.measure = async (visit, rows) => (visit === "first" ? first(rows) : second());

async function openDb() {
  const duckdb = await import("@duckdb/duckdb-wasm");
  const db = new duckdb.AsyncDuckDB(new duckdb.VoidLogger(), new Worker(script));
  await db.instantiate(new URL(wasm, location.href).href);
  await db.open({ path: "opfs://bench.db", accessMode: duckdb.DuckDBAccessMode.READ_WRITE });
  return db;
}

async function first(rows) {
  const figures = {};
  let db;
  let connection;
  figures.init_open_ms = await timed(async () => {
    db = await openDb();
    connection = await db.connect();
  });
  const batches = await flights();
  await connection.query(
    "create table flights (id bigint primary key, date timestamp, delay bigint, distance bigint, origin varchar, destination varchar)",
  );
  figures.ingest_s =
    (await timed(async () => {
      for (const ipc of batches) {
        await connection.insertArrowFromIPCStream(ipc, { name: "flights", create: false });
      }
    })) / 1000;
  figures.flush_s = (await timed(() => connection.query("checkpoint"))) / 1000;
  figures.scan_s = (await timed(() => scan(connection, rows))) / 1000;
  const get = await connection.prepare("select * from flights where id = ?");
  Object.assign(figures, percentiles("get", await each(500, (i) => get.query(someId(i, rows)))));
  const insert = await connection.prepare(
    "insert into flights values (?, timestamp '2001-01-01 00:01:00', 33, 2176, 'LAS', 'PHL')",
  );
  Object.assign(figures, percentiles("commit", await each(200, (i) => insert.query(rows + i))));
  await connection.query("checkpoint");
  await connection.close();
  await db.terminate();
  return figures;
}

async function second() {
  return { reopen_ms: await timed(async () => (await openDb()).connect()) };
}

async function scan(connection, rows) {
  let count = 0;
  for await (const batch of await connection.send("select * from flights")) count += batch.numRows;
  if (count !== rows) throw new Error(`the scan gave ${count} rows`);
}
