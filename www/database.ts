// The database behind the page: where it may be, how it is opened, how it is removed.
//
// Keys go from the form into `s3()` and nowhere else: not into an address, not into storage, not into a log.

import { type Db, open, opfs, s3, type S3Credentials, type Store, type Table } from "lakeshore";
import { type Flight, flightsTable } from "./flights.js";

/** Where a database is. */
export interface Place {
  kind: "opfs" | "s3";
  /** As the page calls it. */
  title: string;
  data: Store;
  wal?: Store;
  /** The directory of the WAL: one tab at a time may have it. */
  walName?: string;
}

/** An open database with its table. */
export interface Session {
  place: Place;
  db: Db;
  flights: Table<Flight>;
  /** How long it took to open, in milliseconds. */
  openedIn: number;
}

/** What the form asks for. */
export interface Bucket {
  endpoint: string;
  region: string;
  bucket: string;
  prefix: string;
  pathStyle: boolean;
  credentials: S3Credentials;
  wal: boolean;
}

const names = { data: "lakeshore-demo", wal: "lakeshore-demo-wal" };

/** In the browser's own files. */
export const inBrowser: Place = {
  kind: "opfs",
  title: "this browser’s own files (OPFS)",
  data: opfs(names.data),
  wal: opfs(names.wal),
  walName: names.wal,
};

/** In a bucket. The WAL of each bucket and prefix is a directory of its own. */
export async function inBucket(from: Bucket): Promise<Place> {
  const { endpoint, region, bucket, prefix, pathStyle, credentials, wal } = from;
  const data = s3({ bucket, prefix, region, pathStyle, credentials, ...(endpoint && { endpoint }) });
  const title = `bucket ${bucket}${prefix && `, prefix ${prefix}`}, at ${endpoint || `AWS ${region}`}`;
  if (!wal) return { kind: "s3", title, data };
  const walName = `${names.wal}-${await digest([endpoint, region, bucket, prefix].join("\n"))}`;
  return { kind: "s3", title, data, wal: opfs(walName), walName };
}

async function digest(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(hash, 0, 6)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Opens the database of a place; its table is made if it is not there. */
export async function openAt(place: Place): Promise<Session> {
  const start = performance.now();
  const db = await open({ data: place.data, ...(place.wal && { wal: place.wal }) });
  try {
    const flights = await db.table<Flight>("flights", flightsTable);
    return { place, db, flights, openedIn: performance.now() - start };
  } catch (error) {
    await db.close().catch(() => undefined);
    throw error;
  }
}

/** Removes the database in the browser's files, which must be closed. */
export async function removeInBrowser(): Promise<void> {
  const root = await navigator.storage.getDirectory();
  for (const name of [names.wal, names.data]) {
    try {
      await root.removeEntry(name, { recursive: true });
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "NotFoundError")) throw error;
    }
  }
}
