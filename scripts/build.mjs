// The build: the one wasm (release, fat LTO), its glue, and the TypeScript package.
// Skipped where nothing it is made of changed; what was built stays in the cache under the digest of its
// inputs, so that a second clone finds it there.
//   node scripts/build.mjs           release: the one to ship
//   node scripts/build.mjs --quick   that one where the cache has it, or else one that takes a third of the time
//   node scripts/build.mjs --dev     a quick, big wasm for working on it

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
import { homedir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { bindgenInputs, cache, digest, environment, root, run, step, together, toolBin } from "./lib.mjs";
import { compile } from "./cargo.mjs";
import { guardGlue, guardVersion } from "./glue.mjs";
import { buildBindgen, setup } from "./setup.mjs";

const target = "wasm32-unknown-unknown";
/** How many builds of each kind the cache keeps. */
const keep = 4;
/** Cargo's profile for each kind of wasm, and its folder. */
const profiles = { release: "release", quick: "quick", dev: "dev" };
const folders = { ...profiles, dev: "debug" };

/** Builds, and gives which kind of wasm is there now: `release`, `quick` or `dev`. */
export async function build({ dev = false, quick = false } = {}) {
  const kinds = dev ? ["dev"] : quick ? ["release", "quick"] : ["release"];
  await step("build: wasm", () =>
    cached("wasm", kinds.map(wasmInputs), (out) => buildWasm(out, kinds.at(-1))),
  );
  await step("build: typescript", () => cached("dist", [typescriptInputs()], buildTypescript));
  const built = kinds.find((kind) => wasmInputs(kind) === stampOf(join(root, "js", "wasm")));
  if (built === "release") printSizes();
  return built;
}

const wasmInputs = (kind) =>
  digest(["src", "Cargo.toml", "Cargo.lock", ".cargo/config.toml", ...bindgenInputs], kind, guardVersion);
const typescriptInputs = () =>
  digest(["js/src", "js/wasm/lakeshore.d.ts", "tsconfig.json", "package-lock.json"]);

/** What a folder was made of. */
function stampOf(folder) {
  const stamp = join(folder, ".inputs");
  return existsSync(stamp) ? readFileSync(stamp, "utf8") : undefined;
}

/**
 * Fills `js/<name>` with the first of `choices`, digests of inputs, that is there already or in the cache; where none
 * is, with the last of them, by `make`.
 */
async function cached(name, choices, make) {
  const out = join(root, "js", name);
  const storeOf = (inputs) => join(cache, "build", `${name}-${inputs}`);
  const present = stampOf(out);
  const found = choices.find((inputs) => inputs === present || existsSync(storeOf(inputs)));
  if (found !== undefined && found === present) return "unchanged";
  const inputs = found ?? choices.at(-1);
  if (found === undefined) {
    const fresh = join(cache, "build", `making-${process.pid}-${name}`);
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { recursive: true });
    await make(fresh);
    writeFileSync(join(fresh, ".inputs"), inputs);
    if (!existsSync(storeOf(inputs))) renameSync(fresh, storeOf(inputs));
    dropOld(name);
  }
  rmSync(out, { recursive: true, force: true });
  cpSync(storeOf(inputs), out, { recursive: true });
  return found === undefined ? "made" : "from the cache";
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

async function buildWasm(out, kind) {
  // The tool is small, and waits for nothing that the engine waits for.
  await together(buildBindgen(), compileWasm(kind));
  const from = join(environment().CARGO_TARGET_DIR, target, folders[kind], "lakeshore.wasm");
  await run(join(toolBin, "package"), [from, out, ...(kind === "dev" ? ["--dev"] : [])]);
  guardGlue(out);
  if (kind === "release") writeFileSync(join(out, "sizes.json"), JSON.stringify(sizes(out)));
}

async function compileWasm(kind) {
  const options = ["--lib", "--locked", "--profile", profiles[kind], "--target", target, "--features", "js"];
  // Those of tests have the machine's paths, too, and share what it is linked from.
  if (kind === "dev") return compile("wasm", ["build", ...options]);
  await compile("crates", ["fetch", "--locked", "--target", target]);
  const flags = JSON.stringify(await withoutPaths());
  return compile("wasm", ["build", ...options, "--config", `target.${target}.rustflags=${flags}`]);
}

/** What keeps this machine's paths out of the module's messages: its bytes do not depend on where it was built. */
async function withoutPaths() {
  const registry = join(process.env.CARGO_HOME || join(homedir(), ".cargo"), "registry", "src");
  const sources = existsSync(registry) ? readdirSync(registry).map((name) => join(registry, name)) : [];
  const sysroot = (await run("rustc", ["--print", "sysroot"], { quiet: true })).trim();
  const library = join(sysroot, "lib", "rustlib", "src", "rust");
  // Ours are relative to the checkout: naming it would make every checkout compile all dependencies again.
  const places = [...sources.map((source) => [source, ""]), [library, "rust"]];
  return places.map(([from, to]) => `--remap-path-prefix=${from}=${to}`);
}

async function buildTypescript(out) {
  await run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.json", "--outDir", out]);
}

function sizes(folder) {
  const bytes = readFileSync(join(folder, "lakeshore_bg.wasm"));
  const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  return { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotli.length };
}

/** Of the release build that is in js/wasm; undefined where another one is. */
export function builtSizes() {
  const path = join(root, "js", "wasm", "sizes.json");
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
}

function printSizes() {
  const { raw, gzip, brotli } = builtSizes();
  const kb = (n) => `${Math.round(n / 1000)} KB`;
  console.log(`wasm: ${kb(raw)} raw, ${kb(gzip)} gzip -9, ${kb(brotli)} brotli 11`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [dev, quick] = ["--dev", "--quick"].map((flag) => process.argv.includes(flag));
  await setup({ tests: false });
  await build({ dev, quick });
}
