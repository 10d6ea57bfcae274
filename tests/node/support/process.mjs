// A restart is a new process: runs a function of ./actions.mjs in one.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const runner = fileURLToPath(new URL("run.mjs", import.meta.url));

/** A directory that is removed after the test. */
export function temporary(t) {
  const path = mkdtempSync(join(tmpdir(), "lakeshore-test-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Starts `action(args)` in a new process. */
export function start(action, args, { onLine } = {}) {
  const child = spawn(process.execPath, [runner, action, encode(args)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = [];
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop();
    for (const line of parts) {
      lines.push(line);
      onLine?.(line, child);
    }
  });
  // What stands after the last newline was cut off by a kill: it was never said.
  const ended = new Promise((resolve) =>
    child.on("close", (code, signal) => resolve({ code, signal, lines })),
  );
  return { child, ended };
}

/** Runs `action(args)` in a new process and gives what it returned. */
export async function inNewProcess(action, args) {
  const { code, signal, lines } = await start(action, args).ended;
  if (code !== 0) throw new Error(`${action} ended with ${signal ?? code}: ${lines.join("\n")}`);
  return decode(lines.at(-1));
}

/** JSON with bigints. */
export function encode(value) {
  return JSON.stringify(value, (_, v) => (typeof v === "bigint" ? `bigint:${v}` : v)) ?? "null";
}

export function decode(text) {
  return JSON.parse(text, (_, v) =>
    typeof v === "string" && v.startsWith("bigint:") ? BigInt(v.slice(7)) : v,
  );
}

/** A seeded generator of numbers from 0 to 1; the seed is printed, `SEED=` replays. */
export function random(seed = Number(process.env.SEED ?? Date.now() % 1e9)) {
  console.log(`SEED=${seed}`);
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
