// Every code block of README.md is run, as its reader would: with the package from its tarball, in the runtime that it
// is for. What a block leaves to its reader is a prelude here; "my-bucket" is a bucket of the test's (support/readme.mjs).

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { root, run } from "../../scripts/lib.mjs";
import { startProxy } from "../support/proxy.mjs";
import { allow, freshBucket, setCors } from "./support/buckets.mjs";
import { runDeno } from "./support/deno.mjs";
import { visit } from "./support/page.mjs";
import { compatibilityDate, lasting, project, tool } from "./support/project.mjs";
import { commands, corsXml, inBucket, readBlocks } from "./support/readme.mjs";
import { place, s3Request, server } from "./support/s3.mjs";
import { serveFolder } from "./support/static.mjs";
import { viteDev } from "./support/vite.mjs";
import { wranglerDev } from "./support/wrangler.mjs";

const execute = promisify(execFile);
const description = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const blocks = readBlocks();
const t = lasting();
let store;
before(async () => void (store = await server(t)));
after(() => t.end());

/** A test of a block: it is given the block's text. */
const covered = new Set();
function block(name, action) {
  covered.add(name);
  test(`README, ${name}`, (t) => {
    assert.ok(blocks.has(name), `README has no such block: it has ${[...blocks.keys()].join(", ")}`);
    return action(t, blocks.get(name));
  });
}

block("Two commands: sh", (_, text) => {
  assert.deepEqual(commands(text), ["npm run quickstart", "npm test"]);
  // This is run by the second of them, and so is the example that the first one runs.
  for (const script of ["quickstart", "test"])
    readFileSync(join(root, description.scripts[script].split(" ")[1]));
});

block("The demo page: sh", (_, text) => {
  assert.deepEqual(commands(text), ["npm start"]);
  // tests/browser/www.test.mjs runs it.
  readFileSync(join(root, description.scripts.start.split(" ")[1]));
});

block("Quick start: sh", (_, text) => {
  const tarball = `../lakeshore/${description.name}-${description.version}.tgz`;
  assert.deepEqual(commands(text), ["npm run build", "npm pack", `npm install ${tarball}`]);
  // The build is what is tested here, and `project` packs and installs it.
  assert.ok(description.scripts.build);
});

block("Node and Bun: js", async (_, text) => {
  const dir = await project({ "main.mjs": text });
  // The third finds what the others wrote.
  for (const runtime of [process.execPath, process.execPath, tool("bun")]) {
    const { stdout } = await execute(runtime, ["main.mjs"], { cwd: dir });
    assert.equal(stdout.match(/id: 7n/g)?.length, 2, stdout);
    assert.equal(stdout.match(/origin: ['"]SFO['"]/g)?.length, 2, stdout);
  }
});

/** `app.js` says how many notes there are, one more with each load. */
async function countsNotes(t, url) {
  const { page, until } = await visit(t, url);
  for (const notes of [1, 2, 3]) {
    await until((wanted) => document.body?.textContent === wanted, `${notes} notes`);
    await page.reload();
  }
}
const index = '<!doctype html><meta charset="utf-8"><title>user</title>';
const moduleScript = '<script type="module" src="app.js"></script>';

block("Browsers: js", async (t, text) => {
  const dir = await project({ "index.html": index + moduleScript, "app.js": text });
  await execute(tool("vite"), ["build", "--logLevel", "warn"], { cwd: dir });
  await countsNotes(t, await serveFolder(t, join(dir, "dist")));
});

block("Browsers: js 2", async (t, text) => {
  const page = { "index.html": index + moduleScript, "app.js": blocks.get("Browsers: js") };
  const dir = await project({ ...page, "vite.config.js": text });
  await countsNotes(t, await viteDev(t, dir));
});

// ./bundlers.test.mjs runs these two, by esbuild and by Rollup.
block("Browsers: sh", (_, text) => assert.match(text, /^npx esbuild .*\ncp .*\n$/));
block("Browsers: js 3", (_, text) => assert.match(text, /^init\(/m));

block("Browsers: html", async (t, text) => {
  const dir = await project({ "index.html": index + text, "app.js": blocks.get("Browsers: js") });
  await countsNotes(t, await serveFolder(t, dir));
});

block("Cloudflare Workers: js", async (t, text) => {
  const where = place(store);
  const { accessKeyId, secretAccessKey } = where.credentials;
  const settings = { name: "user", main: "index.js", compatibility_date: compatibilityDate };
  const dir = await project({
    "index.js": inBucket(text, where),
    "wrangler.json": JSON.stringify(settings),
    ".dev.vars": `ACCESS_KEY_ID=${accessKeyId}\nSECRET_ACCESS_KEY=${secretAccessKey}\n`,
  });
  let visits = 0;
  for (const requests of [2, 1]) {
    const { url, stop } = await wranglerDev(t, dir);
    for (let n = 0; n < requests; n++) {
      const answer = await fetch(url, { signal: AbortSignal.timeout(60_000) });
      assert.deepEqual(await answer.json(), { visits: ++visits });
    }
    await stop();
  }
});

/** Those of the command in README. */
function denoPermissions() {
  const [command, ...more] = commands(blocks.get("Deno: sh"));
  assert.equal(more.length, 0);
  return command.match(/^deno run (.*) main\.js$/)[1].split(" ");
}

block("Deno: sh", () => {
  // It is run by the next one. No more is allowed than the README says is needed.
  for (const flag of denoPermissions())
    assert.match(flag, /^--allow-(net$|env=[A-Z_,]+$|read=node_modules\/lakeshore$)/);
});

block("Deno: js", async (_, text) => {
  const where = place(store);
  const { accessKeyId, secretAccessKey } = where.credentials;
  const variables = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  const dir = await project({ "main.js": inBucket(text, where) });
  for (const times of [1, 2]) {
    const output = await runDeno(dir, "main.js", { permissions: denoPermissions(), variables });
    assert.equal(output, `run ${times} times\n`);
  }
});

block("Rust: rust", async () => {
  assert.match(readFileSync(join(root, "src", "lib.rs"), "utf8"), /include_str!\("\.\.\/README\.md"\)/);
  const output = await run("cargo", ["test", "--doc", "--", "Readme"], { quiet: true });
  assert.match(output, /test result: ok\. 1 passed; 0 failed; 0 ignored/, output);
});

/** Rows `from` to before `to`. */
const prelude = `
import { memory } from "lakeshore";

const aside = await open({ data: memory() });
const made = await aside.table("flights", { schema: (await flights.scan().toIPC()), primaryKey: ["id"] });
async function ipcOf(from, to, origin, delay) {
  await made.ingest(Array.from({ length: to - from }, (_, i) => ({ id: from + i, at: new Date(), origin, delay })));
  return made.scan({ range: { from: { id: from }, to: { id: to } } }).toIPC();
}
const ipcBytes = await ipcOf(100, 110, "SFO", 35);
const batches = [await ipcOf(200, 205, "JFK", 50), await ipcOf(300, 305, "LHR", 60)];
const { signal } = new AbortController();
const progress = [];
const onProgress = ({ rows }) => progress.push(rows);
`;
const afterwards = `
const { backlogRows, tables } = await db.stats();
const all = await flights.scan().count();
console.log(JSON.stringify({ row: row.origin, gone: await flights.get({ id: 7n }), progress, all, backlogRows, files: tables[0].files }));
await db.close();
`;

block("Reading and writing: js", async (_, text) => {
  const begin = blocks.get("Node and Bun: js").replace(/^await db\.close\(\);.*\n/m, "");
  const dir = await project({ "main.mjs": `${begin}${prelude}${text}${afterwards}` });
  const { stdout } = await execute(process.execPath, ["main.mjs"], { cwd: dir });
  const lines = stdout.trim().split("\n");
  const wanted = { row: "SFO", progress: [5, 10], all: 21, backlogRows: 0, files: 1 };
  assert.deepEqual(JSON.parse(lines.at(-1)), wanted);
  // 10 rows of `ipcBytes`, 5 of `batches`, and the one written by hand.
  assert.equal(lines.at(-2), "16");
  const rows = lines.slice(-18, -2);
  assert.deepEqual([rows[0], rows[1], rows[15]], ["8n 42", "100n 35", "204n 50"], stdout);
  assert.match(lines.at(-19), /^\d+$/);
});

/** Blocks that go on with Node's quick start, and with what their prelude makes. */
async function goesOn(text, prelude, afterwards) {
  const begin = blocks.get("Node and Bun: js").replace(/^await db\.close\(\);.*\n/m, "");
  const dir = await project({ "main.mjs": `${begin}${prelude}${text}${afterwards}await db.close();\n` });
  const { stdout } = await execute(process.execPath, ["main.mjs"], { cwd: dir });
  return stdout;
}
const flight8 = 'await flights.ingest([{ id: 8n, at: new Date(), origin: "SFO", delay: 75 }]);\n';
const log =
  'const log = await db.table("log", { schema: { id: "int64", text: "utf8" }, primaryKey: ["id"] });\n';

block("Transactions: js", async (_, text) => {
  const told = `
const texts = (await log.scan().toArray()).map(({ text }) => text);
console.log(JSON.stringify({ gained, delay: (await flights.get({ id: 8n })).delay, texts }));
`;
  const lines = (await goesOn(text, `${flight8}${log}`, told)).trim().split("\n");
  // Flight 7 of the quick start, and flight 8, which is still late.
  assert.equal(lines.at(-2), "2");
  const texts = ["flight 8 made up 30 minutes", "counted"];
  assert.deepEqual(JSON.parse(lines.at(-1)), { gained: 30, delay: 45, texts });
});

block("Time travel: js", async (_, text) => {
  const told = `
console.log(JSON.stringify({ there: (await flights.get({ id: 8n })) !== undefined, localCursor }));
`;
  const stdout = await goesOn(text, `${flight8}let localCursor;\n`, told);
  // A minute ago there was nothing.
  assert.match(stdout, /^\[\]\n\{\n?\s*id: 8n/m);
  assert.match(stdout, /seq: \d+, timestamp: \d+n, tags: \[ 'before-cleanup' \]/);
  assert.match(stdout, /records: 0,\s+checkpoints: 0,\s+files: 0/);
  assert.match(stdout, /^upsert 2 flights$/m);
  // The preview of what only the WAL has.
  assert.match(stdout, /^delete 1 flights$/m);
  const last = JSON.parse(stdout.trim().split("\n").at(-1));
  assert.equal(last.there, false);
  assert.match(last.localCursor, /^\d+-[0-9a-f]{64}$/);
});

block("Changing a table: js", async (_, text) => {
  const told = `
const again = await db.table("flights");
await again.ingest([{ id: 9n, from: "LHR", delay: 2n ** 40n, note: "very late" }]);
console.log(JSON.stringify((await again.scan().toArray()).map(({ id, from, delay, note }) => [id, from, delay, note].map(String))));
console.log((await db.tables()).map(({ name, columns }) => [name, ...columns.map(({ type }) => type)].join()).join(" "));
`;
  const lines = (await goesOn(text, `${flight8}${log}`, told)).trim().split("\n");
  const wanted = [["7", "SFO", "42", "null"], ["8", "SFO", "75", "null"], ["9", "LHR", String(2n ** 40n), "very late"]]; // prettier-ignore
  assert.deepEqual(JSON.parse(lines.at(-2)), wanted);
  assert.equal(lines.at(-1), "flights,int64,timestamp[ms],utf8,int64,utf8");
});

block("Offline: js", async (t, text) => {
  const proxy = await startProxy({ target: store.endpoint });
  t.after(() => proxy.stop());
  const { credentials, ...where } = place(store, { endpoint: proxy.endpoint });
  const script = `const credentials = ${JSON.stringify(credentials)};\n${inBucket(text, where)}`;
  const dir = await project({ "main.mjs": script });
  const lines = async () => {
    const { stdout } = await execute(process.execPath, ["main.mjs"], { cwd: dir });
    return stdout.trim().split("\n");
  };
  await proxy.down();
  await assert.rejects(lines(), /it must be opened online once[^]*code: 'Unavailable'/);
  await proxy.up();
  assert.deepEqual(await lines(), ["false 1", "1 uploaded, 0 rows left", "true"]);
  await proxy.down();
  for (const waiting of [1, 2])
    assert.deepEqual(await lines(), [`false ${waiting}`, "online: false", "false"]);
  await proxy.up();
  assert.deepEqual(await lines(), ["false 3", "3 uploaded, 0 rows left", "true"]);
});

/** What follows on README's `open` over S3: whatever its table of requests tells of. */
const everything = `
const rows = await db.table("rows", { schema: { id: "int64", text: "utf8" }, primaryKey: ["id"] });
await rows.ingest([{ id: 1n, text: "one" }, { id: 2n, text: "two" }]);
await db.flush();
await db.checkpoint();
await rows.delete([{ id: 2n }]);
await db.refresh();
const all = await rows.scan().count();
const { text: one } = await rows.get({ id: 1n });
const { data: requests } = await db.stats();
await db.close();
return { all, one, requests };
`;
const reading = `return { all: await (await db.table("rows")).scan().count() };`;

/** A module that does `work` on README's database and calls `tell` with what it gave, or with its error. */
function inS3(where, work, tell, from = "lakeshore") {
  const [first, ...lines] = blocks.get("In S3: js").split("\n");
  assert.equal(first, 'import { open, s3 } from "lakeshore";');
  return `
import { open, s3 } from ${JSON.stringify(from)};
const credentials = ${JSON.stringify(where.credentials)};
async function main() {
${inBucket(lines.join("\n"), where)}
${work}
}
const failed = ({ code, message }) => ({ code, message });
main().catch(failed).then((answer) => ${tell});
`;
}

/** The answer of that in a new process. */
async function inProcess(dir, where, work = everything) {
  const script = inS3(where, work, "console.log(JSON.stringify(answer))");
  const { stdout } = await execute(process.execPath, ["--input-type=module", "--eval", script], { cwd: dir });
  return JSON.parse(stdout);
}

block("In S3: js", async () => {
  const dir = await project();
  const where = place(store);
  for (let n = 0; n < 2; n++) {
    const { all, one, message } = await inProcess(dir, where);
    assert.deepEqual([all, one], [1, "one"], message);
  }
});

/** What each kind of our requests asks for. */
const actions = {
  get: "s3:GetObject",
  put: "s3:PutObject",
  putIfAbsent: "s3:PutObject",
  list: "s3:ListBucket",
};

block("In S3: json", async (t, text) => {
  if (store.restricted === undefined) return t.skip("the store has no user whom nothing is allowed yet");
  const dir = await project();
  const policy = JSON.parse(text);
  /** A new bucket with a database of its owner's, in which a policy allows the second user something. */
  const allowed = async (policy, prefix = "my-db") => {
    const bucket = await freshBucket(store);
    await allow(store, bucket, JSON.parse(JSON.stringify(policy).replaceAll("my-bucket", bucket)));
    const owner = { ...place(store), bucket, prefix };
    assert.equal((await inProcess(dir, owner)).all, 1);
    return { ...owner, credentials: store.restricted };
  };
  const user = await allowed(policy);
  const { all, one, requests, message } = await inProcess(dir, user);
  assert.deepEqual([all, one], [1, "one"], message);
  for (const kind in actions) assert.ok(requests[kind] > 0, `no ${kind} was counted`);
  const named = policy.Statement.flatMap(({ Action }) => Action);
  assert.deepEqual(new Set(named), new Set([...Object.values(actions), "s3:DeleteObject"]));
  // No call above deletes: that is gc's.
  const account = { ...store, ...store.restricted };
  const status = async (...request) => (await s3Request(account, ...request)).status;
  assert.equal(await status("PUT", `/${user.bucket}/my-db/orphan`, { body: "1" }), 200);
  assert.equal(await status("DELETE", `/${user.bucket}/my-db/orphan`), 204);

  // No more than that: neither another prefix nor what one action fewer would do, too.
  assert.equal(await status("PUT", `/${user.bucket}/my-db-2/any`, { body: "1" }), 403);
  assert.equal((await inProcess(dir, await allowed(policy, "my-other-db"))).code, "Denied");
  const without = (...actions) => {
    const rest = ({ Action }) => [Action].flat().filter((action) => !actions.includes(action));
    const Statement = policy.Statement.map((statement) => ({ ...statement, Action: rest(statement) }));
    return { ...policy, Statement: Statement.filter(({ Action }) => Action.length > 0) };
  };
  for (const action of new Set(Object.values(actions))) {
    const { code } = await inProcess(dir, await allowed(without(action)));
    assert.equal(code, "Denied", `without ${action}`);
  }

  // "A reader needs the first action of objects only."
  const reader = await allowed(without(...policy.Statement[1].Action.slice(1)));
  assert.deepEqual(await inProcess(dir, reader, reading), { all: 1 });
  assert.equal((await inProcess(dir, reader)).code, "Denied");
});

block("In S3: json 2", async (t, text) => {
  if (store.restricted === undefined) return t.skip("the store may not have us make buckets");
  const where = { ...place(store), bucket: await freshBucket(store) };
  const from = "./node_modules/lakeshore/js/dist/browser.js";
  const script = inS3(where, everything, "(globalThis.answer = answer)", from);
  const dir = await project({ "index.html": index + moduleScript, "app.js": script });
  const [mine, foreign] = [await serveFolder(t, dir), await serveFolder(t, dir)];
  const written = "https://my-app.example";
  const own = new URL(mine).origin;
  for (const origin of [written, own]) {
    const rules = JSON.parse(text.replace(written, origin));
    await setCors(store, where.bucket, corsXml(rules));
    const { headers } = await s3Request(store, "GET", `/${where.bucket}`, { headers: { origin } });
    assert.equal(headers.get("access-control-allow-origin"), origin);
    const exposed = headers.get("access-control-expose-headers").toLowerCase().split(/,\s*/);
    assert.deepEqual(exposed.sort(), rules[0].ExposeHeaders.map((name) => name.toLowerCase()).sort());
  }
  const answerOf = async (url) => {
    const { page, until } = await visit(t, url);
    await until(() => globalThis.answer !== undefined);
    return page.evaluate(() => globalThis.answer);
  };
  const { all, one, message } = await answerOf(mine);
  assert.deepEqual([all, one], [1, "one"], message);
  const refused = await answerOf(foreign);
  assert.equal(refused.code, "Unavailable");
  assert.match(refused.message, /CORS/);
});

test("every code block of README.md is run by a test above", () => {
  assert.deepEqual([...blocks.keys()].sort(), [...covered].sort());
});
