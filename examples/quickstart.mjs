// The main job, on real data: a million rows go Arrow IPC → WAL → Parquet → crash → restart → scan.
// No server: an embedded database in a local directory. Run it with `npm run quickstart`.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { tableFromIPC } from "apache-arrow";
import { col, open } from "lakeshore";
import { flights, flightsIPC, flightsTable } from "./flights.mjs";

const ingested = 1_000_000;
const killAfterCommits = 8;

if (process.argv[2] === "--writer") await writeMore(process.argv[3], Number(process.argv[4]));
else await main();

async function main() {
  const directory = mkdtempSync(join(tmpdir(), "lakeshore-quickstart-"));
  try {
    const changed = await reopened(directory, async (db) => {
      await ingest(db);
      return change(db);
    });
    const acknowledged = await killWriter(directory);
    await reopened(directory, async (db) => {
      const table = await db.table("flights");
      const checked = await check(table, acknowledged, changed);
      await report(table);
      const counts = { ingested, ...changed.counts, acknowledgedBeforeKill: acknowledged, ...checked };
      console.log(JSON.stringify(counts));
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Opens the database and closes it after `work`. Where there is `await using`, that does it. */
async function reopened(directory, work) {
  const db = await open(directory);
  try {
    return await work(db);
  } finally {
    await db.close();
  }
}

async function ingest(db) {
  const table = await db.table("flights", flightsTable);
  const start = performance.now();
  let shown = 0;
  const show = ({ rows }) => {
    if (rows < ingested && rows < shown + 100_000) return;
    shown = rows;
    console.log(`ingested ${rows.toLocaleString("en")} flights, ${since(start)}`);
  };
  await table.ingest(flightsIPC({ to: ingested }), { onProgress: show });
  const { flushes, wasmMemoryBytes } = await db.stats();
  console.log(`${flushes} flushes to Parquet; ${mib(wasmMemoryBytes)} MiB of WebAssembly memory`);
}

/** Updates every 1,000th flight, deletes the one after it. */
async function change(db) {
  const table = await db.table("flights");
  const updates = [];
  const deletes = [];
  for (let id = 0; id < ingested; id += 1000) {
    updates.push({ ...(await table.get({ id })), delay: 9999n });
    deletes.push({ id: id + 1 });
  }
  await table.ingest(updates);
  await table.delete(deletes);
  console.log(`updated ${updates.length} flights, deleted ${deletes.length}`);
  return {
    counts: { updated: updates.length, deleted: deletes.length },
    isUpdated: (id) => id < ingested && id % 1000 === 0,
    isDeleted: (id) => id < ingested && id % 1000 === 1,
  };
}

/** Another process ingests on; it is killed with a commit under way. How many rows it had acknowledged. */
async function killWriter(directory) {
  const self = fileURLToPath(import.meta.url);
  const child = spawn(process.execPath, [self, "--writer", directory, String(ingested)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.on("close", (_, signal) => resolve(signal)));
  let commits = 0;
  let acknowledged = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged = Number(line);
    if (++commits === killAfterCommits) child.kill("SIGKILL");
  }
  const signal = await ended;
  if (signal !== "SIGKILL") throw new Error(`the writer ended by itself (${signal})`);
  console.log(`killed the writer (${signal}) after it had acknowledged ${acknowledged} more flights`);
  return acknowledged;
}

async function writeMore(directory, from) {
  const db = await open(directory);
  const table = await db.table("flights");
  const tell = ({ rows }) => process.stdout.write(`${rows}\n`);
  await table.ingest(flightsIPC({ from, batchRows: 10_000 }), { onProgress: tell });
}

/** Compares every row with the source. A batch that was not acknowledged may be there, but only whole. */
async function check(table, acknowledged, { isUpdated, isDeleted }) {
  const start = performance.now();
  const expected = rowsOf(flights());
  let rows = 0;
  let last = -1;
  for await (const ipc of table.scan()) {
    for (const row of rowsOf([tableFromIPC(ipc)])) {
      let wanted = expected.next().value;
      while (isDeleted(wanted.id)) wanted = expected.next().value;
      if (isUpdated(wanted.id)) wanted.delay = 9999n;
      for (const name in wanted) {
        if (row[name] === wanted[name]) continue;
        throw new Error(`flight ${wanted.id}: ${name} is ${row[name]}, not ${wanted[name]}`);
      }
      last = row.id;
      rows += 1;
    }
  }
  const beyond = last + 1 - ingested;
  if (beyond < acknowledged) throw new Error(`lost ${acknowledged - beyond} acknowledged flights`);
  console.log(`reopened: all ${rows.toLocaleString("en")} flights are as they should be, ${since(start)}`);
  return { checked: rows, unacknowledgedKept: beyond - acknowledged };
}

/** Rows of Arrow tables, column by column: their own row objects are slow. */
function* rowsOf(tables) {
  for (const table of tables) {
    const [ids, dates, delays, distances] = ["id", "date", "delay", "distance"].map(
      (name) => table.getChild(name).data[0].values,
    );
    const [origins, destinations] = [table.getChild("origin"), table.getChild("destination")];
    for (let i = 0; i < table.numRows; i++) {
      yield {
        id: Number(ids[i]),
        date: dates[i],
        delay: delays[i],
        distance: distances[i],
        origin: origins.get(i),
        destination: destinations.get(i),
      };
    }
  }
}

/** The five busiest origins in the first week of January 2001. */
async function report(table) {
  const where = col("date")
    .gte(new Date("2001-01-01Z"))
    .and(col("date").lt(new Date("2001-01-08Z")));
  const origins = new Map();
  for await (const { origin, delay } of table.scan({ where, select: ["origin", "delay"] }).rows()) {
    const sum = origins.get(origin) ?? { flights: 0, delay: 0 };
    origins.set(origin, { flights: sum.flights + 1, delay: sum.delay + Number(delay) });
  }
  const busiest = [...origins].sort(([, a], [, b]) => b.flights - a.flights).slice(0, 5);
  console.log("\nbusiest origins, 1 to 7 January 2001\norigin  flights  mean delay (min)");
  for (const [origin, { flights, delay }] of busiest) {
    console.log(
      `${origin.padEnd(6)}  ${String(flights).padStart(7)}  ${(delay / flights).toFixed(1).padStart(10)}`,
    );
  }
  console.log();
}

function since(start) {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}

function mib(bytes) {
  return Math.round(bytes / 2 ** 20);
}
