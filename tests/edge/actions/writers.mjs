// One of many writers: small commits by a handle kept in the isolate, each fifth a transfer between accounts that also
// counts itself. What is `Unavailable` is done again, what is `Unknown` read back first.

import { open, s3 } from "lakeshore";

const definition = { schema: { id: "int64", n: "int64" }, primaryKey: ["id"] };
const kinds = ["get", "put", "putIfAbsent", "list", "delete"];
const accounts = 8n;
const balance = 1000n;

/** The key of a writer's commit number `serial`. */
const keyOf = (writer, serial) => BigInt(writer) * 1_000_000n + BigInt(serial);
const isTransfer = (serial) => serial % 5 === 4;

let kept;
const met = { conflicts: 0, unavailable: 0, unknown: 0, applied: 0 };

/** Makes the tables, and the accounts in one commit. */
export async function prepare({ place }) {
  const db = await open({ data: s3(place) });
  for (const name of ["rows", "accounts", "counters"]) await db.table(name, definition);
  await db.transaction(async (tx) => {
    const all = Array.from({ length: Number(accounts) }, (_, id) => ({ id: BigInt(id), n: balance }));
    await tx.table("accounts").ingest(all);
    await tx.table("counters").ingest([{ id: 0n, n: 0n }]);
  });
  await db.close();
}

/** Opens the handle that the commits use. */
export async function begin({ place, options }) {
  kept = await again(() => open({ data: s3(place), ...options }));
}

/** Makes a writer's commit number `serial`. Its timestamp, if that was told. */
export async function commit({ writer, serial }) {
  for (let attempt = 1n; ; attempt++) {
    try {
      if (isTransfer(serial)) return void (await transfer(writer, serial, attempt));
      const rows = await kept.table("rows");
      return (await rows.ingest([{ id: keyOf(writer, serial), n: attempt }])).timestamp;
    } catch (error) {
      if (error.code === "Unavailable") {
        met.unavailable += 1;
      } else if (error.code === "Unknown") {
        met.unknown += 1;
        if (await again(() => isThere(keyOf(writer, serial)))) return void (met.applied += 1);
      } else {
        throw error;
      }
    }
  }
}

/** From one account to another, and one more in the counter. */
async function transfer(writer, serial, attempt) {
  const from = BigInt(writer + serial) % accounts;
  const to = (from + 1n + (BigInt(serial) % (accounts - 1n))) % accounts;
  const amount = 1n + (BigInt(serial) % 10n);
  let runs = 0;
  const run = async (tx) => {
    runs += 1;
    const add = async (name, id, by) => {
      const { n } = await tx.table(name).get({ id });
      await tx.table(name).ingest([{ id, n: n + by }]);
    };
    await add("accounts", from, -amount);
    await add("accounts", to, amount);
    await add("counters", 0n, 1n);
    await tx.table("rows").ingest([{ id: keyOf(writer, serial), n: attempt }]);
  };
  try {
    await kept.transaction(run, { attempts: 1000 });
  } finally {
    met.conflicts += Math.max(runs - 1, 0);
  }
}

async function isThere(id) {
  await kept.refresh();
  return (await (await kept.table("rows")).get({ id })) !== undefined;
}

/** Does it again while it is `Unavailable`. */
async function again(call) {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (error.code !== "Unavailable") throw error;
      met.unavailable += 1;
    }
  }
}

/** Closes the handle: what it met, and the requests it made. */
export async function end() {
  await kept.close();
  const { data } = await kept.stats();
  const requests = kinds.reduce((sum, kind) => sum + data[kind], 0);
  return { ...met, requests, retries: data.retries };
}

/** By a fresh handle: all rows, and what each commit in the log wrote, in order. */
export async function readAll({ place }) {
  const db = await open({ data: s3(place) });
  const all = async (name) => (await db.table(name)).scan().toArray();
  const tables = {
    rows: await all("rows"),
    accounts: await all("accounts"),
    counters: await all("counters"),
  };
  const log = [];
  for await (const change of db.changes({ since: "start", endAtHead: true }).rows()) log.push(change);
  await db.close();
  return { ...tables, log };
}
