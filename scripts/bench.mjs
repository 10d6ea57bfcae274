// `npm run bench`: measures, never fails a test. Natively against tonbo, the package in Node, the package in Chromium.
// ROWS, READS and ROUNDS change the size; ENGINES=lakeshore leaves the rival out.
// SMALL=1 makes a run of seconds, which shows that it can be run: it measures nothing, and of the native rival it only
// checks the lock.
//   node scripts/bench.mjs             natively and in Node
//   node scripts/bench.mjs native      lakeshore against tonbo
//   node scripts/bench.mjs node        the package in Node
//   node scripts/bench.mjs browser     the package in headless Chromium (`npm run bench:browser`)

import { join } from "node:path";
import { build } from "./build.mjs";
import { compile } from "./cargo.mjs";
import { cache, root, run } from "./lib.mjs";
import { installDebian, setup } from "./setup.mjs";

const only = process.argv[2];
const lastLine = (output) => output.trim().split("\n").at(-1);
const lines = [];

await setup({ tests: false });
if (!only || only === "native") lines.push(lastLine(await native()));
if (!only || only === "node") lines.push(lastLine(await packaged("node")));
if (only === "browser") {
  await installDebian(["chromium"], ["chromium"]);
  lines.push(lastLine(await packaged("browser")));
}
console.log(`[${lines.join(",")}]`);

async function packaged(where) {
  await build();
  return run(process.execPath, [join("bench", where, "bench.mjs")]);
}

/** The rivals' manifest and target directory are their own: they are never dependencies of the product. */
async function native() {
  const manifest = ["--manifest-path", join(root, "bench", "native", "Cargo.toml")];
  // In the crate's own target directory its library would be replaced by one of other dependencies.
  const env = { CARGO_TARGET_DIR: join(cache, "target-bench") };
  if (process.env.SMALL) {
    await run("cargo", ["metadata", "--locked", "--format-version", "1", ...manifest], { quiet: true });
    return run("cargo", ["run", "-q", "--locked", "--no-default-features", ...manifest], { env });
  }
  await compile("bench", ["build", "--release", "--locked", ...manifest], { env });
  return run(join(env.CARGO_TARGET_DIR, "release", "lakeshore-bench"), [], { env });
}
