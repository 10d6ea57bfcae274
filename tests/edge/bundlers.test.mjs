// The package from its tarball by each bundler that README names, as it says there: built, served under a policy that
// allows no more than WebAssembly, and used in Chromium, twice, so that a second page finds what the first one wrote.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { files } from "../../scripts/lib.mjs";
import { visit } from "./support/page.mjs";
import { project, tool } from "./support/project.mjs";
import { readBlocks } from "./support/readme.mjs";
import { serveFolder } from "./support/static.mjs";
import { viteDev } from "./support/vite.mjs";

const execute = promisify(execFile);
const blocks = readBlocks();
const policy =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";
const page = (script) =>
  `<!doctype html><meta charset="utf-8"><title>user</title><script type="module" src="${script}"></script>`;
const app = blocks.get("Browsers: js");

/** A project with README's page, and its steps for those that leave addresses alone. */
const found = (more = {}) => project({ "index.html": page("app.js"), "app.js": app, ...more });
const placed = (more = {}) => found({ "app.js": `${blocks.get("Browsers: js 3")}\n${app}`, ...more });

/** The page counts its notes, one more with each load; its engine is in a worker. */
async function counts(t, url) {
  const { page, until } = await visit(t, url);
  for (const notes of [1, 2]) {
    await until((wanted) => document.body?.textContent === wanted, `${notes} notes`);
    assert.equal(page.workers().length, 1);
    await page.reload();
  }
}

/** What a build made is served alone, and has the module once, as a file of its own. */
async function built(t, dir, { index = false, headers = { "content-security-policy": policy } } = {}) {
  const dist = join(dir, "dist");
  if (index) copyFileSync(join(dir, "index.html"), join(dist, "index.html"));
  const all = files(dist);
  const modules = all.filter((path) => path.endsWith(".wasm"));
  assert.equal(modules.length, 1, modules.join(" "));
  for (const path of all) if (path.endsWith(".js")) assert.ok(statSync(path).size < 800_000, path);
  await counts(t, await serveFolder(t, dist, headers));
}

const run = (dir, name, ...args) =>
  execute(tool(name), args, { cwd: dir, env: { ...process.env, NO_COLOR: "1" } }).catch((error) => {
    throw new Error(`${error.stdout}\n${error.stderr}`);
  });

test("Vite, built", async (t) => {
  const dir = await found();
  await run(dir, "vite", "build", "--logLevel", "warn");
  await built(t, dir);
});

test("Vite's development server", async (t) => {
  const dir = await found({ "vite.config.js": blocks.get("Browsers: js 2") });
  await counts(t, await viteDev(t, dir));
});

test("webpack, without a configuration of ours", async (t) => {
  const dir = await found();
  const options = ["--entry", "./app.js", "--output-path", "dist", "--output-filename", "app.js"];
  await run(dir, "webpack", "build", "--mode", "production", ...options);
  await built(t, dir, { index: true });
});

test("Parcel, without a configuration of ours", async (t) => {
  const dir = await found();
  await run(dir, "parcel", "build", "index.html", "--no-cache", "--no-source-maps", "--dist-dir", "dist");
  // Its own import map is an inline script, which the policy does not allow.
  await built(t, dir, { headers: {} });
});

test("esbuild, as README says", async (t) => {
  const dir = await placed();
  const [bundle, copy] = blocks.get("Browsers: sh").trim().split("\n");
  const [npx, name, ...args] = bundle.split(" ");
  assert.equal(npx, "npx");
  await run(dir, name, ...args);
  await execute("sh", ["-c", copy], { cwd: dir });
  await built(t, dir, { index: true });
});

test("Rollup, with the same two entries and the same file", async (t) => {
  const entries = '{ app: "app.js", worker: "lakeshore/worker" }';
  const dir = await placed({
    "rollup.config.mjs": `
import resolve from ${JSON.stringify(import.meta.resolve("@rollup/plugin-node-resolve"))};
export default { input: ${entries}, output: { dir: "dist" }, plugins: [resolve({ browser: true })] };
`,
  });
  await run(dir, "rollup", "--config", "--silent");
  assert.ok(existsSync(join(dir, "dist", "worker.js")));
  await execute("sh", ["-c", blocks.get("Browsers: sh").trim().split("\n")[1]], { cwd: dir });
  await built(t, dir, { index: true });
});
