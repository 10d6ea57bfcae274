// Counters that several instances add to, each in transactions.

import { open, s3 } from "lakeshore";

const definition = { schema: { id: "int64", n: "int64" }, primaryKey: ["id"] };
const kinds = ["get", "put", "putIfAbsent", "list", "delete"];

/** Makes the tables. */
export async function prepare({ place }) {
  const db = await open({ data: s3(place) });
  for (const name of ["counters", "notes"]) await db.table(name, definition);
  await db.close();
}

/** Adds one to counter 0, `times` times, and each time writes a note; the runs and requests that took. */
export async function add({ place, times, first }) {
  const db = await open({ data: s3(place) });
  const { data: before } = await db.stats();
  let runs = 0;
  for (let i = 0; i < times; i++) {
    const run = async (tx) => {
      runs += 1;
      const { n } = (await tx.table("counters").get({ id: 0n })) ?? { n: 0n };
      await tx.table("counters").ingest([{ id: 0n, n: n + 1n }]);
      await tx.table("notes").ingest([{ id: first + BigInt(i), n }]);
    };
    await db.transaction(run, { attempts: 1000 });
  }
  const { data: after } = await db.stats();
  await db.close();
  return { runs, requests: Object.fromEntries(kinds.map((kind) => [kind, after[kind] - before[kind]])) };
}

/** All of it at one moment, the newest or as of a timestamp. */
export async function read({ place, asOf }) {
  const db = await open({ data: s3(place) });
  const snapshot = await db.snapshot(asOf === undefined ? {} : { asOf });
  const row = await snapshot.table("counters").get({ id: 0n });
  const notes = await snapshot.table("notes").scan().toArray();
  const { timestamp } = snapshot;
  snapshot.close();
  await db.close();
  return { counter: row?.n ?? 0n, notes, timestamp };
}
