// One table of an open database.

import { abortable, throwIfAborted } from "./abort.js";
import { checkOptions, only } from "./door/options.js";
import { ingestOptions } from "./door/tables.js";
import { LakeshoreError } from "./errors.js";
import { classify, type Commit, itemCommit, itemsUntil } from "./input.js";
import type { Handle, RawCommitted, RawSchema, RawTable } from "./raw.js";
import { keyFields, TableReader } from "./reader.js";
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
   * item, and an error says in `committed` how many went in: also one that the stream itself threw, and the signal's
   * reason, if they are objects. Resolves once the rows are durable.
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
    const known = this.schema;
    try {
      return await write(commit, way());
    } catch (error) {
      if (!("rows" in commit) || !(error instanceof LakeshoreError && error.code === "Invalid")) throw error;
      const schema = await this.raw.call("schema");
      if (schema.version === (known.version ?? 0)) throw error;
      this.schema = schema;
      return write(commit, way());
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
      for await (const item of itemsUntil(items, signal)) {
        throwIfAborted(signal);
        add(await abortable(this.write(itemCommit(item, total.commits), way), signal));
      }
      throwIfAborted(signal);
    } catch (error) {
      throw brokenOff(error, total.commits);
    }
  }
}

/** The error of a stream that broke off, with how many of its items went in. */
function brokenOff(error: unknown, committed: number): unknown {
  // Ours may be told to other calls, too, whose streams broke off elsewhere, or that have none.
  if (error instanceof LakeshoreError) {
    const { code, message, cause } = error;
    const own = new LakeshoreError(code, message, cause === undefined ? undefined : { cause });
    return Object.assign(own, { committed });
  }
  // The caller's own error, or the reason of the signal, passes as it is, unless it can't carry anything.
  try {
    if (typeof error === "object" && error !== null) Object.assign(error, { committed });
  } catch {
    // It is frozen.
  }
  return error;
}
