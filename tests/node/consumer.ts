// A user's code, for `tsc --strict`: it is compiled, not run.

import {
  and,
  col,
  type Committed,
  Db,
  directory,
  host,
  type Host,
  LakeshoreError,
  memory,
  open,
  type Progress,
  type Row,
  type Snapshot,
  type Stats,
  type TableReader,
  type Transaction,
  type TransactionTable,
} from "lakeshore";

interface Flight {
  id: bigint;
  origin: string | null;
  delay: number | null;
  [name: string]: unknown;
}

export async function main(ipc: Uint8Array, signal: AbortSignal, own: Host): Promise<void> {
  await using db: Db = await open({ data: directory("./db"), wal: memory(), sync: { intervalMs: 100 } });
  const flights = await db.table<Flight>("flights", {
    schema: { id: { type: "int64", nullable: false }, origin: "utf8", delay: "int32" },
    primaryKey: ["id"],
  });
  const committed: Committed = await flights.ingest(ipc, { signal, onProgress: (p: Progress) => p.rows });
  const stamp: bigint | undefined = committed.timestamp;
  await flights.ingest([{ id: 1n, origin: "SFO" }]);
  await flights.ingest(new ReadableStream<Uint8Array>());
  await flights.ingest([ipc, ipc.buffer as ArrayBuffer]);
  await flights.ingest({ toIPC: () => ipc });
  await flights.delete([{ id: 7n }]);
  const where = and(col("delay").gt(30), col("origin").in(["SFO", "JFK"])).or(col("origin").isNull());
  for await (const batch of flights.scan({ where, select: ["id"], limit: 100, reverse: true, signal })) {
    const bytes: Uint8Array = batch;
    void bytes;
  }
  for await (const row of flights.scan({ range: { from: { id: 1 } } }).rows()) {
    const id: bigint = row.id;
    void id;
  }
  const row: Flight | undefined = await flights.get({ id: 8n }, { select: ["id"] });
  const count: number = await flights.scan().count();
  const stats: Stats = await db.stats();
  const origin: string | null = await db.transaction(
    async (tx: Transaction) => {
      const table: TransactionTable<Flight> = tx.table<Flight>("flights");
      const written: number = await table.ingest(ipc);
      await table.delete([{ id: BigInt(written) }]);
      // @ts-expect-error a transaction takes batches
      await table.ingest(new ReadableStream<Uint8Array>());
      return (await table.get({ id: 1n }))?.origin ?? null;
    },
    { isolation: "serializable", attempts: 3, signal },
  );
  await using tx = await db.begin();
  const both: TableReader<Flight>[] = [flights, tx.table<Flight>("flights")];
  using past: Snapshot = await db.snapshot({ asOf: new Date() });
  both.push(past.table<Flight>("flights"));
  // @ts-expect-error a snapshot is only read
  await past.table("flights").ingest(ipc);
  // @ts-expect-error a number is no moment
  await db.snapshot({ asOf: 5 });
  await db.alterTable("flights", [{ addColumn: "note", type: "utf8" }, { dropColumn: "origin" }]);
  // @ts-expect-error an added column has a type
  await db.alterTable("flights", [{ addColumn: "note" }]);
  for await (const { cursor, tables } of db.changes({ since: "start", signal }).rows()) {
    const rows: Row[] = tables.flatMap((table) => table.rows);
    void [cursor, rows, origin];
  }
  for await (const { tables } of db.changes()) void tables.map(({ ipc }): Uint8Array => ipc);
  await db.flush();
  try {
    await (await open({ data: host(own) })).close();
  } catch (error) {
    if (error instanceof LakeshoreError && error.retryable)
      console.log(error.code === "Busy", error.committed);
  }
  void [stamp, row, count, stats];
  const numbers = await db.table("numbers", {
    schema: { id: "int64", x: "float64", list: "list<float32>", big: "list<int64>", words: "list<utf8>" },
    primaryKey: ["id"],
  });
  await numbers.ingest([{ id: 1n, x: 1.5, list: new Float32Array(2), big: BigInt64Array.of(1n) }]);
  await numbers.ingest([{ id: 1n, x: null, list: [1, null], big: new Int32Array(2), words: ["a", null] }]);
  // @ts-expect-error a float takes no bigint
  await numbers.ingest([{ id: 1n, x: 1n }]);
  // @ts-expect-error nor does a list of them
  await numbers.ingest([{ id: 1n, list: [1n] }]);
  // @ts-expect-error texts are in no typed array
  await numbers.ingest([{ id: 1n, words: new Uint8Array(2) }]);
  // @ts-expect-error a table needs its key
  await db.table("flights", { schema: { id: "int64" } });
  // @ts-expect-error there is no such option
  await open({ data: memory(), walSegmentByte: 5 });
}
