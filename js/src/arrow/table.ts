// Tables and record batches of apache-arrow, as they are in memory: told by what they have, since their classes are the
// caller's copy of the library. What crosses is copies of Arrow's own buffers, without offset, and types as text.

import { bytesIn, copyOf } from "../door/bytes.js";
import { invalid } from "../errors.js";
import type { Column } from "../columns/column.js";
import type { RawArrow, RawArrowBatch, RawColumn } from "../raw.js";
import { typeText } from "./types.js";

interface ArrowField {
  readonly name: string;
  readonly nullable: boolean;
  readonly type: ArrowType;
}

/** What the library's types have, each some of it. */
export interface ArrowType {
  readonly typeId: number;
  readonly children?: readonly ArrowField[] | null;
  readonly [property: string]: unknown;
}

interface ArrowData {
  readonly type: ArrowType;
  readonly length: number;
  readonly offset: number;
  readonly stride: number;
  readonly nullCount: number;
  readonly nullBitmap?: Uint8Array;
  readonly values?: ArrayBufferView;
  readonly valueOffsets?: Int32Array | BigInt64Array;
  readonly children: readonly ArrowData[];
  readonly dictionary?: { readonly data: readonly ArrowData[] };
  slice(offset: number, length: number): ArrowData;
}

interface ArrowBatch {
  readonly schema: { readonly fields: readonly ArrowField[] };
  readonly numRows: number;
  readonly data: ArrowData;
}

const other = "convert it to Arrow IPC instead: tableToIPC(table)";

/** What an apache-arrow table, a record batch, or an array of batches holds; undefined if it is none of these. */
export function asArrow(value: unknown): RawArrow | undefined {
  const batches = batchesOf(value);
  if (batches === undefined) return undefined;
  const schema = (batches[0] ?? (value as ArrowBatch)).schema;
  const fields = schema.fields.map((field): RawColumn => {
    if (typeof field.name !== "string") throw invalid("a field of the Arrow table has no name");
    return [field.name, typeText(field.type, 0), true];
  });
  return { fields, batches: batches.map(rawBatch) };
}

function batchesOf(value: unknown): readonly ArrowBatch[] | undefined {
  if (isBatch(value)) return [value];
  if (typeof value !== "object" || value === null || !("batches" in value) || !("schema" in value))
    return undefined;
  const { batches, schema } = value as { batches: unknown; schema: { fields?: unknown } | null };
  const isTable = Array.isArray(batches) && batches.every(isBatch) && Array.isArray(schema?.fields);
  return isTable ? (batches as ArrowBatch[]) : undefined;
}

function isBatch(value: unknown): value is ArrowBatch {
  if (typeof value !== "object" || value === null || !("schema" in value) || !("data" in value)) return false;
  const { schema, data } = value as { schema?: { fields?: unknown }; data?: Partial<ArrowData> };
  return (
    Array.isArray(schema?.fields) && Array.isArray(data?.children) && typeof data?.type?.typeId === "number"
  );
}

function rawBatch(batch: ArrowBatch): RawArrowBatch {
  const columns = batch.schema.fields.map(({ name }, i) => column(batch.data.children[i], name));
  return { columns, rows: count(batch.numRows, "a record batch") };
}

function count(value: unknown, name: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw invalid(`${name} of the Arrow table has no length: ${other}`);
}

function column(data: ArrowData | undefined, name: string): Column {
  if (data === undefined) throw invalid(`column ${JSON.stringify(name)} of the Arrow table has no data`);
  const length = count(data.length, `column ${JSON.stringify(name)}`);
  const nulls =
    data.nullCount > 0 && data.type.typeId !== 1
      ? bits(data.nullBitmap, data.offset, length, name)
      : undefined;
  return { length, validity: nulls, ...parts(data, length, name) };
}

type Parts = Pick<Column, "buffers" | "children">;

function parts(data: ArrowData, length: number, name: string): Parts {
  const { valueOffsets, values, children } = data;
  switch (data.type.typeId) {
    case 1:
      return { buffers: [], children: [] };
    case 6:
      return { buffers: [bits(values, data.offset, length, name)], children: [] };
    case 4:
    case 5:
    case 19:
    case 20: {
      const { ends, begin, end } = rebased(valueOffsets, length, name);
      return { buffers: [ends, copyOf(bytes(values, name).subarray(begin, end))], children: [] };
    }
    case 12:
    case 17:
    case 21: {
      const { ends, begin, end } = rebased(valueOffsets, length, name);
      return { buffers: [ends], children: [column(children[0]?.slice(begin, end - begin), name)] };
    }
    case 13:
    case 16:
      return { buffers: [], children: children.map((child) => column(child, name)) };
    case -1: {
      const chunks = data.dictionary?.data ?? [];
      if (chunks.length !== 1) {
        throw invalid(
          `column ${JSON.stringify(name)}: its dictionary is in ${chunks.length} parts: ${other}`,
        );
      }
      return { buffers: [flat(data, length, name)], children: [column(chunks[0], name)] };
    }
    default:
      return { buffers: [flat(data, length, name)], children: [] };
  }
}

/** The values of the rows, of which each has as many as the stride says. */
function flat(data: ArrowData, length: number, name: string): Uint8Array {
  const all = bytes(data.values, name);
  const width = (data.values as { BYTES_PER_ELEMENT?: unknown }).BYTES_PER_ELEMENT;
  return copyOf(all.subarray(0, length * data.stride * (typeof width === "number" ? width : 1)));
}

function bytes(view: unknown, name: string): Uint8Array {
  const found = bytesIn(view, `column ${JSON.stringify(name)}`);
  if (found === undefined)
    throw invalid(`column ${JSON.stringify(name)} of the Arrow table has no buffer: ${other}`);
  return found;
}

/** Bits from `offset` on, at the begin of a buffer. */
function bits(view: unknown, offset: number, length: number, name: string): Uint8Array {
  const from = bytes(view, name);
  const to = new Uint8Array((length + 7) >> 3);
  for (let i = 0; i < length; i++) {
    const at = offset + i;
    if (((from[at >> 3] ?? 0) >> (at & 7)) & 1) to[i >> 3]! |= 1 << (i & 7);
  }
  return to;
}

/** Offsets from 0 on, and where they were. */
function rebased(
  view: unknown,
  length: number,
  name: string,
): { ends: Uint8Array; begin: number; end: number } {
  const from = view as Int32Array | BigInt64Array;
  const isWide = bytes(view, name).byteLength >= (length + 1) * 8 && typeof from[0] === "bigint";
  const ends = isWide ? new BigInt64Array(length + 1) : new Int32Array(length + 1);
  const begin = from[0] ?? 0;
  for (let i = 0; i <= length; i++) {
    const end = Number(from[i] ?? begin) - Number(begin);
    if (ends instanceof BigInt64Array) ends[i] = BigInt(end);
    else ends[i] = end;
  }
  return { ends: new Uint8Array(ends.buffer), begin: Number(begin), end: Number(from[length] ?? begin) };
}
