// One table of an open database.

import { abortable, throwIfAborted } from "./abort.js";
import { brokenOff } from "./broken.js";
import type { Column } from "./columns/column.js";
import { checkOptions, only } from "./door/options.js";
import { ingestOptions } from "./door/tables.js";
import { isOurs } from "./door/values.js";
import { cancelUnread, classify, type Commit, itemCommit, itemsUntil } from "./input.js";
import type { Handle, RawCommitted, RawSchema, RawTable } from "./raw.js";
import { keyFields, TableReader } from "./reader.js";
import { type Again, kept, ofColumns, ofRows } from "./refit.js";
import type { Committed, IngestInput, IngestOptions, KeyIn, NewRow, Row } from "./types.js";
import { type Way, write } from "./write.js";

/** How to write, by what is known of the schema now. */
type Choice = () => Way<RawCommitted>;

/** One table. Calls on it may overlap; ingests and deletes commit in call order. */
export class Table<
  R extends object = Row,
  K extends object = KeyIn<R>,
  W extends object = NewRow<R>,
> extends TableReader<R, K> {
  private readonly raw: Handle<RawTable>;

  /** @internal */
  constructor(raw: Handle<RawTable>, name: string, schema: RawSchema) {
    super(raw, name, schema);
    this.raw = raw;
  }

  /**
   * Inserts rows; one whose key is there replaces the old row. Bytes of an Arrow IPC stream or file, something that
   * gives them, a table of apache-arrow, or an array of rows are one atomic commit; a stream of these is one commit per
   * item, and an error says in `committed` how many went in: also one that the stream itself threw. Of the signal's
   * reason, which others are told, too, it is a copy, whose `cause` is the reason. Resolves once the rows are durable.
   */
  async ingest(input: IngestInput<W>, options: IngestOptions = {}): Promise<Committed> {
    only(arguments, 2, "ingest()");
    return this.commit("ingest()", input, options, () => {
      const { fields, version } = this.schema;
      return {
        fields,
        ipc: (bytes) => this.raw.call("ingestIpc", bytes),
        arrow: ({ fields, batches }) => this.raw.call("ingestArrow", fields, batches),
        columns: (columns, rows) => this.raw.call("ingestColumns", columns, rows, version ?? 0),
      };
    });
  }

  /** Deletes rows by key; one that is not there is no error. Takes keys as `ingest` takes rows. */
  async delete(keys: IngestInput<K>, options: IngestOptions = {}): Promise<Committed> {
    only(arguments, 2, "delete()");
    return this.commit("delete()", keys, options, () => ({
      fields: keyFields(this.schema),
      ipc: (bytes) => this.raw.call("deleteIpc", bytes),
      arrow: ({ fields, batches }) => this.raw.call("deleteArrow", fields, batches),
      columns: (columns, rows) => this.raw.call("deleteColumns", columns, rows),
    }));
  }

  private async commit(call: string, input: unknown, options: unknown, way: Choice): Promise<Committed> {
    const { signal, onProgress } = checkOptions(call, options, ingestOptions);
    if (signal?.aborted === true) cancelUnread(input, signal.reason);
    throwIfAborted(signal);
    const commits = classify(input);
    const total: Committed = { commits: 0, rows: 0, timestamp: undefined, uploaded: true };
    const add = (done: RawCommitted) => {
      total.commits += 1;
      total.rows += done.rows;
      total.timestamp = done.timestamp;
      total.uploaded = done.uploaded;
      if (done.position !== undefined) total.position = done.position;
      onProgress?.({ commits: total.commits, rows: total.rows });
    };
    if ("one" in commits) add(await abortable(this.write(commits.one, way), signal));
    else await this.commitMany(commits.many, way, signal, total, add);
    return total;
  }

  /** Rows that do not fit are fitted once more, if the table was altered meanwhile. */
  private async write(commit: Commit, way: Choice): Promise<RawCommitted> {
    if (!("rows" in commit)) return write(commit, way());
    const known = this.schema;
    let again: Again | undefined;
    const first = way();
    const columns = (columns: Column[], count: number): Promise<RawCommitted> => {
      again = ofColumns(first.fields, this.raw.givesAway ? kept(columns) : columns, count);
      return first.columns(columns, count);
    };
    try {
      return await write(commit, { ...first, columns });
    } catch (error) {
      if (!(isOurs(error) && error.code === "Invalid")) throw error;
      again ??= ofRows(commit.rows);
      const schema = await this.raw.call("schema");
      if (schema.version === (known.version ?? 0)) throw error;
      this.schema = schema;
      const rows = again();
      if (rows === undefined) throw error;
      return write({ rows: rows as Row[] }, way());
    }
  }

  private async commitMany(
    items: AsyncIterable<unknown> | Iterable<unknown>,
    way: Choice,
    signal: AbortSignal | undefined,
    total: Committed,
    add: (done: RawCommitted) => void,
  ): Promise<void> {
    try {
      for await (const { item } of itemsUntil(items, signal)) {
        throwIfAborted(signal);
        add(await abortable(this.write(itemCommit(item, total.commits), way), signal));
      }
      throwIfAborted(signal);
    } catch (error) {
      const isReason = signal?.aborted === true && error === signal.reason;
      throw brokenOff(error, total.commits, isReason);
    }
  }
}
