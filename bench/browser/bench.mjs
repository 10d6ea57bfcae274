// Figures of the package in headless Chromium on real data, beside what others do in the same run: raw OPFS for a
// durable write, parquet-wasm for Parquet in memory, DuckDB-Wasm on OPFS. Each round gives each of them a fresh
// profile on disk; medians. Nothing here fails: what could not be measured is said. Last line: JSON.
//   node bench/browser/bench.mjs          ROWS, ROUNDS, ENGINES=lakeshore,parquet,duckdb change what is done

import { createReadStream, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from "node:fs";
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";
import { chromium } from "playwright-core";
import { build, preview } from "vite";
import { flightsIPC } from "../../examples/flights.mjs";
import { cache, root, run } from "../../scripts/lib.mjs";

const rows = Number(process.env.ROWS ?? 1_000_000);
const rounds = Number(process.env.ROUNDS ?? 3);
const wanted = (process.env.ENGINES ?? "lakeshore,parquet,duckdb").split(",");
/** Not a dependency of the package: installed into the cache, for this only. */
const duckdb = { name: "@duckdb/duckdb-wasm", version: "1.32.0" };
const folder = join(cache, "bench-browser");
const pages = fileURLToPath(new URL("page/", import.meta.url));

mkdirSync(folder, { recursive: true });
const missing = {};
const engines = [];
for (const engine of wanted) {
  try {
    if (engine === "duckdb") await installDuckdb();
    engines.push(engine);
  } catch (error) {
    missing[engine] = `could not be installed: ${error.message}`;
  }
}
const server = await serve(flightsFile());
const rounded = Object.fromEntries(engines.map((engine) => [engine, []]));
try {
  for (let n = 1; n <= rounds; n++) {
    for (const engine of engines) {
      try {
        rounded[engine].push(await round(engine));
        console.error(`# round ${n} of ${rounds}, ${engine}: done`);
      } catch (error) {
        missing[engine] = error.message.split("\n")[0];
        console.error(`# round ${n} of ${rounds}, ${engine}: ${error.message}`);
      }
    }
  }
} finally {
  await server.close();
}
report();

async function installDuckdb() {
  if (existsSync(join(folder, "node_modules", duckdb.name))) return;
  const spec = `${duckdb.name}@${duckdb.version}`;
  await run("npm", ["install", "--prefix", folder, "--no-audit", "--no-fund", spec], { quiet: true });
}

/** The flights as Arrow IPC streams of 20,000 rows, each after its length; made once. */
function flightsFile() {
  const path = join(folder, `flights-${rows}.bin`);
  if (existsSync(path)) return path;
  const parts = [];
  for (const ipc of flightsIPC({ to: rows })) {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, ipc.length, true);
    parts.push(length, ipc);
  }
  writeFileSync(`${path}.making`, Buffer.concat(parts));
  renameSync(`${path}.making`, path);
  return path;
}

/** The pages as a bundler makes them. Isolated, so that the clock is fine enough. */
async function serve(flights) {
  const outDir = mkdtempSync(join(tmpdir(), "lakeshore-bench-page-"));
  const isolation = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
  };
  const data = {
    name: "flights",
    configurePreviewServer: ({ middlewares }) =>
      void middlewares.use("/flights.bin", (_, reply) => {
        reply.writeHead(200, { ...isolation, "content-length": statSync(flights).size });
        createReadStream(flights).pipe(reply);
      }),
  };
  const config = {
    configFile: false,
    root: pages,
    base: "./",
    logLevel: "error",
    resolve: { alias: { [duckdb.name]: join(folder, "node_modules", duckdb.name) } },
    worker: { format: "es" },
    build: {
      outDir,
      emptyOutDir: true,
      target: "es2022",
      assetsInlineLimit: 0,
      chunkSizeWarningLimit: 10_000,
      rollupOptions: { input: engines.map((engine) => join(pages, `${engine}.html`)) },
    },
    preview: { host: "127.0.0.1", port: 0, headers: isolation },
    plugins: [data],
  };
  await build(config);
  const server = await preview(config);
  const { port } = server.httpServer.address();
  const close = async () => {
    await server.close();
    rmSync(outDir, { recursive: true, force: true });
  };
  return { url: `http://127.0.0.1:${port}/`, close };
}

/** A page measures in two visits: before a reload, and after it. */
async function round(engine) {
  const profile = mkdtempSync(join(tmpdir(), "lakeshore-bench-profile-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.LAKESHORE_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  });
  try {
    const page = await context.newPage();
    context.setDefaultTimeout(300_000);
    page.on("pageerror", (error) => console.error(`# ${engine}: ${error}`));
    const figures = {};
    for (const visit of ["first", "second"]) {
      await page.goto(`${server.url}${engine}.html`);
      await page.waitForFunction(() => globalThis.measure);
      Object.assign(
        figures,
        await page.evaluate(([visit, rows]) => globalThis.measure(visit, rows), [visit, rows]),
      );
    }
    return figures;
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}

function report() {
  const figures = {};
  for (const engine of engines) {
    const [first] = rounded[engine];
    if (first === undefined) continue;
    figures[engine] = {};
    for (const name in first) figures[engine][name] = median(rounded[engine].map((figure) => figure[name]));
  }
  const wasm = readFileSync(join(root, "js", "wasm", "lakeshore_bg.wasm"));
  const brotli = brotliCompressSync(wasm, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  if (figures.lakeshore) figures.lakeshore.wasm_brotli_bytes = brotli.length;
  const machine = `${cpus().length} x ${cpus()[0].model}`;
  console.log(`\nChromium, ${rows} flights, median of ${rounds} rounds, ${machine}\n`);
  for (const [engine, measured] of Object.entries(figures)) {
    for (const [name, value] of Object.entries(measured)) console.log(`${engine} ${name}: ${shown(value)}`);
  }
  const ratios = ratiosOf(figures);
  for (const [name, value] of Object.entries(ratios)) console.log(`ratio ${name}: ${value.toFixed(2)}`);
  for (const [engine, why] of Object.entries(missing)) console.log(`${engine}: not measured, ${why}`);
  console.log(`\n${JSON.stringify({ bench: "browser", rows, rounds, machine, figures, ratios, missing })}`);
}

/** Below 1: Lakeshore takes less time. */
function ratiosOf({ lakeshore, parquet, duckdb }) {
  const ratios = {};
  const put = (name, ours, theirs) => {
    if (ours !== undefined && theirs !== undefined) ratios[name] = ours / theirs;
  };
  put("commit p50 to raw OPFS write + flush", lakeshore?.commit_p50_ms, lakeshore?.raw_opfs_p50_ms);
  put("commit p50 to the same by a message", lakeshore?.commit_p50_ms, lakeshore?.raw_opfs_posted_p50_ms);
  put("commit p99 to raw OPFS write + flush", lakeshore?.commit_p99_ms, lakeshore?.raw_opfs_p99_ms);
  put("ingest to DuckDB-Wasm", lakeshore?.ingest_s, duckdb?.ingest_s);
  put(
    "ingest and flush to DuckDB-Wasm with checkpoint",
    sum(lakeshore?.ingest_s, lakeshore?.flush_s),
    sum(duckdb?.ingest_s, duckdb?.flush_s),
  );
  put(
    "ingest and flush to parquet-wasm's write",
    sum(lakeshore?.ingest_s, lakeshore?.flush_s),
    parquet?.write_s,
  );
  put("scan to parquet-wasm's read", lakeshore?.scan_s, parquet?.read_s);
  put("scan to DuckDB-Wasm", lakeshore?.scan_s, duckdb?.scan_s);
  put("commit p50 to DuckDB-Wasm", lakeshore?.commit_p50_ms, duckdb?.commit_p50_ms);
  put("point read p50 to DuckDB-Wasm", lakeshore?.get_p50_ms, duckdb?.get_p50_ms);
  return ratios;
}

function sum(a, b) {
  return a === undefined || b === undefined ? undefined : a + b;
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function shown(value) {
  const digits = value >= 100 ? 0 : value >= 1 ? 2 : 4;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}
