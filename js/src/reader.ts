// What every table can: reads, of the newest state, of a snapshot, or within a transaction.

import { throwIfAborted } from "./abort.js";
import type { Column, Field } from "./columns/column.js";
import { decodeRows } from "./columns/decode.js";
import { encodeRows } from "./columns/encode.js";
import { key as aKey } from "./door/kinds.js";
import { checkOptions, only, wrong } from "./door/options.js";
import { quoted, show } from "./door/show.js";
import { getOptions, scanOptions } from "./door/tables.js";
import { type Literal, name as nameOf, reading } from "./door/values.js";
import { invalid } from "./errors.js";
import { LaterHandle } from "./handle.js";
import { specOf } from "./predicate.js";
import type { Handle, RawBatch, RawScan, RawSchema, RawSnapshotTable, RawTableInfo } from "./raw.js";
import { Scan } from "./scan.js";
import type { ColumnInfo, ColumnName, KeyIn, Row, ScanOptions, Selected, TableInfo } from "./types.js";

/** A table that can be read: a `Table`, a `SnapshotTable` or a `TransactionTable`. Calls on it may overlap. */
export abstract class TableReader<R extends object = Row, K extends object = KeyIn<R>> {
  /** Its name. */
  readonly name: string;
  /** @internal */
  protected schema: RawSchema;
  private readonly reads: Handle<RawSnapshotTable>;

  /** @internal */
  constructor(raw: Handle<RawSnapshotTable>, name: string, schema: RawSchema) {
    this.reads = raw;
    this.name = name;
    this.schema = schema;
  }

  /** Its columns, in order. */
  get columns(): readonly ColumnInfo[] {
    return columnInfos(this.schema);
  }

  /** The columns that identify a row, in order. */
  get primaryKey(): readonly string[] {
    return this.schema.primaryKey;
  }

  /** The row of a key, or undefined. */
  async get<S extends ColumnName<R> = ColumnName<R>>(
    key: K,
    options: { select?: readonly S[]; signal?: AbortSignal } = {},
  ): Promise<Selected<R, S> | undefined> {
    only(arguments, 2, "get()");
    const { select, signal } = checkOptions("get()", options, getOptions);
    throwIfAborted(signal);
    const own = reading("the key", () => keyOf(key));
    const found = await this.find(own, select, signal);
    return found && (decodeRows(found.fields, found.columns, found.rows)[0] as Selected<R, S> | undefined);
  }

  /**
   * Reads rows in key order, as they are when this is called. Nothing is read before the result is iterated, and what
   * is wrong with the scan is said then.
   */
  scan<S extends ColumnName<R> = ColumnName<R>>(options: ScanOptions<S, K> = {}): Scan<Selected<R, S>> {
    only(arguments, 1, "scan()");
    const { where, range, signal, ...rest } = checkOptions("scan()", options, scanOptions);
    throwIfAborted(signal);
    const { select, limit, reverse = false, batchRows } = rest;
    const spec = { where: where && specOf(where), select, limit, reverse, batchRows };
    const empty = () => this.reads.call("emptyIpc", select);
    const start = (schema: RawSchema): Handle<RawScan> => {
      const [from, to] = [range?.from, range?.to].map((key) => key && encodeKey(schema, key));
      return this.reads.start("scan", { ...spec, from, to });
    };
    return new Scan<Selected<R, S>>(this.fitted(start), empty, signal);
  }

  private async find(
    key: OwnKey,
    select: string[] | undefined,
    signal: AbortSignal | undefined,
  ): Promise<RawBatch | undefined> {
    const get = (schema: RawSchema) => this.reads.callUntil(signal, "get", encodeKey(schema, key), select);
    let known: Promise<RawBatch | undefined>;
    try {
      known = get(this.schema);
    } catch (error) {
      return get(await this.newer(error));
    }
    return known;
  }

  /** What is started with keys that fit the schema, if not as it was known then as it is: a key column was renamed. */
  private fitted<T>(start: (schema: RawSchema) => Handle<T>): Handle<T> {
    try {
      return start(this.schema);
    } catch (error) {
      return new LaterHandle(this.newer(error).then(start));
    }
  }

  /** The schema as it is, if it is another than what a call failed with. */
  private async newer(failure: unknown): Promise<RawSchema> {
    const schema = await this.reads.call("schema");
    if (schema.version === (this.schema.version ?? 0)) throw failure;
    this.schema = schema;
    return schema;
  }
}

type OwnKey = Record<string, Literal>;

function keyOf(key: unknown): OwnKey {
  const own = aKey.read(key, "the key");
  if (own === wrong) throw invalid(`get() takes a key, ${aKey.takes}: it was given ${show(key)}`);
  return own;
}

/** One row of key columns, or `Invalid` if the names are others. */
function encodeKey(schema: RawSchema, key: OwnKey): Column[] {
  return reading("the key", () => encodeRows(keyFields(schema), [key]));
}

/** The key's columns, in key order. */
export function keyFields(schema: RawSchema): Field[] {
  return schema.primaryKey.map((key) => schema.fields.find((field) => field.name === key)!);
}

function columnInfos(schema: RawSchema): ColumnInfo[] {
  return schema.fields.map(({ name, type, nullable }) => ({ name, type: type.text, nullable }));
}

/** @internal */
export function tableInfos(tables: RawTableInfo[]): TableInfo[] {
  return tables.map(({ name, schema }) => ({
    name,
    columns: columnInfos(schema),
    primaryKey: schema.primaryKey,
  }));
}

/** The schema of one of `tables`, or `Invalid` listing what there is. */
export function schemaIn(tables: readonly RawTableInfo[], name: string): RawSchema {
  const of = nameOf(name, "table() takes the name of a table");
  const found = tables.find((table) => table.name === of);
  if (found !== undefined) return found.schema;
  const names = tables.map((table) => table.name).join(", ");
  const there = names === "" ? "there was none" : `there are ${names}`;
  throw invalid(`no table ${quoted(of)}: ${there}; db.table() creates one`);
}
