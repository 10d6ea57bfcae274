// Types of apache-arrow as the text that the engine reads (src/data/spec.rs). A type is the caller's: it is read once,
// into a shape of our own that is bounded in depth and in parts, and nothing in it can say more than one type.

import { show } from "../door/show.js";
import { isWellFormed } from "../door/values.js";
import { invalid, LakeshoreError } from "../errors.js";
import { listOf } from "./lists.js";

/** What the library's types have, each some of it. */
export interface ArrowType {
  readonly typeId: number;
  readonly [property: string]: unknown;
}

/** A type as it was read. */
export interface Shape {
  /** Which of Arrow's types. */
  readonly id: number;
  readonly text: string;
  /** Of a dictionary: the type of its indices and that of its values. */
  readonly children: readonly Shape[];
}

const units = ["s", "ms", "us", "ns"];
const floats = ["float16", "float32", "float64"];
/** Deepest nesting of a type, as the engine has it. */
const deepest = 16;
/** Longest text of a type, as the engine has it, in UTF-16 units. */
const longest = 65_536;

/** Reads a type, or `Unsupported`. */
export function shapeOf(type: unknown, depth = 0): Shape {
  if (typeof type !== "object" || type === null) throw invalid(`a type of the Arrow table is ${show(type)}`);
  if (depth > deepest) throw unsupported(type as ArrowType);
  const given = type as ArrowType;
  const id = given.typeId;
  const children: Shape[] = [];
  const text = textOf(given, id, children, depth);
  if (text.length > longest) throw unsupported(given);
  return { id, text, children };
}

/** Its text; `children` gets its parts. */
function textOf(type: ArrowType, id: number, children: Shape[], depth: number): string {
  const part = (given: unknown): string => {
    const child = shapeOf(given, depth + 1);
    children.push(child);
    return child.text;
  };
  const fields = () => {
    const given = listOf(type["children"], "the children of an Arrow type");
    return given.map((field) => field as { name: unknown; type: unknown });
  };
  const only = () => {
    const [field, more] = fields();
    if (field === undefined || more !== undefined) throw unsupported(type);
    return part(field.type);
  };
  switch (id) {
    case 1:
      return "null";
    case 2:
      return `${type["isSigned"] === true ? "int" : "uint"}${whole(type, "bitWidth")}`;
    case 3:
      return floats[type["precision"] as number] ?? "float64";
    case 4:
      return "binary";
    case 5:
      return "utf8";
    case 6:
      return "bool";
    case 7:
      return `decimal${whole(type, "bitWidth", 128)}(${whole(type, "precision")}, ${whole(type, "scale")})`;
    case 8:
      return type["unit"] === 0 ? "date32" : "date64";
    case 9:
      return `time${(type["unit"] as number) < 2 ? 32 : 64}[${unit(type)}]`;
    case 10:
      return `timestamp[${unit(type)}${zone(type)}]`;
    case 12:
      return `list<${only()}>`;
    case 13:
      return `struct<${members(fields(), part)}>`;
    case 15:
      return `fixed_size_binary[${whole(type, "byteWidth")}]`;
    case 16:
      return `fixed_size_list<${only()}, ${whole(type, "listSize")}>`;
    case 17: {
      only();
      const [entries] = children;
      if (entries?.id !== 13 || entries.children.length !== 2) throw unsupported(type);
      const [key, value] = entries.children;
      return `map<${key!.text}, ${value!.text}>`;
    }
    case 18:
      return `duration[${unit(type)}]`;
    case 19:
      return "large_binary";
    case 20:
      return "large_utf8";
    case 21:
      return `large_list<${only()}>`;
    case -1:
      return `dictionary<${part(type["indices"])}, ${part(type["dictionary"])}>`;
    default:
      throw unsupported(type);
  }
}

function members(fields: { name: unknown; type: unknown }[], part: (type: unknown) => string): string {
  let length = 0;
  const texts = fields.map(({ name, type }) => {
    const text = `${member(fieldName(name, "a member of an Arrow struct"))}: ${part(type)}`;
    // Types may share their parts: what is written out may be far larger than what is given.
    if ((length += text.length) > longest) throw invalid("a type of the Arrow table has too many parts");
    return text;
  });
  return texts.join(", ");
}

/** A name of a column or of a member: text, and the same after its way through UTF-8. */
export function fieldName(name: unknown, what: string): string {
  if (typeof name !== "string") throw invalid(`${what} has no name, but ${show(name)}`);
  if (isWellFormed(name)) return name;
  throw invalid(`the name of ${what}, ${show(name)}, has half of a surrogate pair: rename it`);
}

/** A name that is more than letters and digits is in quotes. */
function member(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? name : `"${name.replace(/["\\]/g, "\\$&")}"`;
}

function whole(type: ArrowType, name: string, otherwise?: number): string {
  const value = type[name] ?? otherwise;
  if (Number.isSafeInteger(value)) return String(value);
  throw invalid(`a type of the Arrow table has ${show(value)} as ${name}`);
}

function unit(type: ArrowType): string {
  const name = units[type["unit"] as number];
  if (name === undefined) throw invalid(`a type of the Arrow table has ${show(type["unit"])} as unit`);
  return name;
}

/** The time zone; one that would end the type's text is none. */
function zone(type: ArrowType): string {
  const { timezone } = type;
  if (timezone === null || timezone === undefined || timezone === "") return "";
  if (typeof timezone === "string" && isWellFormed(timezone) && /^[^[\]<>,"'\0]{1,255}$/.test(timezone))
    return `, ${timezone}`;
  throw invalid(`a timestamp of the Arrow table has ${show(timezone)} as its time zone`);
}

function unsupported(type: ArrowType): LakeshoreError {
  let text = "";
  try {
    text = ` ${String(type).slice(0, 200)}`;
  } catch {
    // It has no name.
  }
  return new LakeshoreError("Unsupported", `the Arrow type${text}: convert it, or pass rows`);
}
