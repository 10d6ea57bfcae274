// What `ingest` and `delete` take, told apart.

import { abortable } from "./abort.js";
import { asArrow, isArrow } from "./arrow/table.js";
import { bytesIn, copyOf } from "./door/bytes.js";
import { show } from "./door/show.js";
import { headLength } from "./door/sniff.js";
import { reading } from "./door/values.js";
import { invalid } from "./errors.js";
import type { RawArrow } from "./raw.js";
import type { Batch, IpcConvertible, Row } from "./types.js";

/** One commit: Arrow IPC bytes (and how they begin), columns of an Arrow library, or plain rows. */
export type Commit = { bytes: Uint8Array; head: Uint8Array } | { arrow: RawArrow } | { rows: readonly Row[] };

/** The commits of an input: one, or one per item of a stream. */
export type Commits = { one: Commit } | { many: AsyncIterable<unknown> | Iterable<unknown> };

const remedy =
  "pass Arrow IPC bytes (of apache-arrow: tableToIPC(table)), an array of rows, or a stream of these";

/** Tells what an input is. */
export function classify(input: unknown): Commits {
  return reading("the input", () => {
    const one = asCommit(input);
    if (one !== undefined) return { one };
    if (Array.isArray(input)) return { many: input };
    if (typeof input === "object" && input !== null) {
      const hint = ofTheWeb(input);
      if (hint !== undefined) throw invalid(`the input is ${show(input)}: ${hint}`);
      // Not by its iterator, which not every runtime has: that cannot be ended while it waits for the next item.
      if (isStream(input)) return { many: read(input) };
      if (Symbol.asyncIterator in input) return { many: input as AsyncIterable<unknown> };
      // A Map or a Set is iterable, but its entries are no batches.
      if (Symbol.iterator in input) return { many: input as Iterable<unknown> };
    }
    throw invalid(`the input is ${show(input)}: ${remedy}`);
  });
}

/** The commit that a batch is, where it can be only one. */
export function batchCommit(input: unknown): Commit {
  const commits = classify(input);
  if ("one" in commits) return commits.one;
  throw invalid("a transaction takes batches, not a stream of them: pass its items one by one");
}

/** The commit an item of a stream is. */
export function itemCommit(item: unknown, index: number): Commit {
  const what = `item ${index} of the stream`;
  const commit = reading(what, () => asCommit(item));
  if (commit === undefined) throw invalid(`${what} is ${show(item)}: ${remedy}`);
  return commit;
}

/** An item of a stream. Not as it is, since whatever has a `then` would be awaited on its way. */
export interface Item {
  readonly item: unknown;
}

/** The items, until the signal is aborted: a source may never give its next. */
export async function* itemsUntil(
  items: AsyncIterable<unknown> | Iterable<unknown>,
  signal: AbortSignal | undefined,
): AsyncIterable<Item> {
  const source = reading("the stream", () => iteratorOf(items));
  let closes = true;
  try {
    for (;;) {
      const next = nextOf(source);
      next.catch(() => (closes = false));
      const { result } = await abortable(next, signal);
      if (typeof result !== "object" || result === null) {
        closes = false;
        throw invalid(`the stream is none: its next() gave ${show(result)}`);
      }
      const { done, value } = reading("the stream", () => {
        const { done, value } = result as IteratorResult<unknown>;
        // What it returns at its end is nobody's.
        return done ? { done: true, value: undefined } : { done: false, value: asPromise(value) };
      });
      if (done) return void (closes = false);
      // As in `for await`: of an array of promises the items are what they give.
      yield { item: value instanceof Promise ? await abortable(value, signal) : value };
    }
  } finally {
    // A stream of the web is told why, also while it is silent; of one that is nobody waits for the end.
    const why: unknown = signal?.aborted === true ? signal.reason : undefined;
    const closed = (async () => closes && source.return?.(why))();
    await abortable(closed, signal).catch(() => undefined);
  }
}

/** Ends a stream of the web that nobody will read, since its call was aborted before it began. */
export function cancelUnread(input: unknown, reason: unknown): void {
  try {
    if (typeof input !== "object" || input === null || !isStream(input)) return;
    void Promise.resolve(input.cancel(reason)).catch(() => undefined);
  } catch {
    // It is none, or somebody else reads it.
  }
}

/** A promise of this realm, if it is something to be awaited. */
function asPromise(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (typeof (value as Partial<PromiseLike<unknown>>).then !== "function") return value;
  return (async () => value)();
}

/** What the source gives next, in a box: it is awaited once, and as it was looked at. */
async function nextOf(source: Source): Promise<{ result: unknown }> {
  const given = source.next();
  const result = reading("the stream", () => asPromise(given));
  return { result: result instanceof Promise ? await result : result };
}

interface Source {
  next(): unknown;
  return: ((why: unknown) => unknown) | undefined;
}

function iteratorOf(items: AsyncIterable<unknown> | Iterable<unknown>): Source {
  const iterator: unknown =
    Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  if (typeof iterator !== "object" || iterator === null)
    throw invalid(`the stream is none: its iterator is ${show(iterator)}`);
  const { next } = iterator as { next?: unknown };
  if (typeof next !== "function") throw invalid(`the stream is none: its iterator's next is ${show(next)}`);
  const end = (why: unknown): unknown => (iterator as Iterator<unknown>).return?.(why);
  return { next: () => next.call(iterator) as unknown, return: end };
}

function asCommit(input: unknown): Commit | undefined {
  const bytes = asBytes(input);
  if (bytes !== undefined) return { bytes, head: copyOf(bytes.subarray(0, headLength)) };
  const arrow = asArrow(input);
  if (arrow !== undefined) return { arrow };
  if (!Array.isArray(input)) return undefined;
  const first: unknown = input[0];
  return Array.isArray(first) || isBatch(first) ? undefined : { rows: input as Row[] };
}

function isBatch(value: unknown): boolean {
  return bytesIn(value, "the input") !== undefined || converter(value) !== undefined || isArrow(value);
}

function asBytes(value: unknown): Uint8Array | undefined {
  const given = bytesIn(value, "the input");
  if (given !== undefined) return given;
  const convert = converter(value);
  if (convert === undefined) return undefined;
  const bytes = convert.call(value as IpcConvertible);
  const converted = bytesIn(bytes, "the input's conversion to IPC");
  if (converted !== undefined) return converted;
  throw invalid(`the input's conversion to IPC gave ${show(bytes)}, not a Uint8Array`);
}

function converter(value: unknown): (() => unknown) | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  // A scan can give its bytes as one, but not at once: it is a stream.
  if (Symbol.asyncIterator in value) return undefined;
  const { toIPC, toIPCStream, intoIPCStream } = value as IpcConvertible;
  return [toIPC, toIPCStream, intoIPCStream].find((method) => typeof method === "function");
}

/** What to do with a response, a blob, a request. */
function ofTheWeb(input: object): string | undefined {
  const { arrayBuffer } = input as { arrayBuffer?: unknown };
  if (typeof arrayBuffer !== "function") return undefined;
  return "read it first, ingest(new Uint8Array(await it.arrayBuffer()))";
}

function isStream(input: object): input is ReadableStream {
  return typeof (input as Partial<ReadableStream>).getReader === "function";
}

/** A stream of the web, which is cancelled at once when it is to end. */
function read(stream: ReadableStream): AsyncIterable<unknown> {
  return {
    [Symbol.asyncIterator]() {
      const reader = stream.getReader();
      return {
        next: async () => {
          try {
            const { done, value } = await reader.read();
            if (done) reader.releaseLock();
            return { done, value } as IteratorResult<unknown>;
          } catch (error) {
            reader.releaseLock();
            throw error;
          }
        },
        return: async (why: unknown) => {
          await reader.cancel(why).catch(() => undefined);
          reader.releaseLock();
          return { done: true, value: undefined };
        },
      };
    },
  };
}

/** @internal Only so that the types of inputs are checked against what is handled here. */
export type Handled = Batch;
