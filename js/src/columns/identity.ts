// What tells the values of an encoded column apart: the bytes that are stored of each.

import { type Column, type DataType, isValid, view } from "./column.js";

/** The identity of the value at an index. */
type Identity = (index: number) => string;

const latin1 = new TextDecoder("latin1");

/** Gives the same text for two values of the column if they are stored the same. */
export function identities(column: Column, type: DataType): Identity {
  const stored = of(column, type);
  return (index) => (isValid(column, index) ? `=${stored(index)}` : "");
}

function of(column: Column, type: DataType): Identity {
  const [first, second] = column.buffers;
  switch (type.kind) {
    case "null":
      return () => "";
    case "bool":
      return (index) => String((first![index >> 3]! >> (index & 7)) & 1);
    case "utf8":
    case "binary":
    case "large_utf8":
    case "large_binary": {
      const between = range(first!, type);
      return (index) => latin1.decode(second!.subarray(...between(index)));
    }
    case "dictionary":
      return of(column, type.children![1]!.type);
    case "struct": {
      const members = type.children!.map((field, i) => identities(column.children[i]!, field.type));
      return (index) => joined(members.map((member) => member(index)));
    }
    case "fixed_size_list": {
      const item = identities(column.children[0]!, type.children![0]!.type);
      return (index) => joined(itemsOf(item, index * type.size!, (index + 1) * type.size!));
    }
    case "list":
    case "large_list": {
      const item = identities(column.children[0]!, type.children![0]!.type);
      const between = range(first!, type);
      return (index) => joined(itemsOf(item, ...between(index)));
    }
    case "map": {
      const pairs = column.children[0]!;
      const [key, value] = type.children!.map((field, i) => identities(pairs.children[i]!, field.type));
      const between = range(first!, type);
      return (index) => joined(itemsOf((i) => joined([key!(i), value!(i)]), ...between(index)).sort());
    }
    default: {
      const width = column.length === 0 ? 0 : first!.byteLength / column.length;
      return (index) => latin1.decode(first!.subarray(index * width, (index + 1) * width));
    }
  }
}

/** From where to where a value reaches, by the offsets. */
function range(offsets: Uint8Array, type: DataType): (index: number) => [number, number] {
  const ends = type.kind.startsWith("large") ? view(BigInt64Array, offsets) : view(Int32Array, offsets);
  return (index) => [Number(ends[index]), Number(ends[index + 1])];
}

function itemsOf(item: Identity, begin: number, end: number): string[] {
  const found: string[] = [];
  for (let i = begin; i < end; i++) found.push(item(i));
  return found;
}

/** Told apart whatever is in them. */
function joined(parts: readonly string[]): string {
  return parts.map((part) => `${part.length}:${part}`).join("");
}
