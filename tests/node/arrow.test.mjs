// Tables of apache-arrow as they are in memory, right ones and such as only look like one.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Bool,
  Dictionary,
  Field,
  FixedSizeList,
  Float64,
  Int32,
  Int64,
  List,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table as ArrowTable,
  tableFromArrays,
  tableToIPC,
  Timestamp,
  TimeUnit,
  Utf8,
  vectorFromArray,
} from "apache-arrow";
import { LakeshoreError, memory, open } from "lakeshore";

const definition = { schema: { id: "int64", text: "utf8" }, primaryKey: ["id"] };

async function opened(t, schema = definition.schema) {
  const db = await open({ data: memory() });
  t.after(() => db.close());
  return { db, table: await db.table("rows", { ...definition, schema }) };
}

async function refused(call, ...messages) {
  const error = await (async () => call())().then(
    (done) => assert.fail(`it was not refused: ${call}: ${JSON.stringify(done, shown)}`),
    (error) => error,
  );
  assert.ok(error instanceof LakeshoreError, `${call}: ${String(error?.stack ?? error)}`);
  assert.equal(error.code, "Invalid", `${call}: ${error.message}`);
  for (const message of messages) assert.match(error.message, message, String(call));
}

const shown = (_, value) => (typeof value === "bigint" ? `${value}n` : value);
const ids = (...of) => vectorFromArray(of.map(BigInt), new Int64());
const right = () => new ArrowTable({ id: ids(1, 2), text: vectorFromArray(["a", "b"], new Utf8()) });
const plain = (object, change) => Object.assign(Object.create(Object.getPrototypeOf(object)), object, change);

test("a table with holes, or whose arrays are not what they say, ends no engine", async (t) => {
  const { table } = await opened(t);
  const [batch] = right().batches;
  const { schema, data } = batch;
  const [idField] = schema.fields;
  const huge = () => Object.assign(new Array(2 ** 32 - 1), { 0: batch });
  const revoked = () => {
    const { proxy, revoke } = Proxy.revocable([], {});
    revoke();
    return proxy;
  };
  const of = (change) => ({ schema, numRows: 2, data, ...change });
  const cases = [
    () => table.ingest({ schema: { fields: [idField] }, batches: [,] }), // prettier-ignore
    () => table.ingest({ schema, batches: [batch, , ,] }), // prettier-ignore
    () => table.ingest({ schema, batches: huge() }),
    () => table.ingest({ schema, batches: revoked() }),
    () => table.ingest({ schema: { fields: [,] }, batches: [] }), // prettier-ignore
    () => table.ingest({ schema: { fields: new Array(2 ** 32 - 1) }, batches: [] }),
    () => table.ingest({ schema: { fields: [undefined] }, batches: [batch] }),
    () => table.ingest({ schema, batches: [batch, of({ schema: { fields: [,] } })] }), // prettier-ignore
    () => table.ingest(of({ data: plain(data, { children: [,] }) })), // prettier-ignore
    () => table.ingest(of({ data: plain(data, { children: [data.children[0], ,] }) })), // prettier-ignore
    () => table.ingest(of({ data: plain(data, { children: [] }) })),
    () => table.ingest(of({ data: plain(data, { children: new Array(2 ** 32 - 1) }) })),
    () => table.ingest(of({ numRows: 2 ** 53 })),
    () => table.ingest(of({ numRows: undefined })),
    () => table.ingest(of({ numRows: 3 })),
  ];
  for (const call of cases) await refused(call);
  assert.equal(await table.scan().count(), 0);
  const error = await table.ingest([batch, ,]).catch((error) => error); // prettier-ignore
  assert.deepEqual([error.code, error.committed], ["Invalid", 1]);
  // Methods of the array are nobody's: what it holds is what counts.
  for (const [i, map] of [() => null, () => 5].entries()) {
    const batches = Object.assign([batch], { map, every: () => true, [Symbol.iterator]: map });
    assert.equal((await table.ingest({ schema, batches })).rows, 2, String(i));
  }
  assert.equal(await table.scan().count(), 2);
});

test("data that does not match its type is refused, and never read as something else", async (t) => {
  const { table } = await opened(t);
  const batch = right().batches[0];
  const { schema, data } = batch;
  const [id, text] = data.children;
  const withText = (text) => ({ schema, numRows: 2, data: plain(data, { children: [id, text] }) });
  const list = vectorFromArray([["a"], ["b"]], new List(new Field("item", new Utf8()))).data[0];
  const struct = vectorFromArray([{ a: 1 }, { a: 2 }], new Struct([new Field("a", new Int32())])).data[0];
  const floats = vectorFromArray([1.5, 2.5], new Float64()).data[0];
  const bytes = (view) => new view.constructor(view.buffer, view.byteOffset, 1);
  const of = (name, column) =>
    new RecordBatch(
      new Schema([new Field("id", new Int64()), new Field(name, column.type, true)]),
      makeData({
        type: new Struct([new Field("id", new Int64()), new Field(name, column.type, true)]),
        children: [id, column],
      }),
    );
  const changed = (column, change) => of("text", plain(column, change));
  const cases = [
    () => table.ingest(withText(floats)),
    () => table.ingest(withText(undefined)),
    () => table.ingest(withText(plain(text, { valueOffsets: undefined }))),
    () => table.ingest(withText(plain(text, { valueOffsets: Int32Array.of(0, 1) }))),
    () => table.ingest(withText(plain(text, { valueOffsets: Int32Array.of(2, 1, 0) }))),
    () => table.ingest(withText(plain(text, { valueOffsets: Int32Array.of(0, 1, 2 ** 30) }))),
    () => table.ingest(withText(plain(text, { valueOffsets: "offsets" }))),
    () => table.ingest(withText(plain(text, { values: undefined }))),
    () => table.ingest(withText(plain(text, { length: 2 ** 31 - 1 }))),
    () => table.ingest(withText(plain(text, { length: -1 }))),
    () => table.ingest(changed(list, { children: [] })),
    () => table.ingest(changed(list, { children: [,] })), // prettier-ignore
    () => table.ingest(changed(list, { children: [{}] })),
    () => table.ingest(changed(struct, { children: [] })),
    () => table.ingest(changed(struct, { children: [...struct.children, ...struct.children] })),
    () => table.ingest({ schema, numRows: 2, data: plain(data, { children: [plain(id, { values: bytes(id.values) }), text] }) }), // prettier-ignore
    () => table.ingest({ schema: { fields: [schema.fields[0]] }, numRows: 2, data }),
    () => table.ingest({ schema, batches: [batch, of("other", text)] }),
    () => table.ingest({ schema, batches: [batch, of("text", floats)] }),
  ];
  for (const call of cases) await refused(call);
  assert.equal(await table.scan().count(), 0);
  await table.ingest(right());
  assert.equal(await table.scan().count(), 2);
});

test("a type that has no end, or more parts than can be written, is refused at once", async (t) => {
  const { table } = await opened(t);
  const { data } = right().batches[0];
  const cyclic = { typeId: 13, children: [] };
  cyclic.children.push({ name: "a", type: cyclic }, { name: "b", type: cyclic });
  let wide = new Int32();
  for (let depth = 0; depth < 12; depth++)
    wide = { typeId: 13, children: Array.from({ length: 50 }, (_, i) => ({ name: `m${i}`, type: wide })) };
  for (const type of [cyclic, wide, { typeId: 12, children: [,] }, { typeId: 12 }, null, 5]) {
    // prettier-ignore
    const field = { name: "id", type, nullable: true };
    const error = await table.ingest({ schema: { fields: [field] }, numRows: 1, data }).catch((e) => e);
    assert.ok(["Invalid", "Unsupported"].includes(error.code), String(error));
  }
});

test("names and time zones that would not come back as they are, are refused", async (t) => {
  const { table } = await opened(t);
  const half = "a\ud800b";
  const moment = (timezone) => {
    const type = new Timestamp(TimeUnit.MICROSECOND, timezone);
    return vectorFromArray([new Date(0)], type);
  };
  const struct = (name) => vectorFromArray([{ [name]: 1 }], new Struct([new Field(name, new Int32())]));
  await refused(() => table.ingest(new ArrowTable({ id: ids(1), [half]: ids(1) })), /surrogate/);
  await refused(() => table.ingest(new ArrowTable({ id: ids(1), text: struct(half) })), /surrogate/);
  for (const zone of [half, "UTC], x: int32", "a, b", "<", "z\0", "x".repeat(1000)])
    await refused(() => table.ingest(new ArrowTable({ id: ids(1), text: moment(zone) })), /time zone/);
});

test("an ordinary table is taken, with text by dictionary, nulls and slices", async (t) => {
  const schema = { id: "int64", text: "utf8", n: "float64", flag: "bool", words: "list<utf8>" };
  const { db, table } = await opened(t, schema);
  const count = 40;
  const texts = Array.from({ length: count }, (_, i) => (i % 7 === 3 ? null : `text ${i % 5}`));
  const flags = texts.map((_, i) => (i % 5 === 0 ? null : i % 2 === 0));
  const words = texts.map((text, i) => (i % 11 === 5 ? null : [text, `word ${i}`]));
  const arrays = {
    id: BigInt64Array.from(texts, (_, i) => BigInt(i)),
    text: texts,
    n: Float64Array.from(texts, (_, i) => i / 2),
  };
  const all = tableFromArrays(arrays);
  // What the library makes of texts is a dictionary.
  assert.ok(all.schema.fields[1].type instanceof Dictionary);
  const whole = all.assign(
    new ArrowTable({
      flag: vectorFromArray(flags, new Bool()),
      words: vectorFromArray(words, new List(new Field("item", new Utf8(), true))),
    }),
  );
  const expected = (i) => ({
    ...{ id: BigInt(i), text: texts[i], n: i / 2 },
    ...{ flag: flags[i], words: words[i] },
  });
  for (const [name, given, from, to] of [
    ["all", whole, 0, count],
    ["a slice", whole.slice(3, 30), 3, 30],
    ["one byte further", whole.slice(9, 25), 9, 25],
    ["none", whole.slice(5, 5), 5, 5],
    ["a batch", whole.batches[0], 0, count],
    ["IPC", tableToIPC(whole.slice(3, 30)), 3, 30],
  ]) {
    const one = await db.table(name, { schema, primaryKey: ["id"] });
    await one.ingest(given);
    const rows = Array.from({ length: to - from }, (_, i) => expected(from + i));
    assert.deepEqual(await one.scan().toArray(), rows, name);
  }
  await table.ingest(whole);
  await table.delete(whole.select(["id"]).slice(0, 10));
  assert.equal(await table.scan().count(), count - 10);
  const tx = await db.begin();
  assert.equal(await tx.table("rows").ingest(whole.slice(0, 5)), 5);
  await tx.commit();
  assert.equal(await table.scan().count(), count - 5);
});

test("columns that are shorter than others end in nulls, as the library has them", async (t) => {
  const schema = { id: "int64", text: "utf8", n: "float64", flag: "bool", words: "list<utf8>" };
  const { table } = await opened(t, schema);
  const given = new ArrowTable({
    id: vectorFromArray([1n, 2n, 3n], new Int64()),
    text: vectorFromArray(["a"], new Utf8()),
    n: vectorFromArray([1.5], new Float64()),
    flag: vectorFromArray([true], new Bool()),
    words: vectorFromArray([["b"]], new List(new Field("item", new Utf8(), true))),
  });
  await table.ingest(given);
  const none = { text: null, n: null, flag: null, words: null };
  assert.deepEqual(await table.scan().toArray(), [
    { id: 1n, text: "a", n: 1.5, flag: true, words: ["b"] },
    { id: 2n, ...none },
    { id: 3n, ...none },
  ]);
});

test("dictionaries within lists and structs are taken, too", async (t) => {
  const words = new Dictionary(new Utf8(), new Int32());
  const { table } = await opened(t, {
    id: "int64",
    text: "struct<word: utf8>",
    both: "fixed_size_list<int32, 2>",
  });
  const struct = new Struct([new Field("word", words, true)]);
  const given = new ArrowTable({
    id: ids(1, 2, 3),
    text: vectorFromArray([{ word: "a" }, { word: null }, { word: "a" }], struct),
    both: vectorFromArray([[1, 2], null, [5, 6]], new FixedSizeList(2, new Field("item", new Int32(), true))),
  });
  await table.ingest(given);
  assert.deepEqual(
    (await table.scan().toArray()).map(({ text, both }) => [text.word, both]),
    [["a", [1, 2]], [null, null], ["a", [5, 6]]], // prettier-ignore
  );
});
