// Columns → plain rows.

import { type Column, type DataType, type Field, isValid, noRows, view } from "./column.js";

/** Gives the value of a row. */
type Reader = (row: number) => unknown;

/** The rows of a batch as plain objects. */
export function decodeRows(
  fields: readonly Field[],
  columns: readonly Column[],
  length: number,
): Record<string, unknown>[] {
  const readers = fields.map((field, i) => ({
    name: field.name,
    read: reader(field.name, field.type, columns[i]!),
  }));
  const rows: Record<string, unknown>[] = new Array(length);
  for (let row = 0; row < length; row++) {
    const values: Record<string, unknown> = {};
    for (const { name, read } of readers) set(values, name, read(row));
    rows[row] = values;
  }
  return rows;
}

/** Assigns a property; `__proto__` is one like any other. */
function set(object: Record<string, unknown>, name: string, value: unknown): void {
  if (name === "__proto__") {
    Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  } else {
    object[name] = value;
  }
}

function reader(name: string, type: DataType, column: Column): Reader {
  const read = valueReader(name, type, column);
  if (type.kind === "null") return () => null;
  if (column.validity === undefined) return read;
  return (row) => (isValid(column, row) ? read(row) : null);
}

function valueReader(name: string, type: DataType, column: Column): Reader {
  const bytes = column.buffers[0] ?? new Uint8Array();
  switch (type.kind) {
    case "bool":
      return (row) => ((bytes[row >> 3]! >> (row & 7)) & 1) === 1;
    case "int8":
      return at(view(Int8Array, bytes));
    case "int16":
      return at(view(Int16Array, bytes));
    case "int32":
    case "time32":
      return at(view(Int32Array, bytes));
    case "uint8":
      return at(bytes);
    case "uint16":
      return at(view(Uint16Array, bytes));
    case "uint32":
      return at(view(Uint32Array, bytes));
    case "int64":
    case "time64":
    case "duration":
      return at(view(BigInt64Array, bytes));
    case "uint64":
      return at(view(BigUint64Array, bytes));
    case "float16":
      return half(view(Uint16Array, bytes));
    case "float32":
      return at(view(Float32Array, bytes));
    case "float64":
      return at(view(Float64Array, bytes));
    case "decimal":
      return decimal(view(BigUint64Array, padded(bytes)), bytes, type.bits!);
    case "date32":
      return days(view(Int32Array, bytes));
    case "date64":
      return milliseconds(view(BigInt64Array, bytes), 1n);
    case "timestamp":
      return timestamp(type, view(BigInt64Array, bytes));
    case "utf8":
      return text(offsets32(bytes), column.buffers[1]!);
    case "large_utf8":
      return text(offsets64(bytes), column.buffers[1]!);
    case "binary":
      return binary(offsets32(bytes), column.buffers[1]!);
    case "large_binary":
      return binary(offsets64(bytes), column.buffers[1]!);
    case "fixed_size_binary":
      return (row) => bytes.slice(row * type.size!, (row + 1) * type.size!);
    default:
      return nestedReader(name, type, column);
  }
}

function nestedReader(name: string, type: DataType, column: Column): Reader {
  const child = (i: number): Reader => {
    const field = type.children![i]!;
    return reader(`${name}.${field.name}`, field.type, column.children[i]!);
  };
  switch (type.kind) {
    case "list":
      return list(offsets32(column.buffers[0]!), child(0));
    case "large_list":
      return list(offsets64(column.buffers[0]!), child(0));
    case "fixed_size_list": {
      const item = child(0);
      return (row) => Array.from({ length: type.size! }, (_, i) => item(row * type.size! + i));
    }
    case "struct": {
      const members = type.children!.map((field, i) => ({ name: field.name, read: child(i) }));
      return (row) => {
        const value: Record<string, unknown> = {};
        for (const member of members) set(value, member.name, member.read(row));
        return value;
      };
    }
    case "map":
      return map(name, type, column);
    case "dictionary":
      return dictionary(name, type, column);
    default:
      throw noRows(name, type);
  }
}

function map(name: string, type: DataType, column: Column): Reader {
  const offsets = offsets32(column.buffers[0]!);
  const entries = column.children[0]!;
  const [key, value] = type.children!.map((field, i) =>
    reader(`${name}.${field.name}`, field.type, entries.children[i]!),
  );
  return (row) => {
    const result = new Map<unknown, unknown>();
    for (let i = offsets[row]!; i < offsets[row + 1]!; i++) result.set(key!(i), value!(i));
    return result;
  };
}

function dictionary(name: string, type: DataType, column: Column): Reader {
  const [indices, values] = type.children!;
  const index = valueReader(name, indices!.type, column);
  const value = reader(name, values!.type, column.children[0]!);
  if (values!.type.kind !== "utf8" && values!.type.kind !== "large_utf8")
    return (row) => value(Number(index(row)));
  const texts: unknown[] = [];
  return (row) => {
    const at = Number(index(row));
    if (!(at in texts)) texts[at] = value(at);
    return texts[at];
  };
}

const at =
  (values: ArrayLike<unknown>): Reader =>
  (row) =>
    values[row];

function half(values: Uint16Array): Reader {
  return (row) => {
    const bits = values[row]!;
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return sign * (1024 + fraction) * 2 ** (exponent - 25);
  };
}

/** At least eight bytes, a multiple of eight: decimal32 has an odd count of them. */
function padded(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength % 8 === 0) return bytes;
  const more = new Uint8Array(Math.ceil(bytes.byteLength / 8) * 8);
  more.set(bytes);
  return more;
}

function decimal(words: BigUint64Array, bytes: Uint8Array, bits: number): Reader {
  if (bits === 32) {
    const values = view(Int32Array, bytes);
    return (row) => BigInt(values[row]!);
  }
  const count = bits / 64;
  return (row) => {
    let value = 0n;
    for (let i = count - 1; i >= 0; i--) value = (value << 64n) | words[row * count + i]!;
    return BigInt.asIntN(bits, value);
  };
}

/** The last moment of a Date, in milliseconds; the first is as far before 1970. */
const LAST = 8_640_000_000_000_000;
const LAST_DAY = LAST / 86_400_000;

// What a Date cannot be comes as the number that is stored, which goes in again.

const days =
  (values: Int32Array): Reader =>
  (row) => {
    const day = values[row]!;
    return Math.abs(day) <= LAST_DAY ? new Date(day * 86_400_000) : day;
  };

const milliseconds =
  (values: BigInt64Array, factor: bigint): Reader =>
  (row) => {
    const time = Number(values[row]! * factor);
    return Math.abs(time) <= LAST ? new Date(time) : values[row]!;
  };

function timestamp(type: DataType, values: BigInt64Array): Reader {
  if (type.unit === "s") return milliseconds(values, 1000n);
  if (type.unit === "ms") return milliseconds(values, 1n);
  return at(values);
}

const offsets32 = (bytes: Uint8Array): ArrayLike<number> => view(Int32Array, bytes);
const offsets64 = (bytes: Uint8Array): ArrayLike<number> =>
  Float64Array.from(view(BigInt64Array, bytes), Number);

/** Texts decoded at once, in bytes. */
const BLOCK = 1024;

/**
 * Short texts are decoded several at once and, where all are ASCII, cut out: some times faster than one by one. An
 * engine may keep the whole of which a kept text was cut, so the whole is small.
 */
function text(offsets: ArrayLike<number>, bytes: Uint8Array): Reader {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const rows = offsets.length - 1;
  let [first, end, start] = [0, 0, 0];
  let block: string | undefined;
  return (row) => {
    if (row < first || row >= end) {
      [first, end, start] = [row, row + 1, offsets[row]!];
      while (end < rows && offsets[end + 1]! - start <= BLOCK) end++;
      const part = bytes.subarray(start, offsets[end]!);
      block = decoder.decode(part);
      if (block.length !== part.byteLength) block = undefined;
    }
    if (block === undefined) return decoder.decode(bytes.subarray(offsets[row]!, offsets[row + 1]!));
    return block.slice(offsets[row]! - start, offsets[row + 1]! - start);
  };
}

const binary =
  (offsets: ArrayLike<number>, bytes: Uint8Array): Reader =>
  (row) =>
    bytes.slice(offsets[row]!, offsets[row + 1]!);

function list(offsets: ArrayLike<number>, item: Reader): Reader {
  return (row) => {
    const values: unknown[] = [];
    for (let i = offsets[row]!; i < offsets[row + 1]!; i++) values.push(item(i));
    return values;
  };
}
