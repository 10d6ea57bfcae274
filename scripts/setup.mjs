// Set-up: everything a fresh machine with rustup and Node >= 20 lacks. Idempotent, fast when warm.
// What is not of this working tree lives in ${LAKESHORE_CACHE:-~/.cache/lakeshore}.
//   node scripts/setup.mjs              all
//   node scripts/setup.mjs --no-python  without the venv that only tests use

import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { compile } from "./cargo.mjs";
import {
  cache,
  digest,
  python,
  root,
  run,
  step,
  together,
  toolBin,
  venv,
  wasmPackBin,
  wasmPackVersion,
  works,
} from "./lib.mjs";

const pythonPackages = ["pyarrow==26.0.1", "polars==2.1.0"];

const browserPackages = ["chromium", "chromium-driver"];
/** What scripts/s3-server.mjs starts. */
const s3Packages = ["ceph-mon", "ceph-osd", "radosgw"];
/** Where tools are built. */
const toolTarget = join(cache, "tools", "build");

export async function setup({ tests = true } = {}) {
  mkdirSync(cache, { recursive: true });
  await step("set-up: system", () => checkSystem(tests));
  // Compilers beside downloads: neither has a use for what the other one waits for.
  await together(setUpCompilers(tests), setUpPackages(tests));
}

async function setUpCompilers(tests) {
  await step("set-up: wasm target", addWasmTarget);
  if (!tests) return;
  await step("set-up: wasm-bindgen", () => buildBindgen({ tests }));
  await step("set-up: wasm-pack", installWasmPack);
  rmSync(toolTarget, { recursive: true, force: true });
}

async function setUpPackages(tests) {
  await step("set-up: npm packages", installNpmPackages);
  if (!tests) return;
  await step("set-up: browser", () => installDebian(browserPackages, ["chromium", "chromedriver"]));
  await step("set-up: s3 server", () => installDebian(s3Packages, ["ceph-mon", "ceph-osd", "radosgw"]));
  await step("set-up: python venv", makeVenv);
}

async function checkSystem(tests) {
  const [major] = process.versions.node.split(".").map(Number);
  if (major < 20) throw new Error(`Node ${process.versions.node} is too old: install Node 20 or newer`);
  if (!(await works("cargo")) || !(await works("rustup"))) {
    throw new Error("cargo or rustup is missing: install rustup from https://rustup.rs");
  }
  if (!(await works("cc"))) await aptInstall("a C compiler (cc)", ["gcc", "libc6-dev"]);
  if (tests && !(await works("python3"))) await aptInstall("python3", ["python3", "python3-venv"]);
}

/** Debian packages, unless the programs they bring are there. */
export async function installDebian(packages, programs) {
  const missing = [];
  for (const program of programs) if (!(await works(program))) missing.push(program);
  if (missing.length === 0) return "present";
  await aptInstall(missing.join(", "), packages);
  return "installed";
}

/** Installs Debian packages if we may, or says what is missing. Services they bring are not started. */
async function aptInstall(what, packages) {
  const remedy = `apt-get install --no-install-recommends ${packages.join(" ")}`;
  if (process.getuid?.() !== 0 || !(await works("apt-get"))) throw new Error(`${what} is missing: ${remedy}`);
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const policy = "/usr/sbin/policy-rc.d";
  const ours = !existsSync(policy);
  if (ours) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    await run("apt-get", ["update", "-q"], { quiet: true, env });
    await run("apt-get", ["install", "-q", "-y", "--no-install-recommends", ...packages], {
      quiet: true,
      env,
    });
  } finally {
    if (ours) rmSync(policy, { force: true });
  }
}

async function addWasmTarget() {
  const installed = await run("rustup", ["target", "list", "--installed"], { quiet: true });
  if (installed.includes("wasm32-unknown-unknown")) return "present";
  await run("rustup", ["target", "add", "wasm32-unknown-unknown"]);
  return "added";
}

/** Of wasm-bindgen what packages the engine, and for tests the runner and what wasm-pack wants to find beside it. */
export async function buildBindgen({ tests = false } = {}) {
  const names = tests ? ["package", "wasm-bindgen", "wasm-bindgen-test-runner"] : ["package"];
  if (names.every((name) => existsSync(join(toolBin, name)))) return "present";
  const manifest = ["--manifest-path", join("scripts", "bindgen", "Cargo.toml")];
  const options = ["--release", "--locked", ...manifest, ...(tests ? ["--features", "tests"] : [])];
  await compile("wasm-bindgen", ["build", ...options], { env: { CARGO_TARGET_DIR: toolTarget } });
  mkdirSync(toolBin, { recursive: true });
  for (const name of names) {
    const fresh = join(toolBin, `${name}-${process.pid}`);
    copyFileSync(join(toolTarget, "release", name), fresh);
    chmodSync(fresh, 0o755);
    renameSync(fresh, join(toolBin, name));
  }
  return "made";
}

/** From source: its npm package downloads a binary from elsewhere. */
async function installWasmPack() {
  if (existsSync(join(wasmPackBin, "wasm-pack"))) return "present";
  await installCrate("wasm-pack", wasmPackVersion, join(wasmPackBin, ".."));
  return "installed";
}

/**
 * `cargo install`, without --locked: locks of theirs name what is not to be had. They only start others, so that time
 * spent on making them fast is never won back.
 */
export async function installCrate(name, version, prefix) {
  const options = ["--version", version, "--root", prefix, "--target-dir", toolTarget];
  const env = { CARGO_PROFILE_RELEASE_OPT_LEVEL: "0", CARGO_PROFILE_RELEASE_LTO: "off" };
  await compile(name, ["install", name, ...options], { env });
}

async function installNpmPackages() {
  const stamp = join(root, "node_modules", ".lakeshore-stamp");
  const wanted = digest(["package-lock.json"], process.versions.node);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return "present";
  await run("npm", ["ci", "--no-audit", "--no-fund"], { quiet: true });
  writeFileSync(stamp, wanted);
  return "installed";
}

async function makeVenv() {
  const stamp = join(venv, "lakeshore-stamp");
  const wanted = pythonPackages.join(" ");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted && (await works(python))) return "present";
  rmSync(venv, { recursive: true, force: true });
  try {
    await run("python3", ["-m", "venv", venv], { quiet: true });
  } catch {
    await aptInstall("python3's venv module", ["python3-venv"]);
    await run("python3", ["-m", "venv", venv], { quiet: true });
  }
  const options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"];
  await run(python, ["-m", "pip", "install", ...options, ...pythonPackages], { quiet: true });
  writeFileSync(stamp, wanted);
  return "made";
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await setup({ tests: !process.argv.includes("--no-python") });
  console.log(`export PATH="${toolBin}:${wasmPackBin}:$PATH"   # wasm-bindgen's tools and wasm-pack`);
}
