// What callers pass in and get back.

import type { Literal, Predicate } from "./predicate.js";
import type { Host } from "./host/host.js";

export type * from "./types-log.js";
export type * from "./types-rows.js";

/** A compiled WebAssembly module, where the runtime's types know of it. */
export type WasmModule = typeof globalThis extends { WebAssembly: { Module: { prototype: infer M } } }
  ? M
  : object;

/** A worker of a page, where the runtime's types know of it. */
export type PageWorker = typeof globalThis extends { Worker: { prototype: infer W } } ? W : never;

/** How a page comes by its worker. */
export type WorkerSource = PageWorker | URL | string | (() => PageWorker);

/** A place to keep data: made by `s3()`, `opfs()`, `directory()`, `memory()` or `host()`. */
export type Store = HostStore | S3Store | OpfsStore;

/** A store whose methods are JavaScript. */
export interface HostStore {
  /** @internal */
  readonly host: Host;
}

/** A bucket: made by `s3()`. */
export interface S3Store {
  /** @internal */
  readonly s3: object;
}

/** A directory of the browser's origin-private file system: made by `opfs()`. */
export interface OpfsStore {
  /** @internal */
  readonly opfs: object;
}

/** Options of `opfs()`. */
export interface OpfsOptions {
  /** Whether to ask the browser not to evict the origin's data. It may say no; `stats()` shows what it said. */
  persist?: boolean;
}

/** Keys of S3; with a token, of a session. */
export interface S3Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  /** When they expire, as a `Date`, its ISO text or milliseconds since 1970: asked for again a minute before. */
  expiration?: Date | string | number;
}

/** A request to be signed. Its body's SHA-256 is in the header `x-amz-content-sha256`. */
export interface UnsignedRequest {
  method: "GET" | "PUT" | "DELETE";
  /** Absolute and percent-encoded: sign it as it is. */
  url: string;
  /** To be signed and sent. `host` is not among them. */
  headers: Record<string, string>;
}

/** What a signer returns. */
export interface SignedRequest {
  /** Where to send it, if elsewhere: a presigned URL, say. */
  url?: string;
  /** Headers to add, such as `authorization` and `x-amz-date`. */
  headers: Record<string, string> | Iterable<[string, string]>;
}

/** Options of `s3()`. */
export interface S3Options {
  /** An existing bucket. */
  bucket: string;
  /** What all keys begin with. One prefix holds one database. */
  prefix?: string;
  /** The bucket's region; `"us-east-1"` by default, `"auto"` for R2. */
  region?: string;
  /** `https://host[:port]` of a store other than AWS. */
  endpoint?: string;
  /** Whether the bucket is in the path and not in the host name; by default with an `endpoint`. */
  pathStyle?: boolean;
  /** Keys, or a function that gets keys that expire. It is called again before they do, and once when refused. */
  credentials?: S3Credentials | (() => S3Credentials | Promise<S3Credentials>);
  /** Signs a request: for a server that holds the keys. */
  sign?: (request: UnsignedRequest) => SignedRequest | Promise<SignedRequest>;
  /** Requests go unsigned: public buckets. */
  anonymous?: boolean;
  /**
   * The longest that an attempt may take, in milliseconds; 30,000 by default. A request that is repeated takes at most
   * twice that, all its attempts and the pauses between them together. The time that its bytes may take (at 128 KiB/s,
   * at most ten minutes; twice, if it is repeated) comes on top.
   */
  timeoutMs?: number;
  /** How often a failed attempt is repeated, while there is time; 4 by default. */
  retries?: number;
  /** Most requests under way at once; 0 for no bound. 6 by default, 0 in Workers. */
  concurrency?: number;
  /** In place of the global `fetch`. */
  fetch?: typeof fetch;
}

/**
 * When a WAL frame is made durable, and with it acknowledged:
 * `"always"` before every acknowledgement (the default); `{ intervalMs }` at the first commit after that time;
 * `{ bytes }` once so many were written; `"never"` only at rotation, `flush` and `close`.
 * With all but `"always"` a power cut may take the newest acknowledged rows; a killed process loses none.
 */
export type SyncPolicy = "always" | "never" | { intervalMs: number } | { bytes: number };

/** Options of a call that takes no others. */
export interface CallOptions {
  /**
   * Ends the call: it rejects with `signal.reason`, and what it was reading is dropped. A commit that is under way is
   * not taken back: it may have happened.
   */
  signal?: AbortSignal;
}

/** What `probe()` found. */
export interface ProbeReport {
  /** Whether every check passed. */
  ok: boolean;
  checks: readonly ProbeCheck[];
}

/** One thing that Lakeshore needs of a store. */
export interface ProbeCheck {
  name: string;
  ok: boolean;
  /** What was seen. */
  detail: string;
}

/** Options of an open database. Only `data` is required; every bound has a default. */
export interface OpenOptions {
  /** Where log records and sstables live. */
  data: Store;
  /**
   * Where the write-ahead log lives. With it a commit is durable on this device once its frame is synced, and
   * reaches `data` by a flush; without it each commit is a log record in `data`.
   */
  wal?: Store;
  /** When WAL frames are synced. */
  sync?: SyncPolicy;
  /** A WAL segment is closed and the next begun at this size, in bytes. At least 512. */
  walSegmentBytes?: number;
  /** The active memtable is sealed and flushed at this size, in bytes … */
  sealBytes?: number;
  /** … or at this number of rows … */
  sealRows?: number;
  /** … or at this number of committed batches … */
  sealBatches?: number;
  /** … or when its first row is this old at the next commit, in milliseconds. */
  sealAgeMs?: number;
  /** A writer waits for a flush while all memtables together hold more than this, in bytes. */
  memtableLimitBytes?: number;
  /** Largest commit whose rows go inline into a log record, in bytes. */
  inlineCommitBytes?: number;
  /** A checkpoint is written after this many log records … */
  checkpointRecords?: number;
  /** … or after this many bytes of log tail. */
  checkpointBytes?: number;
  /** How long a deleted thing may still be in use by a slow process, in milliseconds. At least 15 minutes. */
  graceMs?: number;
  /** How far back reads of the past reach, in milliseconds. */
  retentionMs?: number;
  /** Target size of an sstable, in bytes. */
  sstableBytes?: number;
  /** Most rows of a Parquet row group. */
  rowGroupRows?: number;
  /** Most rows of a Parquet data page. */
  pageRows?: number;
  /** False-positive rate of the bloom filter over keys; 0 writes none. */
  bloomFpp?: number;
  /** Most rows of a batch that a scan yields. */
  batchRows?: number;
  /** Most bytes of a batch that a scan yields. */
  batchBytes?: number;
  /** Most storage requests of one scan or flush under way at once. */
  concurrency?: number;
  /** Two ranges of one object that are closer than this, in bytes, are read by one request. */
  coalesceGap?: number;
  /**
   * Most bytes of memory that the database uses for all it does at once: queued commits, memtables, flushes,
   * scans, caches. Who needs more waits; what can never be had is `Unavailable`. 64 MiB; at least 8 MiB. `sealBytes`,
   * `memtableLimitBytes`, `backlogBytes`, `commitBytes`, `sstableBytes`, `batchBytes`, `conflictBytes` and
   * `walSegmentBytes` follow from it: above their part of it they mean that part.
   */
  memoryBytes?: number;
  /** Largest single read of an object, in bytes. */
  readBytes?: number;
  /** Largest commit that is accepted, in bytes of Arrow IPC. */
  commitBytes?: number;
  /**
   * Most bytes of keys committed lately that are kept while a transaction is open, to check it against; one that began
   * before what is kept is a `Conflict`.
   */
  conflictBytes?: number;
  /** While so many bytes wait for upload a commit waits, too, or is `Unavailable` if there can be no upload. */
  backlogBytes?: number;
  /** Whether a database with a `wal` opens while `data` does not answer, by what the device has; it does by default. */
  offline?: "allow" | "refuse";
  /**
   * How long opening waits for `data`, in milliseconds; then it goes on offline, or is `Unavailable` where it cannot.
   * 5,000 by default with a `wal`, without one no bound but that of the store's own requests.
   */
  openTimeoutMs?: number;
  /** Ends the opening: it rejects with `signal.reason`. */
  signal?: AbortSignal;
  /**
   * Is given the promise of each write, so that a runtime that ends with its client goes on to its end: in Workers
   * the function of that name of `"cloudflare:workers"`, or `(write) => ctx.waitUntil(write)`.
   */
  waitUntil?: (write: Promise<unknown>) => void;
  /** How often a request is repeated while its outcome is unknown or the store unavailable. */
  retries?: number;
  /**
   * Whether work may go on in the background and commits of several calls be grouped. Off in Workers, where I/O
   * belongs to the request that began it; on elsewhere.
   */
  detachedTasks?: boolean;
}

/** The type of a column as text: `"int64"`, `"timestamp[us, UTC]"`, `"list<utf8>"`, `"struct<a: int32>"`. */
export type TypeName = string;

/** A column in a schema: its type, or its type and whether it may be null (the default is that it may). */
export type ColumnSpec = TypeName | { type: TypeName; nullable?: boolean };

/** The columns of a table, in order; or an Arrow schema as the bytes of an IPC stream or file. */
export type SchemaSpec = Record<string, ColumnSpec> | Uint8Array | ArrayBuffer;

/** How `db.table()` creates a table that is missing. */
export interface TableOptions {
  /** The columns. */
  schema: SchemaSpec;
  /** The columns that identify a row, in order; they are never null. */
  primaryKey: readonly string[];
}

/** A column of a table. */
export interface ColumnInfo {
  readonly name: string;
  readonly type: TypeName;
  readonly nullable: boolean;
}

/** A table's schema. */
export interface TableInfo {
  readonly name: string;
  readonly columns: readonly ColumnInfo[];
  readonly primaryKey: readonly string[];
}

/**
 * A value in a row. Out: int64, uint64, durations and unscaled decimals are `bigint`; timestamps of s and ms and
 * dates are `Date`, finer timestamps `bigint` in their unit; what is beyond a `Date` is what is stored, a `bigint`
 * (days of date32: a number); binary is `Uint8Array`; a list is an array, a struct an object, a map a `Map`. In: the
 * same, of any realm; also safe integers for `bigint`, `bigint` for any integer or time in its unit, digits as text
 * (`"12.50"`) for decimals, arrays of pairs and plain objects for maps. A struct takes plain objects only, by their own
 * properties; a number that would become infinite in a shorter float is `Invalid`.
 */
export type Value =
  Literal | undefined | readonly Value[] | ReadonlyMap<Value, Value> | { readonly [name: string]: Value };

/** A row: values by column name. A missing one is null. */
export type Row = { [name: string]: any };

/** The key columns of a row. */
export type Key = { readonly [name: string]: Literal };

/** Something that can give its Arrow IPC bytes: parquet-wasm's tables do (`intoIPCStream`), others with `toIPC`. */
export interface IpcConvertible {
  toIPC?(): Uint8Array;
  toIPCStream?(): Uint8Array;
  intoIPCStream?(): Uint8Array;
}

/** A table of apache-arrow, as it is in memory: its batches are one commit. */
export interface ArrowTable {
  readonly schema: { readonly fields: readonly object[] };
  readonly batches: readonly object[];
}

/** A record batch of apache-arrow. */
export interface ArrowRecordBatch {
  readonly schema: { readonly fields: readonly object[] };
  readonly data: object;
  readonly numRows: number;
}

/** What is one atomic commit: an Arrow IPC stream or file, something that gives one, a table, or plain rows. */
export type Batch<W = Row> =
  Uint8Array | ArrayBuffer | IpcConvertible | ArrowTable | ArrowRecordBatch | readonly W[];

/** What `ingest` takes: a batch is one commit; a stream of batches is one commit per item. */
export type IngestInput<W = Row> =
  | Batch<W>
  | ReadableStream<Batch<W>>
  | AsyncIterable<Batch<W>>
  | Iterable<Uint8Array | ArrayBuffer | IpcConvertible | ArrowTable | ArrowRecordBatch>;

/** How far an ingest has come. */
export interface Progress {
  /** Commits acknowledged. */
  commits: number;
  /** Rows acknowledged. */
  rows: number;
}

/** Options of `ingest` and `delete`. */
export interface IngestOptions {
  /**
   * Ends the waiting: the call rejects with `signal.reason`. A commit already under way still completes; of a
   * stream no further item is taken.
   */
  signal?: AbortSignal;
  /** Called after each commit. */
  onProgress?: (progress: Progress) => void;
}

/** What an ingest or a delete did. */
export interface Committed {
  /** Commits made. */
  commits: number;
  /** Rows in them. */
  rows: number;
  /** Commit timestamp of the last one, in microseconds since the Unix epoch; of `local` durability provisional. */
  timestamp: bigint | undefined;
  /** Whether all of it is in the `data` store (always, without a `wal`); `db.uploaded()` waits until it is. */
  uploaded: boolean;
  /** With a `wal`, the last commit's name on this device: the same before and after it is uploaded. */
  position?: string;
}

/** Options of `scan`. */
export interface ScanOptions<S extends string = string, K = Key> {
  /** Rows for which this is true. */
  where?: Predicate;
  /** The columns to return, in this order. All by default. */
  select?: readonly S[];
  /** Rows from this key (included) to that key (excluded). */
  range?: { from?: K; to?: K };
  /** Most rows to return. */
  limit?: number;
  /** From the last key to the first. */
  reverse?: boolean;
  /** Most rows of a batch. */
  batchRows?: number;
  /** Ends the scan; the waiting call rejects with `signal.reason`. */
  signal?: AbortSignal;
}

/** Requests made to a store since the database was opened. */
export interface Requests {
  get: number;
  put: number;
  putIfAbsent: number;
  list: number;
  delete: number;
  append: number;
  sync: number;
  bytesRead: number;
  bytesWritten: number;
  /** How many of these requests repeated one that had failed. */
  retries: number;
}

/** What a table holds, now. */
export interface TableStats {
  name: string;
  /** Live sstables, their rows (superseded ones and tombstones included) and bytes. */
  files: number;
  fileRows: number;
  fileBytes: number;
  /** Rows in memtables. */
  memtableRows: number;
}

/** What a database holds, and what this handle did. */
export interface Stats {
  /** `local` with a `wal`, else `remote`. */
  durability: "local" | "remote";
  /** Whether the store answered when it was last asked; false until then where the database was opened offline. */
  online: boolean;
  /** Why it did not, if it did not: with a page, a wrong CORS setting looks like a store that is away. */
  unreachable?: string;
  /** When this handle last knew the end of the log, by this device's clock: microseconds since the Unix epoch. */
  provedAt: bigint;
  /** Number of the newest log record; 0 in an empty database. */
  head: number;
  /** The greatest timestamp given out or read, in microseconds since the Unix epoch. */
  lastTimestamp: bigint;
  /** Commits acknowledged, and the rows they wrote. */
  commits: number;
  rowsCommitted: number;
  /** What is acknowledged and not in the `data` store yet. */
  backlogCommits: number;
  backlogRows: number;
  backlogBytes: number;
  /** When the oldest of it was made, by this device's clock: microseconds since the Unix epoch. */
  backlogSince?: bigint;
  /** Why the last upload failed and when that was, if it did; until one succeeds. */
  uploadError?: string;
  uploadErrorAt?: bigint;
  /** See `parked()`. */
  parkedCommits: number;
  /** Rows this device had acknowledged and not uploaded when their table was dropped: nobody will read them. */
  droppedRows: number;
  /**
   * Option `memoryBytes`; what of it is reserved now, for writes, upkeep and reads; and the most that each of them
   * ever reserved, together.
   */
  memoryBytes: number;
  memoryUsed: number;
  memoryPeak: number;
  /** Bytes of all memtables, and of WAL segments. */
  memtableBytes: number;
  walBytes: number;
  /** Flushes done, and under way. */
  flushes: number;
  flushing: number;
  checkpoints: number;
  /** Why the last flush or checkpoint in the background failed, if it did. */
  maintenanceError?: string;
  /** Requests to the `data` store, and to the `wal`. */
  data: Requests;
  wal?: Requests;
  dataPlace: string;
  walPlace?: string;
  tables: TableStats[];
  /**
   * Size of the WebAssembly memory that this database's engine has, in bytes: its own, and in Cloudflare Workers one that
   * all databases of the isolate share. It never shrinks, but goes when the database is closed.
   */
  wasmMemoryBytes: number;
}
