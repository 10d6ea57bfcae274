// How columns cross between JavaScript and the engine: as Arrow's own buffers, little-endian, without offset.

import { LakeshoreError } from "../errors.js";

/** An Arrow type, as the engine describes it. */
export interface DataType {
  /** `int32`, `utf8`, `timestamp`, `list`, … */
  readonly kind: string;
  /** The whole type as text, for messages. */
  readonly text: string;
  /** Of times, timestamps and durations. */
  readonly unit?: "s" | "ms" | "us" | "ns";
  /** Bytes of a fixed-size binary, items of a fixed-size list. */
  readonly size?: number;
  /** Of decimals: digits after the point. */
  readonly scale?: number;
  /** Bits of a decimal. */
  readonly bits?: number;
  /** Of lists, structs, maps (key, value) and dictionaries (indices, values). */
  readonly children?: readonly Field[];
}

/** A column's name and type. */
export interface Field {
  readonly name: string;
  readonly type: DataType;
  readonly nullable: boolean;
}

/** One array: as many values as `length`. */
export interface Column {
  readonly length: number;
  /** A bitmap, least significant bit first: 1 is a value, 0 null. Without it nothing is null. */
  readonly validity: Uint8Array | undefined;
  /** The type's buffers, in Arrow's order. */
  readonly buffers: readonly Uint8Array[];
  readonly children: readonly Column[];
}

/** Whether value `row` is there. */
export function isValid(column: Column, row: number): boolean {
  return column.validity === undefined || ((column.validity[row >> 3]! >> (row & 7)) & 1) === 1;
}

/** A typed array over bytes, which are copied if they are not aligned. */
export function view<T>(
  Kind: { new (buffer: ArrayBufferLike, offset: number, length: number): T; BYTES_PER_ELEMENT: number },
  bytes: Uint8Array,
): T {
  const aligned = bytes.byteOffset % Kind.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
  return new Kind(aligned.buffer, aligned.byteOffset, Math.floor(bytes.byteLength / Kind.BYTES_PER_ELEMENT));
}

/** The bytes of a typed array. */
export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** The error for a type that plain rows cannot hold. */
export function noRows(name: string, type: DataType): LakeshoreError {
  return new LakeshoreError(
    "Unsupported",
    `column ${JSON.stringify(name)} of type ${type.text} has no plain form: use Arrow IPC, or select other columns`,
  );
}

/** How many units a millisecond has, for units at least as fine. */
export const perMillisecond = { ms: 1n, us: 1000n, ns: 1_000_000n } as const;
