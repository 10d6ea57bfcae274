// A child is killed (SIGKILL) in the middle of an ingest; this process has recorded what was acknowledged.

import assert from "node:assert/strict";
import { test } from "node:test";
import { batchRows } from "../support/batches.mjs";
import { inNewProcess, random, start, temporary } from "./support/process.mjs";

const rows = 50;
const kills = process.env.LAKESHORE_TEST_LONG ? 200 : 20;
/** Flushes and rotations all the time. */
const options = { walSegmentBytes: 8192, sealBatches: 7, memtableLimitBytes: 8 * 2 ** 20 };

test("nothing acknowledged is lost to SIGKILL, and batches are whole or absent", async (t) => {
  const path = temporary(t);
  const next = random();
  await inNewProcess("write", { path, options, rows, from: 0, to: 1 });
  let first = 1;
  let inside = 0;
  for (let kill = 0; kill < kills; kill++) {
    const { lines, signal } = await killOnce(path, first, kill, next);
    assert.equal(signal, "SIGKILL", lines.join("\n"));
    if (endedInside(lines)) inside += 1;
    const acknowledged = lines.filter((line) => line.startsWith("ack ")).map((line) => Number(line.slice(4)));
    const last = acknowledged.at(-1) ?? first - 1;
    first = await check(path, last);
  }
  console.log(`${kills} kills, ${inside} of them inside a flush or a rotation, ${first} batches`);
  assert.ok(inside >= 5, `only ${inside} kills hit a flush or a rotation`);
});

/** Every second child kills itself inside a flush or a rotation; the others are killed whenever it happens. */
function killOnce(path, first, kill, next) {
  const at = 1 + Math.floor(next() * 4);
  const place = next() < 0.5 ? "before" : "after";
  const which = kill % 4 === 0 ? "flush" : "rotation";
  const killAt = kill % 2 === 0 ? { [which]: { [place]: at } } : undefined;
  const patience = 1 + Math.floor(next() * 25);
  let acks = 0;
  const onLine = (line, child) => {
    if (killAt !== undefined || !line.startsWith("ack ")) return;
    if (++acks === patience) setTimeout(() => child.kill("SIGKILL"), next() * 5);
  };
  return start("ingestUntilKilled", { path, options, first, rows, killAt }, { onLine }).ended;
}

function endedInside(lines) {
  const open = new Map();
  for (const line of lines) {
    const [word, name] = line.split(" ");
    if (word === "begin") open.set(name, (open.get(name) ?? 0) + 1);
    if (word === "end") open.set(name, open.get(name) - 1);
  }
  return [...open.values()].some((count) => count > 0);
}

/** Compares with batches 0 to `last`, and perhaps the next one. The number of batches that are there. */
async function check(path, last) {
  const { all } = await inNewProcess("read", { path, options });
  const batches = Math.max(last + 1, Number(all[0]?.batch ?? -1n) + 1);
  assert.ok(batches <= last + 2, `batch ${batches - 1} is there, which was never begun after ${last}`);
  const wanted = new Map();
  for (let n = 0; n < batches; n++) for (const row of batchRows(n, rows)) wanted.set(row.id, row);
  assert.deepEqual(all, [...wanted.values()]);
  return batches;
}
