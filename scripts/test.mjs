// All checks, in order; stops at the first failure. Last line: `N passed, N failed`.
//   node scripts/test.mjs                 what CI runs
//   node scripts/test.mjs --long          randomised tests run for longer
//   node scripts/test.mjs --only=WORD     the steps whose name has WORD (set-up always runs, build and servers where one of them needs these)
//   node scripts/test.mjs --from=WORD     the steps from the first whose name has WORD on, as after a failure
//   node scripts/test.mjs --keep-going    the steps after a failure, too
//   node scripts/test.mjs --list          the names of the steps that would be run

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { holdBudget } from "./budget.mjs";
import { build } from "./build.mjs";
import { beside, root, run, step, toolBin } from "./lib.mjs";
import { startTestServers } from "./s3-server.mjs";
import { testBrowser } from "./test-browser.mjs";
import { setup } from "./setup.mjs";

const description = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const wasmTarget = "wasm32-unknown-unknown";
const long = process.argv.includes("--long");
const keepGoing = process.argv.includes("--keep-going");
const argument = (name) => process.argv.find((a) => a.startsWith(`--${name}=`))?.slice(name.length + 3) ?? "";
const [only, from] = [argument("only"), argument("from")];
const env = long ? { LAKESHORE_TEST_LONG: "1", TEST_SECONDS: process.env.TEST_SECONDS ?? "60" } : {};
/** A real S3 server and fault proxies, from the first step that wants them; `env` tells tests where they are. */
let servers;
const npx = (tool, ...args) => run(process.execPath, [`node_modules/${tool}`, ...args]);
const cargo = (...args) => run("cargo", args, { env });
const testsIn = (folder) =>
  readdirSync(join(root, "tests", folder))
    .filter((name) => name.endsWith(".test.mjs"))
    .map((name) => join("tests", folder, name));
/** Files of two at a time: each of them waits for its browser, servers and processes more than it works. */
const nodeTest = (folder, ...options) =>
  run(process.execPath, ["--test", "--test-concurrency=2", ...options, ...testsIn(folder)], { env });
const tsc = (project) => npx("typescript/bin/tsc", "-p", `${project}/tsconfig.json`);

const formats = [
  ["rust format", () => rustFormat()],
  ["typescript format", () => npx("prettier/bin/prettier.cjs", "--check", ...formatted)],
];
const clippy = [
  ["clippy native", () => cargo("clippy", "-q", "--all-targets", "--", "-D", "warnings")],
  ["clippy wasm32", () => clippyWasm()],
  ["clippy wasm32 js", () => clippyWasm("--test", "wasm*", "--features", "js")],
];
const making = [
  ["build", () => build()],
  ["budget of bytes", () => holdBudget()],
];
const rust = [
  ["rust tests", () => cargo("test", "-q", "--no-fail-fast", "--", "--show-output"), countRust],
  [
    "rust tests that stop the s3 server",
    () => cargo("test", "-q", "--test", "s3", "--", "--ignored"),
    countRust,
  ],
];
const simulation = [
  ["simulation", () => simulate(), countRust],
  ["mutants of the simulation", () => mutants()],
];
const node = [
  ["typescript", () => tsc("tests/node")],
  ["typescript in a page", () => tsc("tests/browser")],
  ["typescript in the demo page", () => tsc("www")],
  ["node tests", () => nodeTest("node"), countNode],
];
const wasm = [
  ["rust tests on wasm32", () => testWasm(), countRust],
  ["wasm-pack in Chrome", () => testBrowser("chrome", env), countRust],
];
const packaged = [
  ["browser tests", () => nodeTest("browser", "--test-timeout=400000"), countNode],
  ["rust example", () => rustExample()],
  // What bounds a test bounds its file, too: 1,000 commits take minutes.
  ["edge tests", () => nodeTest("edge", `--test-timeout=${long ? 900_000 : 400_000}`), countNode],
  ["commands", () => run(process.execPath, ["--test", ...testsIn("commands")], { env }), countNode],
];

/** One after the other; those in a list of lists at the same time. */
const steps = [
  ...formats,
  // The linker of the release build has one thread for minutes.
  [clippy, making],
  ["s3 server", () => startServers()],
  ...rust,
  // One thread, and virtual time: the other core is free.
  [simulation, node],
  ...wasm,
  ...packaged,
];
/** Steps that later ones need, unless only these are asked for. */
const needed = new Set(["build", "s3 server"]);
const needNothing = new Set([...formats, ...clippy].map(([name]) => name));
/** What `npm run format` formats. */
const formatted = description.scripts.format.split(" ").slice(2);

async function startServers() {
  servers = await startTestServers();
  Object.assign(env, servers.environment);
}

/** Crates of examples/ are no part of ours. */
const exampleManifest = ["--manifest-path", join("examples", "rust-wasm", "Cargo.toml")];

async function rustFormat() {
  await cargo("fmt", "--check");
  await cargo("fmt", "--check", ...exampleManifest);
}

/** tests/edge/examples.test.mjs runs it. */
async function rustExample() {
  const options = ["-q", "--locked", "--target", wasmTarget, ...exampleManifest];
  await cargo("clippy", ...options, "--", "-D", "warnings");
  await cargo("build", ...options);
}

/** The crate as it is used without its door, and with it. */
function clippyWasm(...options) {
  return cargo("clippy", "-q", "--lib", ...options, "--target", wasmTarget, "--", "-D", "warnings");
}

/**
 * Four minutes of seeds, or many; the lines of the run say how many. Each commit has seeds of its own, so that the
 * same commit gets the same verdict again, and a failure can be found by bisection.
 */
async function simulate() {
  const much = long
    ? { SEEDS: process.env.SEEDS ?? "20000" }
    : { TEST_SECONDS: process.env.TEST_SECONDS ?? "240" };
  if (!process.env.FIRST) Object.assign(much, await seedsOfCommit());
  const args = ["test", "-q", "--test", "sim", "random_schedules", "--", "--nocapture"];
  return run("cargo", args, { env: { ...env, ...much } });
}

/** The first seed for this commit; none where there is no repository: then the clock decides. */
async function seedsOfCommit() {
  const id = await run("git", ["rev-parse", "HEAD"], { quiet: true }).catch(() => "");
  return id ? { FIRST: String(parseInt(id.slice(0, 8), 16) % 1_000_000_000) } : {};
}

/** Whether the simulation notices when a rule is switched off: minutes, so only in long runs. */
async function mutants() {
  if (long) await run(process.execPath, ["scripts/mutants.mjs"], { env: { SEEDS: "500", FIRST: "1" } });
}

function testWasm() {
  const runner = { CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER: join(toolBin, "wasm-bindgen-test-runner") };
  const args = ["test", "--target", wasmTarget, "--features", "js", "--test", "wasm*"];
  // Those for browsers have a step of their own.
  return run("cargo", args, { env: { ...env, ...runner, WASM_BINDGEN_TEST_ONLY_NODE: "1" } });
}

/** Sums `test result: ok. 3 passed; 0 failed` lines. */
function countRust(output) {
  return sum(output, /(\d+) passed;/g);
}

/** Sums `# pass 3` lines (TAP) or `ℹ pass 3` (spec). */
function countNode(output) {
  return sum(output, /^(?:#|ℹ) pass (\d+)$/gm);
}

function sum(output, pattern) {
  return [...output.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);
}

let passed = 0;
let failed = 0;

/** The names of the steps that are to be run. */
function asked() {
  const names = steps
    .flatMap((one) => (typeof one[0] === "string" ? [one] : one.flat()))
    .map(([name]) => name);
  const first = names.findIndex((name) => name.includes(from));
  const chosen = new Set(names.filter((name, at) => first >= 0 && at >= first && name.includes(only)));
  const needs = [...chosen].some((name) => !needNothing.has(name));
  return names.filter((name) => chosen.has(name) || (needs && needed.has(name)));
}

async function runSteps(steps) {
  for (const [name, action, count] of steps) {
    try {
      let output;
      await step(name, async () => (output = await action()));
      passed += count ? count(String(output)) : 1;
    } catch (error) {
      if (!keepGoing) throw error;
      console.error(error.message);
      failed += 1;
    }
  }
}

const flags = /^--(?:long|keep-going|list|only=.+|from=.+)$/;

async function main() {
  const unknown = process.argv.slice(2).filter((argument) => !flags.test(argument));
  const names = asked();
  // A word that no step has is mistyped: nothing would be run, and nothing fail.
  if (unknown.length > 0 || names.length === 0) {
    console.error(
      `${unknown.join(" ") || "--only, --from"}: there is no such option, or no such step (--list)`,
    );
    return void (process.exitCode = 2);
  }
  if (process.argv.includes("--list")) return console.log(names.join("\n"));
  const chosen = (steps) => steps.filter(([name]) => names.includes(name));
  try {
    await setup();
    for (const one of steps) {
      if (typeof one[0] === "string") await runSteps(chosen([one]));
      else await beside(...one.map((lane) => () => runSteps(chosen(lane))));
    }
  } catch (error) {
    failed += 1;
    console.error(error.message);
  } finally {
    await servers?.stop();
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}

await main();
