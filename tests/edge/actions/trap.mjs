// Makes the engine trap while calls of several requests are in flight: by a panic (an exception inside of a call that
// cannot fail) or by memory that cannot be had (the module may have 24 MiB only).

import { host, init, memory, open, s3 } from "lakeshore";
import small from "./small.wasm";

init(small);

const definition = { schema: { id: "int64", raw: "binary" }, primaryKey: ["id"] };
const now = Date.now;
const outcome = (promise) =>
  promise.then(
    () => "done",
    (error) => error.code ?? String(error),
  );
let kept;

/** Rows that are acknowledged: some flushed, some in the log only. */
export async function prepare({ place, round }) {
  const db = await open({ data: s3(place), memoryBytes: 2 ** 40, commitBytes: 2 ** 30 });
  const table = await db.table("rows", definition);
  await table.ingest([{ id: BigInt(round) }]);
  await db.flush();
  await table.ingest([{ id: BigInt(100 + round) }]);
  kept = db;
}

/** A request whose commit waits at the store when the engine traps. */
export async function wait({ place }) {
  const db = await open({ data: s3(place) });
  const table = await db.table("other", definition);
  return outcome(table.ingest([{ id: 1n }]));
}

export async function trap({ way }) {
  const table = await kept.table("rows");
  const bystander = await open({ data: memory() });
  const other = await bystander.table("other", definition);
  const never = new Promise(() => undefined);
  const inner = memory().host;
  const stuck = await open({ data: host({ ...bound(inner), putIfAbsent: () => never }) });
  const calls = [outcome(stuck.table("t", definition))];
  const begin = now();
  if (way === "panic") {
    Date.now = () => {
      throw new Error("panicked at a test");
    };
    calls.push(outcome(other.ingest([{ id: 1n }])));
  } else {
    calls.push(outcome(table.ingest(new Uint8Array(30_000_000))));
  }
  calls.push(outcome(table.scan().toArray()), outcome(bystander.flush()), outcome(bystander.stats()));
  const outcomes = await Promise.all(calls);
  Date.now = now;
  const after = [await outcome(table.get({ id: 0n })), await outcome(kept.close())];
  return { outcomes, after, ms: now() - begin };
}

function bound(object) {
  const names = ["get", "getRange", "getSuffix", "put", "putIfAbsent", "list", "delete"];
  return Object.fromEntries(names.map((name) => [name, (...args) => object[name](...args)]));
}

/** All ids that a fresh handle finds. */
export async function ids({ place }) {
  const db = await open({ data: s3(place) });
  const found = await (await db.table("rows")).scan({ select: ["id"] }).toArray();
  await db.close();
  return found.map(({ id }) => Number(id));
}
