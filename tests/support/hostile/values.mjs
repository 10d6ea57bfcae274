// Values that nobody should pass, but somebody will. Each is made anew for each call, since some are used up.

/** What code of these values throws: a call may pass it on. */
export class Boom extends Error {}

const boom = () => {
  throw new Boom("thrown by a caller's own code");
};

/** Everything one may do with it throws. */
const thrower = () =>
  new Proxy(function () {}, Object.fromEntries(Reflect.ownKeys(Reflect).map((trap) => [trap, boom])));

function revoked(target) {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

function detached(make) {
  const bytes = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
  const value = make(bytes);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return value;
}

/** A view that its buffer has become too short for, where buffers can be resized. */
function shrunk() {
  const buffer = new ArrayBuffer(16, { maxByteLength: 32 });
  const view = new Uint8Array(buffer, 8, 8);
  buffer.resize?.(4);
  return view;
}

const names = [
  "where",
  "select",
  "range",
  "from",
  "limit",
  "signal",
  "schema",
  "primaryKey",
  "asOf",
  "id",
  "data",
];

/** Each of these properties has a getter that throws. */
function getters() {
  const object = {};
  for (const name of names) Object.defineProperty(object, name, { enumerable: true, get: boom });
  return object;
}

function cyclic() {
  const object = { id: 1n };
  object.self = object;
  object.list = [object];
  return object;
}

function cyclicArray() {
  const list = [];
  list.push(list);
  return list;
}

class Liar extends Uint8Array {
  get length() {
    return 2 ** 40;
  }
  get byteLength() {
    return boom();
  }
  get buffer() {
    return boom();
  }
  slice() {
    return boom();
  }
}

const deep = (depth) => {
  let value = {};
  for (let i = 0; i < depth; i++) value = i % 2 ? [value] : { value };
  return value;
};

/** All of them, by name. `foreign` is the global object of another realm, where there is one. */
export function hostileValues(foreign) {
  const values = {
    undefined: () => undefined,
    null: () => null,
    true: () => true,
    NaN: () => NaN,
    "minus zero": () => -0,
    "minus one": () => -1,
    half: () => 0.5,
    "1e300": () => 1e300,
    "2 ** 64": () => 2 ** 64,
    Infinity: () => Infinity,
    "2 ** 53": () => 2 ** 53,
    "2n ** 64n": () => 2n ** 64n,
    "-(2n ** 4000n)": () => -(2n ** 4000n),
    "no text": () => "",
    text: () => "text",
    "half of a pair": () => "a\ud800b",
    "the other half": () => "\udc00",
    __proto__name: () => "__proto__",
    constructor: () => "constructor",
    "a NUL": () => "a\0b",
    "long text": () => "x".repeat(300_000),
    "a symbol": () => Symbol("hostile"),
    "Symbol.iterator": () => Symbol.iterator,
    "a function that throws": () => boom,
    "a function": () => () => 5,
    "an async function": () => async () => undefined,
    "a class": () => class {},
    "an empty object": () => ({}),
    "an empty array": () => [],
    "an object without prototype": () => Object.create(null),
    "an own __proto__": () => JSON.parse('{"__proto__": 1, "constructor": 2}'),
    "an object that inherits": () => Object.create({ limit: 1, id: 1n }),
    "a proxy that throws": thrower,
    "a proxy of an array that throws": () => new Proxy([1], { get: boom }),
    "a proxy of nothing special": () => new Proxy({}, {}),
    "a revoked proxy": () => revoked({}),
    "a revoked proxy of an array": () => revoked([]),
    "getters that throw": getters,
    "a toString that throws": () => ({ toString: boom, valueOf: boom, [Symbol.toPrimitive]: boom }),
    "a toJSON that throws": () => ({ toJSON: boom }),
    "a thenable": () => ({ then: (resolve) => resolve(5) }),
    "a thenable that throws": () => ({ then: boom }),
    "a getter of then that throws": () => Object.defineProperty({}, "then", { get: boom }),
    "a promise": () => Promise.resolve(5),
    "an invalid Date": () => new Date(NaN),
    "the last Date": () => new Date(8.64e15),
    "a Map": () => new Map([["id", 1n]]),
    "a Set": () => new Set([1]),
    "a RegExp": () => /x/g,
    "an Error": () => new Error("an argument"),
    "a WeakMap": () => new WeakMap(),
    "a text in an object": () => new String("text"),
    "a number in an object": () => new Number(5),
    bytes: () => new Uint8Array([1, 2, 3]),
    "detached bytes": () => detached((bytes) => bytes),
    "a detached buffer": () => detached((bytes) => bytes.buffer),
    "a detached DataView": () => detached((bytes) => new DataView(bytes.buffer)),
    "bytes whose buffer shrank": shrunk,
    "resizable bytes": () => new Uint8Array(new ArrayBuffer(8, { maxByteLength: 16 })),
    floats: () => new Float64Array([1.5, NaN]),
    "bytes that lie": () => new Liar(8),
    "a huge array": () => new Array(2 ** 32 - 1),
    "an array with holes": () => [, , 1, ,],
    "an array of an array": cyclicArray,
    "a cyclic object": cyclic,
    "deeply nested": () => deep(20_000),
    "an iterable that throws": () => ({ [Symbol.iterator]: boom }),
    "an iterable of nonsense": () => ({ [Symbol.iterator]: () => ({ next: () => 5 }) }),
    "an iterator that throws": () => ({ [Symbol.iterator]: () => ({ next: boom, return: boom }) }),
    "an async iterable that throws": () => ({ [Symbol.asyncIterator]: boom }),
    "an async iterator of nonsense": () => ({ [Symbol.asyncIterator]: () => ({ next: () => undefined }) }),
    "an endless iterable": () => ({ [Symbol.iterator]: () => ({ next: () => ({ done: false, value: 7 }) }) }),
    "a stream that is locked": () => {
      const stream = new ReadableStream();
      stream.getReader();
      return stream;
    },
    "no signal": () => ({ aborted: false, addEventListener: boom, removeEventListener: boom }),
    "an aborted signal": () => AbortSignal.abort(new Boom("aborted by the caller")),
    "a response": () => new Response("text"),
  };
  if (typeof SharedArrayBuffer !== "undefined") {
    values["shared bytes"] = () => new Uint8Array(new SharedArrayBuffer(8));
    values["a shared buffer"] = () => new SharedArrayBuffer(8);
  }
  const other = {
    "an object": ({ Object }) => Object.assign(new Object(), { id: 1n, limit: 1 }),
    "an array": ({ Array }) => Array.of(1, "id"),
    "a Date": ({ Date }) => new Date(0),
    bytes: ({ Uint8Array }) => new Uint8Array(4),
    "a buffer": ({ ArrayBuffer }) => new ArrayBuffer(4),
    "a Map": ({ Map }) => new Map(),
    "an Error": ({ Error }) => new Error("foreign"),
    "a promise": ({ Promise }) => Promise.resolve(5),
    "a function": ({ parseInt }) => parseInt,
  };
  for (const [name, make] of foreign ? Object.entries(other) : [])
    values[`${name} of another realm`] = () => make(foreign);
  return values;
}

const isPlain = (value) =>
  typeof value === "object" &&
  value !== null &&
  [Object.prototype, null].includes(Object.getPrototypeOf(value));

/** Every place within arguments: each argument, each property, each first item. */
export function places(args) {
  const found = [];
  const visit = (value, path) => {
    if (path.length > 0) found.push(path);
    if (path.length > 4) return;
    if (Array.isArray(value))
      value.slice(0, path.length === 0 ? undefined : 1).forEach((v, i) => visit(v, [...path, i]));
    else if (isPlain(value) && path.length > 0)
      for (const name of Object.keys(value)) visit(value[name], [...path, name]);
  };
  visit(args, []);
  return found;
}

/** The arguments with another value at a place; what is around it is copied. */
export function replaced(args, [first, ...rest], value) {
  const copy = Array.isArray(args) ? [...args] : { ...args };
  copy[first] = rest.length === 0 ? value : replaced(args[first], rest, value);
  return copy;
}

/** Right values in the wrong form: one level too deep, or under a name that is nearly right. */
export function misplaced(value) {
  const wrong = { "one level too deep": { value }, "in an array": [value] };
  if (!isPlain(value)) return wrong;
  for (const name of Object.keys(value)) {
    const { [name]: member, ...rest } = value;
    wrong[`${name} misspelt`] = { ...rest, [`${name.slice(0, -1)}${name.at(-1).toUpperCase()}_`]: member };
    wrong[`only what ${name} is`] = member;
    wrong[`${name} too deep`] = { ...rest, [name]: { [name]: member } };
  }
  return wrong;
}
