// parquet-wasm: Arrow to Parquet and back, in memory. Not a database: nothing is stored, nothing is keyed.

import { timed, flights } from "./measure.js";
import wasm from "parquet-wasm/esm/parquet_wasm_bg.wasm?url";

globalThis.measure = async (visit) => (visit === "first" ? first() : {});

async function first() {
  const figures = {};
  let parquet;
  figures.init_ms = await timed(async () => {
    parquet = await import("parquet-wasm/esm");
    await parquet.default({ module_or_path: wasm });
  });
  const { tableFromIPC, tableToIPC, Table } = await import("apache-arrow");
  const batches = (await flights()).flatMap((ipc) => tableFromIPC(ipc).batches);
  const whole = tableToIPC(new Table(batches), "stream");
  const { Table: Arrow, WriterPropertiesBuilder, Compression, writeParquet, readParquet } = parquet;
  let file;
  figures.write_s =
    (await timed(() => {
      const properties = new WriterPropertiesBuilder().setCompression(Compression.LZ4_RAW).build();
      file = writeParquet(Arrow.fromIPCStream(whole), properties);
    })) / 1000;
  figures.read_s = (await timed(() => readParquet(file).intoIPCStream())) / 1000;
  figures.file_bytes = file.byteLength;
  return figures;
}
