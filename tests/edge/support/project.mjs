// A project of a user: a folder that has the package installed from its tarball, offline, and the files a test gives it.

import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { root } from "../../../scripts/lib.mjs";

export const compatibilityDate = "2026-04-01";
const execute = promisify(execFile);
const always = ["support/batches.mjs", "support/codec.mjs"];
const temporary = [];
process.on("exit", () => {
  for (const dir of temporary) rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
});
let tarball;

/**
 * Makes a project; it is removed when the process ends, after whatever runs in it. `actions` are names of files in
 * tests/edge/actions.
 */
export async function project(files = {}, actions = []) {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), "lakeshore-project-")));
  temporary.push(dir);
  const description = { name: "user", private: true, type: "module" };
  for (const [name, content] of Object.entries({ "package.json": JSON.stringify(description), ...files })) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), content);
  }
  for (const name of [...always, ...actions.map((name) => join("edge", "actions", name))]) {
    cpSync(join(root, "tests", name), join(dir, name.split("/").at(-1)));
  }
  const options = ["--offline", "--no-audit", "--no-fund", "--ignore-scripts"];
  await execute("npm", ["install", ...options, await pack()], { cwd: dir });
  return dir;
}

/** A project that is a copy of one in `examples/`. Its dev-dependencies must be ours: those are what runs. */
export async function example(name, more = {}) {
  const folder = join(root, "examples", name);
  const listed = ["ls-files", "--cached", "--others", "--exclude-standard"];
  const { stdout } = await execute("git", listed, { cwd: folder });
  const paths = stdout.trim().split("\n");
  const files = Object.fromEntries(paths.map((path) => [path, readFileSync(join(folder, path), "utf8")]));
  const { devDependencies = {}, ...description } = JSON.parse(files["package.json"]);
  const ours = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).devDependencies;
  for (const [tool, version] of Object.entries(devDependencies)) {
    if (ours[tool] !== version)
      throw new Error(`examples/${name} has ${tool} ${version}, we have ${ours[tool]}`);
  }
  return project({ ...files, "package.json": JSON.stringify(description), ...more });
}

/** The tarball that `npm pack` makes of what is built, once per process. */
function pack() {
  tarball ??= packOnce();
  return tarball;
}

async function packOnce() {
  const dir = mkdtempSync(join(tmpdir(), "lakeshore-pack-"));
  temporary.push(dir);
  const { stdout } = await execute("npm", ["pack", "--silent", "--pack-destination", dir], { cwd: root });
  return join(dir, stdout.trim().split("\n").at(-1));
}

/** A program of our dev-dependencies. */
export const tool = (name) => join(root, "node_modules", ".bin", name);

/** What is made before the tests of a suite and ends after them: `t` for helpers that want `t.after`. */
export function lasting() {
  const ends = [];
  return {
    after: (end) => void ends.unshift(end),
    async end() {
      for (const end of ends) await end();
    },
  };
}
