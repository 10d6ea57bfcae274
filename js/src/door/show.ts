// What a value is, in words, for messages. Invariant: none of the value's own code runs unguarded, and no more of it is
// shown than helps.

/** Most characters of a text that are shown. */
const most = 40;

/** What `value` is: `5`, `the text "abc"`, `an object of Map`. */
export function show(value: unknown): string {
  switch (typeof value) {
    case "string":
      return `the text ${quoted(value)}`;
    case "bigint":
      return `${short(bigText(value))}n`;
    case "number":
      return Object.is(value, -0) ? "-0" : String(value);
    case "symbol":
    case "function":
      return `a ${typeof value}`;
    case "object":
      return value === null ? "null" : showObject(value);
    default:
      return String(value);
  }
}

/** A text in quotes, cut if it is long. */
export function quoted(text: string): string {
  return JSON.stringify(short(text));
}

const short = (text: string): string => (text.length > most ? `${text.slice(0, most)}…` : text);

/** Of a number with very many digits they would take longer than the call. */
function bigText(value: bigint): string {
  return BigInt.asIntN(1024, value) === value ? String(value) : "a very large ";
}

function showObject(value: object): string {
  try {
    if (Array.isArray(value)) return "an array";
    const { constructor, then } = value as { constructor?: { name?: unknown }; then?: unknown };
    if (typeof then === "function") return "a promise: await it";
    const name = constructor?.name;
    if (name === "Object") return "an object";
    return typeof name === "string" && name !== "" ? `an object of ${short(name)}` : "an object of no class";
  } catch {
    return "an object that cannot be read";
  }
}
