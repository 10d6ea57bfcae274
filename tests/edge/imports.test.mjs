// The package from its tarball, imported as a user does it in each runtime and by each bundler; every one does a real
// ingest and scan. In browsers under a Content-Security-Policy that allows no more than WebAssembly.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { files } from "../../scripts/lib.mjs";
import { runDeno } from "./support/deno.mjs";
import { visit } from "./support/page.mjs";
import { compatibilityDate, lasting, project, tool } from "./support/project.mjs";
import { place, server } from "./support/s3.mjs";
import { serveFolder } from "./support/static.mjs";
import { wrangler, wranglerDev } from "./support/wrangler.mjs";

const execute = promisify(execFile);
const t = lasting();
let store;
before(async () => void (store = await server(t)));
after(() => t.end());

const wanted = { batches: 1, late: 89, delay: 7, count: 999, refused: "Invalid" };

/** A script that runs `first` at a place and prints what it gave. */
const printing = (where) => `
import { first } from "./user.mjs";
console.log(JSON.stringify(await first(${JSON.stringify(where)})));
`;
const result = (output) => JSON.parse(output.trim().split("\n").at(-1));

test("Node", async () => {
  const dir = await project({ "main.mjs": printing(place(store)) }, ["user.mjs"]);
  assert.deepEqual(result((await execute(process.execPath, ["main.mjs"], { cwd: dir })).stdout), wanted);
});

test("Deno, with network access and read access to the package only", async () => {
  const dir = await project({ "main.mjs": printing(place(store)) }, ["user.mjs"]);
  assert.deepEqual(result(await runDeno(dir, "main.mjs")), wanted);
});

test("Deno, from an address: the module is fetched from there, too", async (t) => {
  const dir = await project({}, ["user.mjs"]);
  const origin = await serveFolder(t, join(dir, "node_modules", "lakeshore"));
  const imports = JSON.stringify({ imports: { lakeshore: `${origin}js/dist/deno.js` } });
  const elsewhere = await project({ "deno.json": imports, "main.mjs": printing(place(store)) }, ["user.mjs"]);
  rmSync(join(elsewhere, "node_modules"), { recursive: true });
  const more = [`--allow-import=${new URL(origin).host}`];
  assert.deepEqual(result(await runDeno(elsewhere, "main.mjs", { more })), wanted);
});

test("Bun", async () => {
  const dir = await project({ "main.mjs": printing(place(store)) }, ["user.mjs"]);
  assert.deepEqual(result((await execute(tool("bun"), ["main.mjs"], { cwd: dir })).stdout), wanted);
});

const workerScript = (where) => `
import { first } from "./user.mjs";

export default {
  async fetch() {
    return Response.json(await first(${JSON.stringify(where)}));
  },
};
`;

test("a Worker, by wrangler dev", async (t) => {
  const settings = { name: "user", main: "worker.mjs", compatibility_date: compatibilityDate };
  const script = { "worker.mjs": workerScript(place(store)), "wrangler.json": JSON.stringify(settings) };
  const dir = await project(script, ["user.mjs"]);
  const { url } = await wranglerDev(t, dir);
  const response = await fetch(url, { signal: AbortSignal.timeout(60_000) });
  assert.deepEqual(await response.json(), wanted);
});

const page = (script) => `<!doctype html><meta charset="utf-8"><title>user</title>${script}`;
const pageScript = (where, from) => `
import { first } from ${JSON.stringify(from)};
globalThis.answer = first(${JSON.stringify(where)});
`;
const policy = (store) =>
  [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "worker-src 'self'",
    `connect-src 'self' ${store.endpoint}`,
  ].join("; ");

/** What the page's script gave, in Chromium. */
async function inChromium(t, dir) {
  const origin = await serveFolder(t, dir, { "content-security-policy": policy(store) });
  const { page, until } = await visit(t, origin);
  await until(() => globalThis.answer !== undefined);
  return page.evaluate(() => globalThis.answer);
}

test("a page built by Vite, in Chromium under a strict policy", async (t) => {
  const script = {
    "index.html": page('<script type="module" src="/main.mjs"></script>'),
    "main.mjs": pageScript(place(store), "./user.mjs"),
  };
  const dir = await project(script, ["user.mjs"]);
  await execute(tool("vite"), ["build", "--logLevel", "warn"], { cwd: dir });
  const dist = join(dir, "dist");
  assert.deepEqual(await inChromium(t, dist), wanted);
  oneModule(dist);
});

test("a plain module page, in Chromium under a strict policy", async (t) => {
  const dir = await project({}, ["user.mjs"]);
  const user = readFileSync(join(dir, "user.mjs"), "utf8");
  // No import map: the policy allows no inline script.
  const direct = user.replace('"lakeshore"', '"./node_modules/lakeshore/js/dist/browser.js"');
  const script = {
    "index.html": page('<script type="module" src="./main.mjs"></script>'),
    "direct.mjs": direct,
    "main.mjs": pageScript(place(store), "./direct.mjs"),
  };
  const plain = await project(script);
  assert.deepEqual(await inChromium(t, plain), wanted);
});

/** The module is there once, as a file of its own, and nowhere inlined. */
function oneModule(dir) {
  const all = files(dir);
  const modules = all.filter((path) => path.endsWith(".wasm"));
  assert.equal(modules.length, 1, modules.join(" "));
  for (const path of all) if (path.endsWith(".js")) assert.ok(statSync(path).size < 500_000, path);
}

test("the tarball and a bundle for Workers have the module once", async () => {
  const settings = { name: "user", main: "worker.mjs", compatibility_date: compatibilityDate };
  const script = { "worker.mjs": workerScript({}), "wrangler.json": JSON.stringify(settings) };
  const dir = await project(script, ["user.mjs"]);
  await wrangler(dir, "deploy", "--dry-run", "--outdir", "out");
  oneModule(join(dir, "out"));
  oneModule(join(dir, "node_modules", "lakeshore"));
});

test("every entry exports the same, and more only where the runtime has it", async () => {
  const dir = await project();
  const { exports } = JSON.parse(
    readFileSync(join(dir, "node_modules", "lakeshore", "package.json"), "utf8"),
  );
  const names = {};
  for (const [runtime, { types, default: path }] of Object.entries(exports["."])) {
    const folder = join(dir, "node_modules", "lakeshore");
    assert.ok(statSync(join(folder, types)).isFile(), types);
    if (runtime === "workerd") continue;
    names[runtime] = Object.keys(await import(join(folder, path)));
  }
  const common = names.default;
  for (const [runtime, exported] of Object.entries(names)) {
    for (const name of common) assert.ok(exported.includes(name), `${runtime} has no ${name}`);
  }
  assert.deepEqual(
    names.node.filter((name) => !common.includes(name)),
    ["directory"],
  );
});

/** Those of Node and of browsers: ../node/tsconfig.json and ../browser/tsconfig.json. */
test("types are found in Workers and in Deno", async () => {
  const consumer = `
import { col, open, s3, type Db, type Row } from "lakeshore";

export async function use(): Promise<Row[]> {
  const db: Db = await open({ data: s3({ bucket: "b", region: "r", anonymous: true }) });
  const table = await db.table("t", { schema: { id: "int64" }, primaryKey: ["id"] });
  return table.scan({ where: col("id").gt(1n) }).toArray();
}
`;
  const compilerOptions = {
    ...{ noEmit: true, strict: true, types: [] },
    ...{ target: "es2022", module: "esnext", moduleResolution: "bundler" },
    lib: ["es2022", "esnext.disposable", "dom", "dom.asynciterable"],
  };
  const conditions = ["workerd", "deno"];
  const sources = { "consumer.ts": consumer };
  for (const condition of conditions) {
    const chosen = { ...compilerOptions, customConditions: [condition] };
    sources[`${condition}.json`] = JSON.stringify({ compilerOptions: chosen, files: ["consumer.ts"] });
  }
  const dir = await project(sources);
  for (const condition of conditions) {
    await execute(tool("tsc"), ["-p", `${condition}.json`], { cwd: dir }).catch((error) => {
      throw new Error(`${condition}: ${error.stdout}`);
    });
  }
});
