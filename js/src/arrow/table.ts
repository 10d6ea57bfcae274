// Tables and record batches of apache-arrow, as they are in memory: told by what they have, since their classes are the
// caller's copy of the library. What crosses is copies of Arrow's own buffers, without offset, and types as text.
// Invariant: what comes out matches itself: as many columns in each batch as the schema has, each as long as it says,
// with the buffers and the children that its type has.

import { bytesIn, copyOf } from "../door/bytes.js";
import { invalid } from "../errors.js";
import type { Column } from "../columns/column.js";
import type { RawArrow, RawArrowBatch, RawColumn } from "../raw.js";
import { listOf } from "./lists.js";
import { fieldName, type Shape, shapeOf } from "./types.js";

/** Some of what the library's data have. */
interface ArrowData {
  readonly type: unknown;
  readonly length: unknown;
  readonly offset: unknown;
  readonly stride: unknown;
  readonly nullCount: unknown;
  readonly nullBitmap?: unknown;
  readonly values?: unknown;
  readonly valueOffsets?: unknown;
  readonly children: unknown;
  readonly dictionary?: { readonly data?: unknown } | null;
  slice?(offset: number, length: number): unknown;
}

interface ArrowBatch {
  readonly schema: { readonly fields: unknown };
  readonly numRows: unknown;
  readonly data: { readonly children: unknown };
}

interface NamedShape {
  readonly name: string;
  readonly shape: Shape;
}

const other = "convert it to Arrow IPC instead: tableToIPC(table)";
/** Longest column: more could not be addressed. */
const longest = 0x7fffffff;

/** Whether it is an apache-arrow table or a record batch. */
export function isArrow(value: unknown): boolean {
  return isBatch(value) || isTable(value);
}

/** What an apache-arrow table or a record batch holds; undefined if it is neither. */
export function asArrow(value: unknown): RawArrow | undefined {
  if (!isArrow(value)) return undefined;
  const given = isBatch(value) ? [value] : listOf((value as { batches: unknown }).batches, "the batches");
  const batches = given.map((batch, i) => {
    if (isBatch(batch)) return batch;
    throw invalid(`the batch at ${i} of the Arrow table is none: ${other}`);
  });
  const shapes = shapesOf((value as ArrowBatch).schema);
  const fields = shapes.map(({ name, shape }): RawColumn => [name, shape.text, true]);
  return { fields, batches: batches.map((batch) => rawBatch(batch, shapes)) };
}

function isTable(value: unknown): boolean {
  if (typeof value !== "object" || value === null || !("batches" in value) || !("schema" in value))
    return false;
  const { batches, schema } = value as { batches: unknown; schema: { fields?: unknown } | null };
  return Array.isArray(batches) && Array.isArray(schema?.fields);
}

function isBatch(value: unknown): value is ArrowBatch {
  if (typeof value !== "object" || value === null || !("schema" in value) || !("data" in value)) return false;
  const { schema, data } = value as {
    schema?: { fields?: unknown };
    data?: { children?: unknown; type?: { typeId?: unknown } };
  };
  return (
    Array.isArray(schema?.fields) && Array.isArray(data?.children) && typeof data?.type?.typeId === "number"
  );
}

function shapesOf({ fields }: { readonly fields: unknown }): NamedShape[] {
  return listOf(fields, "the fields of the Arrow table").map((field) => {
    const { name, type } = field as { name: unknown; type: unknown };
    return { name: fieldName(name, "a field of the Arrow table"), shape: shapeOf(type) };
  });
}

/** A batch, whose columns are those of the table. */
function rawBatch(batch: ArrowBatch, shapes: readonly NamedShape[]): RawArrowBatch {
  const own = shapesOf(batch.schema);
  const same = ({ name, shape }: NamedShape, i: number) =>
    own[i]?.name === name && own[i].shape.text === shape.text;
  if (own.length !== shapes.length || !shapes.every(same))
    throw invalid("a batch of the Arrow table has other columns than the table: pass its batches one by one");
  const children = listOf(batch.data.children, "the columns of an Arrow batch");
  if (children.length !== shapes.length)
    throw invalid(`an Arrow batch has ${children.length} columns, but ${shapes.length} fields: ${other}`);
  const columns = shapes.map(({ name, shape }, i) => {
    const data = children[i] as ArrowData;
    const { text } = shapeOf(data.type);
    if (text === shape.text) return column(data, shape, name);
    throw invalid(`column ${JSON.stringify(name)} is ${shape.text}, but its data ${text}: ${other}`);
  });
  return { columns, rows: count(batch.numRows, "a record batch") };
}

function count(value: unknown, name: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= longest)
    return value as number;
  throw invalid(`${name} of the Arrow table has no length: ${other}`);
}

function column(given: unknown, shape: Shape, name: string): Column {
  const what = `column ${JSON.stringify(name)}`;
  if (typeof given !== "object" || given === null) throw invalid(`${what} of the Arrow table has no data`);
  const data = given as ArrowData;
  const length = count(data.length, what);
  const hasNulls = (data.nullCount as number) > 0 && shape.id !== 1;
  const validity = hasNulls ? bits(data.nullBitmap, data.offset, { length, name, hollow: false }) : undefined;
  // What there is under nulls alone may have been left out, as the library does for a column that is shorter than others.
  const hollow = length > 0 && validity !== undefined && validity.every((byte) => byte === 0);
  return { length, validity, ...parts(data, shape, { length, name, hollow }) };
}

/** What is asked of buffers. */
interface Wanted {
  readonly length: number;
  readonly name: string;
  /** Whether they may be too short: nothing is read of them. */
  readonly hollow: boolean;
}

type Parts = Pick<Column, "buffers" | "children">;

function parts(data: ArrowData, shape: Shape, wanted: Wanted): Parts {
  const { name } = wanted;
  switch (shape.id) {
    case 1:
      return { buffers: [], children: [] };
    case 6:
      return { buffers: [bits(data.values, data.offset, wanted)], children: [] };
    case 4:
    case 5:
    case 19:
    case 20: {
      const { ends, begin, end } = rebased(data.valueOffsets, shape, wanted);
      return { buffers: [ends, copyOf(bytes(data.values, name).subarray(begin, end))], children: [] };
    }
    case 12:
    case 17:
    case 21: {
      const { ends, begin, end } = rebased(data.valueOffsets, shape, wanted);
      if (wanted.hollow && end === begin) return { buffers: [ends], children: shape.children.map(nothing) };
      const [items] = childrenOf(data, shape, name);
      if (typeof items!.slice !== "function") throw invalid(`column ${JSON.stringify(name)} has no items`);
      const own = items!.slice(begin, end - begin);
      return { buffers: [ends], children: [column(own, shape.children[0]!, name)] };
    }
    case 13:
    case 16: {
      const children = childrenOf(data, shape, name);
      return { buffers: [], children: children.map((child, i) => column(child, shape.children[i]!, name)) };
    }
    case -1: {
      const chunks = listOf(data.dictionary?.data, `the dictionary of column ${JSON.stringify(name)}`);
      if (chunks.length !== 1) {
        throw invalid(
          `column ${JSON.stringify(name)}: its dictionary is in ${chunks.length} parts: ${other}`,
        );
      }
      return {
        buffers: [flat(data, wanted)],
        children: [column(chunks[0], shape.children[1]!, name)],
      };
    }
    default:
      return { buffers: [flat(data, wanted)], children: [] };
  }
}

/** A column of no rows. */
function nothing(shape: Shape): Column {
  const ends = new Uint8Array(shape.id >= 19 ? 8 : 4);
  const none = new Uint8Array(0);
  const children = (shape.id === -1 ? shape.children.slice(1) : shape.children).map(nothing);
  const of = (...buffers: Uint8Array[]): Column => ({ length: 0, validity: undefined, buffers, children });
  switch (shape.id) {
    case 1:
    case 13:
    case 16:
      return of();
    case 4:
    case 5:
    case 19:
    case 20:
      return of(ends, none);
    case 12:
    case 17:
    case 21:
      return of(ends);
    default:
      return of(none);
  }
}

/** As many as the type has. */
function childrenOf(data: ArrowData, shape: Shape, name: string): ArrowData[] {
  const what = `column ${JSON.stringify(name)}: the children of its data`;
  const children = listOf(data.children, what);
  if (children.length === shape.children.length) return children as ArrowData[];
  throw invalid(`${what} are ${children.length}, of its type ${shape.children.length}: ${other}`);
}

/** The values of the rows, of which each has as many as the stride says. */
function flat(data: ArrowData, { length, name, hollow }: Wanted): Uint8Array {
  const all = bytes(data.values, name);
  const width = (data.values as { BYTES_PER_ELEMENT?: unknown }).BYTES_PER_ELEMENT;
  const end = length * (data.stride as number) * (typeof width === "number" ? width : 1);
  if (end <= all.byteLength) return copyOf(all.subarray(0, end));
  if (hollow && end <= longest) return new Uint8Array(end);
  throw short(name);
}

function short(name: string): Error {
  return invalid(`column ${JSON.stringify(name)} of the Arrow table is longer than its buffers: ${other}`);
}

function bytes(view: unknown, name: string): Uint8Array {
  const found = bytesIn(view, `column ${JSON.stringify(name)}`);
  if (found === undefined)
    throw invalid(`column ${JSON.stringify(name)} of the Arrow table has no buffer: ${other}`);
  return found;
}

/** Bits from `offset` on, at the begin of a buffer. */
function bits(view: unknown, offset: unknown, { length, name, hollow }: Wanted): Uint8Array {
  const from = bytes(view, name);
  const begin = count(offset, `the offset of column ${JSON.stringify(name)}`);
  const to = new Uint8Array(Math.ceil(length / 8));
  if (begin + length > from.byteLength * 8) {
    if (hollow) return to;
    throw short(name);
  }
  for (let i = 0; i < length; i++) {
    const at = begin + i;
    if ((from[Math.floor(at / 8)]! >> (at & 7)) & 1) to[i >> 3]! |= 1 << (i & 7);
  }
  return to;
}

interface Rebased {
  ends: Uint8Array;
  begin: number;
  end: number;
}

/** Offsets from 0 on, in the type's width, and where they were. */
function rebased(view: unknown, shape: Shape, { length, name, hollow }: Wanted): Rebased {
  const from = offsetsIn(view, name);
  const ends = shape.id >= 19 ? new BigInt64Array(length + 1) : new Int32Array(length + 1);
  // Of no rows there may be no offset.
  if (length > 0 && from.length <= length) {
    if (hollow) return { ends: new Uint8Array(ends.buffer), begin: 0, end: 0 };
    throw short(name);
  }
  const what = `an offset of column ${JSON.stringify(name)}`;
  const begin = count(Number(from[0] ?? 0), what);
  let end = begin;
  for (let i = 1; i <= length; i++) {
    const next = count(Number(from[i]), what);
    if (next < end) throw invalid(`${what} of the Arrow table is before the one before: ${other}`);
    end = next;
    if (ends instanceof BigInt64Array) ends[i] = BigInt(end - begin);
    else ends[i] = end - begin;
  }
  return { ends: new Uint8Array(ends.buffer), begin, end };
}

function offsetsIn(view: unknown, name: string): Int32Array | BigInt64Array {
  const from = bytes(view, name);
  const Kind = (view as Int32Array).BYTES_PER_ELEMENT === 8 ? BigInt64Array : Int32Array;
  const aligned = from.byteOffset % Kind.BYTES_PER_ELEMENT === 0 ? from : copyOf(from);
  const { buffer, byteOffset, byteLength } = aligned;
  return new Kind(buffer as ArrayBuffer, byteOffset, Math.floor(byteLength / Kind.BYTES_PER_ELEMENT));
}
