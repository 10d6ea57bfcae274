// The engine's own surface (src/bindings), as TypeScript sees it, and how the package reaches it: by handles, behind
// which the engine is in this realm (engine.ts) or in a worker (remote/). Errors of the raw objects are plain
// `{ kind, message }`, those of handles `LakeshoreError`.

import type { Column, Field } from "./columns/column.js";
import type { LakeshoreError } from "./errors.js";
import type { PredicateSpec } from "./predicate.js";
import type { GcReport, LogVersion, Parked, ProbeReport, Settings, Tag, Uploaded } from "./types.js";

export interface RawCommitted {
  rows: number;
  timestamp: bigint;
  uploaded: boolean;
  position?: string;
}

export interface RawSchema {
  fields: Field[];
  primaryKey: string[];
  /** Which of the schemas that the table's handle gave out: the first is 0. */
  version?: number;
}

export interface RawTableInfo {
  name: string;
  schema: RawSchema;
}

/** What every table can: one of the newest state, of a snapshot, within a transaction. */
export interface RawSnapshotTable {
  schema(): RawSchema;
  get(key: Column[], select: string[] | undefined): Promise<RawBatch | undefined>;
  scan(spec: RawScanSpec): RawScan;
  /** A schema-only IPC stream. */
  emptyIpc(select: string[] | undefined): Uint8Array;
}

/** A column that is not (yet) a table's: name, type as text, and whether it may be null. */
export type RawColumn = [name: string, type: string, nullable: boolean | undefined];

export interface RawArrowBatch {
  columns: Column[];
  rows: number;
}

/** Batches of a schema of their own. */
export interface RawArrow {
  fields: RawColumn[];
  batches: RawArrowBatch[];
}

interface RawWriter<Answer> {
  ingestIpc(bytes: Uint8Array): Promise<Answer>;
  /** What differs in representation is converted, as of IPC. */
  ingestArrow(fields: RawColumn[], batches: RawArrowBatch[]): Promise<Answer>;
  /** Columns in the order of a version of the schema. */
  ingestColumns(columns: Column[], rows: number, version: number): Promise<Answer>;
  deleteIpc(bytes: Uint8Array): Promise<Answer>;
  deleteArrow(fields: RawColumn[], batches: RawArrowBatch[]): Promise<Answer>;
  deleteColumns(columns: Column[], rows: number): Promise<Answer>;
}

export interface RawTable extends RawSnapshotTable, RawWriter<RawCommitted> {}

/** A write gives its number of rows. */
export interface RawTransactionTable extends RawSnapshotTable, RawWriter<number> {}

export interface RawSnapshot {
  timestamp(): bigint;
  tables(): RawTableInfo[];
  table(name: string): RawSnapshotTable;
}

export interface RawChanges {
  nextIpc(): Promise<RawChange<{ bytes: Uint8Array }> | undefined>;
  nextColumns(): Promise<RawChange<{ batch: RawBatch }> | undefined>;
  /** Ends it; a `next` under way gives undefined. */
  cancel(): void;
}

export interface RawChange<Rows> {
  cursor: string;
  timestamp: bigint;
  uploaded: boolean;
  more: boolean;
  tables: ({ table: string; kind: "upsert" | "delete" } & Rows)[];
}

/** What is done, the name of what it is done to, and a type or a new name. */
export type RawAlteration = [what: string, name: string, to: string];

export interface RawKeepUploaded {
  done(): Promise<void>;
  cancel(): void;
}

export interface RawTransaction {
  tables(): RawTableInfo[];
  table(name: string): RawTransactionTable;
  commit(): Promise<RawCommitted>;
  rollback(): void;
}

export interface RawScanSpec {
  where: PredicateSpec | undefined;
  select: string[] | undefined;
  /** One row of key columns. */
  from: Column[] | undefined;
  to: Column[] | undefined;
  limit: number | undefined;
  reverse: boolean;
  batchRows: number | undefined;
}

export interface RawBatch {
  fields: Field[];
  columns: Column[];
  rows: number;
}

export interface RawScan {
  nextIpc(): Promise<Uint8Array | undefined>;
  nextColumns(): Promise<RawBatch | undefined>;
  count(): Promise<number>;
  /** Ends it; a `next` under way gives undefined. */
  cancel(): void;
}

export interface RawDb {
  createTable(name: string, columns: RawColumn[], key: string[]): Promise<RawTable>;
  createTableFromIpc(name: string, schema: Uint8Array, key: string[]): Promise<RawTable>;
  table(name: string): Promise<RawTable>;
  tables(): RawTableInfo[];
  /** As of microseconds, or of a tag; undefined is now. */
  snapshot(at: bigint | string | undefined): Promise<RawSnapshot>;
  begin(serializable: boolean): RawTransaction;
  tag(name: string, at: bigint | string | undefined): Promise<bigint>;
  untag(name: string): Promise<boolean>;
  tags(): Promise<Tag[]>;
  versions(limit: number): Promise<LogVersion[]>;
  gc(dryRun: boolean): Promise<GcReport>;
  settings(): Settings;
  configure(change: Partial<Settings>): Promise<Settings>;
  alterTable(name: string, changes: RawAlteration[]): Promise<RawTable>;
  dropTable(name: string): Promise<boolean>;
  changes(options: object): RawChanges;
  upload(options: object): Promise<Uploaded>;
  keepUploaded(options: object): RawKeepUploaded;
  isUploaded(commit: object): Promise<boolean>;
  uploaded(commit: object): Promise<void>;
  parked(): (Omit<Parked, "ipc"> & { bytes: Uint8Array })[];
  restoreParked(): Promise<number>;
  discardParked(): Promise<number>;
  flush(): Promise<void>;
  checkpoint(): Promise<void>;
  refresh(): Promise<boolean>;
  close(): Promise<void>;
  stats(): Record<string, unknown>;
}

/** A store as the engine takes it (src/bindings/store.rs). */
export type StoreSpec = { host: object } | { s3: object } | { opfs: object };

/** Ends a call: armed before it is made, disarmed after. */
export interface RawCancel {
  arm(): void;
  disarm(): void;
  cancel(): void;
  free(): void;
}

export interface RawModule {
  RawCancel: new () => RawCancel;
  openDb(data: StoreSpec, wal: StoreSpec | undefined, options: object): Promise<RawDb>;
  probe(data: StoreSpec): Promise<ProbeReport>;
}

type Method<T> = { [M in keyof T]: T[M] extends (...args: never[]) => unknown ? M : never }[keyof T] & string;
type Arguments<T, M extends keyof T> = T[M] extends (...args: infer A) => unknown ? A : never;
type Answer<T, M extends keyof T> = T[M] extends (...args: never[]) => infer R ? Awaited<R> : never;

/**
 * An object of the engine. Calls take effect in the order in which they are made, also on objects that are being made.
 * Bytes of the arguments stay the caller's; columns are given away.
 */
export interface Handle<T> {
  /** Calls a method that gives plain data. */
  call<M extends Method<T>>(method: M, ...args: Arguments<T, M>): Promise<Answer<T, M>>;
  /** The same, until the signal is aborted: what it does is dropped then, and it rejects with the signal's reason. */
  callUntil<M extends Method<T>>(
    signal: AbortSignal | undefined,
    method: M,
    ...args: Arguments<T, M>
  ): Promise<Answer<T, M>>;
  /** Calls a method that makes another object of the engine. Its failure comes with that object's first call. */
  start<M extends Method<T>>(method: M, ...args: Arguments<T, M>): Handle<Answer<T, M>>;
  /** The same, until the signal is aborted. Who waits for the object must look at the signal, too. */
  startUntil<M extends Method<T>>(
    signal: AbortSignal | undefined,
    method: M,
    ...args: Arguments<T, M>
  ): Handle<Answer<T, M>>;
  /** Whether columns are gone once they were given away: another realm has them. */
  readonly givesAway?: boolean | undefined;
  /** Resolves once the object is there. */
  ready(): Promise<void>;
  /** Frees it. Calls made from now on fail with `reason`; those under way go on. */
  drop(reason: LakeshoreError): void;
}

/** A database being opened, or open. */
export interface Opening {
  readonly db: Handle<RawDb>;
  /** Bytes of the WebAssembly memory that it has. */
  memoryBytes(): Promise<number>;
  /** It is closed: what was kept for it is let go. */
  release(): void;
  /** It did not open: the same, and what it took, or is still to be given, is free once this resolves. */
  abandon(): Promise<void>;
}

/** The engine, wherever it runs. */
export interface Engine {
  open(
    data: StoreSpec,
    wal: StoreSpec | undefined,
    options: object,
    signal: AbortSignal | undefined,
  ): Opening;
  /** Tries a store: `ProbeReport`. */
  probe(data: StoreSpec, signal: AbortSignal | undefined): Promise<ProbeReport>;
}
