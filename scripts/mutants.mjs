// Shows that the simulation can fail: rules of PROTOCOL are switched off in a copy of the engine, one
// at a time, and the checker has to notice within 500 seeds.
//   node scripts/mutants.mjs [WORD]      the mutants whose name has WORD
//   node scripts/mutants.mjs --check     only whether the patches still fit, in a second
// All patches go into one copy, each behind a switch that `MUTANT=name` turns on, so that it takes one
// build. A patch that no longer fits exactly once is an error: bring it up to date with the rule.

import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { spawn } from "node:child_process";
import { cache, root } from "./lib.mjs";
import { mutants } from "./mutants/list.mjs";

const seeds = Number(process.env.SEEDS ?? 500);
const first = Number(process.env.FIRST ?? 1);
const tree = join(cache, "mutants");
const word = process.argv[2] ?? "";

/** What the patches ask. It is only ever in the copy. */
const switches = `
/// Which rule is switched off.
pub mod mutants {
    use std::sync::OnceLock;

    static NAME: OnceLock<String> = OnceLock::new();

    /// Whether that is this one.
    pub fn on(name: &str) -> bool {
        NAME.get_or_init(|| std::env::var("MUTANT").unwrap_or_default()) == name
    }
}
`;

function copyTree() {
  mkdirSync(tree, { recursive: true });
  for (const part of ["src", "tests", "Cargo.toml", "Cargo.lock", "README.md"]) {
    rmSync(join(tree, part), { recursive: true, force: true });
    cpSync(join(root, part), join(tree, part), { recursive: true, preserveTimestamps: true });
  }
}

function patch() {
  const texts = new Map();
  const wrong = [];
  for (const { name, patches } of mutants) {
    for (const [file, search, replace] of patches) {
      const path = join(tree, "src", file);
      const text = texts.get(path) ?? readFileSync(path, "utf8");
      const found = readFileSync(join(root, "src", file), "utf8").split(search).length - 1;
      if (found !== 1)
        wrong.push(`mutant ${name}: its patch fits ${found} times into src/${file}:\n${search}`);
      else if (!text.includes(search))
        wrong.push(`mutant ${name}: another one changed its place in src/${file}`);
      texts.set(
        path,
        text.replace(search, () => replace),
      );
    }
  }
  if (wrong.length > 0) throw new Error(wrong.join("\n"));
  for (const [path, text] of texts) writeFileSync(path, text);
  const lib = join(tree, "src/lib.rs");
  writeFileSync(lib, readFileSync(lib, "utf8") + switches);
}

function cargo(args, env, show) {
  const child = spawn("cargo", args, {
    cwd: tree,
    env: { ...process.env, CARGO_TARGET_DIR: join(cache, "target-mutants"), ...env },
    stdio: ["ignore", "pipe", show ? "inherit" : "pipe"],
  });
  let output = "";
  child.stdout.on("data", (data) => (output += data));
  child.stderr?.on("data", (data) => (output += data));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}

function simulate(name) {
  const args = ["test", "-q", "--test", "sim", "random_schedules", "--", "--nocapture"];
  const env = {
    MUTANT: name,
    SEEDS: String(seeds),
    FIRST: String(first),
    RUST_BACKTRACE: "0",
    SEED: undefined,
  };
  return cargo(args, env, false);
}

copyTree();
patch();
if (word === "--check") {
  console.log(`${mutants.flatMap(({ patches }) => patches).length} patches fit`);
  process.exit();
}
console.log(`building ${mutants.length} mutants in ${tree}`);
const built = await cargo(["test", "-q", "--test", "sim", "--no-run"], {}, true);
if (built.code !== 0) throw new Error("the mutants do not compile");
const control = await simulate("none");
if (control.code !== 0) throw new Error(`without a mutant the simulation fails:\n${control.output}`);

let survivors = 0;
console.log(`rule  mutant                 caught by seed  what was noticed`);
for (const { name, rule } of mutants.filter((mutant) => mutant.name.includes(word))) {
  const { code, output } = await simulate(name);
  const caught = /SEED=(\d+) \(number (\d+) of this run\): (.*)/.exec(output);
  if (code === 0 || !caught) survivors += 1;
  const what = caught
    ? `${caught[1].padStart(14)}  ${caught[3].slice(0, 90)}`
    : `${"NEVER".padStart(14)}  in ${seeds} seeds`;
  console.log(`${rule.padEnd(4)}  ${name.padEnd(22)} ${what}`);
}
console.log(`${survivors} of the mutants survived`);
process.exitCode = survivors ? 1 : 0;
