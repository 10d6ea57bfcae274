// Types of the grammar to depth 3, by seed: what is taken comes back on every path, as rows, and as Arrow IPC through
// apache-arrow and pyarrow; what is not is refused at table(), saying what to do.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tableFromIPC, tableToIPC } from "apache-arrow";
import { col, directory, open } from "lakeshore";
import { runPython } from "./support/fixtures.mjs";
import { random, temporary } from "./support/process.mjs";

const next = random();
const below = (n) => Math.floor(next() * n);
const pick = (list) => list[below(list.length)];
const bits = (n) => {
  let value = 0n;
  for (let i = 0; i < n; i += 16) value = (value << 16n) | BigInt(below(65536));
  return value;
};
const signed = (n) => () => BigInt.asIntN(n, bits(n));
const whole = (low, high) => () => low + below(high - low + 1);
const digits = (n) => () => (next() < 0.5 ? 1n : -1n) * (bits(256) % 10n ** BigInt(n));
const real = () => pick([0, -0, 1.5, -2.25, NaN, Infinity, -Infinity, below(2048)]);
const text = () => pick(["", "a", "plain text", "é", "日本", "\u{1F600}", "a\0b", `k${below(100)}`]);
const bytes = (n) => () => Uint8Array.from({ length: n ?? below(5) }, () => below(256));
const day = () => new Date((below(40000) - 20000) * 86_400_000);
const moment = (unit) => () => new Date((below(4e9) - 2e9) * unit);

/** Types that hold no others → a value as it comes out, which must go in. */
const leaves = {
  bool: () => next() < 0.5,
  int8: whole(-128, 127),
  int16: whole(-32768, 32767),
  int32: whole(-2147483648, 2147483647),
  int64: signed(64),
  uint8: whole(0, 255),
  uint16: whole(0, 65535),
  uint32: whole(0, 4294967295),
  uint64: () => bits(64),
  float16: real,
  float32: real,
  float64: real,
  "decimal32(9, 2)": digits(9),
  "decimal64(18, 4)": digits(18),
  "decimal128(38, 10)": digits(38),
  "decimal256(76, 0)": digits(76),
  date32: day,
  date64: day,
  "time32[s]": whole(0, 86399),
  "time32[ms]": whole(0, 86399999),
  "time64[us]": () => BigInt(below(86399999999)),
  "time64[ns]": () => BigInt(below(86399999999999)),
  "timestamp[s]": moment(1000),
  "timestamp[s, UTC]": moment(1000),
  "timestamp[ms]": moment(1),
  "timestamp[us, Europe/Berlin]": signed(64),
  "timestamp[ns]": signed(64),
  "duration[s]": signed(64),
  "duration[ms]": signed(64),
  "duration[us]": signed(64),
  "duration[ns]": signed(64),
  utf8: text,
  large_utf8: text,
  binary: bytes(),
  large_binary: bytes(),
  "fixed_size_binary[3]": bytes(3),
};

const indices = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"];

/** A type and how to make a value of it. */
function leaf() {
  const [name, value] = pick(Object.entries(leaves));
  return { name, value };
}

function sample(depth) {
  if (depth <= 1) return leaf();
  const inner = next() < 0.85 ? sample(depth - 1) : leaf();
  const sure = next() < 0.4;
  const mark = sure ? " not null" : "";
  const item = () => (!sure && next() < 0.2 ? null : inner.value());
  const some = () => Array.from({ length: below(4) }, item);
  switch (below(7)) {
    case 0:
      return { name: `list<${inner.name}${mark}>`, value: some };
    case 1:
      return { name: `large_list<${inner.name}${mark}>`, value: some };
    case 2:
      return { name: `fixed_size_list<${inner.name}${mark}, 2>`, value: () => [item(), item()] };
    case 3: {
      const more = sample(depth - 1);
      const other = pick(["constructor", "b", "toString", "x y"]);
      const value = () => ({ a: item(), [other]: next() < 0.3 ? null : more.value() });
      return { name: `struct<a: ${inner.name}${mark}, "${other}": ${more.name}>`, value };
    }
    case 4:
      return {
        name: `map<utf8, ${inner.name}${mark}>`,
        value: () => new Map(some().map((value, i) => [`k${i}`, value])),
      };
    case 5: {
      // A map of JavaScript tells keys that are objects by who they are.
      const key = pick(["int32", "int64", "utf8", "bool"]);
      return { name: `map<${key}, ${inner.name}${mark}>`, value: () => new Map([[leaves[key](), item()]]) };
    }
    default: {
      const { name, value } = leaf();
      return { name: `dictionary<${pick(indices)}, ${name}>`, value };
    }
  }
}

function rowsOf(types, count, from = 0) {
  return Array.from({ length: count }, (_, id) => {
    const row = { id: from + id };
    types.forEach(({ value }, i) => (row[`c${i}`] = next() < 0.2 ? null : value()));
    return row;
  });
}

async function check(table, wanted, when) {
  const equal = (found, wanted, how) => assert.deepStrictEqual(found, wanted, `${when}, ${how}`);
  equal(await table.scan().toArray(), wanted, "forwards");
  equal((await table.scan({ reverse: true }).toArray()).reverse(), wanted, "backwards");
  equal(await table.scan({ batchRows: 3 }).toArray(), wanted, "in small batches");
  const id = below(20);
  const later = wanted.filter((row) => row.id >= id);
  equal(await table.scan({ where: col("id").gte(id) }).toArray(), later, "filtered");
  const none = wanted.filter((row) => row.c0 === null);
  equal(await table.scan({ where: col("c0").isNull() }).toArray(), none, "where null");
  equal(await table.get({ id: wanted[0].id }), wanted[0], "by key");
}

/** Through apache-arrow: its bytes of our bytes; undefined where it does not know the type. */
function throughArrow(ipc) {
  try {
    return tableToIPC(tableFromIPC(ipc), "stream");
  } catch (error) {
    if (/unrecognized|not implemented|unsupported/i.test(String(error))) return undefined;
    throw error;
  }
}

async function round(t, types, folder, at) {
  const data = directory(temporary(t));
  const wal = directory(temporary(t));
  let db = await open({ data, wal });
  const schema = { id: "int32" };
  types.forEach(({ name }, i) => (schema[`c${i}`] = name));
  let table = await db.table("t", { schema, primaryKey: ["id"] });
  let wanted = rowsOf(types, 20);
  await table.ingest(wanted);
  await check(table, wanted, "in memory");
  await db.close();
  db = await open({ data, wal });
  table = await db.table("t");
  await check(table, wanted, "replayed");
  await db.flush();
  await check(table, wanted, "in a file");
  const snapshot = await db.snapshot();
  const then = wanted;
  const more = rowsOf(types, 15, 10);
  await db.transaction(async (tx) => {
    const inside = await tx.table("t");
    await inside.ingest(more);
    await check(inside, (wanted = [...wanted.slice(0, 10), ...more]), "in a transaction");
  });
  await check(table, wanted, "file and memory");
  await db.flush();
  await check(table, wanted, "two files");
  await check(await snapshot.table("t"), then, "a snapshot");

  const ipc = await table.scan().toIPC();
  writeFileSync(join(folder, `${at}.arrow`), ipc);
  const arrow = throughArrow(ipc);
  if (arrow !== undefined) {
    const copy = await db.table("copy", { schema, primaryKey: ["id"] });
    await copy.ingest(arrow);
    await check(copy, wanted, "through apache-arrow");
  }
  await db.alterTable("t", [{ addColumn: "added", type: types[0].name }]);
  const altered = await db.table("t");
  wanted = wanted.map((row) => ({ ...row, added: null }));
  await check(altered, wanted, "altered");
  return { db, schema, wanted: wanted.map(({ added: _, ...row }) => row), arrow: arrow !== undefined };
}

test("types to depth 3 come back as rows, through apache-arrow and through pyarrow", async (t) => {
  const folder = join(temporary(t), "ipc");
  mkdirSync(folder);
  const runs = [];
  const until = Date.now() + 1000 * Number(process.env.TEST_SECONDS ?? 20);
  const each = Object.entries(leaves).map(([name, value]) => ({ name, value }));
  const dictionaries = each.map(({ name, value }) => ({ name: `dictionary<int32, ${name}>`, value }));
  const planned = [each, dictionaries];
  while (planned.length > 0 || Date.now() < until) {
    const types = planned.shift() ?? Array.from({ length: 12 }, () => sample(3));
    try {
      runs.push(await round(t, types, folder, runs.length));
    } catch (error) {
      error.message = `${types.map(({ name }) => name).join("; ")}: ${error.message}`;
      throw error;
    }
  }
  // pyarrow checks all it was given and writes it anew.
  const script = `
import sys, glob, pyarrow as pa
for path in glob.glob(sys.argv[1] + "/*.arrow"):
    table = pa.ipc.open_stream(open(path, "rb")).read_all()
    table.validate(full=True)
    with pa.ipc.new_stream(path + ".again", table.schema) as writer:
        writer.write_table(table)
print(pa.__version__)`;
  const version = runPython("-c", script, folder).trim();
  for (const [at, { db, schema, wanted }] of runs.entries()) {
    const copy = await db.table("python", { schema, primaryKey: ["id"] });
    await copy.ingest(new Uint8Array(readFileSync(join(folder, `${at}.arrow.again`))));
    await check(copy, wanted, "through pyarrow");
    await db.close();
  }
  const types = runs.reduce((sum, { schema }) => sum + Object.keys(schema).length - 1, 0);
  const through = runs.filter(({ arrow }) => arrow).length;
  console.log(`${types} types in ${runs.length} tables; ${through} through apache-arrow; pyarrow ${version}`);
});

const refused = {
  "fixed_size_binary[0]": "Invalid",
  "fixed_size_list<int32, 0>": "Invalid",
  "decimal128(9, -2)": "Unsupported",
  "list<struct<a: decimal128(9, -2)>>": "Unsupported",
  "dictionary<int32, list<int32>>": "Unsupported",
  "list<dictionary<int8, struct<a: int32>>>": "Unsupported",
  "dictionary<int32, dictionary<int32, utf8>>": "Unsupported",
};
for (const [type, code] of Object.entries(refused)) {
  test(`${type} is refused at table() and by alterTable(), naming the column`, async (t) => {
    const db = await open({ data: directory(temporary(t)) });
    t.after(() => db.close());
    const make = () => db.table("t", { schema: { id: "int32", v: type }, primaryKey: ["id"] });
    await assert.rejects(make(), { name: "LakeshoreError", code, message: /"v"/ });
    await db.table("t", { schema: { id: "int32" }, primaryKey: ["id"] });
    const add = db.alterTable("t", [{ addColumn: "v", type }]);
    await assert.rejects(add, { name: "LakeshoreError", code, message: /"v"/ });
  });
}
