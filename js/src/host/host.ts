// What the engine asks of a store written in JavaScript.

import type { ErrorCode } from "../errors.js";

type Awaitable<T> = T | Promise<T>;

/** One entry of a listing. */
export interface HostEntry {
  key: string;
  size: number;
  /**
   * When the object was written, by the store's clock. Say it where it costs nothing: `gc()` then need not read
   * objects to learn how old they are, and goes by the store's time.
   */
  modified?: Date;
}

/** An object being written in pieces: it appears, whole and durable, at `finish`. */
export interface HostWriter {
  write(bytes: Uint8Array): Awaitable<void>;
  finish(): Awaitable<void>;
  /** Gives it up: nothing appears. */
  abort(): Awaitable<void>;
}

/** A file that grows at its end: a WAL segment. */
export interface HostAppendFile {
  /** Bytes that were there when it was opened. */
  readonly size: number;
  write(bytes: Uint8Array): Awaitable<void>;
  /** Makes all that was written, and the file's name, durable. */
  sync(): Awaitable<void>;
  /**
   * Throws with `code: "Closed"`, saying what happened, if what is written is not found under the file's name any more.
   * Asked before each acknowledgement; without it nobody asks.
   */
  confirm?(): Awaitable<void>;
  close(): Awaitable<void>;
}

/** A held lock. */
export interface HostLock {
  /**
   * Throws with `code: "Closed"`, naming who has it, if the lock is not held any more. Answers at once, without a
   * promise. Asked before each acknowledgement; without it nobody asks.
   */
  confirm?(): void;
  release(): Awaitable<void>;
}

/**
 * A store. Keys are `/`-separated segments of `[A-Za-z0-9._-]`, never empty, `.` or `..`. An object appears whole
 * or not at all; once `put`, `putIfAbsent` or `finish` resolved, it survives a power cut; `putIfAbsent` has one
 * winner; `list` is complete. An exception may carry a `code`, one of {@link ErrorCode}; any other is taken to mean
 * that the outcome is unknown and the store is asked again.
 */
export interface Host {
  /** Kind and place for messages. Never a secret. */
  describe?(): string;
  /** The whole object, or null. */
  get(key: string): Awaitable<Uint8Array | null>;
  /** Bytes from `start` to before `end`, or null if there is no object. */
  getRange(key: string, start: number, end: number): Awaitable<Uint8Array | null>;
  /** The last `length` bytes (all, if it is shorter) and the object's size, or null. */
  getSuffix(key: string, length: number): Awaitable<{ bytes: Uint8Array; size: number } | null>;
  /** Creates or replaces an object. */
  put(key: string, bytes: Uint8Array): Awaitable<void>;
  /** Creates an object if there is none of that name: whether it did. */
  putIfAbsent(key: string, bytes: Uint8Array): Awaitable<boolean>;
  /** All objects whose key starts with `prefix` and is greater than `startAfter`. */
  list(prefix: string, startAfter?: string): Awaitable<HostEntry[]>;
  /** Deletes an object; one that is not there is no error. */
  delete(key: string): Awaitable<void>;
  /** Starts an object written in pieces. Without it, pieces gather in memory. */
  create?(key: string): Awaitable<HostWriter>;
  /** Opens an append file, creating it if need be. Only a WAL needs it. */
  append?(key: string): Awaitable<HostAppendFile>;
  /** Takes an exclusive lock; throws with `code: "Busy"` if it is held. Only a WAL needs it. */
  lock?(name: string): Awaitable<HostLock>;
}
