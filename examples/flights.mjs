// Real data: 3,000,000 flights of 2001, from npm's vega-datasets. The file is Parquet with zstd, which Lakeshore does
// not read itself: parquet-wasm turns it into Arrow, and here each row gets its number as the key `id`.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { makeVector, Table, tableFromIPC, tableToIPC } from "apache-arrow";
import { readParquet } from "parquet-wasm/node";

const file = fileURLToPath(new URL("../data/flights-3m.parquet", import.meta.resolve("vega-datasets")));
const rowGroups = 11;

/** The table these rows go into. */
export const flightsTable = {
  schema: {
    id: { type: "int64", nullable: false },
    date: "timestamp[us]",
    delay: "int64",
    distance: "int64",
    origin: "utf8",
    destination: "utf8",
  },
  primaryKey: ["id"],
};

/** Arrow tables of the rows numbered `from` to before `to`; at most `batchRows` each. */
export function* flights({ from = 0, to = 3_000_000, batchRows = 20_000 } = {}) {
  const bytes = readFileSync(file);
  let start = 0;
  for (let group = 0; group < rowGroups && start < to; group++) {
    // A parquet-wasm table lives in its memory until it is converted: one row group at a time.
    const batches = readParquet(bytes, { rowGroups: [group], batchSize: batchRows }).intoIPCStream();
    for (const batch of tableFromIPC(batches).batches) {
      const end = start + batch.numRows;
      if (end > from && start < to) {
        const wanted = batch.slice(Math.max(from - start, 0), Math.min(to - start, batch.numRows));
        yield numbered(new Table(wanted), Math.max(from, start));
      }
      start = end;
    }
  }
}

/** The same as Arrow IPC streams. */
export function* flightsIPC(range) {
  for (const table of flights(range)) yield tableToIPC(table, "stream");
}

function numbered(table, first) {
  const ids = BigInt64Array.from({ length: table.numRows }, (_, i) => BigInt(first + i));
  const columns = table.schema.fields.map(({ name }) => [name, table.getChild(name)]);
  return new Table({ id: makeVector(ids), ...Object.fromEntries(columns) });
}
