// A dedicated worker of a user's own that opens a database in place, and writes and reads it when told so.

import { memory, open } from "/pkg/js/dist/browser.js";

addEventListener("message", async () => {
  const db = await open({ data: memory(), wal: memory() });
  const table = await db.table("rows", { schema: { id: "int64" }, primaryKey: ["id"] });
  await table.ingest([{ id: 1n }, { id: 2n }]);
  const count = await table.scan().count();
  await db.close();
  postMessage({ count });
});
