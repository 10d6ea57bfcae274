// The engine's own surface (src/bindings), as TypeScript sees it, and how the package reaches it: by handles, behind
// which the engine is in this realm (engine.ts) or in a worker (remote/). Errors of the raw objects are plain
// `{ kind, message }`, those of handles `LakeshoreError`.

import type { Column, Field } from "./columns/column.js";
import type { PredicateSpec } from "./predicate.js";

export interface RawCommitted {
  rows: number;
  timestamp: bigint;
  uploaded: boolean;
}

export interface RawSchema {
  fields: Field[];
  primaryKey: string[];
}

export interface RawTable {
  schema(): RawSchema;
  ingestIpc(bytes: Uint8Array): Promise<RawCommitted>;
  ingestColumns(columns: Column[], rows: number): Promise<RawCommitted>;
  deleteIpc(bytes: Uint8Array): Promise<RawCommitted>;
  deleteColumns(columns: Column[], rows: number): Promise<RawCommitted>;
  get(key: Column[], select: string[] | undefined): Promise<RawBatch | undefined>;
  scan(spec: RawScanSpec): RawScan;
  /** A schema-only IPC stream. */
  emptyIpc(select: string[] | undefined): Uint8Array;
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
  createTable(
    name: string,
    columns: [string, string, boolean | undefined][],
    key: string[],
  ): Promise<RawTable>;
  createTableFromIpc(name: string, schema: Uint8Array, key: string[]): Promise<RawTable>;
  table(name: string): Promise<RawTable>;
  tables(): { name: string; schema: RawSchema }[];
  flush(): Promise<void>;
  checkpoint(): Promise<void>;
  refresh(): Promise<boolean>;
  close(): Promise<void>;
  stats(): Record<string, unknown>;
}

/** A store as the engine takes it (src/bindings/store.rs). */
export type StoreSpec = { host: object } | { s3: object } | { opfs: object };

export interface RawModule {
  openDb(data: StoreSpec, wal: StoreSpec | undefined, options: object): Promise<RawDb>;
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
  /** Calls a method that makes another object of the engine. Its failure comes with that object's first call. */
  start<M extends Method<T>>(method: M, ...args: Arguments<T, M>): Handle<Answer<T, M>>;
  /** Resolves once the object is there. */
  ready(): Promise<void>;
  /** It will not be used again. */
  drop(): void;
}

/** A database being opened, or open. */
export interface Opening {
  readonly db: Handle<RawDb>;
  /** It is closed, or did not open: what was kept for it is let go. */
  release(): void;
}

/** The engine, wherever it runs. */
export interface Engine {
  open(data: StoreSpec, wal: StoreSpec | undefined, options: object): Opening;
  /** Bytes of its WebAssembly memory. */
  memoryBytes(): Promise<number>;
}
