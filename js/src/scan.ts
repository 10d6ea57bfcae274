// A running scan.

import { abortable } from "./abort.js";
import { decodeRows } from "./columns/decode.js";
import { only } from "./door/options.js";
import { invalid } from "./errors.js";
import type { Handle, RawScan } from "./raw.js";
import type { Row } from "./types.js";

/**
 * The rows that a scan finds: read it once, in one of four ways. Iterated, it gives batches, each a complete Arrow
 * IPC stream; leaving the loop ends the scan. It reads the state of the moment `table.scan()` was called.
 */
export class Scan<R extends object = Row> implements AsyncIterable<Uint8Array> {
  private readonly raw: Handle<RawScan>;
  private readonly empty: () => Promise<Uint8Array>;
  private readonly signal: AbortSignal | undefined;
  private taken = false;

  /** @internal */
  constructor(raw: Handle<RawScan>, empty: () => Promise<Uint8Array>, signal: AbortSignal | undefined) {
    this.raw = raw;
    this.empty = empty;
    this.signal = signal;
  }

  /** Batches as Arrow IPC streams. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    return this.iterate(() => this.raw.call("nextIpc"));
  }

  /** Rows as plain objects. */
  async *rows(): AsyncGenerator<R, undefined> {
    only(arguments, 0, "rows()");
    const batches = this.iterate(() => this.raw.call("nextColumns"));
    for await (const { fields, columns, rows } of { [Symbol.asyncIterator]: () => batches }) {
      yield* decodeRows(fields, columns, rows) as R[];
    }
    return undefined;
  }

  /** All rows as one Arrow IPC stream. Needs memory for all of them. */
  async toIPC(): Promise<Uint8Array> {
    only(arguments, 0, "toIPC()");
    const parts: Uint8Array[] = [];
    for await (const part of this) parts.push(part);
    return parts.length > 0 ? joinStreams(parts) : this.empty();
  }

  /** All rows as plain objects. Needs memory for all of them. */
  async toArray(): Promise<R[]> {
    only(arguments, 0, "toArray()");
    const all: R[] = [];
    for await (const row of this.rows()) all.push(row);
    return all;
  }

  /** How many rows there are, without reading more columns than the filter needs. */
  async count(): Promise<number> {
    only(arguments, 0, "count()");
    this.take();
    try {
      return await this.wait(this.raw.call("count"));
    } finally {
      this.cancel();
    }
  }

  private take(): void {
    if (this.taken) throw invalid("a scan is read once: call table.scan() again");
    this.taken = true;
  }

  private wait<T>(promise: Promise<T>): Promise<T> {
    return abortable(promise, this.signal);
  }

  private cancel(): void {
    // Nobody waits for it. If it fails the instance is gone, and the scan with it.
    this.raw.call("cancel").catch(() => undefined);
    this.raw.drop(invalid("the scan has ended: start it again"));
  }

  private iterate<T>(next: () => Promise<T | undefined>): AsyncIterator<T, undefined> {
    this.take();
    const end = () => {
      this.cancel();
      return { done: true, value: undefined } as const;
    };
    let ended = false;
    return {
      next: async () => {
        if (ended) return { done: true, value: undefined };
        try {
          const value = await this.wait(next());
          if (value !== undefined) return { done: false, value };
        } catch (error) {
          ended = true;
          end();
          throw error;
        }
        ended = true;
        return end();
      },
      return: async () => {
        ended = true;
        return end();
      },
    };
  }
}

/**
 * One IPC stream of several with the same schema: the first without its end mark, of the others what is between
 * schema and end mark. An encapsulated message is FF FF FF FF, the length of its metadata, the metadata, its body;
 * a schema has no body; the end mark is FF FF FF FF 00 00 00 00.
 */
function joinStreams(parts: Uint8Array[]): Uint8Array {
  const trimmed = parts.map((part, i) => {
    const data = new DataView(part.buffer, part.byteOffset, part.byteLength);
    const marked = part.byteLength >= 8 && data.getUint32(part.byteLength - 8, true) === 0xffffffff;
    const end = marked && i < parts.length - 1 ? part.byteLength - 8 : part.byteLength;
    const start = i === 0 ? 0 : 8 + data.getInt32(4, true);
    return part.subarray(start, end);
  });
  const whole = new Uint8Array(trimmed.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of trimmed) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}
