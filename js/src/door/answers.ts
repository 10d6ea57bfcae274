// What a caller's own code gives: the methods of a host, a `fetch`. It is checked and brought into plain data as what
// callers pass in is, since the engine, which asks for it, must not meet an exception. Invariant: a promise that goes
// on is one of this realm's own; what is wrong is said as an error of the method's.

import { type ErrorCode, LakeshoreError } from "../errors.js";
import { bytesIn } from "./bytes.js";
import { show } from "./show.js";
import { byName, isWellFormed, reading, timeOf } from "./values.js";

/** Brings one answer into its form, by the name of the method. */
type Read = (value: unknown, place: string) => unknown;

/** By method of a host; of others nothing is taken. */
const answers: Record<string, Read> = {
  get: objectBytes,
  getRange: objectBytes,
  getSuffix: (value, place) => {
    if (absent(value)) return null;
    const { bytes, size } = object(value, place, "{ bytes, size }, or null");
    return {
      bytes: objectBytes(bytes, place),
      size: length(size, place, "an object whose `size` is a length"),
    };
  },
  putIfAbsent: (value, place) => {
    if (typeof value === "boolean") return value;
    // Whether it was created is not known, and must be found out.
    throw wrong(value, place, "a boolean", "Unknown");
  },
  list: (value, place) => {
    if (!Array.isArray(value)) throw wrong(value, place, "an array of { key, size }");
    return Array.from({ length: value.length }, (_, i) => entry(value[i], place));
  },
};

/** The answer of a host's method, checked. */
export function hostAnswer(method: string, place: string, value: unknown): unknown {
  const read = Object.hasOwn(answers, method) ? answers[method]! : () => undefined;
  return reading(`what ${place} returned`, () => read(value, place));
}

/** What a method returned, or a promise of this realm of it. Anything with a `then` is one. */
export function settled<T>(value: unknown, then: (value: unknown) => T): T | Promise<T> {
  return isThenable(value) ? (async () => then(await value))() : then(value);
}

/** Whether it would be awaited. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  return typeof (value as Partial<PromiseLike<unknown>>).then === "function";
}

const absent = (value: unknown): boolean => value === null || value === undefined;

function wrong(value: unknown, place: string, takes: string, code: ErrorCode = "Invalid"): LakeshoreError {
  return new LakeshoreError(code, `${place} must return ${takes}: it returned ${show(value)}`);
}

function object(value: unknown, place: string, takes: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  throw wrong(value, place, takes);
}

function objectBytes(value: unknown, place: string): Uint8Array | null {
  if (absent(value)) return null;
  const bytes = bytesIn(value, `what ${place} returned`);
  if (bytes === undefined) throw wrong(value, place, "a Uint8Array");
  return bytes;
}

function length(value: unknown, place: string, takes: string): number {
  const number = typeof value === "bigint" ? Number(value) : value;
  if (Number.isSafeInteger(number) && (number as number) >= 0) return number as number;
  throw wrong(value, place, takes);
}

function entry(value: unknown, place: string): object {
  const takes = "an array of { key, size }";
  const { key, size, modified } = object(value, place, takes);
  if (typeof key !== "string") throw wrong(key, place, takes);
  // Somebody else's: a key of ours is ASCII.
  if (!isWellFormed(key)) return { key: "\ufffd", size: 0 };
  const plain = { key, size: length(size, place, `${takes} whose \`size\` is a length`) };
  if (absent(modified)) return plain;
  const time = timeOf(modified);
  if (time === undefined || Number.isNaN(time)) throw wrong(modified, place, "a Date as `modified`");
  return { ...plain, modified: new Date(time) };
}

type Fetch = (url: string, init: object) => Promise<object>;

/** A `fetch` whose answers are checked: an object with what the engine reads of a `Response`. */
export function guardedFetch(fetch: (...args: never[]) => unknown): Fetch {
  return async (url, init) => {
    const response = await (fetch as (url: string, init: object) => unknown)(url, init);
    return reading("what fetch gave", () => plainResponse(response));
  };
}

function plainResponse(response: unknown): object {
  const { status, headers } = object(response, "fetch", "a Response");
  const isHeaders = typeof headers === "object" && headers !== null && "get" in headers;
  if (!Number.isInteger(status) || !isHeaders) throw wrong(response, "fetch", "a Response");
  const read = (response as { arrayBuffer?: unknown }).arrayBuffer;
  if (typeof read !== "function") throw wrong(response, "fetch", "a Response");
  const asked = byName<string | null>();
  return {
    status,
    headers: {
      get: (name: string): string | null => (asked[name] ??= header(headers as Headers, name)),
    },
    arrayBuffer: async () => {
      const body: unknown = await read.call(response);
      const bytes = bytesIn(body, "the body that fetch gave");
      if (bytes === undefined) throw wrong(body, "the response's arrayBuffer()", "an ArrayBuffer");
      const { buffer, byteOffset, byteLength } = bytes;
      const whole = byteOffset === 0 && buffer.byteLength === byteLength && body === buffer;
      return whole ? buffer : bytes;
    },
  };
}

function header(headers: Headers, name: string): string | null {
  const value: unknown = headers.get(name);
  return typeof value === "string" ? value : null;
}
