// What a user does first, in whatever runtime the package was imported into.

import { col, open, s3, LakeshoreError } from "lakeshore";

export async function first(place) {
  const db = await open({ data: s3(place) });
  const flights = await db.table("flights", {
    schema: { id: "int64", origin: "utf8", delay: "int32" },
    primaryKey: ["id"],
  });
  const rows = Array.from({ length: 1000 }, (_, i) => ({ id: BigInt(i), origin: "SFO", delay: i % 100 }));
  await flights.ingest(rows);
  await db.flush();
  await flights.delete([{ id: 99n }]);
  let batches = 0;
  for await (const ipc of flights.scan({ where: col("delay").gt(90), select: ["id"] })) {
    if (!(ipc instanceof Uint8Array)) throw new Error("a batch is an IPC stream");
    batches += 1;
  }
  const late = await flights.scan({ where: col("delay").gt(90) }).count();
  const row = await flights.get({ id: 7n });
  await db.close();
  const again = await open({ data: s3(place) });
  const count = await (await again.table("flights")).scan().count();
  await again.close();
  const wrong = await open({ data: s3(place), sealRows: 0 }).catch((error) => error);
  const refused = wrong instanceof LakeshoreError ? wrong.code : String(wrong);
  return { batches, late, delay: row.delay, count, refused };
}
