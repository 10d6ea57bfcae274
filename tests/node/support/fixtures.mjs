// Arrow IPC that others wrote: made once per test process by the venv's Python.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { python } from "../../../scripts/lib.mjs";

let folder;

/** The bytes of a fixture by name (fixtures.py). */
export function fixture(name) {
  folder ??= make();
  return new Uint8Array(readFileSync(join(folder, name)));
}

/** Runs Python with the test venv; gives what it printed. */
export function runPython(...args) {
  if (!existsSync(python)) throw new Error("the test venv is missing: npm run setup");
  const { status, stdout, stderr } = spawnSync(python, args, { encoding: "utf8", maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`python: ${stderr}`);
  return stdout;
}

function make() {
  const made = mkdtempSync(join(tmpdir(), "lakeshore-fixtures-"));
  process.on("exit", () => rmSync(made, { recursive: true, force: true }));
  runPython(fileURLToPath(new URL("fixtures.py", import.meta.url)), made);
  return made;
}

/** The table the fixtures fit. */
export const fixtureTable = {
  schema: { id: "int64", name: "utf8", at: "timestamp[us]", tags: "list<utf8>", score: "float64" },
  primaryKey: ["id"],
};
