// Cargo for those who wait: of what it prints they see one line, and all of it if it fails.

import { spawn } from "node:child_process";
import { environment, root } from "./lib.mjs";

/** How often a line is printed where none can be overwritten. */
const sparse = 30_000;

/** Runs cargo; `what` begins its line of progress. Gives what it printed, without the progress. */
export function compile(what, args, { env = {}, cwd = root } = {}) {
  const progress = { CARGO_TERM_PROGRESS_WHEN: "always", CARGO_TERM_PROGRESS_WIDTH: "100" };
  return new Promise((resolve, reject) => {
    const child = spawn("cargo", args, {
      cwd,
      env: environment({ ...progress, CARGO_TERM_COLOR: "never", ...env }),
      stdio: ["ignore", "pipe", "pipe"],
    });
    const output = [];
    const line = progressLine(what);
    child.stdout.on("data", (chunk) => output.push(chunk));
    child.stderr.on("data", (chunk) => {
      output.push(chunk);
      line.show(String(chunk));
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      line.end();
      const said = withoutProgress(Buffer.concat(output).toString());
      if (code === 0) return resolve(said);
      process.stderr.write(said);
      reject(new Error(`cargo ${args.join(" ")}: ${signal ?? `exit code ${code}`}`));
    });
  });
}

/** What cargo would leave on a terminal: it ends what it overwrites with a carriage return. */
export function withoutProgress(output) {
  return output
    .split("\n")
    .map((line) => line.slice(line.lastIndexOf("\r") + 1).trimEnd())
    .filter((line) => !/^ +Building \[/.test(line))
    .join("\n");
}

/** How far cargo is: `87/142 arrow-cast`, or undefined where a piece of its output does not tell. */
export function position(chunk) {
  const [, count, names] = [...chunk.matchAll(/\] (\d+\/\d+)(?:: ([^\r\n]*))?/g)].at(-1) ?? [];
  return count && [count, names?.split(/[,( ]/)[0]].filter(Boolean).join(" ");
}

function progressLine(what) {
  const terminal = process.stdout.isTTY;
  let shown = performance.now();
  return {
    show(chunk) {
      const now = position(chunk);
      if (now === undefined) return;
      if (terminal) process.stdout.write(`\r\x1b[K${what}: compiling ${now} …`);
      else if (performance.now() - shown > sparse) {
        shown = performance.now();
        console.log(`${what}: compiling ${now} …`);
      }
    },
    end: () => void (terminal && process.stdout.write("\r\x1b[K")),
  };
}
