// A copy of what a row holds, made now: arrays, plain objects, Maps, Dates and bytes, of any realm. Of a view its own bytes
// are copied, not the buffer it is on. What else there is no column takes: it stays as it is. Unlike `structuredClone`,
// reads proxies (of a reactive framework, say) as the encoder does.

import { bytesIn, copyOf, isBuffer } from "../door/bytes.js";
import { isPlain, kindOfView, pairsOf, timeOf } from "./values.js";

type Copies = Map<object, unknown>;

/** A copy of the row: what it has of its own, and of the same class. */
export function copyOfRow(row: object, copies: Copies = new Map()): object {
  const copy = Object.create(Object.getPrototypeOf(row) as object | null) as object;
  copies.set(row, copy);
  for (const name of Object.getOwnPropertyNames(row)) {
    const { enumerable = true } = Object.getOwnPropertyDescriptor(row, name) ?? {};
    const value = copyOfValue((row as Record<string, unknown>)[name], copies);
    Object.defineProperty(copy, name, { value, enumerable, writable: true, configurable: true });
  }
  return copy;
}

/** `copies` has those that were made before: of what is there twice, or within itself. */
function copyOfValue(value: unknown, copies: Copies): unknown {
  if (typeof value !== "object" || value === null) return value;
  const known = copies.get(value);
  if (known !== undefined) return known;
  if (Array.isArray(value)) return copyOfArray(value, copies);
  if (isPlain(value)) return copyOfRow(value, copies);
  const copy = copyOfBytes(value) ?? copyOfDate(value) ?? copyOfMap(value, copies) ?? value;
  copies.set(value, copy);
  return copy;
}

/** With its holes. */
function copyOfArray(array: readonly unknown[], copies: Copies): unknown[] {
  const copy: unknown[] = [];
  copies.set(array, copy);
  copy.length = array.length;
  for (const key of Object.keys(array)) {
    copy[key as unknown as number] = copyOfValue(array[key as unknown as number], copies);
  }
  return copy;
}

function copyOfBytes(value: object): unknown {
  const kind = ArrayBuffer.isView(value) ? (kindOfView(value) ?? "DataView") : undefined;
  if (kind === undefined && !isBuffer(value)) return undefined;
  const { buffer } = copyOf(bytesIn(value, "the bytes")!);
  if (kind === undefined) return buffer;
  const Kind = (globalThis as unknown as Record<string, new (buffer: ArrayBuffer) => unknown>)[kind]!;
  return new Kind(buffer);
}

function copyOfDate(value: object): Date | undefined {
  const time = timeOf(value);
  return time === undefined ? undefined : new Date(time);
}

function copyOfMap(value: object, copies: Copies): unknown {
  const pairs = pairsOf(value);
  if (pairs === undefined) return undefined;
  const copy = new Map<unknown, unknown>();
  copies.set(value, copy);
  for (const [key, item] of pairs) copy.set(copyOfValue(key, copies), copyOfValue(item, copies));
  return copy;
}
