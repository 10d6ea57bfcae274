// The flights: their table, and the files they come from (scripts/www-flights.mjs makes them). Each file is one commit.

import type { Row, Table, TableOptions } from "lakeshore";

/** A row. */
export interface Flight extends Row {
  id: bigint;
  date: Date;
  delay: number;
  distance: number;
  origin: string;
  destination: string;
}

export const flightsTable: TableOptions = {
  schema: {
    id: { type: "int64", nullable: false },
    date: "timestamp[s]",
    delay: "int16",
    distance: "int16",
    origin: "utf8",
    destination: "utf8",
  },
  primaryKey: ["id"],
};

/** What files there are: `batches` of them, with `batchRows` rows each, numbered from 0 on by their key. */
export interface Manifest {
  rows: number;
  batchRows: number;
  batches: number;
  bytes: number;
  /** Days, as "2001-01-31". */
  first: string;
  last: string;
  origins: { code: string; city: string }[];
}

/** Finds out what there is. */
export async function readManifest(): Promise<Manifest> {
  return (await get("manifest.json")).json() as Promise<Manifest>;
}

/**
 * The batches that hold the rows numbered `from` to before `to`. When `signal` says so they end, after a commit and
 * before the next: so what is loaded is exactly what was acknowledged.
 */
export async function* batches(
  { batchRows }: Manifest,
  from: number,
  to: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, undefined> {
  const end = Math.ceil(to / batchRows);
  for (let n = Math.floor(from / batchRows); n < end; n++) {
    const file = await get(`${String(n).padStart(4, "0")}.arrow`, signal);
    yield new Uint8Array(await file.arrayBuffer());
  }
  return undefined;
}

async function get(name: string, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(`./flights/${name}`, { ...(signal && { signal }) });
  if (!response.ok) throw new Error(`flights/${name}: ${response.status}; npm start prepares the flights`);
  return response;
}

/** The number of the first row that is not loaded yet: loading goes in key order. */
export async function nextRow(flights: Table<Flight>): Promise<number> {
  const [newest] = await flights.scan({ select: ["id"], reverse: true, limit: 1 }).toArray();
  return newest === undefined ? 0 : Number(newest.id) + 1;
}
