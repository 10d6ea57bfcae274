// What callers pass in and get back: transactions, the past, changes, alterations, uploads.

import type { Row, TypeName } from "./types.js";

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
  /** Ends it: the call rejects with `signal.reason`. What it did so far stays done. */
  signal?: AbortSignal;
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
  /**
   * Only the tables of these names, now or later, and those that have them when the feed begins, whatever they are
   * called then. All by default.
   */
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
