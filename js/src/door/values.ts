// Values at the door. The rule (ARCHITECTURE): whatever a caller gives is checked and copied into plain data of our own
// before any of it goes further, so that nothing behind the door runs a caller's code, and nothing throws inside the
// engine. An exception that reading a value throws is `Invalid`, with the exception as its cause.

import { timeOf } from "../columns/values.js";
import { invalid, LakeshoreError } from "../errors.js";
import { bytesIn, copyOf, isBuffer, isUint8Array } from "./bytes.js";
import { show } from "./show.js";

export { isPlain, timeOf } from "../columns/values.js";

/** A value in a filter or a key. Integers: `bigint` or a safe integer; decimals: unscaled `bigint` or digits as text. */
export type Literal = null | boolean | number | bigint | string | Date | Uint8Array;

/** Reads what a caller gave. */
export function reading<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (isOurs(error)) throw error;
    throw new LakeshoreError("Invalid", `${what} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** Whether it is an error of ours. Of what somebody threw even that cannot be asked without care. */
export function isOurs(error: unknown): error is LakeshoreError {
  try {
    return error instanceof LakeshoreError;
  } catch {
    return false;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  try {
    const { message } = error as { message?: unknown };
    if (typeof message === "string") return message;
  } catch {
    return "something that cannot be read was thrown";
  }
  return typeof error === "string" ? error : `${show(error)} was thrown`;
}

/** An object for values by name, in which no name is there before it is set. */
export function byName<T>(): Record<string, T> {
  return Object.create(null) as Record<string, T>;
}

const loneSurrogate = /\p{Surrogate}/u;

/** Whether text is the same after its way through UTF-8: it has no half of a surrogate pair. */
export function isWellFormed(text: string): boolean {
  return !loneSurrogate.test(text);
}

/** Longest name of a table, a column, a tag, in UTF-16 units. The engine's own bounds are below. */
const longestName = 65_536;

/** A name, or `Invalid`: text, well-formed Unicode. */
export function name(value: unknown, takes: string): string {
  if (typeof value !== "string") throw invalid(`${takes}: it was given ${show(value)}`);
  if (value.length > longestName) throw invalid(`${takes}: one of ${value.length} characters is too long`);
  if (!isWellFormed(value)) throw invalid(`${takes}: ${show(value)} has half of a surrogate pair`);
  return value;
}

/** No column holds an integer of more bits. */
const mostBits = 512;

/** A copy of a literal, or `Invalid`. */
export function literal(value: unknown, place: string): Literal {
  switch (typeof value) {
    case "boolean":
    case "number":
      return value;
    case "bigint":
      if (BigInt.asIntN(mostBits, value) === value) return value;
      throw invalid(`${place}: a bigint of more than ${mostBits} bits: no column holds this one`);
    case "string":
      if (isWellFormed(value)) return value;
      throw invalid(`${place}: ${show(value)} has half of a surrogate pair: no column holds that`);
    case "object":
      if (value === null) return null;
      return date(value, place) ?? binary(value, place) ?? refuse(value, place);
    default:
      return refuse(value, place);
  }
}

function refuse(value: unknown, place: string): never {
  const takes = "null, a boolean, number, bigint, string, Date or Uint8Array";
  throw invalid(`${place} is ${show(value)}: it takes ${takes}`);
}

function date(value: object, place: string): Date | undefined {
  const time = timeOf(value);
  if (time === undefined) return undefined;
  if (Number.isNaN(time)) throw invalid(`${place} is an invalid Date`);
  return new Date(time);
}

function binary(value: object, place: string): Uint8Array | undefined {
  if (!isUint8Array(value) && !isBuffer(value)) return undefined;
  const bytes = bytesIn(value, place);
  return bytes && copyOf(bytes);
}
