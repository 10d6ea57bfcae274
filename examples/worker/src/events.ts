// The database of events, kept from one request to the next.

import { type Db, open, s3, type Table } from "lakeshore";

export type Event = {
  id: string;
  at: Date;
  origin: string | null;
  kind: string | null;
  value: number | null;
};

/** A handle on the database. */
interface Handle {
  db: Db;
  events: Table<Event>;
}

/**
 * Open, and read by every request of this isolate. Only what is open is kept, never a promise of it: I/O belongs to the
 * request that began it, so no request may wait for another's.
 */
let kept: Handle | undefined;

/** The table of events as of now: a few requests to the bucket if this isolate is new, else one. */
export async function current(env: Env): Promise<Handle> {
  const found = kept;
  if (found !== undefined) {
    // What other isolates wrote meanwhile.
    await found.db.refresh();
    return found;
  }
  const opened = await openEvents(env);
  const first = (kept ??= opened);
  if (first !== opened) {
    // Another request was faster: one handle is enough.
    await opened.db.close();
    await first.db.refresh();
  }
  return first;
}

/** The next request opens anew: for errors after which the handle is of no use. */
export function forget(): void {
  kept = undefined;
}

async function openEvents(env: Env): Promise<Handle> {
  const credentials = { accessKeyId: env.ACCESS_KEY_ID, secretAccessKey: env.SECRET_ACCESS_KEY };
  const data = s3({
    ...{ bucket: env.BUCKET, prefix: env.PREFIX, region: env.REGION, credentials },
    ...(env.ENDPOINT && { endpoint: env.ENDPOINT }),
  });
  const db = await open({ data });
  const events = await db.table<Event>("events", {
    schema: { id: "utf8", at: "timestamp[ms, UTC]", origin: "utf8", kind: "utf8", value: "float64" },
    primaryKey: ["id"],
  });
  return { db, events };
}
