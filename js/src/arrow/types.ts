// Types of apache-arrow as the text that the engine reads (src/data/spec.rs).

import { LakeshoreError } from "../errors.js";
import type { ArrowType } from "./table.js";

const units = ["s", "ms", "us", "ns"];
const floats = ["float16", "float32", "float64"];
/** Deepest nesting of a type, as the engine has it. */
const deepest = 16;

/** The type as text, or `Unsupported`. */
export function typeText(type: ArrowType, depth: number): string {
  const { bitWidth, precision, scale, unit, timezone, isSigned, byteWidth, listSize } = type;
  const child = (index: number): string => {
    const field = type.children?.[index];
    if (field === undefined || field === null || depth >= deepest) throw unsupported(type);
    return typeText(field.type, depth + 1);
  };
  switch (type.typeId) {
    case 1:
      return "null";
    case 2:
      return `${isSigned === true ? "int" : "uint"}${String(bitWidth)}`;
    case 3:
      return floats[precision as number] ?? "float64";
    case 4:
      return "binary";
    case 5:
      return "utf8";
    case 6:
      return "bool";
    case 7:
      return `decimal${String(bitWidth ?? 128)}(${String(precision)}, ${String(scale)})`;
    case 8:
      return unit === 0 ? "date32" : "date64";
    case 9:
      return `time${(unit as number) < 2 ? 32 : 64}[${units[unit as number]}]`;
    case 10:
      return `timestamp[${units[unit as number]}${typeof timezone === "string" ? `, ${timezone}` : ""}]`;
    case 12:
      return `list<${child(0)}>`;
    case 13:
      return `struct<${(type.children ?? []).map(({ name }, i) => `${member(name)}: ${child(i)}`).join(", ")}>`;
    case 15:
      return `fixed_size_binary[${String(byteWidth)}]`;
    case 16:
      return `fixed_size_list<${child(0)}, ${String(listSize)}>`;
    case 17: {
      const entries = type.children?.[0]?.type;
      const [key, value] = entries?.children ?? [];
      if (key === undefined || value === undefined || depth >= deepest) throw unsupported(type);
      return `map<${typeText(key.type, depth + 1)}, ${typeText(value.type, depth + 1)}>`;
    }
    case 18:
      return `duration[${units[unit as number]}]`;
    case 19:
      return "large_binary";
    case 20:
      return "large_utf8";
    case 21:
      return `large_list<${child(0)}>`;
    case -1: {
      if (depth >= deepest) throw unsupported(type);
      const [index, value] = [type["indices"], type["dictionary"]] as ArrowType[];
      return `dictionary<${typeText(index!, depth + 1)}, ${typeText(value!, depth + 1)}>`;
    }
    default:
      throw unsupported(type);
  }
}

/** A name that is more than letters and digits is in quotes. */
function member(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? name : `"${name.replace(/["\\]/g, "\\$&")}"`;
}

function unsupported(type: ArrowType): LakeshoreError {
  let text = "";
  try {
    text = ` ${String(type)}`;
  } catch {
    // It has no name.
  }
  return new LakeshoreError("Unsupported", `the Arrow type${text}: convert it, or pass rows`);
}
