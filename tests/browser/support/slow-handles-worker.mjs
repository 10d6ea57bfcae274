// A dedicated worker of a user's own, over OPFS, where the handle of a WAL segment takes a while to get; meanwhile the
// flush that asked for it is given up.

import { open, opfs } from "/pkg/js/dist/browser.js";

const { prototype } = FileSystemFileHandle;
const { createSyncAccessHandle } = prototype;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let asked = () => undefined;
let slow = false;
/** Kept, so that the garbage collector does not close them. */
const came = [];

prototype.createSyncAccessHandle = async function (...args) {
  const late = slow && this.name.endsWith(".wal");
  if (late) {
    slow = false;
    asked();
    await sleep(200);
  }
  const handle = await createSyncAccessHandle.apply(this, args);
  if (late) came.push(handle);
  return handle;
};

addEventListener("message", async () => {
  const stores = { data: opfs("slow"), wal: opfs("slow-wal") };
  const definition = { schema: { id: "int64" }, primaryKey: ["id"] };
  const first = await open(stores);
  await (await first.table("rows", definition)).ingest([{ id: 1n }]);
  await first.close();
  const db = await open(stores);
  const table = await db.table("rows", definition);
  // The handle that replay read the segment by is kept for a second.
  await sleep(2_500);
  const controller = new AbortController();
  asked = () => controller.abort("enough");
  slow = true;
  const flushed = await db.flush({ signal: controller.signal }).catch((thrown) => thrown);
  await sleep(400);
  const ingested = await table.ingest([{ id: 2n }]).then(
    ({ rows }) => rows,
    (error) => error.message,
  );
  const count = await table.scan().count();
  postMessage({ flushed, came: came.length, ingested, count });
  await db.close();
});
