// What `ingest` and `delete` take, told apart.

import { abortable } from "./abort.js";
import { invalid } from "./errors.js";
import type { Batch, IpcConvertible, Row } from "./types.js";

/** One commit: Arrow IPC bytes, or plain rows. */
export type Commit = { bytes: Uint8Array } | { rows: readonly Row[] };

/** The commits of an input: one, or one per item of a stream. */
export type Commits = { one: Commit } | { many: AsyncIterable<unknown> | Iterable<unknown> };

const remedy =
  "pass Arrow IPC bytes (of apache-arrow: tableToIPC(table)), an array of rows, or a stream of these";

/** Tells what an input is. */
export function classify(input: unknown): Commits {
  const one = asCommit(input);
  if (one !== undefined) return { one };
  if (Array.isArray(input)) return { many: input };
  if (typeof input === "object" && input !== null) {
    // Tables of apache-arrow iterate over rows, one by one: that is never meant.
    if ("batches" in input && "schema" in input) throw invalid(`this table has no toIPC: ${remedy}`);
    if (Symbol.asyncIterator in input) return { many: input as AsyncIterable<unknown> };
    if (typeof (input as ReadableStream).getReader === "function")
      return { many: read(input as ReadableStream) };
    if (Symbol.iterator in input) return { many: input as Iterable<unknown> };
  }
  throw invalid(`the input is ${kind(input)}: ${remedy}`);
}

/** The commit that a batch is, where it can be only one. */
export function batchCommit(input: unknown): Commit {
  const commits = classify(input);
  if ("one" in commits) return commits.one;
  throw invalid("a transaction takes batches, not a stream of them: pass its items one by one");
}

/** The commit an item of a stream is. */
export function itemCommit(item: unknown, index: number): Commit {
  const commit = asCommit(item);
  if (commit === undefined) throw invalid(`item ${index} of the stream is ${kind(item)}: ${remedy}`);
  return commit;
}

/** The items, until the signal is aborted: a source may never give its next. */
export async function* itemsUntil(
  items: AsyncIterable<unknown> | Iterable<unknown>,
  signal: AbortSignal | undefined,
): AsyncIterable<unknown> {
  if (signal === undefined) return yield* items;
  const source = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let closes = true;
  try {
    for (;;) {
      const next = (async () => source.next())();
      next.catch(() => (closes = false));
      const { done, value } = await abortable(next, signal);
      if (done) return void (closes = false);
      yield value;
    }
  } finally {
    const closed = (async () => closes && source.return?.())();
    // Of a source that is silent nobody waits for the end, either.
    await abortable(closed, signal).catch(() => undefined);
  }
}

function asCommit(input: unknown): Commit | undefined {
  const bytes = asBytes(input);
  if (bytes !== undefined) return { bytes };
  if (!Array.isArray(input)) return undefined;
  const first: unknown = input[0];
  const nested = Array.isArray(first) || asBytesLike(first);
  return nested ? undefined : { rows: input as Row[] };
}

function asBytesLike(value: unknown): boolean {
  return value instanceof ArrayBuffer || ArrayBuffer.isView(value) || converter(value) !== undefined;
}

function asBytes(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (typeof SharedArrayBuffer !== "undefined" && value instanceof SharedArrayBuffer)
    return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  const convert = converter(value);
  if (convert === undefined) return undefined;
  const bytes = convert.call(value as IpcConvertible);
  if (bytes instanceof Uint8Array) return bytes;
  throw invalid(`the input's conversion to IPC gave ${kind(bytes)}, not a Uint8Array`);
}

function converter(value: unknown): (() => unknown) | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  // A scan can give its bytes as one, but not at once: it is a stream.
  if (Symbol.asyncIterator in value) return undefined;
  const { toIPC, toIPCStream, intoIPCStream } = value as IpcConvertible;
  return [toIPC, toIPCStream, intoIPCStream].find((method) => typeof method === "function");
}

/** Not every runtime can iterate a ReadableStream. */
async function* read(stream: ReadableStream): AsyncIterable<unknown> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
    reader.releaseLock();
  }
}

function kind(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== "object") return `a ${typeof value}`;
  return `an object of ${value.constructor?.name ?? "no class"}`;
}

/** @internal Only so that the types of inputs are checked against what is handled here. */
export type Handled = Batch;
