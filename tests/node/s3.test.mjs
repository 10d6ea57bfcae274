// Data in S3, through the package, over a real server: durability, who signs, what is refused, what it costs.

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { LakeshoreError, open, s3 } from "lakeshore";
import { batchRows, definition as table, model } from "../support/batches.mjs";
import { signer } from "../support/signer.mjs";
import { openAt, using } from "./support/actions.mjs";
import { inNewProcess, temporary } from "./support/process.mjs";
import { bucket, keys, proxyFor, skip, skipFaults } from "./support/s3.mjs";

async function expectRows(path, options, batches) {
  const { all, count, lastTimestamp } = await inNewProcess("read", { path, options });
  assert.deepEqual(all, model(batches));
  assert.equal(count, model(batches).length);
  return lastTimestamp;
}

for (const durability of ["local", "remote"]) {
  const place = (t) => (durability === "local" ? temporary(t) : undefined);

  test(`flushed rows survive a restart, ${durability}`, { skip }, async (t) => {
    const [path, options] = [place(t), { bucket: bucket() }];
    const args = { path, options, from: 0, to: 12, flushAfter: [11], end: "exit" };
    const { flushes } = await inNewProcess("write", args);
    assert.ok(flushes >= 1);
    await expectRows(path, options, 12);
    if (path) rmSync(join(path, "wal"), { recursive: true });
    await expectRows(path, options, 12);
  });

  test(
    `rows of the ${durability === "local" ? "WAL" : "log"} alone survive a restart`,
    { skip },
    async (t) => {
      const [path, options] = [place(t), { bucket: bucket() }];
      await inNewProcess("write", { path, options, from: 0, to: 12, end: "exit" });
      await expectRows(path, options, 12);
      await expectRows(path, options, 12);
    },
  );

  test(`a mix survives three restarts, and timestamps only grow, ${durability}`, { skip }, async (t) => {
    const [path, options] = [place(t), { bucket: bucket() }];
    const seen = [];
    for (let round = 0; round < 3; round++) {
      const [from, to] = [round * 4, round * 4 + 4];
      const flushAfter = round === 1 ? [5] : [];
      const end = ["close", "exit"][round % 2];
      seen.push(...(await inNewProcess("write", { path, options, from, to, flushAfter, end })).timestamps);
      for (let restart = 0; restart < 3; restart++) {
        assert.ok((await expectRows(path, options, to)) >= seen.at(-1), "the greatest timestamp fell");
      }
    }
    for (let i = 1; i < seen.length; i++) assert.ok(seen[i] > seen[i - 1], "a timestamp did not grow");
  });
}

test("options are checked when they are given, and no message shows a value", () => {
  const good = { bucket: "my-bucket", anonymous: true };
  for (const [options, word] of [
    [undefined, /s3\(\) takes options/],
    ["my-bucket", /s3\(\) takes options/],
    [{ anonymous: true }, /bucket is missing/],
    [{ ...good, bucket: 7 }, /bucket/],
    [{ ...good, buckets: "x" }, /no option "buckets".*bucket/],
    [{ ...good, prefix: 7 }, /prefix/],
    [{ ...good, pathStyle: "hunter2" }, /pathStyle/],
    [{ ...good, timeoutMs: 0 }, /timeoutMs/],
    [{ ...good, retries: -1 }, /retries/],
    [{ ...good, concurrency: 1.5 }, /concurrency/],
    [{ ...good, fetch: "hunter2" }, /fetch/],
    [{ bucket: "my-bucket" }, /exactly one of/],
    [{ ...good, credentials: { accessKeyId: "a", secretAccessKey: "hunter2" } }, /exactly one of/],
    [{ bucket: "my-bucket", credentials: "hunter2" }, /credentials/],
    [{ bucket: "my-bucket", credentials: { secretAccessKey: "hunter2" } }, /accessKeyId/],
    [{ bucket: "my-bucket", credentials: { accessKeyId: "a" } }, /secretAccessKey/],
    [
      {
        bucket: "my-bucket",
        credentials: { ...keys, accessKeyId: "a", secretAccessKey: "b", sessionToken: 3 },
      },
      /sessionToken/,
    ],
    [
      { bucket: "my-bucket", credentials: { accessKeyId: "a", secretAccessKey: "b", expiration: "hunter2" } },
      /expiration/,
    ],
    [{ bucket: "my-bucket", sign: "hunter2" }, /sign/],
    ...[
      ["sesionToken", /sessionToken/],
      ["SessionToken", /sessionToken/],
      ["expires", /expiration/],
      ["region", /accessKeyId/],
    ].map(([name, word]) => [
      {
        bucket: "my-bucket",
        credentials: { accessKeyId: "a", secretAccessKey: "b", [name]: "hunter2" },
      },
      word,
    ]),
  ]) {
    assert.throws(
      () => s3(options),
      (error) =>
        error instanceof LakeshoreError &&
        error.code === "Invalid" &&
        word.test(error.message) &&
        !error.message.includes("hunter2"),
      JSON.stringify(options),
    );
  }
});

test("credentials are taken as AWS's SDK finds them", () => {
  const found = { accessKeyId: "a", secretAccessKey: "b", $source: {}, accountId: "1", credentialScope: "x" };
  s3({ bucket: "my-bucket", credentials: found });
  s3({ bucket: "my-bucket", credentials: { ...found, expireTime: null, sessionToken: undefined } });
});

test("what a function gives may say more, but nothing that is meant to be what is missing", async () => {
  const fetch = async () => new Response(null, { status: 404 });
  const bucket = { bucket: "my-bucket", region: "r", endpoint: "http://127.0.0.1:9", fetch, retries: 0 };
  const right = { accessKeyId: "a", secretAccessKey: "b" };
  const outcome = async (options) => {
    try {
      await (await open({ data: s3({ ...bucket, ...options }), retries: 0 })).close();
      return "opened";
    } catch (error) {
      assert.ok(error instanceof LakeshoreError, String(error));
      assert.ok(!error.message.includes("hunter2"), error.message);
      return error.message;
    }
  };
  const none = /did you mean/;
  for (const [name, meant] of [
    ["sesionToken", /sessionToken/],
    ["expireTime", /expiration/],
    ["Expiration", /expiration/],
  ])
    assert.match(await outcome({ credentials: () => ({ ...right, [name]: "hunter2" }) }), meant, name);
  const more = { ...right, sessionToken: "t", accountId: "1", credentialScope: "x", $source: {} };
  assert.doesNotMatch(await outcome({ credentials: () => more }), none);
  assert.match(await outcome({ sign: () => ({ headers: {}, uri: "hunter2" }) }), /did you mean url/);
  assert.match(await outcome({ sign: () => ({ header: "hunter2" }) }), /did you mean headers/);
  assert.doesNotMatch(await outcome({ sign: ({ url }) => ({ url, headers: {}, method: "GET" }) }), none);
});

test("a wrong place is refused at open, and a password in it is not shown", async () => {
  for (const wrong of [
    { endpoint: "localhost:9000" },
    { endpoint: "https://me:hunter2@example.com" },
    { endpoint: "https://example.com?X-Amz-Signature=hunter2" },
    { prefix: "a/../b" },
    { region: "eu west" },
  ]) {
    const data = s3({ bucket: "my-bucket", anonymous: true, ...wrong });
    await assert.rejects(open({ data }), (error) => {
      assert.equal(error.code, "Invalid");
      assert.ok(error.message.includes(Object.keys(wrong)[0]), error.message);
      return !error.message.includes("hunter2");
    });
  }
});

/** Writes and reads a row over a store, so described. */
async function works(options) {
  return using(await open({ data: s3(options) }), async (db) => {
    const rows = await db.table("rows", table);
    await rows.ingest(batchRows(0));
    await db.flush();
    assert.equal(await rows.scan().count(), model(1).length);
    return db.stats();
  });
}

test("credentials may come from a function, which is asked again before they expire", { skip }, async () => {
  let asked = 0;
  const credentials = async () => {
    asked += 1;
    // The first are good for a minute less than the margin.
    return { ...keys, expiration: new Date(Date.now() + (asked === 1 ? 30_000 : 3_600_000)) };
  };
  await works(bucket({ credentials }));
  assert.equal(asked, 2);
});

test("refused credentials are asked for once more, and a failing function is told", { skip }, async () => {
  let asked = 0;
  const credentials = () => (asked++ === 0 ? { accessKeyId: "AKIANOBODY", secretAccessKey: "x" } : keys);
  await works(bucket({ credentials }));
  assert.equal(asked, 2);
  const failing = () => Promise.reject(new Error("nobody is signed in: https://x/y?token=hunter2"));
  await assert.rejects(works(bucket({ credentials: failing })), (error) => {
    assert.ok(error instanceof LakeshoreError);
    assert.match(error.message, /nobody is signed in/);
    return !error.message.includes("hunter2");
  });
});

test("a server may sign: the function gets requests and gives headers", { skip }, async () => {
  const { credentials, ...rest } = bucket();
  await works({ ...rest, sign: signer(credentials, rest.region) });
  await assert.rejects(
    works({ ...rest, sign: () => ({ headers: { authorization: "AWS4-HMAC-SHA256 nonsense" } }) }),
    (error) => ["Denied", "Invalid"].includes(error.code),
  );
  await assert.rejects(works({ ...rest, sign: () => "nothing" }), (error) => {
    return error.code === "Invalid" && /sign\(\)/.test(error.message);
  });
});

test("the option fetch is what is called", { skip }, async () => {
  let calls = 0;
  const counting = (...args) => ((calls += 1), fetch(...args));
  const { data } = await works(bucket({ fetch: counting }));
  assert.equal(calls, data.get + data.put + data.putIfAbsent + data.list + data.delete);
});

test("what the store refuses has its code, and no message tells a secret", { skip }, async () => {
  const secret = "wrong/Secret+hunter2";
  for (const [change, code, word] of [
    [
      { credentials: { ...keys, secretAccessKey: secret } },
      "Denied",
      /secret access key|credentials are wrong/,
    ],
    [{ credentials: { ...keys, sessionToken: "hunter2hunter2" } }, "Denied", /./],
    [{ bucket: "there-is-no-such-bucket" }, "Invalid", /there-is-no-such-bucket/],
    [{ endpoint: "http://127.0.0.1:1", retries: 1 }, "Unavailable", /ECONNREFUSED|fetch/],
  ]) {
    await assert.rejects(open({ data: s3(bucket(change)) }), (error) => {
      assert.equal(error.code, code, error.message);
      assert.match(error.message, word);
      const all = `${error.message} ${error.stack} ${JSON.stringify(error)} ${error.cause?.message ?? ""}`;
      return !["hunter2", "Signature=", "AWS4", keys.secretAccessKey].some((text) => all.includes(text));
    });
  }
});

test(
  "our counters and a counting proxy agree, and the costs are those promised",
  { skip: skipFaults },
  async (t) => {
    const proxy = await proxyFor(t);
    const options = bucket({ endpoint: proxy.endpoint });
    let before;
    const took = async (db) => {
      const { data } = await db.stats();
      const seen = await proxy.counts();
      await proxy.reset();
      const ours = Object.fromEntries(Object.entries(data).map(([k, v]) => [k, v - (before?.[k] ?? 0)]));
      before = data;
      for (const kind of ["get", "put", "putIfAbsent", "list", "delete"])
        assert.equal(ours[kind], seen[kind], kind);
      assert.equal(ours.bytesWritten, seen.bytesUp);
      assert.equal(ours.bytesRead, seen.bytesDown);
      return seen.total;
    };
    const db = await open({ data: s3(options) });
    assert.ok((await took(db)) <= 2, "open");
    const rows = await db.table("rows", table);
    await took(db);
    await rows.ingest(batchRows(0));
    assert.equal(await took(db), 1, "small commit");
    await db.flush();
    assert.equal(await took(db), 2, "flush");
    await db.refresh();
    assert.equal(await took(db), 1, "refresh");
    await db.checkpoint();
    await db.close();
    await proxy.reset();
    before = undefined;
    const cold = await open({ data: s3(options) });
    const again = await cold.table("rows");
    assert.ok(await again.get({ id: 3n }));
    assert.ok((await took(cold)) <= 4, "cold open + point read");
    assert.ok(await again.get({ id: 4n }));
    assert.equal(await took(cold), 1, "warm point read");
    await cold.close();
  },
);

test("a reply that is lost loses nothing and commits nothing twice", { skip: skipFaults }, async (t) => {
  const proxy = await proxyFor(t);
  const options = { bucket: bucket({ endpoint: proxy.endpoint }) };
  await using(await openAt(undefined, options), async (db) => {
    const rows = await db.table("rows", table);
    for (const lost of [true, 503]) {
      await proxy.fault({ kind: "putIfAbsent", action: { lost } });
      await rows.ingest(batchRows(lost === true ? 0 : 1));
    }
    await proxy.fault({ kind: "put", path: "/data/", action: { lost: true } });
    await db.flush();
    assert.equal((await db.stats()).head, 4);
  });
  await using(await openAt(undefined, options), async (db) => {
    assert.deepEqual(await (await db.table("rows")).scan().toArray(), model(2));
  });
});

test("rows stay pending while the store is away, and reach it later", { skip: skipFaults }, async (t) => {
  const proxy = await proxyFor(t);
  const options = { bucket: bucket({ endpoint: proxy.endpoint, retries: 1 }), retries: 1 };
  await using(await openAt(temporary(t), options), async (db) => {
    const rows = await db.table("rows", table);
    await rows.ingest(batchRows(0));
    await proxy.down();
    await rows.ingest(batchRows(1));
    await assert.rejects(db.flush(), (error) => ["Unavailable", "Unknown"].includes(error.code));
    assert.equal((await db.stats()).backlogRows, 22);
    await proxy.up();
    await db.flush();
    assert.equal((await db.stats()).backlogRows, 0);
  });
  await using(await openAt(undefined, options), async (db) => {
    assert.deepEqual(await (await db.table("rows")).scan().toArray(), model(2));
  });
});
