// What the scripts share: where the cache is, running programs, timing steps. Node's own modules only:
// these scripts run before `npm ci`.

import { AsyncLocalStorage } from "node:async_hooks";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");
export const cache = process.env.LAKESHORE_CACHE || join(homedir(), ".cache", "lakeshore");
export const wasmPackVersion = "0.15.1";
export const wasmPackBin = join(cache, "tools", `wasm-pack-${wasmPackVersion}`, "bin");
/** wasm-bindgen's programs, made of what scripts/bindgen says. */
export const bindgenInputs = ["Cargo.toml", "Cargo.lock", "src"].map((name) =>
  join("scripts", "bindgen", name),
);
export const toolBin = join(cache, "tools", `bindgen-${digest(bindgenInputs)}`, "bin");
export const venv = join(cache, "venv");
export const python = join(venv, "bin", "python");

/** The environment of every program we start: one target directory, pinned tools first, reproducible builds. */
export function environment(extra = {}) {
  return {
    ...process.env,
    CARGO_TARGET_DIR: process.env.CARGO_TARGET_DIR || join(cache, "target"),
    CARGO_TERM_COLOR: process.env.CARGO_TERM_COLOR || "never",
    CONST_RANDOM_SEED: "lakeshore",
    PATH: [toolBin, wasmPackBin, join(homedir(), ".cargo", "bin"), process.env.PATH].join(delimiter),
    ...extra,
  };
}

const lanes = new AsyncLocalStorage();

/** Where what happens now is shown: at once, or, in one of several lanes, when its step ends. */
const screen = () => lanes.getStore() ?? process.stdout;

/** Runs actions at the same time; what each step of them prints stays in one piece. Fails after the last has ended. */
export function beside(...actions) {
  const inLane = (action) => {
    const held = [];
    const flush = () => void process.stdout.write(held.splice(0).join(""));
    return lanes.run({ write: (text) => void held.push(text), flush }, action).finally(flush);
  };
  return together(...actions.map(inLane));
}

/** Runs a program, shows what it prints, and resolves to it; rejects if it fails. */
export function run(command, args, { env = {}, quiet = false, cwd = root } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: environment(env), stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const [out, err] = lanes.getStore() ? [screen(), screen()] : [process.stdout, process.stderr];
    const take = (stream) => (chunk) => {
      output += chunk;
      if (!quiet) stream.write(String(chunk));
    };
    child.stdout.on("data", take(out));
    child.stderr.on("data", take(err));
    child.on("error", (error) => reject(Object.assign(error, { output })));
    child.on("close", (code, signal) => {
      if (code === 0) return resolve(output);
      if (quiet) err.write(output);
      const line = [command, ...args].join(" ");
      reject(Object.assign(new Error(`${line}: ${signal ?? `exit code ${code}`}`), { output }));
    });
  });
}

/** Whether a program can be started at all. */
export async function works(command, args = ["--version"]) {
  try {
    await new Promise((resolve, reject) => {
      const child = spawn(command, args, { env: environment(), stdio: "ignore" });
      child.on("error", reject);
      child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`exit code ${code}`))));
    });
    return true;
  } catch {
    return false;
  }
}

/** Waits for all of them, then fails with the first that failed: nothing goes on behind a failure's back. */
export async function together(...promises) {
  const ended = await Promise.allSettled(promises);
  for (const { status, reason } of ended) if (status === "rejected") throw reason;
  return ended.map(({ value }) => value);
}

/** Runs a step and prints its name and seconds. */
export async function step(name, action) {
  const start = performance.now();
  const say = (text) => {
    screen().write(`# ${name}: ${text} ${((performance.now() - start) / 1000).toFixed(1)} s\n`);
    lanes.getStore()?.flush();
  };
  try {
    const result = await action();
    say(typeof result === "string" && result && !result.includes("\n") ? `${result},` : "took");
    return result;
  } catch (error) {
    say("FAILED after");
    throw error;
  }
}

/** All files under `path` (a file or a folder), sorted. */
export function files(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  const names = readdirSync(path).sort();
  return names.flatMap((name) => files(join(path, name)));
}

/** A digest of the contents and names of files and folders, relative to the repository. */
export function digest(paths, ...extra) {
  const hash = createHash("sha256");
  for (const path of paths.flatMap((p) => files(join(root, p)))) {
    hash
      .update(`${relative(root, path)}\0`)
      .update(readFileSync(path))
      .update("\0");
  }
  for (const text of extra) hash.update(text).update("\0");
  return hash.digest("hex").slice(0, 24);
}
