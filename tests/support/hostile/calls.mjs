// How each public call is made rightly: of this the generator makes wrong ones. An object's methods are found by
// reflection; one that is missing here is still called, with hostile values alone, and reported as new.

import { Boom } from "./values.mjs";

/** Besides what each row has: a column of each kind that takes something of its own. */
const nested = {
  list: "list<int32>",
  pair: "fixed_size_list<int32, 2>",
  map: "map<utf8, int32>",
  struct: "struct<a: int32, b: list<utf8>>",
  amount: "decimal128(20, 2)",
  day: "date32",
  at: "timestamp[us]",
};
const definition = {
  schema: { id: "int64", text: "utf8", raw: "binary", ...nested },
  primaryKey: ["id"],
};
const noneOf = (columns) => Object.fromEntries(Object.keys(columns).map((name) => [name, null]));
export const rows = () =>
  Array.from({ length: 10 }, (_, i) => ({
    ...{ id: BigInt(i), text: `row ${i}`, raw: null },
    ...noneOf(nested),
  }));

/** A row with a value in each column. */
const full = () => ({
  ...{ id: 3n, text: "new", raw: new Uint8Array(2), list: [1, 2], pair: [3, 4], map: [["a", 1]] },
  ...{ struct: { a: 1, b: ["x"] }, amount: "1.50", day: new Date(0), at: new Date(1) },
});

/** A record batch as a library of Arrow has it, of plain objects, so that each part can be another. */
function arrowBatch() {
  const [utf8, int64] = [{ typeId: 5 }, { typeId: 2, isSigned: true, bitWidth: 64 }];
  const list = { typeId: 12, children: [{ name: "item", nullable: true, type: { ...int64, bitWidth: 32 } }] };
  const fields = [
    { name: "list", nullable: true, type: list },
    { name: "text", nullable: true, type: utf8 },
    { name: "id", nullable: false, type: int64 },
  ];
  const data = (type, more) => ({ type, offset: 0, stride: 1, nullCount: 0, children: [], ...more });
  const items = (offset, length) =>
    data(list.children[0].type, { length, values: Int32Array.of(7, 8).slice(offset, offset + length) });
  const children = [
    data(list, {
      length: 1,
      valueOffsets: Int32Array.of(0, 2),
      children: [{ ...items(0, 2), slice: items }],
    }),
    data(utf8, { length: 1, valueOffsets: Int32Array.of(0, 3), values: new TextEncoder().encode("new") }),
    data(int64, { length: 1, values: BigInt64Array.of(3n) }),
  ];
  return {
    schema: { fields },
    numRows: 1,
    data: data({ typeId: 13, children: fields }, { length: 1, children }),
  };
}

const arrowTable = () => ({ schema: arrowBatch().schema, batches: [arrowBatch()] });

/** A database with a table of ten rows in memory and in a file. */
export async function world(lakeshore, stores) {
  const db = await lakeshore.open(stores());
  const table = await db.table("rows", definition);
  await table.ingest(rows().slice(0, 5));
  await db.flush();
  const commit = await table.ingest(rows().slice(5));
  await db.tag("now");
  const ipc = await table.scan().toIPC();
  return { lakeshore, db, table, ipc, commit, stores };
}

const signal = () => new AbortController().signal;
/** A signal that ends what would never end. */
function soon() {
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Boom("aborted by the caller")), 5);
  return controller.signal;
}
const nothing = [];
/** Of objects that are read once, or end: a new one for each call. */
const reads = (w) => ({
  get: () => [{ id: 1n }, { select: ["id", "text"], signal: signal() }],
  scan: {
    args: () => [
      {
        where: w.lakeshore.col("id").gt(1),
        select: ["id"],
        range: { from: { id: 1n }, to: { id: 8n } },
        limit: 3,
        reverse: true,
        batchRows: 2,
        signal: signal(),
      },
    ],
    after: (scan) => scan.toArray(),
  },
});
const written = (w) => [
  () => [[full()], { signal: signal(), onProgress: () => undefined }],
  () => [w.ipc.slice()],
  () => [arrowTable()],
  () => [arrowBatch()],
  () => [[arrowBatch(), arrowBatch()]],
];

/** By name of the object: how one is made, its methods, and what reflection finds that is not for callers. */
export const objects = {
  Db: {
    make: (w) => w.db,
    internal: ["start"],
    methods: (w) => ({
      table: () => [
        "rows",
        {
          schema: { ...definition.schema, text: { type: "utf8", nullable: true } },
          primaryKey: ["id"],
          signal: signal(),
        },
      ],
      tables: nothing,
      snapshot: { args: () => [{ asOf: "now", signal: signal() }], after: (snapshot) => snapshot.close() },
      transaction: () => [async () => 5, { isolation: "snapshot", attempts: 1, signal: signal() }],
      begin: { args: () => [{ isolation: "serializable" }], after: (tx) => tx.rollback() },
      changes: {
        args: () => [{ since: "start", tables: ["rows"], pollMs: 1000, endAtHead: true, signal: signal() }],
        after: async (changes) => {
          for await (const _ of changes.rows()) break;
        },
        waits: true,
      },
      alterTable: () => ["other", [{ addColumn: "note", type: "utf8" }]],
      dropTable: () => ["missing"],
      tag: () => ["then", { asOf: "now" }],
      untag: () => ["then"],
      tags: nothing,
      versions: () => [{ limit: 3 }],
      gc: () => [{ dryRun: true, signal: signal() }],
      settings: nothing,
      configure: () => [
        {
          graceMs: 3_600_000,
          retentionMs: 86_400_000,
          inlineCommitBytes: 262_144,
          checkpointRecords: 64,
          checkpointBytes: 1_048_576,
        },
      ],
      flush: () => [{ signal: signal() }],
      upload: () => [{ maxBytes: 1000, maxMs: 10, signal: signal() }],
      keepUploaded: {
        args: () => [{ intervalMs: 1000, longestPauseMs: 1000, signal: soon() }],
        waits: true,
      },
      isUploaded: () => [{ ...w.commit }],
      uploaded: { args: () => [{ ...w.commit }, { signal: soon() }], waits: true },
      parked: nothing,
      restoreParked: nothing,
      discardParked: nothing,
      checkpoint: () => [{ signal: signal() }],
      refresh: () => [{ signal: signal() }],
      stats: nothing,
      close: { args: () => [{ signal: signal() }], on: async () => w.lakeshore.open(w.stores()) },
      [Symbol.asyncDispose]: { args: () => [], on: async () => w.lakeshore.open(w.stores()) },
    }),
  },
  Table: {
    make: (w) => w.table,
    internal: ["commit", "write", "commitMany", "find", "fitted", "newer"],
    methods: (w) => ({
      ...reads(w),
      ingest: { all: written(w), changes: true },
      delete: { all: [() => [[{ id: 3n }], { signal: signal() }]], changes: true },
    }),
  },
  Scan: {
    make: (w) => w.table.scan(),
    internal: ["take", "wait", "cancel", "iterate"],
    methods: () => ({
      rows: { args: () => [], after: (rows) => rows.next() },
      toIPC: nothing,
      toArray: nothing,
      count: nothing,
      [Symbol.asyncIterator]: { args: () => [], after: (batches) => batches.next() },
    }),
  },
  Snapshot: {
    make: (w) => w.db.snapshot(),
    end: (snapshot) => snapshot.close(),
    methods: () => ({ table: () => ["rows"], tables: nothing, close: nothing, [Symbol.dispose]: nothing }),
  },
  SnapshotTable: {
    make: async (w) => (await w.db.snapshot()).table("rows"),
    internal: ["find", "fitted", "newer"],
    methods: reads,
  },
  Transaction: {
    make: (w) => w.db.begin(),
    end: (tx) => tx.rollback(),
    internal: ["check", "lost", "undo", "release"],
    methods: () => ({
      table: () => ["rows"],
      commit: nothing,
      rollback: nothing,
      [Symbol.asyncDispose]: nothing,
    }),
  },
  TransactionTable: {
    make: async (w) => (await w.db.begin()).table("rows"),
    internal: ["put", "find", "fitted", "newer"],
    methods: (w) => ({
      ...reads(w),
      ingest: { all: [() => [[full()]], () => [w.ipc.slice()], () => [arrowBatch()]] },
      delete: () => [[{ id: 3n }]],
    }),
  },
  Changes: {
    make: (w) => w.db.changes({ since: "start", endAtHead: true }),
    internal: ["iterate", "cancel"],
    methods: () => ({
      rows: { args: () => [], after: (rows) => rows.next() },
      [Symbol.asyncIterator]: { args: () => [], after: (rows) => rows.next() },
    }),
  },
  Column: {
    make: (w) => w.lakeshore.col("id"),
    internal: ["compare", "place"],
    methods: (w) => {
      const after = (predicate) => w.table.scan({ where: predicate }).count();
      const one = { args: () => [5n], after };
      return {
        ...{ eq: one, ne: one, lt: one, lte: one, gt: one, gte: one },
        in: { args: () => [[1n, 2n]], after },
        between: { args: () => [1n, 2n], after },
        isNull: { args: () => [], after },
        startsWith: { args: () => ["r"], after },
      };
    },
  },
  Predicate: {
    make: (w) => w.lakeshore.col("id").gt(3),
    methods: (w) => {
      const after = (predicate) => w.table.scan({ where: predicate }).count();
      const several = { args: () => [w.lakeshore.col("id").lt(5)], after };
      return { and: several, or: several, not: { args: () => [], after } };
    },
  },
  LakeshoreError: {
    make: (w) => new w.lakeshore.LakeshoreError("Invalid", "made by a test"),
    methods: () => ({}),
  },
};

/** What the package exports that is called: each as a method of it. `init` is for once, before all. */
export const functions = (w) => {
  const { col } = w.lakeshore;
  const close = (db) => db.close();
  const opened = { args: () => [{ ...w.stores(), ...bounds }], after: close };
  const after = (predicate) => w.table.scan({ where: predicate }).count();
  return {
    open: opened,
    memory: nothing,
    host: { args: () => [w.lakeshore.memory().host], after: (store) => tried(w, store) },
    directory: () => ["hostile"],
    opfs: () => ["name", { persist: false }],
    s3: {
      args: () => [
        {
          ...{ bucket: "b", prefix: "p", region: "r", endpoint: "http://127.0.0.1:9", pathStyle: true },
          credentials: {
            accessKeyId: "a",
            secretAccessKey: "s",
            sessionToken: "t",
            expiration: new Date(1e13),
          },
          ...{
            timeoutMs: 50,
            retries: 0,
            concurrency: 1,
            fetch: async () => new Response(null, { status: 404 }),
          },
        },
      ],
      after: (store) => tried(w, store),
    },
    col: { args: () => ["id"], after: (column) => after(column.eq(1n)) },
    and: { args: () => [col("id").gt(1), col("id").lt(5)], after },
    or: { args: () => [col("id").gt(1), col("id").lt(5)], after },
    not: { args: () => [col("id").gt(1)], after },
    probe: () => [w.lakeshore.memory(), { signal: signal() }],
    init: "internal",
  };
};

async function tried(w, store) {
  const db = await w.lakeshore.open({ data: store, retries: 0 });
  await db.close();
}

const bounds = {
  sync: { intervalMs: 5 },
  ...{ walSegmentBytes: 4096, sealBytes: 100_000, sealRows: 1000, sealBatches: 100, sealAgeMs: 1000 },
  ...{
    memtableLimitBytes: 200_000,
    inlineCommitBytes: 1000,
    checkpointRecords: 64,
    checkpointBytes: 100_000,
  },
  ...{ graceMs: 3_600_000, retentionMs: 86_400_000, sstableBytes: 100_000, rowGroupRows: 100, pageRows: 10 },
  ...{ bloomFpp: 0.01, batchRows: 10, batchBytes: 1000, concurrency: 2, coalesceGap: 10, readBytes: 1000 },
  ...{ commitBytes: 100_000, conflictBytes: 1000, backlogBytes: 100_000, offline: "allow", retries: 1 },
  detachedTasks: true,
  ...{ memoryBytes: 2 ** 24, openTimeoutMs: 1000, waitUntil: () => undefined },
};
