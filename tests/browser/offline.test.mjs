// Devices that come and go, with the real thing: each is a profile of Chromium with a page, a WAL in OPFS, and its network
// cut by the devtools protocol; the store is the S3 server. tests/offline/ has the same, and more, natively.
//
// A page cannot be reloaded on a network that is cut, unless its app can start without one, as apps for devices do: a
// service worker keeps the page, the package and its module. So the cut is a whole one, the page's own server included,
// and the tests see for themselves that nothing of the page, of the engine's worker and of the service worker gets out.

import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "../node/support/process.mjs";
import { fresh, skipFaults as skip } from "./support/buckets.mjs";
import { sharedBrowser } from "./support/chromium.mjs";
import { appShell, device, Expected, remotely, rows, storeTime } from "./support/devices.mjs";

const HOUR = 3_600_000;
const YEAR = 365 * 24 * HOUR;
const starts = { near: sharedBrowser(), far: sharedBrowser() };

/** Both devices at one moment of theirs: `far`'s clock is a year ahead. */
function setClocks({ near, far }, hours) {
  return Promise.all([near.setClock(hours * HOUR), far.setClock(YEAR + hours * HOUR)]);
}

/** Does something with each device, at once. */
function each(devices, work) {
  return Promise.all(Object.entries(devices).map(([name, device]) => work(device, name)));
}

const threads = ["page", "engine", "service worker"];
const all = (outcome) => Object.fromEntries(threads.map((thread) => [thread, [outcome, outcome]]));

/** Cuts a device off, and sees that it is. Gives what sees at the end of it that nothing passed meanwhile. */
async function cutOff(device) {
  assert.deepEqual(await device.reach(), all("answered"));
  await device.cut();
  await device.proxy.reset();
  const { asked } = device.server;
  const from = asked.length;
  assert.deepEqual(await device.reach(), all("TypeError"));
  return async () => {
    assert.deepEqual(await device.reach(), all("TypeError"));
    // Chromium lets two things pass that no page sent: preflights, which carry nothing and let nothing follow, and its
    // own question whether there is a new service worker.
    const { total } = await device.proxy.counts();
    const passed = asked.slice(from).filter((path) => path !== appShell);
    assert.deepEqual([total, passed], [0, []], "something passed");
  };
}

/** It is offline, and shows what it had and all it has committed since. */
async function expectOffline(device, name, expected) {
  assert.deepEqual(await device.read(), expected.seenBy(name));
  const stats = await device.call("stats");
  assert.equal(stats.backlogCommits, expected.pendingOf(name));
  assert.ok(stats.backlogRows > 0 && stats.backlogBytes > 0 && stats.backlogSince !== undefined);
  for (const commit of device.commits) {
    assert.equal(commit.uploaded, false);
    assert.equal(await device.call("isUploaded", commit), false);
  }
  const { code, message } = await device.refusal("upload");
  assert.equal(code, "Unavailable", message);
  const { online, uploadError } = await device.call("stats");
  assert.equal(online, false);
  assert.match(uploadError, /^Unavailable/);
}

/** It has uploaded everything. */
async function expectUploaded(device) {
  for (const commit of device.commits) assert.equal(await device.call("isUploaded", commit), true);
  const stats = await device.call("stats");
  const { online, backlogCommits, backlogRows, backlogBytes, parkedCommits, droppedRows } = stats;
  assert.deepEqual(
    [online, backlogCommits, backlogRows, backlogBytes, parkedCommits, droppedRows],
    [true, 0, 0, 0, 0, 0],
  );
  assert.deepEqual([stats.backlogSince, stats.uploadError], [undefined, undefined]);
}

/** What a device commits: before the cut, and in each of the three times that its page lives offline. */
const commits = {
  near: [
    [{ put: rows("near", 1, 0, 1, 30) }],
    [{ put: rows("near", 2, 1, 2, 3) }, { gone: [0, 4] }],
    [{ put: rows("near", 3, 0) }, { put: rows("near", 4, 5, 20), gone: [6] }],
    [
      { gone: [20] },
      { put: rows("near", 5, 8) },
      { put: rows("near", 6, 8, 9) },
      { put: rows("near", 7, 100) },
    ],
  ],
  far: [
    [{ put: rows("far", 1, 2) }],
    [{ put: rows("far", 2, 0, 1, 2, 3) }, { gone: [5, 7] }],
    [{ put: rows("far", 3, 7, 4) }, { gone: [1, 30] }, { put: rows("far", 4, 200), gone: [8] }],
    [{ put: rows("far", 5, 6) }, { gone: [2] }, { put: rows("far", 6, 9, 20) }, { gone: [9] }],
  ],
};

for (const order of [
  ["near", "far"],
  ["far", "near"],
]) {
  test(
    `two devices, one a year ahead, are cut off for hours, and ${order.join(" is online before ")}`,
    { skip },
    async (t) => {
      const name = fresh("offline");
      const expected = new Expected();
      const begin = await storeTime();
      await remotely(name, async (_, table) => {
        for (const put of [rows("seed", 0, ...Array(10).keys()), rows("seed", 1, 5, 10, 11)]) {
          await table.ingest(put);
          expected.committed("seed", { put });
        }
        expected.uploaded("seed");
      });
      const made = Object.entries(starts).map(async ([which, start]) => [
        which,
        await device(t, start, { name }),
      ]);
      const devices = Object.fromEntries(await Promise.all(made));
      const commitAll = (part) =>
        each(devices, async (device, which) => {
          for (const commit of commits[which][part]) {
            await device.commit(commit);
            expected.committed(which, commit);
          }
        });
      const options = { sealBatches: 2 };

      await setClocks(devices, -7);
      await each(devices, async (device) => {
        await device.open({ ...options, sealBatches: 1000 });
        // The engine's clock is the wrong one.
        const { provedAt } = await device.call("stats");
        const ahead = Number(provedAt) / 1000 - Date.now() - device.ahead;
        assert.ok(Math.abs(ahead) < 60_000, `${ahead} ms`);
        assert.deepEqual(await device.read(), expected.everybody());
      });
      await commitAll(0);
      const stillCut = await each(devices, cutOff);
      await commitAll(1);
      await each(devices, (device, which) => expectOffline(device, which, expected));
      for (const part of [2, 3]) {
        await setClocks(devices, 2 * part - 8);
        await each(devices, async (device) => {
          await device.restart();
          await device.open(options);
          assert.equal((await device.call("stats")).online, false);
        });
        await each(devices, (device, which) => expectOffline(device, which, expected));
        await commitAll(part);
        await each(devices, (device, which) => expectOffline(device, which, expected));
      }
      await setClocks(devices, 0);
      for (const check of stillCut) await check();

      for (const [turn, which] of order.entries()) {
        const device = devices[which];
        // The first goes on with the handle that was opened offline; the second opens anew.
        if (turn === 1) await device.call("close");
        else
          await device.run(
            (commit) => void (globalThis.waiting = db.uploaded(commit)),
            device.commits.at(-1),
          );
        await device.cut(false);
        if (turn === 1) await device.open(options);
        else await device.call("refresh");
        assert.deepEqual(await device.read(), expected.seenBy(which));
        let steps = 0;
        for (let left = 1; left > 0; steps++) {
          const step = await device.call("upload", { maxBytes: 1 });
          left = step.remainingRows;
          const { backlogCommits } = await device.call("stats");
          assert.equal(expected.uploaded(which, backlogCommits), step.commits);
          // Whole commits, in their order.
          const content = await remotely(name, (_, table) => table.scan().toArray());
          assert.deepEqual(content, expected.everybody());
        }
        if (turn === 0) {
          assert.ok(steps > 1, `${steps} steps`);
          await device.run(() => globalThis.waiting);
        }
        await expectUploaded(device);
      }
      await each(devices, async (device) => {
        await device.call("refresh");
        assert.deepEqual(await device.read(), expected.everybody());
        await expectUploaded(device);
      });

      const end = await storeTime();
      const versions = await remotely(name, (db) => db.versions());
      const stamps = versions.map(({ timestamp }) => timestamp);
      await each(devices, async (device) => stamps.push((await device.call("stats")).lastTimestamp));
      // The store tells whole seconds.
      const margin = 301_000_000n;
      for (const stamp of stamps)
        assert.ok(begin - margin <= stamp && stamp <= end + margin, `${stamp} is not in ${begin} to ${end}`);
    },
  );
}

test("a device that never was online says what is missing, and opens once it is", { skip }, async (t) => {
  const one = await device(t, starts.near, { name: fresh("never") });
  await remotely(one.name, (_, table) => table.ingest(rows("seed", 0, 1)));
  await one.cut();
  await one.restart();
  const refused = await one.run(async (open) => {
    const error = await actions.openAt(open).catch((error) => error);
    return { code: error.code, message: error.message, retryable: error.retryable };
  }, one.database());
  console.log(`never online: ${refused.message}`);
  assert.deepEqual([refused.code, refused.retryable], ["Unavailable", true]);
  assert.match(refused.message, /no copy of the catalog.*must be opened online once/);
  await one.cut(false);
  await one.open();
  assert.deepEqual(await one.read(), rows("seed", 0, 1));
});

for (const arrives of [true, false]) {
  const what = arrives ? "whose record arrives" : "whose record does not arrive";
  test(`an upload that a cut interrupts, ${what}, goes on and uploads nothing twice`, { skip }, async (t) => {
    const name = fresh("interrupted");
    const one = await device(t, starts.near, { name });
    const expected = new Expected();
    const commit = async (commit) => {
      await one.commit(commit);
      expected.committed("one", commit);
    };
    await remotely(name, (_, table) => table);
    await one.open();
    for (const n of [1, 2, 3]) await commit({ put: rows("one", n, n, n + 1) });
    // On its way for so long that the network is cut meanwhile.
    const late = arrives ? { delayMs: 1000 } : { delayMs: 1000, reset: true };
    await one.proxy.fault({ kind: "putIfAbsent", path: "/log/", action: late });
    await one.run(() => {
      globalThis.upload = db.upload().then(
        () => ({ code: "none" }),
        ({ code, message }) => ({ code, message }),
      );
    });
    const sent = async () => (await one.proxy.log()).filter(({ fault }) => fault !== undefined);
    await until(async () => (await sent()).length === 1);
    await one.breakOff();
    const { code, message } = await one.run(() => globalThis.upload);
    assert.ok(["Unavailable", "Unknown"].includes(code), `${code}: ${message}`);
    await commit({ put: rows("one", 4, 2) });
    await until(async () => !arrives || (await sent())[0].status !== 0);
    await one.restart();
    await one.open();
    await commit({ put: rows("one", 5, 10) });
    // Whether it arrived nobody can say there.
    assert.equal((await one.call("stats")).backlogCommits, 5);
    assert.deepEqual(await one.read(), expected.seenBy("one"));

    if (arrives) expected.uploaded("one", 2);
    const put = rows("other", 9, 1, 2, 3);
    await remotely(name, (_, table) => table.ingest(put));
    expected.committed("other", { put });
    expected.uploaded("other");
    await one.cut(false);
    await one.call("refresh");
    assert.equal((await one.call("stats")).backlogCommits, arrives ? 2 : 5);
    assert.deepEqual(await one.read(), expected.seenBy("one"));
    await one.call("upload");
    expected.uploaded("one");
    assert.deepEqual(await one.read(), expected.everybody());
    await expectUploaded(one);
    const [content, { tables }] = await remotely(name, async (db, table) => [
      await table.scan().toArray(),
      await db.stats(),
    ]);
    assert.deepEqual(content, expected.everybody());
    // Keys 1 to 4 of the first upload, 2 and 10 of the second; or 1 to 4 and 10 of both at once. And the other's three.
    assert.equal(tables[0].fileRows, (arrives ? 6 : 5) + 3, "a row is there twice");
  });
}

async function until(condition) {
  const end = Date.now() + 10_000;
  while (!(await condition())) {
    assert.ok(Date.now() < end, "it never came");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test("two devices that come and go at random end with what was uploaded last", { skip }, async (t) => {
  const next = random();
  const below = (n) => Math.floor(next() * n);
  const name = fresh("random");
  const expected = new Expected();
  await remotely(name, (_, table) => table);
  const made = Object.entries(starts).map(async ([which, start]) => [
    which,
    await device(t, start, { name }),
  ]);
  const devices = Object.fromEntries(await Promise.all(made));
  const isCut = { near: false, far: false };
  await setClocks(devices, 0);
  await each(devices, (device) => device.open());
  const steps = process.env.LAKESHORE_TEST_LONG ? 300 : 60;
  let hours = 0;
  const seen = { cuts: 0, restarts: 0, uploads: 0, interrupted: 0, unheard: 0 };
  for (let step = 0; step < steps; step++) {
    const which = ["near", "far"][below(2)];
    const device = devices[which];
    const what = below(16);
    if (what === 0) {
      hours += below(4);
      await setClocks(devices, hours);
    } else if (what === 1 || (what === 2 && isCut[which])) {
      isCut[which] = !isCut[which];
      await device.cut(isCut[which]);
      seen.cuts += 1;
    } else if (what === 3) {
      if (below(2) === 0) await device.call("close");
      await device.restart();
      await device.open();
      seen.restarts += 1;
    } else if (what === 4 || what === 5) {
      const { code, message } = await device.refusal("upload");
      const refused = isCut[which] && expected.pendingOf(which) > 0;
      assert.equal(code, refused ? "Unavailable" : undefined, `step ${step}, ${hours} h: ${message}`);
      if (!isCut[which]) expected.uploaded(which);
      seen.uploads += 1;
    } else if ((what === 6 || what === 7) && !isCut[which]) {
      const { arrived, heard } = await interrupted(device, name, below(200));
      if (arrived) expected.uploaded(which);
      if (arrived && !heard) seen.unheard += 1;
      isCut[which] = true;
      seen.interrupted += 1;
    } else {
      const ids = Array.from({ length: 1 + below(4) }, () => below(30));
      const commit = what === 8 ? { gone: [...new Set(ids)] } : { put: rows(which, step, ...new Set(ids)) };
      await device.commit(commit);
      expected.committed(which, commit);
    }
    if (isCut[which]) continue;
    await device.call("refresh");
    const { online, backlogCommits } = await device.call("stats");
    assert.deepEqual([online, backlogCommits], [true, expected.pendingOf(which)], `step ${step} of ${which}`);
    assert.deepEqual(await device.read(), expected.seenBy(which), `step ${step} of ${which}`);
  }
  const last = below(2) === 0 ? ["near", "far"] : ["far", "near"];
  for (const which of last) {
    await devices[which].cut(false);
    await devices[which].call("upload");
    expected.uploaded(which);
  }
  await each(devices, async (device) => {
    await device.call("refresh");
    assert.deepEqual(await device.read(), expected.everybody());
    await expectUploaded(device);
  });
  const [content, [{ timestamp }]] = await remotely(name, async (db, table) => [
    await table.scan().toArray(),
    await db.versions({ limit: 1 }),
  ]);
  assert.deepEqual(content, expected.everybody());
  const ahead = timestamp - (await storeTime());
  assert.ok(ahead < 301_000_000n, `the log is ${ahead} µs ahead`);
  console.log(
    JSON.stringify({ ...seen, steps, commits: devices.near.commits.length + devices.far.commits.length }),
  );
});

/** Cuts a device off in the middle of an upload. Whether that has arrived all the same, and whether the device knows. */
async function interrupted(device, name, milliseconds) {
  const head = () => remotely(name, async (db) => (await db.stats()).head);
  const before = await head();
  await device.proxy.fault({ kind: "putIfAbsent", path: "/log/", action: { delayMs: 100 } });
  const upload = device.refusal("upload");
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  await device.breakOff();
  const { code } = await upload;
  // What is under way from the proxy on.
  await until(async () => (await device.proxy.log()).every(({ status }) => status !== 0));
  await device.proxy.clear();
  return { arrived: (await head()) > before, heard: code === undefined };
}
