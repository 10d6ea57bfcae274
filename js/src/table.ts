// One table of an open database.

import { abortable } from "./abort.js";
import type { Column, Field } from "./columns/column.js";
import { decodeRows } from "./columns/decode.js";
import { encodeRows } from "./columns/encode.js";
import { invalid, LakeshoreError } from "./errors.js";
import { classify, type Commit, itemCommit } from "./input.js";
import { Predicate } from "./predicate.js";
import type { Handle, RawCommitted, RawSchema, RawTable } from "./raw.js";
import { Scan } from "./scan.js";
import type { ColumnInfo, Committed, IngestInput, IngestOptions, Key, Row, ScanOptions } from "./types.js";

/** Makes a commit of columns or of bytes. */
interface Way {
  fields: readonly Field[];
  ipc(bytes: Uint8Array): Promise<RawCommitted>;
  columns(columns: Column[], rows: number): Promise<RawCommitted>;
}

/** One table. Calls on it may overlap; ingests and deletes commit in call order. */
export class Table<R extends Row = Row> {
  /** Its name. */
  readonly name: string;
  /** Its columns, in order. */
  readonly columns: readonly ColumnInfo[];
  /** The columns that identify a row, in order. */
  readonly primaryKey: readonly string[];
  private readonly raw: Handle<RawTable>;
  private readonly fields: readonly Field[];
  private readonly keyFields: readonly Field[];

  /** @internal */
  constructor(raw: Handle<RawTable>, name: string, schema: RawSchema) {
    this.raw = raw;
    this.name = name;
    this.fields = schema.fields;
    this.columns = columnInfos(schema);
    this.primaryKey = schema.primaryKey;
    this.keyFields = schema.primaryKey.map((key) => schema.fields.find((field) => field.name === key)!);
  }

  /**
   * Inserts rows; one whose key is there replaces the old row. Bytes of an Arrow IPC stream or file, something that
   * gives them, or an array of rows are one atomic commit; a stream of these is one commit per item, and an error
   * says in `committed` how many went in. Resolves once the rows are durable.
   */
  ingest(input: IngestInput, options: IngestOptions = {}): Promise<Committed> {
    return this.write(input, options, {
      fields: this.fields,
      ipc: (bytes) => this.raw.call("ingestIpc", bytes),
      columns: (columns, rows) => this.raw.call("ingestColumns", columns, rows),
    });
  }

  /** Deletes rows by key; one that is not there is no error. Takes keys as `ingest` takes rows. */
  delete(keys: IngestInput | readonly Key[], options: IngestOptions = {}): Promise<Committed> {
    return this.write(keys, options, {
      fields: this.keyFields,
      ipc: (bytes) => this.raw.call("deleteIpc", bytes),
      columns: (columns, rows) => this.raw.call("deleteColumns", columns, rows),
    });
  }

  /** The row of a key, or undefined. */
  async get(
    key: Key,
    options: { select?: readonly string[]; signal?: AbortSignal } = {},
  ): Promise<R | undefined> {
    options.signal?.throwIfAborted();
    const columns = encodeRows(this.keyFields, [key]);
    const select = options.select && [...options.select];
    const found = await abortable(this.raw.call("get", columns, select), options.signal);
    return found && (decodeRows(found.fields, found.columns, found.rows)[0] as R | undefined);
  }

  /**
   * Reads rows in key order, as of now. Nothing is read before the result is iterated, and what is wrong with the scan
   * is said then.
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
      from: range?.from && encodeRows(this.keyFields, [range.from]),
      to: range?.to && encodeRows(this.keyFields, [range.to]),
      limit,
      reverse: reverse ?? false,
      batchRows,
    };
    const empty = () => this.raw.call("emptyIpc", spec.select);
    return new Scan<R>(this.raw.start("scan", spec), empty, signal);
  }

  private async write(input: unknown, options: IngestOptions, way: Way): Promise<Committed> {
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    const commits = classify(input);
    const total: Committed = { commits: 0, rows: 0, timestamp: undefined, uploaded: true };
    const add = (done: RawCommitted) => {
      total.commits += 1;
      total.rows += done.rows;
      total.timestamp = done.timestamp;
      total.uploaded = done.uploaded;
      onProgress?.({ commits: total.commits, rows: total.rows });
    };
    if ("one" in commits) add(await abortable(this.commit(commits.one, way), signal));
    else await this.commitMany(commits.many, way, signal, total, add);
    return total;
  }

  private async commitMany(
    items: AsyncIterable<unknown> | Iterable<unknown>,
    way: Way,
    signal: AbortSignal | undefined,
    total: Committed,
    add: (done: RawCommitted) => void,
  ): Promise<void> {
    try {
      for await (const item of items) {
        signal?.throwIfAborted();
        add(await abortable(this.commit(itemCommit(item, total.commits), way), signal));
      }
      signal?.throwIfAborted();
    } catch (error) {
      if (error instanceof LakeshoreError) error.committed = total.commits;
      throw error;
    }
  }

  private commit(commit: Commit, way: Way): Promise<RawCommitted> {
    if ("bytes" in commit) return way.ipc(commit.bytes);
    const columns = encodeRows(way.fields, commit.rows);
    return way.columns(columns, commit.rows.length);
  }
}

/** @internal */
export function columnInfos(schema: RawSchema): ColumnInfo[] {
  return schema.fields.map(({ name, type, nullable }) => ({ name, type: type.text, nullable }));
}
