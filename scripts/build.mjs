// The build: the one wasm (release, fat LTO), its glue, and the TypeScript package.
// Skipped where nothing it is made of changed; what was built stays in the cache under the digest of its
// inputs, so that a second clone finds it there.
//   node scripts/build.mjs         release
//   node scripts/build.mjs --dev   a quick, big wasm for working on it

import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { cache, digest, environment, root, run, step, toolBin, wasmBindgenVersion } from "./lib.mjs";
import { guardGlue, guardVersion } from "./glue.mjs";
import { setup } from "./setup.mjs";

const target = "wasm32-unknown-unknown";
/** How many builds of each kind the cache keeps. */
const keep = 4;

export async function build({ dev = false } = {}) {
  await step("build: wasm", () => cached("wasm", wasmInputs(dev), (out) => buildWasm(out, dev)));
  await step("build: typescript", () => cached("dist", typescriptInputs(), buildTypescript));
  if (!dev) printSizes();
}

const wasmInputs = (dev) =>
  digest(["src", "Cargo.toml", "Cargo.lock"], wasmBindgenVersion, dev ? "dev" : "release", guardVersion);
const typescriptInputs = () =>
  digest(["js/src", "js/wasm/lakeshore.d.ts", "tsconfig.json", "package-lock.json"]);

/** Fills `js/<name>` from the cache, or by `make`, unless it already has the inputs' digest. */
async function cached(name, inputs, make) {
  const out = join(root, "js", name);
  const stamp = join(out, ".inputs");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === inputs) return "unchanged";
  const store = join(cache, "build", `${name}-${inputs}`);
  const found = existsSync(store);
  if (!found) {
    const fresh = join(cache, "build", `making-${process.pid}-${name}`);
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { recursive: true });
    await make(fresh);
    writeFileSync(join(fresh, ".inputs"), inputs);
    if (!existsSync(store)) renameSync(fresh, store);
    dropOld(name);
  }
  rmSync(out, { recursive: true, force: true });
  cpSync(store, out, { recursive: true });
  return found ? "from the cache" : "made";
}

/** Keeps the newest few builds. */
function dropOld(name) {
  const folder = join(cache, "build");
  const builds = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name.startsWith(`${name}-`))
    .map((entry) => join(folder, entry.name))
    .map((path) => ({ path, time: readModified(join(path, ".inputs")) }))
    .sort((a, b) => b.time - a.time);
  for (const { path } of builds.slice(keep)) rmSync(path, { recursive: true, force: true });
}

function readModified(path) {
  try {
    return statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

async function buildWasm(out, dev) {
  const profile = dev ? [] : ["--release"];
  await run("cargo", ["build", "--lib", ...profile, "--target", target, "--features", "js"]);
  const folder = join(environment().CARGO_TARGET_DIR, target, dev ? "debug" : "release");
  await run(join(toolBin, "wasm-bindgen"), [
    join(folder, "lakeshore.wasm"),
    ...["--target", "web", "--out-dir", out, "--out-name", "lakeshore"],
    // After a trap the package makes a fresh instance of the same module (js/src/engine.ts).
    "--experimental-reset-state-function",
    "--omit-default-module-path",
    ...(dev ? ["--keep-debug"] : ["--remove-name-section", "--remove-producers-section"]),
  ]);
  guardGlue(out);
  if (!dev) writeFileSync(join(out, "sizes.json"), JSON.stringify(sizes(out)));
}

async function buildTypescript(out) {
  await run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.json", "--outDir", out]);
}

function sizes(folder) {
  const bytes = readFileSync(join(folder, "lakeshore_bg.wasm"));
  const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  return { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotli.length };
}

function printSizes() {
  const { raw, gzip, brotli } = JSON.parse(readFileSync(join(root, "js", "wasm", "sizes.json"), "utf8"));
  const kb = (n) => `${Math.round(n / 1000)} KB`;
  console.log(`wasm: ${kb(raw)} raw, ${kb(gzip)} gzip -9, ${kb(brotli)} brotli 11`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await setup({ tests: false });
  await build({ dev: process.argv.includes("--dev") });
}
