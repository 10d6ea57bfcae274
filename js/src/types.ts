// What callers pass in and get back.

import type { Literal, Predicate } from "./predicate.js";
import type { Host } from "./host/host.js";

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
  /** Longest wait for an attempt, before the time its bytes may take is added, in milliseconds; 30,000 by default. */
  timeoutMs?: number;
  /** How often a failed attempt is repeated; 4 by default. */
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
  primaryKey: string[];
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
 * dates are `Date`, finer timestamps `bigint` in their unit; binary is `Uint8Array`; a list is an array, a struct
 * an object, a map a `Map`. In: also safe integers for `bigint`, `bigint` for any integer or time in its unit,
 * digits as text (`"12.50"`) for decimals, arrays of pairs for maps.
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

/** What is one atomic commit: an Arrow IPC stream or file, something that gives one, or plain rows. */
export type Batch = Uint8Array | ArrayBuffer | IpcConvertible | readonly Row[];

/** What `ingest` takes: a batch is one commit; a stream of batches is one commit per item. */
export type IngestInput =
  Batch | ReadableStream<Batch> | AsyncIterable<Batch> | Iterable<Uint8Array | ArrayBuffer | IpcConvertible>;

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

/**
 * A moment: a `Date` (the begin of its millisecond), microseconds since the Unix epoch as `timestamp` of a commit has
 * them, or the name of a tag.
 */
export type AsOf = Date | bigint | string;

/** Options of `begin`. */
export interface BeginOptions {
  /**
   * `"snapshot"` (the default): it reads one snapshot, and conflicts if a row it writes was written since: no lost
   * update. `"serializable"`: it conflicts, too, if anything in the keys and ranges it read was written since: as if
   * transactions ran one after the other. With a `wal` that holds among transactions of this device; against others
   * the last to upload wins.
   */
  isolation?: "snapshot" | "serializable";
}

/** Options of `transaction`. */
export interface TransactionOptions extends BeginOptions {
  /** How often the function runs, at most, while the transaction conflicts; 16 by default. */
  attempts?: number;
  /**
   * Rolls back and rejects with `signal.reason`; what the function still writes is `Invalid`. A commit already under
   * way still completes.
   */
  signal?: AbortSignal;
}

/** A named moment. */
export interface Tag {
  name: string;
  /** In microseconds since the Unix epoch. */
  timestamp: bigint;
}

/** What one log record made of the database. */
export interface LogVersion {
  /** The record's number. */
  seq: number;
  /** A read as of it sees this version. In microseconds since the Unix epoch. */
  timestamp: bigint;
  /** Names of the tags that stand for it. */
  tags: string[];
}

/** What gc did, or would do. */
export interface GcReport {
  /** The oldest timestamp that can be read from now on, in microseconds since the Unix epoch. */
  watermark: bigint;
  /** Number of the checkpoint below which it looked; missing if there is none older than the grace time. */
  checkpoint?: number;
  /** Number of the record it committed; missing in a dry run and where there was nothing to do. */
  committed?: number;
  /** Log records, checkpoints and data files deleted, and the bytes of all these. */
  records: number;
  checkpoints: number;
  files: number;
  bytes: number;
}

/** Settings that all handles of a database use. They are kept in its catalog: `open`'s options give the first. */
export interface Settings {
  /** How long a deleted thing may still be in use by a slow process, in milliseconds. It never gets shorter. */
  graceMs: number;
  /** How far back `asOf` reads reach, in milliseconds. Raising it brings nothing back. */
  retentionMs: number;
  /** Largest commit whose rows go inline into a log record, in bytes. */
  inlineCommitBytes: number;
  /** A checkpoint is written after this many log records, or bytes of them. */
  checkpointRecords: number;
  checkpointBytes: number;
}

/**
 * A change of a table. An added column is null in the rows there are. A column may be widened to a type that holds
 * every value of its own: an integer with more bits, a longer float, a decimal with more digits and the same scale,
 * `date64` of `date32`, `time64` of `time32`. Key columns can only be renamed.
 */
export type Alteration =
  | { addColumn: string; type: TypeName }
  | { widen: string; to: TypeName }
  | { renameColumn: string; to: string }
  | { dropColumn: string }
  | { renameTable: string };

/** Options of `upload`: how much one call may do. Something is always uploaded, if anything is pending. */
export interface UploadOptions {
  /** Begins no further part that would go beyond this, in bytes of memory. A part is about `sealBytes`. */
  maxBytes?: number;
  /** Begins no further part after so many milliseconds. */
  maxMs?: number;
}

/** What `upload` did. */
export interface Uploaded {
  /** Commits that are in the log now, their rows, and the bytes of the files that hold them. */
  commits: number;
  rows: number;
  bytes: number;
  /** What is left, also of commits since. */
  remainingRows: number;
  remainingBytes: number;
}

/** Options of `keepUploaded`. */
export interface KeepUploadedOptions {
  /** How often it looks whether anything is pending, in milliseconds; 5,000 by default. */
  intervalMs?: number;
  /** While the store does not answer, pauses double up to this, in milliseconds; 300,000 by default. */
  longestPauseMs?: number;
  /** Ends it: it resolves. */
  signal?: AbortSignal;
}

/** Rows that one parked commit wrote to one table. */
export interface Parked {
  /** The commit's name. */
  position: string;
  /** When it was made, by this device's clock: microseconds since the Unix epoch. */
  madeAt: bigint;
  /** Missing if it was dropped meanwhile. */
  table?: string;
  /** Rows to insert or replace, or keys to delete. */
  kind: "upsert" | "delete";
  /** An Arrow IPC stream, as it was committed. */
  ipc: Uint8Array;
}

/** Options of `changes`. */
export interface ChangesOptions {
  /** Goes on after the change with this `cursor`; `"start"` is before the first record. By default from now on. */
  since?: string;
  /** Only these tables. All by default. */
  tables?: readonly string[];
  /**
   * How often to look for what others committed, in milliseconds. By default that comes when `refresh()` or a commit
   * of this handle finds it; in Workers, where no request waits for another, each second.
   */
  pollMs?: number;
  /** Ends at the log's end, after a look where that is, instead of waiting for more. */
  endAtHead?: boolean;
  /** Ends it; the waiting loop is given `signal.reason` as an error. */
  signal?: AbortSignal;
}

/** What one commit changed, or a part of it: all parts of a large one but the last have `more`. */
export interface Change<Part> {
  /** Where to go on after it: `changes({ since: cursor })`, by any handle. Of a part, that is the commit's begin. */
  cursor: string;
  /** Its timestamp in microseconds since the Unix epoch; provisional in a preview. */
  timestamp: bigint;
  /** Whether it is in the log. Else it is a preview of what only this device has: it comes again. */
  uploaded: boolean;
  /** Whether more of the same commit follows. */
  more: boolean;
  /** What it changed, by table. */
  tables: Part[];
}

/** Rows of a table that are there now (`upsert`), or keys of rows that are gone (`delete`), as an IPC stream. */
export interface ChangedIpc {
  table: string;
  kind: "upsert" | "delete";
  ipc: Uint8Array;
}

/** The same as plain objects. */
export interface ChangedRows {
  table: string;
  kind: "upsert" | "delete";
  rows: Row[];
}

/** Options of `scan`. */
export interface ScanOptions {
  /** Rows for which this is true. */
  where?: Predicate;
  /** The columns to return, in this order. All by default. */
  select?: readonly string[];
  /** Rows from this key (included) to that key (excluded). */
  range?: { from?: Key; to?: Key };
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
  /** Size of the WebAssembly memory that all databases of this process share, in bytes. It never shrinks. */
  wasmMemoryBytes: number;
}
