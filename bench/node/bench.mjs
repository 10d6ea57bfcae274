// First figures of the package in Node, on real data: the size of the wasm, time to open, ingest and scan of a
// million flights in a local directory, peak memory. Each round is a process of its own; medians. Last line: JSON.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const rows = Number(process.env.ROWS ?? 1_000_000);
const rounds = Number(process.env.ROUNDS ?? 3);
const reads = 1000;

const titles = {
  wasm_raw_bytes: "wasm raw, bytes",
  wasm_gzip_bytes: "wasm gzip -9, bytes",
  wasm_brotli_bytes: "wasm brotli 11, bytes",
  open_cold_ms: "import, compile, instantiate and open an empty database, ms",
  open_warm_ms: "open again in the same process, ms",
  ingest_rows_s: "ingest (commits of 20,000 rows, fsync each), rows/s",
  flush_s: "flush of what is left, s",
  scan_rows_s: "scan of everything, rows/s",
  point_p50_ms: "point read p50, ms",
  point_p99_ms: "point read p99, ms",
  wasm_memory_bytes: "peak wasm memory, bytes",
};

if (process.argv[2] === "--round") await round(process.argv[3]);
else compare();

function compare() {
  const measured = [];
  for (let n = 1; n <= rounds; n++) {
    const directory = mkdtempSync(join(tmpdir(), "lakeshore-bench-"));
    try {
      measured.push(inProcess(directory));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
    console.error(`# round ${n} of ${rounds} done`);
  }
  const figures = { ...wasmSizes() };
  for (const name in measured[0]) figures[name] = median(measured.map((m) => m[name]));
  console.log(`\nNode ${process.versions.node}, ${rows} flights, median of ${rounds} rounds\n`);
  for (const [name, value] of Object.entries(figures))
    console.log(`${titles[name] ?? name}: ${shown(value)}`);
  console.log(`\n${JSON.stringify({ bench: "node", rows, rounds, ...figures })}`);
}

/** Its figures are the last line of its output. */
function inProcess(directory) {
  const self = fileURLToPath(import.meta.url);
  const child = spawnSync(process.execPath, [self, "--round", directory], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (child.status !== 0) throw new Error(`a round failed (${child.signal ?? child.status})`);
  return JSON.parse(child.stdout.trim().split("\n").at(-1));
}

async function round(directory) {
  const start = performance.now();
  const { open } = await import("lakeshore");
  const db = await open(join(directory, "db"));
  const figures = { open_cold_ms: performance.now() - start };
  figures.open_warm_ms = await timed(async () => (await open(join(directory, "other"))).close());

  const { flightsIPC, flightsTable } = await import("../../examples/flights.mjs");
  const table = await db.table("flights", flightsTable);
  let spent = 0;
  for (const ipc of flightsIPC({ to: rows })) spent += await timed(() => table.ingest(ipc));
  figures.ingest_rows_s = (rows / spent) * 1000;
  figures.flush_s = (await timed(() => db.flush())) / 1000;

  await scan(table);
  figures.scan_rows_s = (rows / (await timed(() => scan(table)))) * 1000;
  const times = [];
  for (let n = 0; n < reads; n++) {
    const id = (n * 7919 * 131) % rows;
    times.push(await timed(() => table.get({ id })));
  }
  times.sort((a, b) => a - b);
  figures.point_p50_ms = times[Math.floor(reads * 0.5)];
  figures.point_p99_ms = times[Math.floor(reads * 0.99)];
  // It never shrinks: the size now is the peak.
  figures.wasm_memory_bytes = (await db.stats()).wasmMemoryBytes;
  await db.close();
  console.log(JSON.stringify(figures));
}

/** Takes every batch as Arrow IPC; at least one batch comes, and as many bytes as rows need. */
async function scan(table) {
  let bytes = 0;
  for await (const ipc of table.scan()) bytes += ipc.byteLength;
  if (bytes < rows * 8) throw new Error(`the scan of ${rows} rows gave ${bytes} bytes`);
}

async function timed(action) {
  const start = performance.now();
  await action();
  return performance.now() - start;
}

function wasmSizes() {
  const bytes = readFileSync(new URL("../../js/wasm/lakeshore_bg.wasm", import.meta.url));
  const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  return {
    wasm_raw_bytes: bytes.length,
    wasm_gzip_bytes: gzipSync(bytes, { level: 9 }).length,
    wasm_brotli_bytes: brotli.length,
  };
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function shown(value) {
  const digits = value >= 100 ? 0 : value >= 1 ? 2 : 4;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}
