// What a JavaScript value is, by its brand and not by its class: values of other realms (frames, vm contexts,
// workers' structured clones) are as good as ours, and what only looks like one is not.

import { bytesIn, isBuffer, isThere, isUint8Array } from "../door/bytes.js";

const own = Object.prototype.hasOwnProperty;

/** Whether `object` has the property itself: a column may be named `constructor`. */
export const hasOwn = (object: object, name: PropertyKey): boolean => own.call(object, name);

/** A property of its own, or undefined. */
export function ownValue(object: object, name: string): unknown {
  return own.call(object, name) ? (object as Record<string, unknown>)[name] : undefined;
}

const getter = (prototype: object, name: PropertyKey): ((this: unknown) => unknown) =>
  Object.getOwnPropertyDescriptor(prototype, name)!.get!;

const getTime = Date.prototype.getTime;
const tagOfView = getter(Object.getPrototypeOf(Uint8Array.prototype) as object, Symbol.toStringTag);
const mapSize = getter(Map.prototype, "size");
const mapEntries = Map.prototype.entries;

/** Whether `ask` answers: built-in methods throw on what is not of their kind. */
function answers(ask: (this: unknown) => unknown, value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  try {
    ask.call(value);
    return true;
  } catch {
    return false;
  }
}

/** Milliseconds of a Date (NaN of an invalid one), or undefined if it is none. */
export function timeOf(value: unknown): number | undefined {
  return answers(getTime, value) ? getTime.call(value as Date) : undefined;
}

/** The pairs of a Map, or undefined if it is none. */
export function pairsOf(value: unknown): Iterable<[unknown, unknown]> | undefined {
  return answers(mapSize, value) ? mapEntries.call(value as Map<unknown, unknown>) : undefined;
}

/** The bytes of a Uint8Array or a buffer, or undefined if it is none, or its memory is gone. */
export function asBytes(value: unknown): Uint8Array | undefined {
  if (!isUint8Array(value) && !isBuffer(value)) return undefined;
  try {
    return bytesIn(value, "the bytes");
  } catch {
    return undefined;
  }
}

/** What a typed array is called; undefined of another view. */
export function kindOfView(view: ArrayBufferView): string | undefined {
  return tagOfView.call(view) as string | undefined;
}

/** Whether it has items by number: an array or a typed array. */
export function isList(value: unknown): value is ArrayLike<unknown> {
  if (Array.isArray(value)) return true;
  return ArrayBuffer.isView(value) && kindOfView(value) !== undefined && isThere(value);
}

/** Whether it is an object as a literal makes one, of any realm, and not something whose content is elsewhere. */
export function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const parent = Object.getPrototypeOf(value) as object | null;
  if (parent === null || parent === Object.prototype) return true;
  return Object.getPrototypeOf(parent) === null && hasOwn(parent, "isPrototypeOf");
}
