// What crosses between a page and the worker that runs the engine. Numbers of objects and calls are given out by
// whoever sends the message that makes them known.

import { messageOf } from "../door/values.js";
import { type ErrorCode, LakeshoreError } from "../errors.js";

/** Both sides must be of the same: a page may meet the worker script of an older deployment in a cache. */
export const protocol = 2;

/** The first message to the worker, with a port for all others. */
export interface Hello {
  readonly lakeshore: number;
  /** A Web Lock that the worker holds as long as it lives. */
  readonly life: string;
  /** The page's own WebAssembly module, if it gave one. */
  readonly module: WebAssembly.Module | undefined;
}

export type Message =
  /** The worker is there, and holds its lock if there are Web Locks. */
  | { type: "hello"; protocol: number; locked: boolean }
  /** Calls a method of object `on`; answered by `result` or `failed`. `abort` may follow where it says so. */
  | { type: "call"; id: number; on: number; method: string; args: unknown[]; abortable?: boolean }
  /** Calls a method that makes object `id`; not answered. */
  | { type: "start"; id: number; on: number; method: string; args: unknown[]; abortable?: boolean }
  /** Nobody waits any more for what was called or started as `id`. */
  | { type: "abort"; id: number }
  /** Asks whether object `on` could be made; answered. */
  | { type: "ready"; id: number; on: number }
  /** Object `on` will not be used again. */
  | { type: "drop"; on: number }
  | { type: "result"; id: number; value: unknown }
  | { type: "failed"; id: number; error: Crossing };

/** An error on its way. */
export interface Crossing {
  readonly code?: string;
  readonly name: string;
  readonly message: string;
}

/** What of an error crosses: no stack, no cause, since neither is for the other side. Reading it never throws. */
export function errorOut(error: unknown): Crossing {
  const isObject = typeof error === "object" && error !== null;
  const code = isObject ? textOf(error, "code") : undefined;
  const name = isObject ? textOf(error, "name") : undefined;
  return { ...(code !== undefined && { code }), name: name ?? "Error", message: messageOf(error) };
}

/** A property that is text. */
function textOf(error: object, property: string): string | undefined {
  try {
    const value = (error as Record<string, unknown>)[property];
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The error that crossed. */
export function errorIn({ code, name, message }: Crossing): Error {
  if (name === "LakeshoreError") return new LakeshoreError(code as ErrorCode, message);
  const error = Object.assign(new Error(message), code !== undefined && { code });
  // Exceptions of the browser have no code that says anything, but a name.
  Object.defineProperty(error, "name", { value: name, configurable: true });
  return error;
}

/**
 * The buffers that a message gives away: bytes that stand as such, as `bytes` of a result, or in columns. Bytes
 * elsewhere (in a filter) are copied on the way, and so are views of a part of a buffer.
 */
export function givenAway(values: readonly unknown[]): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    if (value instanceof Uint8Array) {
      const { buffer, byteLength } = value;
      if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength && byteLength > 0)
        buffers.add(buffer);
      return;
    }
    if (Array.isArray(value)) return value.forEach(visit);
    const { columns, buffers: inner, children, validity, bytes, body } = value as Record<string, unknown>;
    const { tables, batch } = value as Record<string, unknown>;
    for (const part of [columns, inner, children, validity, bytes, body, tables, batch]) visit(part);
  };
  values.forEach(visit);
  return [...buffers];
}
