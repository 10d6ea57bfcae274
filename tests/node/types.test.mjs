// Values of every type, in and out as plain rows, before and after a flush.

import assert from "node:assert/strict";
import { test } from "node:test";
import { col, memory, open } from "lakeshore";

const bytes = (...values) => new Uint8Array(values);
const date = new Date("2001-02-03T04:05:06.789Z");
const second = new Date("2001-02-03T04:05:06Z");
const midnight = new Date("2001-02-03Z");

/** What goes in, and what comes out where that differs. */
const differs = (given, wanted) => ({ given, wanted });

/** Type → values. */
const cases = {
  bool: [true, false, null],
  int8: [-128, 127, null],
  int16: [-32768, 32767],
  int32: differs([-2147483648, 5n], [-2147483648, 5]),
  int64: differs([-(2n ** 63n), 2n ** 63n - 1n, 7], [-(2n ** 63n), 2n ** 63n - 1n, 7n]),
  uint8: [0, 255],
  uint16: [65535, null],
  uint32: [4294967295],
  uint64: differs([2n ** 64n - 1n, 0], [2n ** 64n - 1n, 0n]),
  float16: [0, -0, 1.5, -65504, 2 ** -24, 2 ** -14, NaN, Infinity, -Infinity, 0.333251953125],
  float32: differs([0.1, -0, NaN, null], [Math.fround(0.1), -0, NaN, null]),
  float64: [0.1, -0, NaN, Infinity, 5e-324],
  "decimal32(9, 2)": differs([999999999n, "-12.5", 3], [999999999n, -1250n, 3n]),
  "decimal64(18, 4)": differs([-(10n ** 17n), "0.0001"], [-(10n ** 17n), 1n]),
  "decimal128(38, 10)": differs([10n ** 37n, -1n, "1.5"], [10n ** 37n, -1n, 15000000000n]),
  "decimal256(76, 0)": differs([10n ** 75n, -(10n ** 75n)], [10n ** 75n, -(10n ** 75n)]),
  date32: differs([midnight, 0, null], [midnight, new Date(0), null]),
  date64: [midnight, null],
  "time32[s]": [86399],
  "time32[ms]": [1],
  "time64[us]": differs([1, 86399999999n], [1n, 86399999999n]),
  "time64[ns]": [1n],
  "timestamp[s]": differs([second, 5], [second, new Date(5000)]),
  "timestamp[ms, UTC]": [date, new Date(-1), null],
  "timestamp[us]": differs([date, 1n, -1], [BigInt(date.getTime()) * 1000n, 1n, -1n]),
  "timestamp[ns, Europe/Berlin]": differs([date], [BigInt(date.getTime()) * 1000000n]),
  "duration[ms]": differs([1, -5n], [1n, -5n]),
  utf8: ["", "plain", "ünï©ödé", "\u{1F600}", "a\u0000b", null],
  large_utf8: ["a", "", "ß"],
  binary: [bytes(), bytes(0, 255, 1), null],
  large_binary: [bytes(1)],
  "fixed_size_binary[3]": [bytes(1, 2, 3), null],
  "list<int32>": [[1, null, 3], [], null],
  "large_list<utf8>": [["a"], null],
  "fixed_size_list<float64, 2>": [[1, 2], null, [NaN, null]],
  "list<list<int64>>": [[[1n], null, []], []],
  "struct<a: int32, b: utf8>": [{ a: 1, b: "x" }, { a: null, b: null }, null],
  "list<struct<a: int32>>": [[{ a: 1 }, null], null],
  "map<utf8, int32>": [new Map([["k", 1]]), new Map(), null],
  "dictionary<int32, utf8>": ["a", "b", "a", null],
};

for (const [type, values] of Object.entries(cases)) {
  const { given, wanted } = Array.isArray(values) ? { given: values, wanted: values } : values;
  test(`${type} goes in and comes out`, async (t) => {
    const db = await open({ data: memory() });
    t.after(() => db.close());
    const table = await db.table("values", { schema: { id: "int32", value: type }, primaryKey: ["id"] });
    await table.ingest(given.map((value, id) => ({ id, value })));
    for (const flush of [false, true]) {
      if (flush) await db.flush();
      assert.deepEqual(
        (await table.scan().toArray()).map(({ value }) => value),
        wanted,
      );
      assert.deepEqual(await table.get({ id: wanted.length - 1 }), {
        id: wanted.length - 1,
        value: wanted.at(-1),
      });
    }
  });
}

const keys = {
  bool: [false, true],
  int64: [-(2n ** 53n), -1n, 0n, 9n],
  float64: [-Infinity, -1.5, 0, 2, NaN],
  "decimal128(20, 2)": [-5n, 0n, 7n],
  date32: [new Date("1969-12-31Z"), new Date(0)],
  "timestamp[ms]": [new Date(-1), new Date(0), new Date(1)],
  utf8: ["", "Z", "a", "ä", "\uFFFD", "\u{1F600}"],
  binary: [bytes(), bytes(0), bytes(0, 1), bytes(255)],
  "fixed_size_binary[2]": [bytes(0, 1), bytes(1, 0)],
};

for (const [type, ordered] of Object.entries(keys)) {
  test(`${type} as a key: order, get, filter, range, delete`, async (t) => {
    const db = await open({ data: memory() });
    t.after(() => db.close());
    const table = await db.table("keyed", { schema: { key: type, n: "int32" }, primaryKey: ["key"] });
    const rows = ordered.map((key, n) => ({ key, n }));
    await table.ingest([...rows].reverse());
    for (const flush of [false, true]) {
      if (flush) await db.flush();
      assert.deepEqual(await table.scan().toArray(), rows);
      assert.deepEqual(await table.scan({ reverse: true }).toArray(), [...rows].reverse());
      for (const row of rows) {
        assert.deepEqual(await table.get({ key: row.key }), row);
        assert.deepEqual(await table.scan({ where: col("key").eq(row.key) }).toArray(), [row]);
        assert.deepEqual(
          await table.scan({ range: { to: { key: row.key } } }).toArray(),
          rows.slice(0, row.n),
        );
        assert.deepEqual(
          await table.scan({ range: { from: { key: row.key } } }).toArray(),
          rows.slice(row.n),
        );
      }
    }
    await table.delete([{ key: ordered[0] }]);
    assert.equal(await table.get({ key: ordered[0] }), undefined);
    assert.equal(await table.scan().count(), rows.length - 1);
  });
}

const refused = [
  ["int8", 128],
  ["int8", 1.5],
  ["int8", "1"],
  ["int32", 2 ** 31],
  ["int64", 2 ** 53],
  ["int64", 2n ** 63n],
  ["uint64", -1n],
  ["uint64", -1],
  ["float64", 1n],
  ["float64", "1"],
  ["bool", 1],
  ["utf8", 1],
  ["utf8", "\uD800"],
  ["binary", "text"],
  ["binary", [1, 2]],
  ["fixed_size_binary[3]", bytes(1)],
  ["timestamp[s]", new Date(1)],
  ["timestamp[ms]", new Date(NaN)],
  ["timestamp[ms]", "2001-01-01"],
  ["date32", new Date(1)],
  ["decimal128(5, 2)", "1.234"],
  ["decimal128(5, 2)", "x"],
  ["decimal128(5, 2)", 10n ** 5n],
  ["list<int32>", 5],
  ["list<int32>", ["a"]],
  ["fixed_size_list<int32, 2>", [1]],
  ["struct<a: int32>", { b: 1 }],
  ["struct<a: int32>", 5],
  ["map<utf8, int32>", 5],
  ["dictionary<int32, utf8>", 5],
];

for (const [type, value] of refused) {
  const shown = typeof value === "bigint" ? `${value}n` : JSON.stringify(value);
  test(`${type} refuses ${shown}, naming the column`, async (t) => {
    const db = await open({ data: memory() });
    t.after(() => db.close());
    const table = await db.table("values", { schema: { id: "int32", value: type }, primaryKey: ["id"] });
    const rows = [
      { id: 0, value: null },
      { id: 1, value },
    ];
    await assert.rejects(table.ingest(rows), { name: "LakeshoreError", code: "Invalid", message: /value/ });
    assert.equal(await table.scan().count(), 0);
  });
}

test("a composite key orders by its columns in turn", async (t) => {
  const db = await open({ data: memory() });
  t.after(() => db.close());
  const schema = { text: "utf8", b: "binary", n: "int16", value: "int32" };
  const table = await db.table("composite", { schema, primaryKey: ["b", "text", "n"] });
  const rows = [
    { text: "b", b: bytes(), n: 1, value: 1 },
    { text: "", b: bytes(0), n: -1, value: 2 },
    { text: "", b: bytes(0), n: 1, value: 3 },
    { text: "a", b: bytes(0), n: 0, value: 4 },
    { text: "", b: bytes(0, 0), n: 0, value: 5 },
  ];
  await table.ingest([...rows].reverse());
  assert.deepEqual(await table.scan().toArray(), rows);
  assert.deepEqual(await table.get({ n: 1, b: bytes(0), text: "" }), rows[2]);
  await table.delete([{ b: bytes(0), text: "", n: 1 }]);
  assert.equal(await table.scan().count(), 4);
});
