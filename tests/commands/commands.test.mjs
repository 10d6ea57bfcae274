// What is offered is run: every command of README.md, CONTRIBUTING.md and package.json, as its reader would type it, the
// long ones in a small form (`SMALL=1`, or the variables and options that they take). Two are only looked after: what a
// browser or a package manager of somebody else's is needed for is named here with the test that does the same.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { environment, root } from "../../scripts/lib.mjs";
import { commandsIn, offered } from "./offered.mjs";

const covered = new Set();
/** A command does not know that a test runs it. */
const outside = { NODE_TEST_CONTEXT: undefined };
const lastLine = (output) => output.trim().split("\n").at(-1);

/** A command that is run here: `action` is given what runs it, with some more words and variables, and its output. */
function command(name, action) {
  covered.add(name);
  test(name, { timeout: 900_000 }, (t) =>
    action((more = "", env = {}) => finish(t, `${name}${more}`, env), t),
  );
}

/** A command that another test runs: `where` has `what` in it. */
function elsewhere(name, where, what) {
  covered.add(name);
  test(`${name}, in ${where}`, () => assert.ok(readFileSync(join(root, where), "utf8").includes(what), what));
}

/** Starts it by a shell, as its reader does, in a group of its own. */
function start(t, line, env) {
  const child = spawn(line, {
    cwd: root,
    shell: true,
    detached: true,
    env: environment({ ...outside, ...env }),
  });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const signal = (name) => {
    try {
      process.kill(-child.pid, name);
    } catch {
      // It has ended.
    }
  };
  t.after(async () => (signal("SIGTERM"), await ended, signal("SIGKILL")));
  const output = { text: "" };
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output.text += chunk));
  return { ended, output, signal };
}

async function finish(t, line, env) {
  const { ended, output } = start(t, line, env);
  assert.equal(await ended, 0, output.text);
  return output.text;
}

/** Waits for what a command says that stays. */
async function says(t, line, pattern, env = {}) {
  const { ended, output, signal } = start(t, line, env);
  let over = false;
  void ended.then(() => (over = true));
  while (!pattern.test(output.text)) {
    assert.ok(!over, output.text);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { found: output.text.match(pattern), end: async () => (signal("SIGINT"), await ended) };
}

const temporary = (t) => {
  const dir = mkdtempSync(join(tmpdir(), "lakeshore-commands-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
};

command("npm run setup", async (run) => assert.match(await run(), /set-up: python venv: present/));
command("npm run build", async (run) => assert.match(await run(), /wasm: [\d,]+ KB raw/));
command("npm run quickstart", async (run) => {
  const counts = JSON.parse((await run()).split("\n").find((line) => line.startsWith('{"ingested"')));
  assert.equal(counts.ingested, 1_000_000);
});
command("npm run start", async (_, t) => {
  const { found, end } = await says(t, "npm start -- --port=0 --no-s3", /The page is at (http:\S+)/);
  assert.match(await (await fetch(found[1])).text(), /<title>/);
  await end();
});
command("npx vite build www", async (run, t) => {
  const out = temporary(t);
  await run(` --outDir ${out} --emptyOutDir`);
  assert.ok(existsSync(join(out, "index.html")));
});
command("npm pack", async (run, t) => {
  const dir = temporary(t);
  const name = lastLine(await run(` --silent --pack-destination ${dir}`));
  assert.ok(existsSync(join(dir, name)));
});
elsewhere(
  "npm install ../lakeshore/lakeshore-0.1.0.tgz",
  "tests/edge/support/project.mjs",
  '"install", ...options',
);
for (const name of offered().filter((name) => name.startsWith("npx esbuild ")))
  elsewhere(name, "tests/edge/bundlers.test.mjs", 'blocks.get("Browsers: sh")');
for (const name of offered().filter((name) => name.startsWith("deno run ")))
  elsewhere(name, "tests/edge/readme.test.mjs", "denoPermissions()");

/** This is run by it; its own small form is a step of seconds. */
command("npm test", async (run) =>
  assert.equal(lastLine(await run(" -- --only=format")), "2 passed, 0 failed"),
);
command("npm test -- --only=edge", async (run) => assert.match(await run(" --list"), /^edge tests$/m));
command("npm run test:long", async (run) =>
  assert.equal(lastLine(await run(" -- --only=format")), "2 passed, 0 failed"),
);
command("node scripts/budget.mjs --write", (_, t) =>
  finish(t, "node scripts/budget.mjs", {}).then((output) => assert.match(output, /% of brotli/)),
);
// The same script in another browser.
elsewhere("npm run test:firefox", "scripts/test.mjs", 'testBrowser("chrome"');
command("npm run test:mutants", async (run) => assert.match(await run(" -- --check"), /\d+ patches fit/));
command("npm run format", async (run) => assert.match(await run(" -- --list-different"), /prettier --write/));

command("npm run -s s3 -- --control", async (_, t) => {
  const pattern = /^(\{.*"LAKESHORE_PROXY_CONTROL".*\})$/m;
  const { found, end } = await says(t, "npm run -s s3 -- --control", pattern, { LAKESHORE_S3_ENDPOINT: "" });
  assert.ok(JSON.parse(found[1]).LAKESHORE_S3_ENDPOINT);
  await end();
});
covered.add("npm run s3");

const small = { SMALL: "1", ROWS: "20000", READS: "20", ROUNDS: "1", ENGINES: "lakeshore" };
command("npm run bench", async (run) => {
  const figures = JSON.parse(lastLine(await run("", small)));
  assert.deepEqual(
    figures.map(({ rows }) => rows),
    [20_000, 20_000],
  );
});
command("npm run bench:browser", async (run) => {
  const [figures] = JSON.parse(lastLine(await run("", small)));
  assert.match(JSON.stringify(figures), /"lakeshore":\{"[a-z_0-9]+":\d/);
});
command("npm run bench:contention", async (run) => {
  const { runs } = JSON.parse(lastLine(await run("", small)));
  assert.ok(runs.every(({ requests_a_commit }) => requests_a_commit >= 1));
});

/** Rust's own runner, on few seeds. Some tests must have run. */
const some = (output) => assert.match(output, /test result: ok\. [1-9]\d* passed/);
for (const name of offered().filter((name) => /cargo test --test/.test(name))) {
  covered.add(name);
  test(name, { timeout: 900_000 }, async (t) => {
    const line = name.replace("FIRST=…", "FIRST=1").replace("SEEDS=…", "SEEDS=2");
    some(await finish(t, line, { TEST_SECONDS: "1", SEEDS: "2" }));
  });
}
covered.add("SEED=… cargo test …");

test("every command that is offered is run by a test above", () => {
  assert.deepEqual(offered(), [...covered].sort());
});

test("a command is found wherever it stands", () => {
  const markdown = "`npm run x -- --y` and `not npm` and\n\n```sh\nA=1 npx z # why\ncargo b && npm c\n```\n";
  assert.deepEqual(commandsIn(markdown), ["A=1 npx z", "cargo b", "npm c", "npm run x -- --y"]);
});
