// A page's data in S3, over fetch in the worker: functions of the page, refusals of CORS, a store that is away.

import assert from "node:assert/strict";
import { test } from "node:test";
import { model } from "../support/batches.mjs";
import { signer } from "../support/signer.mjs";
import { bucket, fresh, keys, proxyFor, skip, skipFaults } from "./support/buckets.mjs";
import { sharedBrowser } from "./support/chromium.mjs";

const start = sharedBrowser();

/** A database's data in S3, and its WAL in OPFS, as the actions in the page take it. */
function database(options) {
  return { name: fresh("s3"), s3: bucket(options) };
}

/** What a call of the page rejects with. */
function refusal(run, action, arg) {
  return run(
    async ([action, arg]) => {
      try {
        await actions[action](arg);
        return { code: "none" };
      } catch (error) {
        return { code: error.code, message: error.message };
      }
    },
    [action, arg],
  );
}

test("functions of the page give credentials, sign requests and fetch", { skip }, async (t) => {
  const { credentials, ...rest } = bucket({ prefix: fresh("functions") });
  const sign = signer(credentials, rest.region);
  const { run } = await start(t, {
    answers: {
      "/keys": () => keys,
      "/sign": (request) => ({ headers: Object.fromEntries(sign(request).headers) }),
    },
  });
  const seen = await run(async (options) => {
    const { open, s3, LakeshoreError } = lakeshore;
    const ask = async (path, body) => {
      const answer = await fetch(path, { method: "POST", body: JSON.stringify(body ?? null) });
      return answer.json();
    };
    const calls = { credentials: 0, sign: 0, fetch: 0 };
    const count =
      (name, action) =>
      (...args) => ((calls[name] += 1), action(...args));
    const ways = [
      { credentials: count("credentials", () => ask("/keys")) },
      { sign: count("sign", (request) => ask("/sign", request)) },
      { credentials: () => ask("/keys"), fetch: count("fetch", (...args) => fetch(...args)) },
    ];
    const counts = [];
    for (const way of ways) {
      const db = await open({ data: s3({ ...options, ...way }) });
      const table = await db.table("rows", { schema: { id: "int64" }, primaryKey: ["id"] });
      await table.ingest([{ id: BigInt(counts.length) }]);
      await db.flush();
      counts.push(await table.scan().count());
      await db.close();
    }
    const refused = () => Promise.reject(new LakeshoreError("Denied", "nobody is signed in"));
    const denied = await open({ data: s3({ ...options, credentials: refused }) }).catch((error) => error);
    return { counts, calls, denied: [denied.code, denied.message] };
  }, rest);
  assert.deepEqual(seen.counts, [1, 2, 3]);
  assert.equal(seen.calls.credentials, 1);
  assert.ok(seen.calls.sign >= 4 && seen.calls.fetch >= 4, JSON.stringify(seen.calls));
  assert.equal(seen.denied[0], "Denied");
  assert.match(seen.denied[1], /nobody is signed in/);
});

test("a time limit aborts a fetch of the page", { skip }, async (t) => {
  const { run } = await start(t);
  const seen = await run(
    async (options) => {
      const { open, s3 } = lakeshore;
      let aborted = 0;
      const stuck = (_, { signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            aborted += 1;
            reject(signal.reason);
          });
        });
      const data = s3({ ...options, fetch: stuck, timeoutMs: 50, retries: 1 });
      const error = await open({ data, retries: 1 }).catch((error) => error);
      return { code: error.code, aborted };
    },
    bucket({ prefix: fresh("stuck") }),
  );
  assert.equal(seen.code, "Unavailable");
  assert.ok(seen.aborted >= 1);
});

const noCors = process.env.LAKESHORE_S3_NO_CORS_BUCKET;
const skipCors = noCors ? skip : "LAKESHORE_S3_NO_CORS_BUCKET names no bucket without CORS";

test(
  "where CORS refuses the page it is Unavailable, naming CORS, and what is pending stays",
  { skip: skipCors },
  async (t) => {
    const { run } = await start(t);
    const good = database();
    const refusing = { ...good, s3: { ...good.s3, bucket: noCors, retries: 1 }, options: { retries: 1 } };
    await run((call) => actions.write(call), { ...good, from: 0, to: 3 });
    const refused = { ...refusing, options: { retries: 1, offline: "refuse" } };
    const { code, message } = await refusal(run, "read", refused);
    console.log(`CORS: ${message}`);
    assert.equal(code, "Unavailable");
    assert.match(message, /CORS/);
    assert.ok(!message.includes(keys.secretAccessKey));
    // A device that was online once opens by what it has, and says why it is not online.
    const known = await run(async (call) => {
      const db = await actions.openAt(call);
      const { all } = await actions.readBatches(db);
      const flushed = await db.flush().catch((error) => error.message);
      const { online, unreachable } = await db.stats();
      await db.close();
      return { all, online, unreachable, flushed };
    }, refusing);
    assert.deepEqual([known.all, known.online], [model(3), false]);
    for (const text of [known.unreachable, known.flushed]) {
      assert.match(text, /CORS/);
      assert.ok(!text.includes(keys.secretAccessKey));
    }
    assert.deepEqual((await run((call) => actions.read(call), good)).all, model(3));
  },
);

test("while the store is away commits go on in OPFS, and reach it later", { skip: skipFaults }, async (t) => {
  const proxy = await proxyFor(t);
  const { page, run } = await start(t);
  const call = { ...database({ endpoint: proxy.endpoint, retries: 1 }), options: { retries: 1 } };
  await run(async (call) => {
    globalThis.db = await actions.openAt(call);
    await actions.writeBatches(globalThis.db, { from: 0, to: 2 });
  }, call);
  await proxy.down();
  const away = await run(async () => {
    await actions.writeBatches(globalThis.db, { from: 2, to: 4 });
    const { code, message } = await globalThis.db.flush().catch((error) => error);
    const { backlogRows } = await globalThis.db.stats();
    return { code, message, backlogRows };
  });
  assert.ok(["Unavailable", "Unknown"].includes(away.code), away.message);
  assert.ok(away.backlogRows > 0);
  await page.reload();
  await page.waitForFunction(() => globalThis.actions !== undefined);
  const refused = { ...call, options: { ...call.options, offline: "refuse" } };
  assert.equal((await refusal(run, "read", refused)).code, "Unavailable");
  // It opens by the copy of the catalog beside the WAL.
  assert.deepEqual((await run((call) => actions.read(call), call)).all, model(4));
  await proxy.up();
  const back = await run(
    (call) =>
      actions.using(call, async (db) => {
        const { all } = await actions.readBatches(db);
        await db.flush();
        return { all, backlog: (await db.stats()).backlogRows };
      }),
    call,
  );
  assert.deepEqual(back, { all: model(4), backlog: 0 });
  await run((path) => actions.remove(path), `${call.name}-wal`);
  assert.deepEqual((await run((call) => actions.read(call), call)).all, model(4));
});
