// Several tabs of one origin, and an origin whose quota is spent.

import assert from "node:assert/strict";
import { test } from "node:test";
import { model } from "../support/batches.mjs";
import { fresh } from "./support/buckets.mjs";
import { openPage, sharedBrowser } from "./support/chromium.mjs";

const start = sharedBrowser();

/** Opens a database and keeps it open; or says why not. */
function hold(page, name) {
  return page.evaluate(async (name) => {
    try {
      globalThis.held = await actions.openAt({ name });
      return "open";
    } catch (error) {
      return { code: error.code, message: error.message, retryable: error.retryable };
    }
  }, name);
}

const close = (page) => page.evaluate(() => globalThis.held.close());

test("of two tabs on one database the second gets Busy naming the holder, until the first closes it", async (t) => {
  const { context, server, page: first } = await start(t);
  const second = await openPage(context, server.origin);
  const name = fresh("tabs");
  assert.equal(await hold(first, name), "open");
  await first.evaluate(() => actions.writeBatches(globalThis.held, { from: 0, to: 3 }));
  const { code, message, retryable } = await hold(second, name);
  console.log(`Busy: ${message}`);
  assert.equal(code, "Busy");
  assert.equal(retryable, true);
  assert.match(message, /held by another tab or worker.*client \w+/);
  assert.equal(await hold(second, fresh("tabs")), "open", "another database is free");
  await close(second);
  await close(first);
  assert.equal(await hold(second, name), "open");
  await close(second);
  assert.deepEqual((await second.evaluate((call) => actions.read(call), { name })).all, model(3));
  assert.equal(await hold(first, name), "open");
  await first.close();
  assert.equal(await hold(second, name), "open", "a tab that is closed holds nothing");
  await second.reload();
  await second.waitForFunction(() => globalThis.actions !== undefined);
  assert.equal(await hold(second, name), "open", "a tab that is reloaded holds nothing");
  await second.close();
});

test("two tabs write one database by turns", async (t) => {
  const { context, server, page: first } = await start(t);
  const second = await openPage(context, server.origin);
  const name = fresh("turns");
  for (const [turn, page] of [first, second, first, second].entries()) {
    const all = await page.evaluate(
      (call) =>
        actions.using(call, async (db) => {
          await actions.writeBatches(db, { from: call.turn, to: call.turn + 1 });
          return (await actions.readBatches(db)).all;
        }),
      { name, turn },
    );
    assert.deepEqual(all, model(turn + 1));
  }
  await second.close();
});

test("where the quota is spent a commit is Unavailable, nothing acknowledged is lost, and it goes on with more", async (t) => {
  const { context, server, page, run } = await start(t);
  const cdp = await context.newCDPSession(page);
  const quota = (quotaSize) =>
    cdp.send("Storage.overrideQuotaForOrigin", { origin: server.origin, ...(quotaSize && { quotaSize }) });
  const name = fresh("quota");
  await run((call) => actions.write(call), { name, from: 0, to: 3 });
  const { usage } = await run(() => navigator.storage.estimate());
  await quota(usage + 3_000_000);
  const full = await run(async (name) => {
    const db = await actions.openAt({ name });
    const table = await db.table("more", { schema: { id: "int64", raw: "binary" }, primaryKey: ["id"] });
    let acknowledged = 0;
    let failure;
    while (failure === undefined && acknowledged < 1000) {
      const raw = crypto.getRandomValues(new Uint8Array(60_000));
      await table.ingest([{ id: BigInt(acknowledged), raw }]).then(
        () => void (acknowledged += 1),
        (error) => (failure = { code: error.code, message: error.message, retryable: error.retryable }),
      );
    }
    const again = await table.ingest([{ id: -1n, raw: new Uint8Array(60_000) }]).then(
      () => "done",
      (error) => error.code,
    );
    const count = await table.scan().count();
    await db.close().catch(() => undefined);
    return { acknowledged, failure, again, count };
  }, name);
  console.log(`${full.acknowledged} commits before: ${full.failure?.message}`);
  assert.equal(full.failure?.code, "Unavailable");
  assert.equal(full.failure.retryable, true);
  assert.match(full.failure.message, /quota|storage|space/i);
  assert.equal(full.again, "Unavailable");
  assert.ok(full.acknowledged > 10 && full.count === full.acknowledged, JSON.stringify(full));
  await page.reload();
  await page.waitForFunction(() => globalThis.actions !== undefined);
  const count = (name) => actions.using({ name }, async (db) => (await db.table("more")).scan().count());
  assert.equal(await run(count, name), full.acknowledged);
  await quota();
  const after = await run(
    (name) =>
      actions.using({ name }, async (db) => {
        const table = await db.table("more");
        await table.ingest([{ id: -1n, raw: new Uint8Array(60_000) }]);
        await db.flush();
        return table.scan().count();
      }),
    name,
  );
  assert.equal(after, full.acknowledged + 1);
  assert.deepEqual((await run((call) => actions.read(call), { name })).all, model(3));
});

test("when the site's data is cleared under an open database it is noticed within a second, and said", async (t) => {
  const { context, server, page, run } = await start(t);
  const name = fresh("cleared");
  await run((call) => actions.write(call), { name, from: 0, to: 3 });
  await run(async (name) => {
    globalThis.db = await actions.openAt({ name });
    globalThis.table = await db.table("more", { schema: { id: "int64" }, primaryKey: ["id"] });
    await table.ingest([{ id: 0n }]);
  }, name);
  const cdp = await context.newCDPSession(page);
  await cdp.send("Storage.clearDataForOrigin", { origin: server.origin, storageTypes: "all" });
  const outcome = await run(async () => {
    const since = performance.now();
    for (let id = 1n; ; id++) {
      try {
        await table.ingest([{ id }]);
      } catch (error) {
        const took = performance.now() - since;
        const next = await table.ingest([{ id: -1n }]).catch((error) => error.code);
        const read = await table.get({ id: 0n }).catch((error) => error.code);
        await db.close().catch(() => undefined);
        return { took, code: error.code, message: error.message, next, read };
      }
      if (performance.now() - since > 10_000) return { took: Infinity };
    }
  });
  console.log(`after ${outcome.took} ms: ${outcome.message}`);
  assert.ok(outcome.took < 1_000, JSON.stringify(outcome));
  assert.deepEqual([outcome.code, outcome.next, outcome.read], ["Closed", "Closed", "Closed"]);
  assert.match(outcome.message, /cleared the site's data/);
  // It goes on with what there is: nothing.
  const tables = await run(
    (name) => actions.using({ name }, async (db) => (await db.tables()).map(({ name }) => name)),
    name,
  );
  assert.deepEqual(tables, []);
});

test("an open while the page's last handle closes waits for it", async (t) => {
  const { run } = await start(t);
  const name = fresh("remount");
  const count = await run(async (name) => {
    let db = await actions.openAt({ name });
    await db.table("rows", { schema: { id: "int64" }, primaryKey: ["id"] });
    for (let id = 0n; id < 4n; id++) {
      void db.close();
      db = await actions.openAt({ name });
      await (await db.table("rows")).ingest([{ id }]);
    }
    void db.close();
    // A component that is mounted, unmounted and mounted again.
    const first = actions.openAt({ name });
    void first.then((opened) => opened.close());
    const second = await actions.openAt({ name });
    const found = await (await second.table("rows")).scan().count();
    await second.close();
    return found;
  }, name);
  assert.equal(count, 4);
});
