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
  type Stats,
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
  await db.flush();
  try {
    await (await open({ data: host(own) })).close();
  } catch (error) {
    if (error instanceof LakeshoreError && error.retryable)
      console.log(error.code === "Busy", error.committed);
  }
  void [stamp, row, count, stats];
  // @ts-expect-error a table needs its key
  await db.table("flights", { schema: { id: "int64" } });
  // @ts-expect-error there is no such option
  await open({ data: memory(), walSegmentByte: 5 });
}
