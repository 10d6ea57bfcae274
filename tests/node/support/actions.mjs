// What tests do in processes of their own.

import { readFileSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { directory, host, init, LakeshoreError, memory, open, s3 } from "lakeshore";
import { batchRows, definition, readBatches, writeBatches } from "../../support/batches.mjs";

/** Opens `path/data` and `path/wal`; with `bucket`, options of `s3()`, data is there, and without `path` all is. */
export function openAt(path, { bucket, ...options } = {}) {
  const data = bucket ? s3(bucket) : directory(`${path}/data`);
  return open({ data, ...(path && { wal: directory(`${path}/wal`) }), ...options });
}

/** Node 20 has no `await using`. */
export async function using(db, work) {
  try {
    return await work(db);
  } finally {
    await db.close();
  }
}

/** Writes batches; ends with or without close. */
export async function write({ path, options, end = "close", ...which }) {
  const db = await openAt(path, options);
  const timestamps = await writeBatches(db, which);
  const { flushes } = await db.stats();
  if (end === "close") await db.close();
  return { timestamps, flushes };
}

/** All rows, and the greatest timestamp. */
export async function read({ path, options }) {
  return using(await openAt(path, options), readBatches);
}

/** Says something at once, whatever becomes of this process. */
function say(line) {
  writeSync(1, `${line}\n`);
}

/** A host that says when it is inside of an operation, and may kill this process there. */
function marked(inner, name, isMarked, killAt) {
  let count = 0;
  const around =
    (method, target, wrapResult) =>
    async (...args) => {
      const inside = isMarked(method, args[0]);
      if (inside) {
        say(`begin ${name} ${method} ${args[0]}`);
        count += 1;
        if (killAt?.before === count) process.kill(process.pid, "SIGKILL");
      }
      const result = await target(...args);
      if (inside) {
        if (killAt?.after === count) process.kill(process.pid, "SIGKILL");
        say(`end ${name} ${method}`);
      }
      return wrapResult ? wrapResult(result) : result;
    };
  const wrapped = { describe: () => inner.describe() };
  for (const method of [
    "get",
    "getRange",
    "getSuffix",
    "put",
    "putIfAbsent",
    "list",
    "delete",
    "append",
    "lock",
  ]) {
    wrapped[method] = around(method, (...args) => inner[method](...args));
  }
  wrapped.create = around(
    "create",
    (key) => inner.create(key),
    (writer) => ({
      write: around("write", (bytes) => writer.write(bytes)),
      finish: around("finish", () => writer.finish()),
      abort: () => writer.abort(),
    }),
  );
  return wrapped;
}

/** Ingests batch after batch for ever, saying what was acknowledged. */
export async function ingestUntilKilled({ path, options, first, rows, killAt }) {
  const inFlush = (method, key) =>
    ["create", "write", "finish"].includes(method) ||
    (method.startsWith("put") && /^(data|log|CURRENT|checkpoint)/.test(key));
  const data = marked(directory(`${path}/data`).host, "flush", inFlush, killAt?.flush);
  const wal = marked(
    directory(`${path}/wal`).host,
    "rotation",
    (method) => method === "append",
    killAt?.rotation,
  );
  const db = await open({ data: host(data), wal: host(wal), ...options });
  const into = await db.table("rows", definition);
  for (let n = first; ; n++) {
    await into.ingest(batchRows(n, rows));
    say(`ack ${n}`);
  }
}

/** 1,000,000 rows of real data in, and out again: how large WebAssembly's memory has become. */
export async function millionFlights({ path }) {
  const { flightsIPC, flightsTable } = await import("../../../examples/flights.mjs");
  return using(await openAt(path), async (db) => {
    const flights = await db.table("flights", flightsTable);
    await flights.ingest(flightsIPC({ to: 1_000_000 }));
    await db.flush();
    const ingested = (await db.stats()).wasmMemoryBytes;
    let rows = 0;
    for await (const _ of flights.scan().rows()) rows += 1;
    return { rows, ingested, scanned: (await db.stats()).wasmMemoryBytes };
  });
}

/** Does what it is told by lines of its input, and says what came of it. */
export async function obey({ path }) {
  let db, table;
  const acts = {
    open: async () => {
      db = await openAt(path);
      table = await db.table("rows", { schema: { id: "int64" }, primaryKey: ["id"] });
      return "opened";
    },
    put: async (id) => {
      await table.ingest([{ id: Number(id) }]);
      return `put ${id}`;
    },
    flush: async () => {
      await db.flush();
      return "flushed";
    },
    close: async () => {
      await db.close();
      return "closed";
    },
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const [act, ...args] = line.split(" ");
    try {
      say(await acts[act](...args));
    } catch (error) {
      say(`${error.code} ${error.message.replaceAll("\n", " ")}`);
    }
  }
}

/** Ingests that nobody awaits, of rows or of Arrow IPC in a buffer that is used again at once. */
export async function unawaited({ path, memoryBytes, calls }) {
  const { tableToIPC, tableFromArrays, vectorFromArray, Int64 } = await import("apache-arrow");
  const schema = { id: "int64", v: "binary" };
  return using(await openAt(path, { memoryBytes }), async (db) => {
    const table = await db.table("t", { schema, primaryKey: ["id"] });
    const values = Array.from({ length: 64 }, (_, i) => new Uint8Array(16 * 1024).fill(i + 1));
    const commits = [];
    let shared = new Uint8Array(0);
    for (let call = 0; call < calls; call++) {
      const id = (i) => BigInt(call * 64 + i);
      if (call % 4 !== 0) {
        commits.push(table.ingest(values.map((v, i) => ({ id: id(i), v }))));
        continue;
      }
      const ids = vectorFromArray(
        values.map((_, i) => id(i)),
        new Int64(),
      );
      const bytes = tableToIPC(tableFromArrays({ id: ids }), "stream");
      if (shared.length < bytes.length) shared = new Uint8Array(bytes.length);
      shared.set(bytes);
      commits.push(table.ingest(shared.subarray(0, bytes.length)));
      shared.fill(0);
    }
    const done = await Promise.all(commits);
    const inOrder = done.every(({ timestamp }, i) => i === 0 || timestamp > done[i - 1].timestamp);
    await db.flush();
    const { wasmMemoryBytes, memoryPeak } = await db.stats();
    return { rows: await table.scan().count(), wasmMemoryBytes, memoryPeak, inOrder };
  });
}

const wasm = () =>
  new WebAssembly.Module(readFileSync(new URL(import.meta.resolve("lakeshore/lakeshore_bg.wasm"))));
const empty = () => new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
const outcome = async (act) => {
  try {
    await act();
    return "done";
  } catch (error) {
    return error instanceof LakeshoreError ? error.code : String(error);
  }
};
const openOnce = async () => (await open({ data: memory() })).close();

/** `init()` with something, an open, and both once more with what is right. */
export async function initWith({ what }) {
  const module = wasm();
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const given = {
    "the module": () => module,
    "a promise of it": () => Promise.resolve(module),
    "the module once more": () => (init(module), module),
    nothing: () => undefined,
    null: () => null,
    text: () => "lakeshore_bg.wasm",
    bytes: () => new Uint8Array(8),
    "an object": () => ({}),
    "a revoked proxy": () => proxy,
    "a promise of bytes": async () => new Uint8Array(8),
    "a promise that fails": () => {
      const failed = Promise.reject(new Error("failed"));
      failed.catch(() => undefined);
      return failed;
    },
    "another module": empty,
    "a proxy of a promise": () => new Proxy(Promise.resolve(module), {}),
  };
  const first = await outcome(() => init(given[what]()));
  const opened = await outcome(openOnce);
  const again = opened === "done" ? () => undefined : () => init(module);
  return { first, opened, after: await outcome(async () => (again(), openOnce())) };
}

/** `init()` after an open. */
export async function initLate() {
  const module = wasm();
  init(module);
  await openOnce();
  const same = await outcome(() => init(module));
  return { same, other: await outcome(() => init(wasm())), opened: await outcome(openOnce) };
}
