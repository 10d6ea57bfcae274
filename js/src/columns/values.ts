// What a JavaScript value is, by its brand and not by its class: values of other realms (frames, vm contexts,
// workers' structured clones) are as good as ours, and what only looks like one is not.

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
const kindOfView = getter(Object.getPrototypeOf(Uint8Array.prototype) as object, Symbol.toStringTag);
const bufferLength = getter(ArrayBuffer.prototype, "byteLength");
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

/** The bytes of a Uint8Array or ArrayBuffer, or undefined if it is none, or its memory was transferred away. */
export function asBytes(value: unknown): Uint8Array | undefined {
  if (ArrayBuffer.isView(value)) {
    return kindOfView.call(value) === "Uint8Array" && isThere(value) ? (value as Uint8Array) : undefined;
  }
  if (!answers(bufferLength, value)) return undefined;
  try {
    return new Uint8Array(value as ArrayBuffer);
  } catch {
    return undefined;
  }
}

/** Whether it has items by number: an array or a typed array. */
export function isList(value: unknown): value is ArrayLike<unknown> {
  if (Array.isArray(value)) return true;
  return ArrayBuffer.isView(value) && kindOfView.call(value) !== undefined && isThere(value);
}

/** A view over transferred memory says that it is empty. */
function isThere(view: ArrayBufferView): boolean {
  if (view.byteLength > 0) return true;
  try {
    new Uint8Array(view.buffer);
    return true;
  } catch {
    return false;
  }
}

/** Whether it is an object as a literal makes one, of any realm, and not something whose content is elsewhere. */
export function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const parent = Object.getPrototypeOf(value) as object | null;
  if (parent === null || parent === Object.prototype) return true;
  return Object.getPrototypeOf(parent) === null && hasOwn(parent, "isPrototypeOf");
}

/** The value, fit for a message. */
export function describe(value: unknown): string {
  if (typeof value === "string")
    return `the text ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  if (typeof value === "object" && value !== null) return `an object of ${className(value)}`;
  return String(value);
}

function className(value: object): string {
  try {
    const name: unknown = (value.constructor as { name?: unknown } | undefined)?.name;
    return typeof name === "string" && name !== "" ? name.slice(0, 40) : "no class";
  } catch {
    return "no class";
  }
}
