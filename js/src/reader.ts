// What every table can: reads, of the newest state, of a snapshot, or within a transaction.

import type { Field } from "./columns/column.js";
import { decodeRows } from "./columns/decode.js";
import { encodeRows } from "./columns/encode.js";
import { invalid } from "./errors.js";
import { Predicate } from "./predicate.js";
import type { Handle, RawSchema, RawSnapshotTable, RawTableInfo } from "./raw.js";
import { Scan } from "./scan.js";
import type { ColumnInfo, Key, Row, ScanOptions, TableInfo } from "./types.js";

/** A table that can be read: a `Table`, a `SnapshotTable` or a `TransactionTable`. Calls on it may overlap. */
export abstract class TableReader<R extends Row = Row> {
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
  async get(
    key: Key,
    options: { select?: readonly string[]; signal?: AbortSignal } = {},
  ): Promise<R | undefined> {
    options.signal?.throwIfAborted();
    const columns = encodeRows(keyFields(this.schema), [key]);
    const select = options.select && [...options.select];
    const found = await this.reads.callUntil(options.signal, "get", columns, select);
    return found && (decodeRows(found.fields, found.columns, found.rows)[0] as R | undefined);
  }

  /**
   * Reads rows in key order, as they are when this is called. Nothing is read before the result is iterated, and what
   * is wrong with the scan is said then.
   */
  scan(options: ScanOptions = {}): Scan<R> {
    const { where, select, range, limit, reverse, batchRows, signal } = options;
    signal?.throwIfAborted();
    if (where !== undefined && !(where instanceof Predicate)) {
      throw invalid('where is made with col(): { where: col("delay").gt(30) }');
    }
    const spec = {
      where: where?.spec,
      select: select && [...select],
      from: range?.from && encodeRows(keyFields(this.schema), [range.from]),
      to: range?.to && encodeRows(keyFields(this.schema), [range.to]),
      limit,
      reverse: reverse ?? false,
      batchRows,
    };
    const empty = () => this.reads.call("emptyIpc", spec.select);
    return new Scan<R>(this.reads.start("scan", spec), empty, signal);
  }
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
  if (typeof name !== "string") throw invalid("table() takes the name of a table");
  const found = tables.find((table) => table.name === name);
  if (found !== undefined) return found.schema;
  const names = tables.map((table) => table.name).join(", ");
  const there = names === "" ? "there was none" : `there are ${names}`;
  throw invalid(`no table ${JSON.stringify(name)}: ${there}; db.table() creates one`);
}
