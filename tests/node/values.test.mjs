// What JavaScript gives is never silently lost: taken for what it is, or Invalid with its path.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { memory, open } from "lakeshore";

async function opened(t, type, name = "v") {
  const db = await open({ data: memory() });
  t.after(() => db.close());
  const schema = Object.fromEntries([
    ["id", "int32"],
    [name, type],
  ]);
  return { db, table: await db.table("t", { schema, primaryKey: ["id"] }) };
}

const read = async (table) => (await table.scan().toArray()).map((row) => row.v);

class Point {
  constructor() {
    this.a = 1;
  }
}
class Accessors {
  get a() {
    return 1;
  }
}
const detached = () => {
  const bytes = new Uint8Array([1, 2, 3]);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
};

const exotic = {
  "a Map": () => new Map([["a", 1]]),
  "a Set": () => new Set([1]),
  "a Date": () => new Date(0),
  "a RegExp": () => /a/,
  "a Promise": () => Promise.resolve({ a: 1 }),
  "an Error": () => new Error("a"),
  "a WeakMap": () => new WeakMap(),
  "an ArrayBuffer": () => new ArrayBuffer(4),
  bytes: () => new Uint8Array(4),
  "a DataView": () => new DataView(new ArrayBuffer(4)),
  "an array": () => [1],
  "a class instance": () => new Point(),
  "accessors of a class": () => new Accessors(),
  "an object that inherits": () => Object.create({ a: 1 }),
  "a String": () => new String("a"),
  "a function": () => () => 1,
  "a symbol": () => Symbol("a"),
  "a Map of another realm": () => runInNewContext('new Map([["a", 1]])'),
};

for (const [name, make] of Object.entries(exotic)) {
  test(`${name} is no struct, at any depth`, async (t) => {
    for (const [type, value, path] of [
      ["struct<a: int32>", make(), /"v"/],
      ["list<struct<a: int32>>", [{ a: 1 }, make()], /"v\.item"/],
      ["struct<s: struct<a: int32>>", { s: make() }, /"v\.s"/],
      ["map<utf8, struct<a: int32>>", { k: make() }, /"v\.value"/],
    ]) {
      const { table } = await opened(t, type);
      await assert.rejects(table.ingest([{ id: 1, v: value }]), { code: "Invalid", message: path });
      assert.equal(await table.scan().count(), 0);
    }
  });
}

test("what is no map is Invalid; Maps, plain objects and pairs are maps", async (t) => {
  const { table } = await opened(t, "map<utf8, int32>");
  for (const [name, make] of Object.entries(exotic)) {
    if (name.startsWith("a Map")) continue;
    await assert.rejects(table.ingest([{ id: 1, v: make() }]), { code: "Invalid", message: /"v/ }, name);
  }
  for (const wrong of [
    [
      ["a", 1],
      ["a", 2],
    ],
    [["a", 1, 2]],
    new Map([[null, 1]]),
    new Map([["a", "b"]]),
  ]) {
    await assert.rejects(table.ingest([{ id: 1, v: wrong }]), { code: "Invalid", message: /"v/ });
  }
  const maps = [new Map([["a", 1]]), { a: 1 }, [["a", 1]], runInNewContext("new Map([['a', 1]])")];
  await table.ingest(maps.map((v, id) => ({ id, v })));
  assert.deepEqual(
    await read(table),
    maps.map(() => new Map([["a", 1]])),
  );
});

test("a member that the struct lacks is Invalid, one that is missing is null", async (t) => {
  const { table } = await opened(t, "struct<a: int32, b: struct<c: int32>>");
  for (const v of [{ a: 1, x: 2 }, { b: { c: 1, d: 2 } }, { constructor: 1 }]) {
    await assert.rejects(table.ingest([{ id: 1, v }]), { code: "Invalid", message: /"(x|d|constructor)"/ });
  }
  await table.ingest([{ id: 1, v: { b: {} } }]);
  assert.deepEqual(await read(table), [{ a: null, b: { c: null } }]);
});

test("a required part that is missing is Invalid, naming row and path", async (t) => {
  const { table } = await opened(t, "list<struct<a: int32 not null>>");
  const rows = [
    { id: 1, v: [{ a: 1 }, null] },
    { id: 2, v: [{ a: 1 }, {}] },
  ];
  await assert.rejects(table.ingest(rows), { code: "Invalid", message: /row 1: "v\.item\.a"/ });
  await table.ingest(rows.slice(0, 1));
  assert.deepEqual(await read(table), [[{ a: 1 }, null]]);
});

test("a row of a class counts by its own properties, and is Invalid where they are not its own", async (t) => {
  const { table } = await opened(t, "int32");
  class Row {
    constructor(id) {
      this.id = id;
      this.v = 7;
    }
  }
  class Lazy extends Row {
    get v() {
      return 7;
    }
    set v(_) {}
  }
  await table.ingest([new Row(1), Object.assign(Object.create(null), { id: 2, v: 7 })]);
  assert.deepEqual(await read(table), [7, 7]);
  for (const row of [new Lazy(3), new Map([["id", 3]]), new Set(), new Date(), Promise.resolve({ id: 3 })]) {
    await assert.rejects(table.ingest([row]), { code: "Invalid", message: /row 0/ });
  }
});

for (const name of ["constructor", "toString", "__proto__", "hasOwnProperty", "valueOf"]) {
  test(`a column and a member named ${name} are columns and members`, async (t) => {
    const own = (value, rest = {}) =>
      Object.defineProperty({ ...rest }, name, {
        value,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    const { db, table } = await opened(t, `struct<${name}: utf8, b: int32>`, name);
    await table.ingest([{ id: 1 }, own({ b: 1 }, { id: 2 }), own(own("x", { b: 2 }), { id: 3 })]);
    for (const flush of [false, true]) {
      if (flush) await db.flush();
      const rows = await table.scan().toArray();
      const values = rows.map((row) => {
        assert.equal(Object.getPrototypeOf(row), Object.prototype);
        assert.ok(Object.hasOwn(row, name));
        return Object.getOwnPropertyDescriptor(row, name).value;
      });
      assert.equal(values[0], null);
      assert.deepEqual(values[1], own(null, { b: 1 }));
      assert.ok(Object.hasOwn(values[2], name));
      assert.equal(Object.getOwnPropertyDescriptor(values[2], name).value, "x");
      assert.equal(values[2].b, 2);
    }
  });
}

const beyond = {
  float32: [1e300, -1e300, 2 ** 128, 3.4028235677973366e38],
  float16: [70000, -70000, 65520, 1e300],
};
for (const [type, values] of Object.entries(beyond)) {
  test(`what ${type} cannot reach is Invalid; infinity is itself`, async (t) => {
    const { table } = await opened(t, type);
    for (const v of values) {
      await assert.rejects(table.ingest([{ id: 1, v }]), { code: "Invalid", message: /"v"/ }, String(v));
    }
    const most = type === "float16" ? 65504 : 3.4028234663852886e38;
    await table.ingest([Infinity, -Infinity, NaN, most, -most].map((v, id) => ({ id, v })));
    assert.deepEqual(await read(table), [Infinity, -Infinity, NaN, most, -most]);
  });
}

test("dates and bytes of another realm are dates and bytes; what looks like them is not", async (t) => {
  const cases = {
    "timestamp[ms]": ["new Date(5)", new Date(5)],
    date32: ["new Date(86400000)", new Date(86400000)],
    date64: ["new Date(86400000)", new Date(86400000)],
    binary: ["new Uint8Array([1, 2])", new Uint8Array([1, 2])],
    large_binary: ["new Uint8Array([1, 2]).buffer", new Uint8Array([1, 2])],
    "fixed_size_binary[2]": ["new Uint8Array([1, 2])", new Uint8Array([1, 2])],
    "list<int32>": ["[1, 2]", [1, 2]],
    "list<uint8>": ["new Uint8Array([1, 2])", [1, 2]],
    "struct<a: int32>": ["({ a: 1 })", { a: 1 }],
    "map<utf8, int32>": ["({ a: 1 })", new Map([["a", 1]])],
  };
  for (const [type, [source, wanted]] of Object.entries(cases)) {
    const { table } = await opened(t, type);
    await table.ingest(runInNewContext(`[{ id: 1, v: ${source} }]`));
    assert.deepEqual(await read(table), [wanted], type);
    const fakes = [
      Object.create(Date.prototype),
      Object.create(Uint8Array.prototype),
      { getTime: () => 5, [Symbol.toStringTag]: "Date" },
      detached(),
      detached().buffer,
    ];
    for (const [i, v] of fakes.entries()) {
      if (i === 2 && /struct|map/.test(type)) continue;
      await assert.rejects(table.ingest([{ id: 2, v }]), { code: "Invalid" }, `${type}, fake ${i}`);
    }
  }
});

test("half of a surrogate pair is Invalid wherever text is", async (t) => {
  const half = "a\ud800b";
  for (const [type, v] of [
    ["utf8", half],
    ["large_utf8", half],
    ["list<utf8>", ["ok", half]],
    ["struct<a: utf8>", { a: half }],
    ["map<utf8, int32>", { [half]: 1 }],
    ["map<utf8, utf8>", new Map([["k", half]])],
    ["dictionary<int32, utf8>", half],
  ]) {
    const { table } = await opened(t, type);
    await assert.rejects(table.ingest([{ id: 1, v }]), { code: "Invalid", message: /half of a pair/ }, type);
    // Halves of neighbours make no pair.
    if (type === "utf8") {
      const rows = ["x\ud83d", "\ude00"].map((v, id) => ({ id, v }));
      await assert.rejects(table.ingest(rows), { code: "Invalid" });
    }
  }
});

test("moments beyond Date come as what is stored, and go in again", async (t) => {
  const far = {
    "timestamp[s]": [8_640_000_000_001n, -(2n ** 63n), 2n ** 63n - 1n],
    "timestamp[ms, UTC]": [8_640_000_000_000_001n, -8_640_000_000_000_001n, 2n ** 63n - 1n],
    date64: [8_640_000_086_400_000n, -8_640_000_086_400_000n],
    date32: [100_000_001, -100_000_001, 2147483647, -2147483648],
  };
  const last = {
    "timestamp[s]": new Date(8.64e15),
    "timestamp[ms, UTC]": new Date(-8.64e15),
    date64: new Date(8.64e15),
    date32: new Date(-8.64e15),
  };
  for (const [type, values] of Object.entries(far)) {
    const { db, table } = await opened(t, type);
    const wanted = [...values, last[type]];
    await table.ingest(wanted.map((v, id) => ({ id, v })));
    for (const flush of [false, true]) {
      if (flush) await db.flush();
      assert.deepEqual(await read(table), wanted, type);
    }
    await table.ingest(await table.scan().toArray());
    assert.deepEqual(await read(table), wanted, `${type} again`);
  }
});

test("texts of rows that are kept do not keep their batch", async (t) => {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc");
  for (const type of ["utf8", "large_utf8", "dictionary<int32, utf8>"]) {
    const { table } = await opened(t, type);
    const text = (i) => `${i} `.padEnd(200, "text ");
    for (let from = 0; from < 80_000; from += 10_000) {
      await table.ingest(Array.from({ length: 10_000 }, (_, i) => ({ id: from + i, v: text(from + i) })));
    }
    const kept = [];
    const before = (gc(), process.memoryUsage().heapUsed);
    let at = 0;
    for await (const { v } of table.scan().rows()) if (at++ % 400 === 0) kept.push(v);
    const after = (gc(), process.memoryUsage().heapUsed);
    assert.equal(kept.length, 200);
    assert.deepEqual(kept[3], text(1200));
    // 40 KB of text; of 16 MB that were read.
    assert.ok(after - before < 2 << 20, `${type}: ${(after - before) >> 10} KiB are kept`);
  }
});

test("texts come as they went in, whatever lies beside them", async (t) => {
  const { db, table } = await opened(t, "utf8");
  const pieces = [
    "",
    "a",
    "plain text of some length",
    "é",
    "日本",
    "\u{1F600}",
    "\uFEFFx",
    "\0",
    "x".repeat(1500),
    "ß".repeat(700),
    null,
  ];
  let seed = 7;
  const texts = Array.from(
    { length: 3000 },
    () => pieces[(seed = (seed * 48271) % 2147483647) % pieces.length],
  );
  await table.ingest(texts.map((v, id) => ({ id, v })));
  for (const flush of [false, true]) {
    if (flush) await db.flush();
    assert.deepEqual(await read(table), texts);
  }
});

test("a list of four thousand million holes is refused at once, wherever it stands", async (t) => {
  const huge = () => new Array(2 ** 32 - 1);
  const revoked = () => new Proxy([1], { get: (list, name) => (name === "length" ? 2 ** 53 : list[name]) });
  for (const [type, make] of [
    ["list<int32>", (list) => list],
    ["large_list<utf8>", (list) => list],
    ["list<list<int32>>", (list) => [[1], list]],
    ["fixed_size_list<int32, 3>", (list) => list],
    ["struct<a: list<int32>>", (list) => ({ a: list })],
    ["map<utf8, int32>", (list) => list],
    ["map<utf8, list<bool>>", (list) => [["a", list]]],
    ["binary", (list) => list],
    ["decimal128(10, 2)", (list) => list],
    ["date32", (list) => list],
    ["utf8", (list) => list],
  ]) {
    const { table } = await opened(t, type);
    const start = performance.now();
    for (const list of [huge(), revoked()])
      await assert.rejects(table.ingest([{ id: 1, v: make(list) }]), { code: "Invalid" }, type);
    await assert.rejects(table.ingest(Object.assign(huge(), { 0: { id: 1 } })), { code: "Invalid" });
    assert.ok(performance.now() - start < 5000, `${type}: ${performance.now() - start} ms`);
    assert.equal(await table.scan().count(), 0);
  }
  const { table } = await opened(t, `fixed_size_list<int32, ${2 ** 20}>`);
  const many = Array.from({ length: 1000 }, (_, id) => ({ id }));
  await assert.rejects(table.ingest(many), { code: "Invalid", message: /items in one batch: split it/ });
});

test("a view that its buffer has become too short for is Invalid, and not empty", async (t) => {
  const views = [Uint8Array, Float64Array].map((Kind) => () => {
    const buffer = new ArrayBuffer(64, { maxByteLength: 128 });
    const view = new Kind(buffer, 32, 4);
    buffer.resize(8);
    return view;
  });
  for (const type of ["binary", "list<float64>", "fixed_size_list<float64, 0>", "list<uint8>"]) {
    for (const make of views) {
      const { table } = await opened(t, type).catch(() => ({}));
      if (table === undefined) continue;
      const wrong = table.ingest([{ id: 1, v: make() }]);
      await assert.rejects(wrong, { code: "Invalid", message: /column "v"/ }, type);
    }
  }
});

test("a map has each key once, by what is stored of it", async (t) => {
  const bytes = (...of) => Uint8Array.from(of);
  for (const [type, same, other] of [
    ["int32", [1, 1n], 2],
    ["int64", [1, 1n], 2n],
    ["decimal128(10, 2)", ["1.0", "1.00"], "1.1"],
    ["decimal128(10, 2)", ["+1", 100n], 1n],
    ["timestamp[us]", [new Date(5), 5000n], new Date(6)],
    ["timestamp[ms]", [new Date(5), new Date(5)], new Date(6)],
    ["date32", [new Date(86_400_000), 1], new Date(0)],
    ["binary", [bytes(1, 2), bytes(1, 2).buffer], bytes(1, 3)],
    ["fixed_size_binary[2]", [bytes(1, 200), bytes(1, 200)], bytes(1, 201)],
    ["float32", [0.1, Math.fround(0.1)], 0.2],
    ["utf8", ["ä", "ä"], "a"],
    ["bool", [true, true], false],
    [
      "struct<a: int32, b: utf8>",
      [
        { a: 1, b: "x" },
        { b: "x", a: 1n },
      ],
      { a: 1 },
    ],
    ["list<int32>", [[1, 2], Int32Array.of(1, 2)], [1]],
  ]) {
    const { table } = await opened(t, `map<${type}, utf8>`);
    for (const [a, b] of [same, [...same].reverse()]) {
      const twice = [[other, "z"], [a, "x"], [b, "y"]]; // prettier-ignore
      for (const v of [twice, new Map(twice)]) {
        if (v instanceof Map && v.size < 3) continue;
        const wrong = table.ingest([
          { id: 1, v: [] },
          { id: 2, v },
        ]);
        await assert.rejects(wrong, { code: "Invalid", message: /row 1, column "v".*each key once/ }, type);
      }
    }
    await table.ingest([
      { id: 1, v: [[same[0], "x"], [other, "y"]] },
      { id: 2, v: [[same[1], "x"]] },
    ]); // prettier-ignore
    assert.deepEqual((await read(table)).map((map) => map.size), [2, 1], type); // prettier-ignore
  }
});

test("keys of a map that only look alike are two", async (t) => {
  for (const [type, a, b] of [
    ["struct<a: utf8>", { a: null }, { a: "null" }],
    ["struct<a: utf8>", { a: null }, { a: "" }],
    ["list<utf8>", [null], ["null"]],
    ["list<binary>", [null], [Uint8Array.of()]],
    ["list<utf8>", [], [null]],
  ]) {
    const { table } = await opened(t, `map<${type}, int32>`);
    await table.ingest([{ id: 1, v: [[a, 1], [b, 2]] }]); // prettier-ignore
    assert.deepEqual((await read(table)).map((map) => map.size), [2], type); // prettier-ignore
  }
});

test("digits and bigints without end are refused in no time", async (t) => {
  const { table } = await opened(t, "decimal128(20, 2)");
  const start = performance.now();
  const zeros = "0".repeat(200_000);
  for (const v of [
    `1.${zeros}1`,
    `1.${zeros}1${zeros}1`,
    "9".repeat(1_000_000),
    10n ** 300_000n,
    -(2n ** 3_000_000n),
  ]) {
    const error = await table.ingest([{ id: 1, v }]).catch((error) => error);
    assert.equal(error.code, "Invalid");
    assert.ok(error.message.length < 500, `${error.message.length} characters`);
  }
  assert.ok(performance.now() - start < 2000, `${performance.now() - start} ms`);
  await table.ingest([{ id: 1, v: `${zeros}1.50${zeros}` }]);
  assert.deepEqual(await read(table), [150n]);
});
