// A user's page, for `tsc --strict` as bundlers resolve: it is compiled, not run.

import {
  type BrowserOptions,
  type Db,
  init,
  LakeshoreError,
  open,
  opfs,
  s3,
  type WorkerSource,
} from "lakeshore";

export async function main(sign: (url: string) => Promise<Record<string, string>>): Promise<void> {
  const worker: WorkerSource = () =>
    new Worker(new URL("lakeshore/worker", import.meta.url), { type: "module" });
  const options: BrowserOptions = {
    data: s3({
      bucket: "my-bucket",
      region: "auto",
      sign: async ({ url }) => ({ headers: await sign(url) }),
    }),
    wal: opfs("my-app", { persist: true }),
    worker,
  };
  init(WebAssembly.compileStreaming(fetch("/lakeshore.wasm")));
  try {
    await using db: Db = await open(options);
    const flights = await db.table("flights", { schema: { id: "int64" }, primaryKey: ["id"] });
    await flights.ingest(new ReadableStream<Uint8Array>());
    const { wasmMemoryBytes } = await db.stats();
    for (const { name } of await db.tables()) console.log(name, wasmMemoryBytes);
  } catch (error) {
    if (error instanceof LakeshoreError && error.code === "Busy") console.log(error.message);
  }
  // @ts-expect-error a worker is not a number
  await open({ data: opfs("my-app"), worker: 5 });
}
