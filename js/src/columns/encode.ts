// Plain rows → columns. What could lose a bit is `Invalid`, naming the row and the column's path; only own properties
// count, and dictionaries are sent plain: the engine holds them so.

import { invalid, type LakeshoreError } from "../errors.js";
import { bytesOf, type Column, type DataType, type Field, noRows, perMillisecond } from "./column.js";
import { show } from "../door/show.js";
import { identities } from "./identity.js";
import { asBytes, hasOwn, isList, isPlain, ownValue, pairsOf, timeOf } from "./values.js";

/** Where a value stands, for messages. */
interface Place {
  readonly name: string;
  /** The row of each value, if that is not its index (items of lists). */
  readonly rows: ArrayLike<number> | undefined;
}

/** Most rows, and most items of lists in a column: more would take the caller's memory before they are refused. */
const mostItems = 1 << 25;

/** The columns of `fields` from plain rows. A name that is no column is `Invalid`. */
export function encodeRows(fields: readonly Field[], rows: readonly unknown[]): Column[] {
  if (rows.length > mostItems) throw invalid(`${rows.length} rows in one batch are too many: split it`);
  checkNames(fields, rows);
  return fields.map((field) => {
    const values = new Array<unknown>(rows.length);
    for (let i = 0; i < rows.length; i++) values[i] = ownValue(rows[i] as object, field.name);
    return encode(field.type, values, { name: field.name, rows: undefined });
  });
}

function checkNames(fields: readonly Field[], rows: readonly unknown[]): void {
  const known = new Set(fields.map((field) => field.name));
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i];
    if (typeof row !== "object" || row === null || Array.isArray(row) || ArrayBuffer.isView(row)) {
      throw invalid(`row ${i} is ${show(row)}: a row is an object of values by column name`);
    }
    if (!isPlain(row)) checkInstance(fields, row, i);
    for (const name in row) {
      if (known.has(name) || !hasOwn(row, name)) continue;
      const names = fields.map((field) => field.name).join(", ");
      throw invalid(`row ${i} has ${JSON.stringify(name)}, which is no column here: there are ${names}`);
    }
  }
}

/** An object of a class is a row if all it has to say is its own: a Map, or one with accessors, would come as nulls. */
function checkInstance(fields: readonly Field[], row: object, index: number): void {
  const inherited = fields.find(({ name }) => !hasOwn(row, name) && name in row);
  if (inherited === undefined && Object.keys(row).length > 0) return;
  const why = inherited === undefined ? "" : ` that inherits ${JSON.stringify(inherited.name)}`;
  throw invalid(
    `row ${index} is ${show(row)}${why}: a row is an object with values by column name of its own; copy them into one`,
  );
}

function encode(type: DataType, values: readonly unknown[], place: Place): Column {
  const validity = validityOf(values);
  const parts = encodeValues(type, values, place);
  return { length: values.length, validity, buffers: parts.buffers, children: parts.children ?? [] };
}

function validityOf(values: readonly unknown[]): Uint8Array | undefined {
  let bits: Uint8Array | undefined;
  for (let i = 0; i < values.length; i++) {
    if (values[i] !== null && values[i] !== undefined) continue;
    if (bits === undefined) bits = new Uint8Array((values.length + 7) >> 3).fill(255);
    bits[i >> 3]! &= ~(1 << (i & 7));
  }
  return bits;
}

interface Parts {
  buffers: Uint8Array[];
  children?: Column[];
}

function encodeValues(type: DataType, values: readonly unknown[], place: Place): Parts {
  const count = values.length;
  switch (type.kind) {
    case "null":
      return nulls(values, place, type);
    case "bool":
      return one(bools(values, place, type));
    case "int8":
      return one(small(new Int8Array(count), -128, 127, values, place, type));
    case "int16":
      return one(small(new Int16Array(count), -32768, 32767, values, place, type));
    case "int32":
    case "time32":
      return one(small(new Int32Array(count), -2147483648, 2147483647, values, place, type));
    case "uint8":
      return one(small(new Uint8Array(count), 0, 255, values, place, type));
    case "uint16":
      return one(small(new Uint16Array(count), 0, 65535, values, place, type));
    case "uint32":
      return one(small(new Uint32Array(count), 0, 4294967295, values, place, type));
    case "int64":
    case "time64":
    case "duration":
      return one(large(new BigInt64Array(count), values, place, type, integer));
    case "uint64":
      return one(large(new BigUint64Array(count), values, place, type, integer));
    case "timestamp":
    case "date64":
      return one(large(new BigInt64Array(count), values, place, type, moment));
    case "date32":
      return one(dates(values, place, type));
    case "float16":
      return one(floats(new Uint16Array(count), toHalf, values, place, type));
    case "float32":
      return one(floats(new Float32Array(count), Math.fround, values, place, type));
    case "float64":
      return one(floats(new Float64Array(count), (value) => value, values, place, type));
    case "decimal":
      return one(decimals(values, place, type));
    case "utf8":
    case "large_utf8":
      return texts(values, place, type);
    case "binary":
    case "large_binary":
      return binaries(values, place, type);
    case "fixed_size_binary":
      return one(fixedBinaries(values, place, type));
    default:
      return encodeNested(type, values, place);
  }
}

function encodeNested(type: DataType, values: readonly unknown[], place: Place): Parts {
  switch (type.kind) {
    case "list":
    case "large_list":
      return lists(values, place, type);
    case "fixed_size_list":
      return fixedLists(values, place, type);
    case "struct":
      return structs(values, place, type);
    case "map":
      return maps(values, place, type);
    case "dictionary":
      return encodeValues(type.children![1]!.type, values, place);
    default:
      throw noRows(place.name, type);
  }
}

const one = (array: ArrayBufferView): Parts => ({ buffers: [bytesOf(array)] });
const absent = (value: unknown): value is null | undefined => value === null || value === undefined;

function wrong(value: unknown, index: number, place: Place, type: DataType, takes: string): LakeshoreError {
  const row = place.rows === undefined ? index : place.rows[index];
  const where = `row ${row}, column ${JSON.stringify(place.name)}`;
  return invalid(`${where}: ${show(value)} does not fit ${type.text}: it takes ${takes}`);
}

function nulls(values: readonly unknown[], place: Place, type: DataType): Parts {
  const index = values.findIndex((value) => !absent(value));
  if (index >= 0) throw wrong(values[index], index, place, type, "null");
  return { buffers: [] };
}

function bools(values: readonly unknown[], place: Place, type: DataType): Uint8Array {
  const bits = new Uint8Array((values.length + 7) >> 3);
  values.forEach((value, i) => {
    if (value === true) bits[i >> 3]! |= 1 << (i & 7);
    else if (value !== false && !absent(value)) throw wrong(value, i, place, type, "true or false");
  });
  return bits;
}

type Numbers = Int8Array | Int16Array | Int32Array | Uint8Array | Uint16Array | Uint32Array;

function small(
  into: Numbers,
  low: number,
  high: number,
  values: readonly unknown[],
  place: Place,
  type: DataType,
) {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (absent(value)) continue;
    const number = typeof value === "bigint" ? Number(value) : value;
    if (!Number.isInteger(number) || (number as number) < low || (number as number) > high) {
      throw wrong(value, i, place, type, `integers from ${low} to ${high}`);
    }
    into[i] = number as number;
  }
  return into;
}

/** The integer of a value, or undefined. */
function integer(value: unknown): bigint | undefined {
  if (typeof value === "bigint") return value;
  return Number.isSafeInteger(value) ? BigInt(value as number) : undefined;
}

/** The count of a moment in the type's unit, or undefined. */
function moment(value: unknown, type: DataType): bigint | undefined {
  const time = timeOf(value);
  if (time === undefined) return integer(value);
  if (Number.isNaN(time)) return undefined;
  if (type.unit === "s") return time % 1000 === 0 ? BigInt(time / 1000) : undefined;
  return BigInt(time) * perMillisecond[type.unit ?? "ms"];
}

function large<T extends BigInt64Array | BigUint64Array>(
  into: T,
  values: readonly unknown[],
  place: Place,
  type: DataType,
  convert: (value: unknown, type: DataType) => bigint | undefined,
): T {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (absent(value)) continue;
    const number = convert(value, type);
    if (number !== undefined) into[i] = number;
    if (number === undefined || into[i] !== number) throw wrong(value, i, place, type, takes(type));
  }
  return into;
}

function takes(type: DataType): string {
  const integers = "a bigint or a safe integer in its range";
  if (type.kind === "timestamp" || type.kind === "date64")
    return `a Date that it can hold exactly, or ${integers}`;
  return integers;
}

function dates(values: readonly unknown[], place: Place, type: DataType): Int32Array {
  const whole = values.map((value, i) => {
    const time = timeOf(value);
    if (time === undefined) return value;
    if (Number.isInteger(time / 86_400_000)) return time / 86_400_000;
    throw wrong(value, i, place, type, "a Date at midnight UTC, or days since 1970");
  });
  return small(new Int32Array(values.length), -2147483648, 2147483647, whole, place, type) as Int32Array;
}

function floats<T extends Uint16Array | Float32Array | Float64Array>(
  into: T,
  convert: (value: number) => number,
  values: readonly unknown[],
  place: Place,
  type: DataType,
): T {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (absent(value)) continue;
    if (typeof value !== "number") throw wrong(value, i, place, type, "a number");
    into[i] = convert(value);
    if (Number.isFinite(value) && isInfinite(into, i))
      throw wrong(value, i, place, type, "a number in its range");
  }
  return into;
}

function isInfinite(values: Uint16Array | Float32Array | Float64Array, index: number): boolean {
  const value = values[index]!;
  return values instanceof Uint16Array ? (value & 0x7fff) === 0x7c00 : Math.abs(value) === Infinity;
}

/** The bits of the nearest half-precision float, ties to even. */
function toHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(size)));
  const scaled = size < 2 ** -25 ? 0 : roundEven(size / 2 ** (exponent - 10));
  if (exponent === -14 && scaled < 1024) return sign | scaled;
  return sign | (((exponent + 15) << 10) + (scaled - 1024));
}

function roundEven(value: number): number {
  const low = Math.floor(value);
  const rest = value - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
}

function decimals(values: readonly unknown[], place: Place, type: DataType): Uint8Array {
  const width = type.bits! / 8;
  const bytes = new Uint8Array(values.length * width);
  const data = new DataView(bytes.buffer);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (absent(value)) continue;
    const unscaled = typeof value === "string" ? parseDecimal(value, type.scale!) : integer(value);
    if (unscaled === undefined || BigInt.asIntN(type.bits!, unscaled) !== unscaled) {
      throw wrong(
        value,
        i,
        place,
        type,
        "an unscaled bigint or safe integer, or digits as text, in its range",
      );
    }
    let rest = BigInt.asUintN(type.bits!, unscaled);
    for (let at = 0; at < width; at += 4, rest >>= 32n)
      data.setUint32(i * width + at, Number(rest & 0xffffffffn), true);
  }
  return bytes;
}

/** So many digits no decimal has, whatever its scale. */
const mostDigits = 512;

function parseDecimal(text: string, scale: number): bigint | undefined {
  const match = /^([+-]?)(\d+)(?:\.(\d*))?$/.exec(text.trim());
  if (match === null) return undefined;
  const fraction = withoutZeros(match[3] ?? "");
  if (fraction.length > Math.max(scale, 0)) return undefined;
  const digits = match[2]!;
  // Not by a pattern, and not as one number, whose time is more than in proportion.
  let begin = 0;
  while (digits[begin] === "0") begin++;
  if (digits.length - begin > mostDigits) return undefined;
  let value = BigInt(`0${digits.slice(begin)}${fraction.padEnd(Math.max(scale, 0), "0")}`);
  if (scale < 0) {
    const factor = 10n ** BigInt(-scale);
    if (value % factor !== 0n) return undefined;
    value /= factor;
  }
  return match[1] === "-" ? -value : value;
}

/** The digits without zeros at their end. */
function withoutZeros(digits: string): string {
  let end = digits.length;
  while (digits[end - 1] === "0") end--;
  return digits.slice(0, end);
}

const encoder = new TextEncoder();

/** Offsets of the type's width from lengths' running sum. */
function offsets(type: DataType, count: number): Int32Array | BigInt64Array {
  return type.kind.startsWith("large") ? new BigInt64Array(count + 1) : new Int32Array(count + 1);
}

function setOffset(into: Int32Array | BigInt64Array, index: number, value: number): void {
  if (into instanceof Int32Array) into[index] = value;
  else into[index] = BigInt(value);
}

/** All-ASCII columns are encoded in one go, others value by value. */
function texts(values: readonly unknown[], place: Place, type: DataType): Parts {
  const strings = values as readonly string[];
  let length = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (absent(value)) continue;
    if (typeof value !== "string") throw wrong(value, i, place, type, "text");
    length += value.length;
  }
  if (length < 1 << 28) {
    const bytes = encoder.encode(strings.join(""));
    if (bytes.length === length) return { buffers: [bytesOf(asciiOffsets(strings, type)), bytes] };
  }
  return binaries(
    strings.map((value, i) => {
      if (absent(value)) return value;
      if (loneSurrogate.test(value))
        throw wrong(value, i, place, type, "well-formed Unicode: it has half of a pair");
      return encoder.encode(value);
    }),
    place,
    type,
  );
}

const loneSurrogate = /\p{Surrogate}/u;

function asciiOffsets(
  strings: readonly (string | null | undefined)[],
  type: DataType,
): Int32Array | BigInt64Array {
  const ends = offsets(type, strings.length);
  let end = 0;
  for (let i = 0; i < strings.length; i++) {
    end += strings[i]?.length ?? 0;
    setOffset(ends, i + 1, end);
  }
  return ends;
}

function binaries(values: readonly unknown[], place: Place, type: DataType): Parts {
  const ends = offsets(type, values.length);
  let end = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (!absent(value)) {
      const bytes = asBytes(value);
      if (bytes === undefined) throw wrong(value, i, place, type, "a Uint8Array");
      end += bytes.byteLength;
    }
    if (end > 0x7fffffff) throw wrong(value, i, place, type, "2 GiB in one batch: split it");
    setOffset(ends, i + 1, end);
  }
  const all = new Uint8Array(end);
  let at = 0;
  for (const value of values) {
    const bytes = asBytes(value);
    if (bytes === undefined) continue;
    all.set(bytes, at);
    at += bytes.byteLength;
  }
  return { buffers: [bytesOf(ends), all] };
}

function fixedBinaries(values: readonly unknown[], place: Place, type: DataType): Uint8Array {
  const size = type.size!;
  const all = new Uint8Array(values.length * size);
  values.forEach((value, i) => {
    if (absent(value)) return;
    const bytes = asBytes(value);
    if (bytes?.byteLength !== size) throw wrong(value, i, place, type, `a Uint8Array of ${size} bytes`);
    all.set(bytes, i * size);
  });
  return all;
}

/** Items of lists: their column, with the row each belongs to. */
function items(field: Field, values: unknown[], rows: ArrayLike<number>, place: Place): Column {
  return encode(field.type, values, { name: `${place.name}.${field.name}`, rows });
}

const rowOf = (place: Place, index: number): number => place.rows?.[index] ?? index;

/** The sum of items so far, if it is not too much: asked before any of them is copied. */
function added(
  sum: number,
  more: number,
  value: unknown,
  index: number,
  place: Place,
  type: DataType,
): number {
  if (Number.isSafeInteger(more) && more >= 0 && sum + more <= mostItems) return sum + more;
  throw wrong(value, index, place, type, `${mostItems} items in one batch: split it`);
}

function lists(values: readonly unknown[], place: Place, type: DataType): Parts {
  const ends = offsets(type, values.length);
  const lengths = new Int32Array(values.length);
  let total = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (!absent(value)) {
      if (!isList(value)) throw wrong(value, i, place, type, "an array");
      const { length } = value;
      total = added(total, length, value, i, place, type);
      lengths[i] = length;
    }
    setOffset(ends, i + 1, total);
  }
  return { buffers: [bytesOf(ends)], children: [flattened(values, lengths, total, place, type)] };
}

function fixedLists(values: readonly unknown[], place: Place, type: DataType): Parts {
  const size = type.size!;
  let total = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (!absent(value) && (!isList(value) || value.length !== size)) {
      throw wrong(value, i, place, type, `an array of ${size} items`);
    }
    total = added(total, size, value, i, place, type);
  }
  const lengths = new Int32Array(values.length).fill(size);
  return { buffers: [], children: [flattened(values, lengths, total, place, type)] };
}

/** The column of the items of lists, of which each has as many as `lengths` says. */
function flattened(
  values: readonly unknown[],
  lengths: Int32Array,
  total: number,
  place: Place,
  type: DataType,
): Column {
  const flat = new Array<unknown>(total);
  const rows = new Float64Array(total);
  let at = 0;
  for (let i = 0; i < values.length; i++) {
    const list = values[i] as ArrayLike<unknown> | null | undefined;
    for (let k = 0; k < lengths[i]!; k++) {
      flat[at] = list?.[k] ?? null;
      rows[at++] = rowOf(place, i);
    }
  }
  return items(type.children![0]!, flat, rows, place);
}

function structs(values: readonly unknown[], place: Place, type: DataType): Parts {
  const names = new Set(type.children!.map((field) => field.name));
  values.forEach((value, i) => {
    if (absent(value)) return;
    if (!isPlain(value)) throw wrong(value, i, place, type, "a plain object");
    for (const name in value)
      if (hasOwn(value, name) && !names.has(name))
        throw wrong(value, i, place, type, `no member ${JSON.stringify(name)}`);
  });
  const rows = values.map((_, i) => rowOf(place, i));
  const children = type.children!.map((field) => {
    const members = values.map((value) => (absent(value) ? null : ownValue(value, field.name)));
    return items(field, members, rows, place);
  });
  return { buffers: [], children };
}

function maps(values: readonly unknown[], place: Place, type: DataType): Parts {
  const [key, item] = type.children!;
  const ends = new Int32Array(values.length + 1);
  const keys: unknown[] = [];
  const mapped: unknown[] = [];
  const rows: number[] = [];
  values.forEach((value, i) => {
    if (!absent(value)) {
      for (const [key, item] of entries(value, i, place, type)) {
        if (absent(key)) throw wrong(key, i, place, type, "no null as a key");
        added(keys.length, 1, value, i, place, type);
        keys.push(key);
        mapped.push(item);
        rows.push(rowOf(place, i));
      }
    }
    ends[i + 1] = keys.length;
  });
  const children = [items(key!, keys, rows, place), items(item!, mapped, rows, place)];
  checkKeys(values, ends, children[0]!, place, type);
  const pairs: Column = { length: keys.length, validity: undefined, buffers: [], children };
  return { buffers: [bytesOf(ends)], children: [pairs] };
}

/** Keys are the same if they are stored so: 1 and 1n, "1.0" and "1.00", two Dates of one moment. */
function checkKeys(
  values: readonly unknown[],
  ends: Int32Array,
  keys: Column,
  place: Place,
  type: DataType,
): void {
  const identity = identities(keys, type.children![0]!.type);
  for (let i = 0; i < values.length; i++) {
    const [begin, end] = [ends[i]!, ends[i + 1]!];
    if (end - begin < 2) continue;
    const seen = new Set<string>();
    for (let k = begin; k < end; k++) seen.add(identity(k));
    if (seen.size < end - begin) throw wrong(values[i], i, place, type, "each key once");
  }
}

function entries(value: unknown, index: number, place: Place, type: DataType): Iterable<[unknown, unknown]> {
  const pairs = pairsOf(value);
  if (pairs !== undefined) return pairs;
  if (Array.isArray(value)) return pairsIn(value, index, place, type);
  if (isPlain(value)) return Object.entries(value);
  throw wrong(value, index, place, type, takesPairs);
}

const takesPairs = "a Map, a plain object or an array of [key, value]";

/** By index: methods of an array pass over its holes. */
function* pairsIn(
  list: readonly unknown[],
  index: number,
  place: Place,
  type: DataType,
): Iterable<[unknown, unknown]> {
  const { length } = list;
  for (let i = 0; i < length; i++) {
    const pair = list[i];
    if (!Array.isArray(pair) || pair.length !== 2) throw wrong(list, index, place, type, takesPairs);
    yield [pair[0], pair[1]];
  }
}
