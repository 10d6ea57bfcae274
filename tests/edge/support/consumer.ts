// A user's code for `tsc --strict`, under every configuration of ../types.test.mjs: it is compiled, not run. Types alone
// that any runtime has.

import { col, type Db, LakeshoreError, memory, open, type Row, type Table } from "lakeshore";

/** Whether two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>): void => undefined;

interface Flight {
  id: bigint;
  origin: string | null;
  delay: number | null;
}

export async function literal(db: Db): Promise<void> {
  const table = await db.table("flights", {
    schema: {
      id: "int64",
      origin: "utf8",
      delay: { type: "int32", nullable: false },
      at: "timestamp[ms, UTC]",
      exact: "timestamp[ns]",
      price: "decimal128(10, 2)",
      tags: "list<utf8 not null>",
      flags: "dictionary<int8, utf8>",
      more: "struct<a: int32>",
    },
    primaryKey: ["id"],
  });
  const row = await table.get({ id: 1n });
  if (row === undefined) return;
  same<typeof row.id, bigint>(true);
  same<typeof row.origin, string | null>(true);
  same<typeof row.delay, number>(true);
  same<typeof row.at, Date | null>(true);
  same<typeof row.exact, bigint | null>(true);
  same<typeof row.price, bigint | null>(true);
  same<typeof row.tags, string[] | null>(true);
  same<typeof row.flags, string | null>(true);
  // @ts-expect-error there is no such column
  void row.origins;

  await table.ingest([{ id: 1, delay: 2, price: "12.50", at: new Date(), tags: ["a"] }]);
  // @ts-expect-error the key is missing
  await table.ingest([{ delay: 2 }]);
  // @ts-expect-error a column that is never null is missing
  await table.ingest([{ id: 1n }]);
  // @ts-expect-error text is no number
  await table.ingest([{ id: 1n, delay: "2" }]);
  // @ts-expect-error there is no such column
  await table.ingest([{ id: 1n, delay: 2, dealy: 3 }]);

  await table.delete([{ id: 1n }]);
  // @ts-expect-error this is no column of the key
  await table.delete([{ origin: "SFO" }]);
  // @ts-expect-error a key is whole
  await table.get({});

  const part = await table.get({ id: 1n }, { select: ["origin"] });
  if (part) same<keyof typeof part, "origin">(true);
  for await (const { id, delay } of table
    .scan({ select: ["id", "delay"], where: col("delay").gt(1) })
    .rows()) {
    same<typeof id, bigint>(true);
    same<typeof delay, number>(true);
  }
  for (const { at } of await table.scan({ range: { from: { id: 1n } } }).toArray())
    same<typeof at, Date | null>(true);
  // @ts-expect-error what was not selected is not there
  for (const { at } of await table.scan({ select: ["id"] }).toArray()) void at;
  // @ts-expect-error there is no such column
  table.scan({ select: ["ids"] });
}

export async function declared(db: Db): Promise<void> {
  const table: Table<Flight> = await db.table<Flight>("flights", {
    schema: { id: "int64", origin: "utf8", delay: "int32" },
    primaryKey: ["id"],
  });
  const row: Flight | undefined = await table.get({ id: 1n });
  await table.ingest([{ id: 1n, origin: "SFO" }, { id: 2n }]);
  // @ts-expect-error a column that is never null is missing
  await table.ingest([{ origin: "SFO" }]);
  // @ts-expect-error there is no such column
  await table.ingest([{ id: 1n, orgin: "SFO" }]);
  // @ts-expect-error there is no such column
  await table.get({ ids: 1n });
  const part = await table.get({ id: 1n }, { select: ["origin"] });
  if (part) same<keyof typeof part, "origin">(true);
  const origin: string | null | undefined = await db.transaction(async (tx) => {
    const inside = tx.table<Flight>("flights");
    await inside.ingest([{ id: 3n, delay: 5 }]);
    return (await inside.get({ id: 1n }))?.origin;
  });
  void [row, origin];
}

export async function anything(bytes: Uint8Array, schema: Record<string, string>): Promise<void> {
  const db = await open({ data: memory() });
  const table = await db.table("t", { schema, primaryKey: ["id"] });
  const same: Table = table;
  await table.ingest([{ id: 1n, whatever: "it is" }]);
  const row: Row | undefined = await same.get({ id: 1n });
  const other: Table = await db.table("u", { schema: bytes, primaryKey: ["id"] });
  for await (const { id } of other.scan({ select: ["id", "x"] }).rows()) void id;
  for await (const batch of (await db.table("t")).scan()) void (batch satisfies Uint8Array);
  const some: string[] = ["id"];
  await table.scan({ select: some }).toArray();
  try {
    await db.close();
  } catch (error) {
    if (error instanceof LakeshoreError) void [row, error.code, error.committed];
  }
}
