// Each operation with the requests it makes: by the package's counters, and by those of the proxy it goes through.

import { open, s3 } from "lakeshore";
import { batchRows, definition } from "./batches.mjs";

const kinds = ["get", "put", "putIfAbsent", "list", "delete"];

async function ofProxy({ endpoint }) {
  const counts = await (await fetch(`${endpoint}/__proxy/counts`)).json();
  return { ...counts, get: counts.get + counts.head };
}

/** What `work` costs on the handle that it is given or opens. */
async function measure(place, before, work) {
  const [then, seen] = [before === undefined ? undefined : (await before.stats()).data, await ofProxy(place)];
  const value = await work();
  const db = before ?? value;
  const [now, after] = [(await db.stats()).data, await ofProxy(place)];
  const difference = (a, b) => Object.fromEntries(kinds.map((kind) => [kind, a[kind] - (b?.[kind] ?? 0)]));
  return { value, ours: difference(now, then), proxy: difference(after, seen) };
}

/** Operations on an open database, one after another. */
export async function operations({ place }) {
  const costs = {};
  const step = async (name, before, work) => {
    const { value, ...cost } = await measure(place, before, work);
    costs[name] = cost;
    return value;
  };
  const db = await step("open a new database", undefined, () => open({ data: s3(place) }));
  const table = await step("create a table", db, () => db.table("rows", definition));
  await step("commit 11 rows", db, () => table.ingest(batchRows(0)));
  await step("flush", db, () => db.flush());
  if (db.refresh) await step("refresh, nothing new", db, () => db.refresh());
  await db.checkpoint();
  await db.close();
  const again = await step("open, nothing after the checkpoint", undefined, () => open({ data: s3(place) }));
  const rows = await again.table("rows");
  await step("first point read", again, () => rows.get({ id: 3n }));
  await step("warm point read", again, () => rows.get({ id: 5n }));
  await again.close();
  return costs;
}

/** One request of a Worker: opens, writes, flushes and reads back. */
export async function oneRequest({ place }) {
  const { value, ...cost } = await measure(place, undefined, async () => {
    const db = await open({ data: s3(place) });
    const table = await db.table("rows", definition);
    await table.ingest(batchRows(0));
    await db.flush();
    const count = await table.scan().count();
    if (count !== 11) throw new Error(`${count} rows`);
    return db;
  });
  await value.close();
  return cost;
}
