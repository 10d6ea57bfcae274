// The engine's own surface (src/bindings), as TypeScript sees it. Errors are plain `{ kind, message }`.

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
  close(): Promise<void>;
  stats(): Record<string, unknown>;
}

/** A store as the engine takes it (src/bindings/store.rs). */
export type StoreSpec = { host: object } | { s3: object } | { opfs: object };

export interface RawModule {
  openDb(data: StoreSpec, wal: StoreSpec | undefined, options: object): Promise<RawDb>;
}
