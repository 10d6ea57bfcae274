// The projects in examples/, each run as its README says, with the package from its tarball and data in S3.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { environment, root, run } from "../../scripts/lib.mjs";
import { instants, tableFromArrays, tableToIPC } from "./support/arrow.mjs";
import { runDeno } from "./support/deno.mjs";
import { example, lasting, tool } from "./support/project.mjs";
import { keys, place, server } from "./support/s3.mjs";
import { wrangler, wranglerDev } from "./support/wrangler.mjs";

const execute = promisify(execFile);
const t = lasting();
let store;
before(async () => void (store = await server(t)));
after(() => t.end());

const token = "a token";
const time = "2026-01-01T00:00:00.000Z";
const minute = (n) => new Date(Date.parse(time) + n * 60_000);

/** The Worker's variables, in the form of .dev.vars, which overrides those of wrangler.jsonc. */
function devVars({ bucket, prefix, region, endpoint, credentials }) {
  const { accessKeyId, secretAccessKey } = credentials;
  const places = { BUCKET: bucket, PREFIX: prefix, REGION: region, ENDPOINT: endpoint };
  const secrets = { ACCESS_KEY_ID: accessKeyId, SECRET_ACCESS_KEY: secretAccessKey, TOKEN: token };
  return Object.entries({ ...places, ...secrets })
    .map(([name, value]) => `${name}=${JSON.stringify(value)}\n`)
    .join("");
}

/** Calls the Worker at an address. */
function client(url) {
  return async (method, path, { body, type, authorization = `Bearer ${token}` } = {}) => {
    const headers = { authorization, ...(type && { "content-type": type }) };
    const response = await fetch(new URL(path, url), { method, headers, body, signal: timeout() });
    const text = await response.text();
    return { status: response.status, text, headers: response.headers };
  };
}
const timeout = () => AbortSignal.timeout(60_000);
const parsed = (text) =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
const event = (n) => ({ id: `e${n}`, at: minute(n).toISOString(), origin: "SFO", kind: "late", value: n });

test("the Worker's types fit", async () => {
  const dir = await example("worker", { ".dev.vars": devVars(place(store)) });
  await wrangler(dir, "types", "--strict-vars=false");
  await execute(tool("tsc"), [], { cwd: dir }).catch((error) => assert.fail(error.stdout));
});

test("the Worker collects events by wrangler dev, and another instance gives them back", async (t) => {
  const where = place(store);
  const dir = await example("worker", { ".dev.vars": devVars(where) });
  const first = await wranglerDev(t, dir);
  const call = client(first.url);
  const json = await call("POST", "/events", { body: JSON.stringify([1, 2, 3].map(event)) });
  assert.deepEqual([json.status, JSON.parse(json.text).rows], [201, 3], json.text);
  const numbers = Array.from({ length: 5000 }, (_, n) => n);
  const columns = {
    id: numbers.map((n) => `a${n}`),
    at: instants(numbers.map(minute)),
    origin: numbers.map(() => "JFK"),
  };
  const body = tableToIPC(tableFromArrays(columns), "stream");
  const arrow = await call("POST", "/events", { body, type: "application/vnd.apache.arrow.stream" });
  assert.deepEqual([arrow.status, JSON.parse(arrow.text).rows], [201, 5000], arrow.text);
  assert.equal((await call("DELETE", "/events/e2")).status, 204);
  await refusals(call);
  await first.stop();

  const second = await wranglerDev(t, dir);
  const again = client(second.url);
  // Several at once, before any has opened the database: each is told what it wrote.
  const more = Array.from({ length: 12 }, (_, n) => ({ ...event(n), id: `more-${n}`, origin: "OAK" }));
  const together = more.map(async (one) => {
    assert.equal((await again("POST", "/events", { body: JSON.stringify([one]) })).status, 201);
    assert.deepEqual(JSON.parse((await again("GET", `/events/${one.id}`)).text), one);
  });
  await Promise.all(together);
  const since = encodeURIComponent(event(2).at);
  const late = await again("GET", `/events?since=${since}&origin=SFO`);
  assert.deepEqual([late.status, parsed(late.text)], [200, [event(3)]]);
  assert.equal(late.headers.get("content-type"), "application/x-ndjson");
  const one = await again("GET", "/events/e1");
  assert.deepEqual([one.status, JSON.parse(one.text)], [200, event(1)]);
  assert.equal((await again("GET", "/events/e2")).status, 404);

  const all = parsed((await again("GET", "/events?limit=10000")).text);
  assert.equal(all.length, 5014);
  assert.ok(!(await keys(store, where)).some((key) => key.startsWith("data/")), "there is an sstable");
  const scheduled = await fetch(new URL("/cdn-cgi/handler/scheduled", second.url), { signal: timeout() });
  assert.equal(scheduled.status, 200, await scheduled.text());
  assert.ok(
    (await keys(store, where)).some((key) => key.startsWith("data/")),
    "there is no sstable",
  );
  assert.deepEqual(parsed((await again("GET", "/events?limit=10000")).text), all);
});

/** Whatever is wrong is told by status and in words, and changes nothing. */
async function refusals(call) {
  const post = (body, type) => call("POST", "/events", { body, type });
  for (const [answer, status, words] of [
    [await call("GET", "/events", { authorization: "Bearer wrong" }), 401, /authorization/],
    [await call("GET", "/"), 404, /events/],
    [await call("PUT", "/events"), 405, /PUT/],
    [await post("{"), 400, /JSON array/],
    [await post("[null]"), 400, /ISO text/],
    [await post(JSON.stringify([{ ...event(9), id: null }])), 400, /id/],
    [await post(JSON.stringify([event(9), { ...event(8), other: 1 }])), 400, /other/],
    [await post("no Arrow", "application/vnd.apache.arrow.stream"), 400, /Arrow/],
    [await post(new Uint8Array(9 * 2 ** 20)), 413, /bytes/],
    [await call("GET", "/events?since=yesterday"), 400, /ISO text/],
    [await call("GET", "/events?limit=many"), 400, /limit/],
    [await call("GET", "/events/e9"), 404, /no such event/],
  ]) {
    assert.equal(answer.status, status, answer.text);
    assert.match(answer.text, words);
  }
}

test("the Worker says 503 and when to try again while the store is away, and 502 when it refuses the keys", async (t) => {
  const where = place(store);
  const away = { ...where, endpoint: "http://127.0.0.1:9" };
  const wrong = { ...where, credentials: { ...where.credentials, secretAccessKey: "wrong" } };
  for (const [changed, status] of [
    [away, 503],
    [wrong, 502],
  ]) {
    const dir = await example("worker", { ".dev.vars": devVars(changed) });
    const { url, stop } = await wranglerDev(t, dir);
    const answer = await client(url)("GET", "/events");
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.headers.get("retry-after"), status === 503 ? "1" : null);
    assert.ok(!answer.text.includes("127.0.0.1"), answer.text);
    await stop();
  }
});

/** The variables by which examples find a bucket. */
function variables({ bucket, prefix, region, endpoint, credentials }) {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  return {
    ...{ S3_BUCKET: bucket, S3_PREFIX: prefix, S3_ENDPOINT: endpoint, AWS_REGION: region },
    ...{ AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
    ...(sessionToken && { AWS_SESSION_TOKEN: sessionToken }),
  };
}

test("the Deno script ingests and reports with the permissions its README names, and is checked", async () => {
  const dir = await example("deno");
  const where = place(store);
  const names =
    "S3_BUCKET,S3_PREFIX,S3_ENDPOINT,AWS_REGION,AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY,AWS_SESSION_TOKEN";
  const host = `--allow-net=${new URL(where.endpoint).host}`;
  const permissions = [host, `--allow-env=${names}`, "--allow-read=node_modules/lakeshore"];
  const deno = (args, input) =>
    runDeno(dir, "main.ts", { permissions, more: ["--check"], args, input, variables: variables(where) });
  const visit = (n) => ({ id: `v${n}`, at: minute(n), path: n % 3 ? "/docs/a" : "/", ms: n % 10 });
  const lines = Array.from({ length: 2500 }, (_, n) => `${JSON.stringify(visit(n))}\n`).join("");
  assert.deepEqual(parsed(await deno(["ingest"], lines)), [{ rows: 2500, commits: 3 }]);
  // A line without its end, and one that is there.
  await deno(["ingest"], `${JSON.stringify(visit(1))}\n${JSON.stringify({ ...visit(9000), ms: 900 })}`);
  assert.deepEqual(parsed(await deno(["report"])), expected([...Array(2500).keys()].map(visit), 900));
  const since = minute(2400).toISOString();
  const late = await deno(["report", `--since=${since}`, "--path=/docs"]);
  const visits = Array.from({ length: 100 }, (_, n) => visit(2400 + n));
  const docs = visits.filter(({ path }) => path === "/docs/a");
  assert.deepEqual(parsed(late), expected(docs));
});

/** What the script reports; `more` is the time of one more visit to "/". */
function expected(visits, more) {
  const paths = new Map();
  const all = more === undefined ? visits : [...visits, { path: "/", ms: more }];
  for (const { path, ms } of all) paths.set(path, [...(paths.get(path) ?? []), ms]);
  return [...paths]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(([path, ms]) => ({
      path,
      visits: ms.length,
      ms: Math.round(ms.reduce((a, b) => a + b) / ms.length),
    }));
}

test("the Rust crate for wasm32, without the JavaScript door, keeps readings in a bucket", async (t) => {
  const folder = join(root, "examples", "rust-wasm");
  const target = "wasm32-unknown-unknown";
  const options = ["--locked", "--quiet", "--target", target];
  await run("cargo", ["build", ...options], { cwd: folder });
  const pkg = mkdtempSync(join(tmpdir(), "lakeshore-rust-wasm-"));
  t.after(() => rmSync(pkg, { recursive: true }));
  const built = join(environment().CARGO_TARGET_DIR, target, "debug", "lakeshore_example.wasm");
  await run("wasm-bindgen", ["--target", "nodejs", "--out-dir", pkg, built]);
  const where = place(store);
  const env = { ...process.env, ...variables(where) };
  const { stdout } = await execute(process.execPath, [join(folder, "run.mjs"), pkg], { env });
  const answer = JSON.parse(stdout);
  const sum = 24 * 5 + (23 * 24) / 20 - 5 - 3;
  assert.ok(Math.abs(answer.roof - sum / 24) < 1e-9, stdout);
  assert.deepEqual(answer, {
    ...answer,
    newest: "2026-01-01T23:00:00.000Z",
    cellar: 11.5,
    refused: "Invalid",
  });
  assert.ok(!("attic" in answer));
  assert.ok(
    (await keys(store, where)).some((key) => key.startsWith("data/")),
    "there is no sstable",
  );
});
