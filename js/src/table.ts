// One table of an open database.

import { abortable } from "./abort.js";
import { LakeshoreError } from "./errors.js";
import { classify, type Commit, itemCommit, itemsUntil } from "./input.js";
import type { Handle, RawCommitted, RawSchema, RawTable } from "./raw.js";
import { keyFields, TableReader } from "./reader.js";
import type { Committed, IngestInput, IngestOptions, Key, Row } from "./types.js";
import { type Way, write } from "./write.js";

/** How to write, by what is known of the schema now. */
type Choice = () => Way<RawCommitted>;

/** One table. Calls on it may overlap; ingests and deletes commit in call order. */
export class Table<R extends Row = Row> extends TableReader<R> {
  private readonly raw: Handle<RawTable>;

  /** @internal */
  constructor(raw: Handle<RawTable>, name: string, schema: RawSchema) {
    super(raw, name, schema);
    this.raw = raw;
  }

  /**
   * Inserts rows; one whose key is there replaces the old row. Bytes of an Arrow IPC stream or file, something that
   * gives them, or an array of rows are one atomic commit; a stream of these is one commit per item, and an error
   * says in `committed` how many went in. Resolves once the rows are durable.
   */
  ingest(input: IngestInput, options: IngestOptions = {}): Promise<Committed> {
    return this.commit(input, options, () => {
      const { fields, version } = this.schema;
      return {
        fields,
        ipc: (bytes) => this.raw.call("ingestIpc", bytes),
        columns: (columns, rows) => this.raw.call("ingestColumns", columns, rows, version ?? 0),
      };
    });
  }

  /** Deletes rows by key; one that is not there is no error. Takes keys as `ingest` takes rows. */
  delete(keys: IngestInput | readonly Key[], options: IngestOptions = {}): Promise<Committed> {
    return this.commit(keys, options, () => ({
      fields: keyFields(this.schema),
      ipc: (bytes) => this.raw.call("deleteIpc", bytes),
      columns: (columns, rows) => this.raw.call("deleteColumns", columns, rows),
    }));
  }

  private async commit(input: unknown, options: IngestOptions, way: Choice): Promise<Committed> {
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
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
      if ("bytes" in commit || !(error instanceof LakeshoreError && error.code === "Invalid")) throw error;
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
        signal?.throwIfAborted();
        add(await abortable(this.write(itemCommit(item, total.commits), way), signal));
      }
      signal?.throwIfAborted();
    } catch (error) {
      if (error instanceof LakeshoreError) error.committed = total.commits;
      throw error;
    }
  }
}
