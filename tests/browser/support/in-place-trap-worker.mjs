// A dedicated worker of a user's own whose engine, in place and over OPFS, runs out of memory again and again.

import { open, opfs } from "/pkg/js/dist/browser.js";
import "/tests/browser/support/fragile-worker.mjs";

addEventListener("message", async ({ data }) => {
  if (data !== "go") return;
  const trapped = [];
  const counts = [];
  for (let round = 0; round < 3; round++) {
    const stores = { data: opfs("trap"), wal: opfs("trap-wal") };
    const db = await open({ ...stores, memoryBytes: 2 ** 40, commitBytes: 2 ** 30 });
    const table = await db.table("rows", { schema: { id: "int64" }, primaryKey: ["id"] });
    await table.ingest([{ id: BigInt(round) }]);
    if (round === 1) await db.flush();
    counts.push(await table.scan().count());
    trapped.push(await table.ingest(new Uint8Array(30_000_000)).catch((error) => error.code));
  }
  postMessage({ trapped, counts });
});
