// Work on far more than `memoryBytes`, through the package's door, wherever it runs: in Node, in a page, in a Worker.
// Each case has a database of its own, compares what it reads with what it wrote, and says what WebAssembly's memory
// had grown to in the end.

const kib = 2 ** 10;

/**
 * Runs all cases, or those `named`; tables that are read by many at once have a `part` of the memory; `stores(name)` gives
 * `{ data, wal? }` of a place that is empty. The random mix goes on for `ms`. Gives `[{ name, wasmMemoryBytes, done }]`.
 */
export async function workWithin({ lakeshore, stores, named = caseNames, memoryBytes, ...how }) {
  const results = [];
  for (const name of named) {
    const db = await lakeshore.open({ ...stores(name), memoryBytes });
    const begun = Date.now();
    try {
      const done = await cases[name]({ db, col: lakeshore.col, memoryBytes, ...how });
      const { wasmMemoryBytes } = await db.stats();
      const seconds = Math.round((Date.now() - begun) / 100) / 10;
      results.push({ name, wasmMemoryBytes, done: `${done} in ${seconds} s` });
    } finally {
      await db.close();
    }
  }
  return results;
}

const cases = { largeRows, manyScans, wideTable, smallFiles, manyDeletes, unawaited, mixed };

export const caseNames = Object.keys(cases);

/** Rows of 1 MiB, more than fit at once: one, all forward, some backward. */
async function largeRows({ db, memoryBytes }) {
  const table = await db.table("t", { schema: { id: "int64", value: "binary" }, primaryKey: ["id"] });
  const count = Math.ceil((1.5 * memoryBytes) / (1024 * kib));
  for (let id = 0; id < count; id++) await table.ingest([row(id, 1, 1024 * kib)]);
  await db.flush();
  for await (const one of table.scan({ limit: 1 }).rows()) check(one, 0, 1, 1024 * kib);
  let next = 0;
  for await (const one of table.scan().rows()) check(one, next++, 1, 1024 * kib);
  same(next, count, "rows");
  for await (const one of table.scan({ reverse: true, limit: 5 }).rows()) check(one, --next, 1, 1024 * kib);
  return `${count} rows of 1 MiB`;
}

/** Scans at once, some of which are left in the middle. */
async function manyScans({ db, memoryBytes, part = 0.4 }) {
  const table = await db.table("t", { schema: { id: "int64", value: "binary" }, primaryKey: ["id"] });
  const bytes = 2 * kib;
  const rows = Math.ceil((part * memoryBytes) / bytes);
  for (let from = 0; from < rows; from += 256) {
    const ids = Array.from({ length: Math.min(256, rows - from) }, (_, at) => (from + at) * 7919);
    await table.ingest(ids.map((id) => row(id % rows, 1, bytes)));
  }
  await db.flush();
  const distinct = new Set(Array.from({ length: rows }, (_, at) => (at * 7919) % rows)).size;
  const scan = async (_, at) => {
    let read = 0;
    for await (const one of table.scan().rows()) {
      check(one, Number(one.id), 1, bytes);
      if (++read === 100 && at % 4 === 3) return;
    }
    same(read, distinct, "rows");
  };
  await Promise.all(Array.from({ length: 32 }, scan));
  return `32 scans of ${distinct} rows`;
}

/** Columns by the thousand whose rows repeat. */
async function wideTable({ db }) {
  const columns = 2_000;
  const names = Array.from({ length: columns }, (_, at) => `c${at}`);
  const schema = { id: "int64", ...Object.fromEntries(names.map((name) => [name, "int32"])) };
  const table = await db.table("t", { schema, primaryKey: ["id"] });
  const values = Object.fromEntries(names.map((name, at) => [name, at]));
  for (let from = 0n; from < 50n; from += 10n)
    await table.ingest(Array.from({ length: 10 }, (_, at) => ({ id: from + BigInt(at), ...values })));
  await db.flush();
  let read = 0;
  for await (const one of table.scan().rows()) {
    same(one.c0 + one.c1999, 1999, "values");
    read++;
  }
  same(read, 50, "rows");
  return `${columns} columns`;
}

/** Many files whose keys overlap. */
async function smallFiles({ db }) {
  const table = await db.table("t", { schema: { id: "int64", value: "binary" }, primaryKey: ["id"] });
  const files = 60;
  const newest = new Map();
  for (let file = 0; file < files; file++) {
    const ids = [...new Set(Array.from({ length: 50 }, (_, at) => (file * 131 + at * 977) % 2_000))];
    await table.ingest(ids.map((id) => row(id, file, kib)));
    for (const id of ids) newest.set(id, file);
    await db.flush();
  }
  let read = 0;
  for await (const one of table.scan().rows()) {
    check(one, Number(one.id), newest.get(Number(one.id)), kib);
    read++;
  }
  same(read, newest.size, "rows");
  return `${files} files`;
}

/** Deletes below columns whose nulls are wide. */
async function manyDeletes({ db }) {
  const schema = { id: "int64", embedding: "fixed_size_list<float32, 1536>" };
  const table = await db.table("t", { schema, primaryKey: ["id"] });
  await table.ingest([{ id: -1n, embedding: new Float32Array(1536).fill(0.5) }]);
  for (let from = 0; from < 20_000; from += 5_000)
    await table.delete(Array.from({ length: 5_000 }, (_, at) => ({ id: BigInt(from + at) })));
  same(await table.scan().count(), 1, "rows");
  await db.flush();
  same(await table.scan().count(), 1, "rows");
  return "20000 deletes";
}

/** Commits that nobody awaits. */
async function unawaited({ db, memoryBytes }) {
  const table = await db.table("t", { schema: { id: "int64", value: "binary" }, primaryKey: ["id"] });
  const count = Math.ceil((1.5 * memoryBytes) / (256 * kib));
  await Promise.all(Array.from({ length: count }, (_, id) => table.ingest([row(id, 1, 256 * kib)])));
  same(await table.scan().count(), count, "rows");
  return `${count} commits`;
}

/** Everything at once on a narrow and a wide table, by chance; in the end the rows are those that were written last. */
async function mixed({ db, col, memoryBytes, seed, ms }) {
  const chance = randomFrom(seed);
  const wide = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`c${at}`, "utf8"]));
  const tables = [
    await db.table("narrow", { schema: { id: "int64", value: "binary" }, primaryKey: ["id"] }),
    await db.table("wide", { schema: { id: "int64", value: "binary", ...wide }, primaryKey: ["id"] }),
  ];
  const expected = [new Map(), new Map()];
  let version = 0;
  let calls = 0;
  /** Writes of a table are made one after the other, so that what is expected is known. */
  const write = async (at) => {
    const rows = new Map();
    const bytes = [100, 10 * kib, memoryBytes / 256][chance(3)];
    const most = Math.min(200, Math.floor(memoryBytes / 16 / (bytes + 4 * kib)));
    for (let n = 1 + chance(most); n > 0; n--) rows.set(chance(500), ++version);
    if (chance(5) === 0) {
      await tables[at].delete([...rows.keys()].map((id) => ({ id: BigInt(id) })));
      for (const id of rows.keys()) expected[at].delete(id);
    } else {
      await tables[at].ingest([...rows].map(([id, version]) => row(id, version, bytes)));
      for (const [id, version] of rows) expected[at].set(id, [version, bytes]);
    }
  };
  const read = async () => {
    const table = tables[chance(2)];
    const which = [{}, { reverse: true }, { limit: 10 }, { where: col("id").gt(BigInt(chance(500))) }][
      chance(4)
    ];
    const stopAfter = chance(2) ? chance(100) : Infinity;
    let read = 0;
    for await (const one of table.scan(which).rows()) if (one.id < 0n || ++read > stopAfter) break;
  };
  const follow = async () => {
    for await (const one of db.changes({ since: "start", endAtHead: true }).rows())
      if (!one.cursor) throw one;
  };
  const until = Date.now() + ms;
  const repeat = async (work) => {
    while (Date.now() < until) {
      await work();
      calls++;
      // Whoever needs no I/O would never let the others have theirs.
      await new Promise((resolve) => setTimeout(resolve));
    }
  };
  const flush = async () => {
    await db.flush();
    await new Promise((resolve) => setTimeout(resolve, 50 + chance(300)));
  };
  const readers = Array.from({ length: 6 }, () => repeat(read));
  await Promise.all([
    repeat(() => write(0)),
    repeat(() => write(1)),
    repeat(follow),
    repeat(flush),
    ...readers,
  ]);
  for (const at of [0, 1]) {
    let read = 0;
    for await (const one of tables[at].scan().rows()) {
      const [version, bytes] = expected[at].get(Number(one.id)) ?? [];
      check(one, Number(one.id), version, bytes);
      read++;
    }
    same(read, expected[at].size, "rows");
  }
  return `${calls} calls`;
}

function row(id, version, bytes) {
  return { id: BigInt(id), value: noise(id, version, bytes) };
}

/** Bytes that do not compress, of that row alone. */
function noise(id, version, bytes) {
  const value = new Uint32Array(Math.ceil(bytes / 4));
  let state = (Math.imul(id + 1, 0x9e3779b1) ^ Math.imul(version + 1, 0x85ebca6b)) | 1;
  for (let at = 0; at < value.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    value[at] = state;
  }
  return new Uint8Array(value.buffer, 0, bytes);
}

function check({ id, value }, wanted, version, bytes) {
  same(Number(id), wanted, "key");
  same(value.length, bytes, `bytes of row ${id}`);
  const sample = noise(wanted, version, Math.min(bytes, 64));
  if (sample.some((byte, at) => byte !== value[at])) throw new Error(`row ${id} has another value`);
}

function same(actual, wanted, what) {
  if (actual !== wanted) throw new Error(`${what}: ${actual} instead of ${wanted}`);
}

function randomFrom(seed) {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
