// Transactions over several tables.

import { abortable } from "./abort.js";
import { invalid, LakeshoreError } from "./errors.js";
import { batchCommit } from "./input.js";
import type { Handle, RawDb, RawSchema, RawTableInfo, RawTransaction, RawTransactionTable } from "./raw.js";
import { keyFields, schemaIn, TableReader } from "./reader.js";
import type { Batch, BeginOptions, Committed, Key, Row, TransactionOptions } from "./types.js";
import { type Way, write } from "./write.js";

/**
 * An open transaction. It reads one snapshot and its own writes, which are in memory alone until `commit()`: ended in
 * any other way, or not at all, it leaves nothing behind.
 */
export class Transaction implements AsyncDisposable {
  private readonly raw: Handle<RawTransaction>;
  private readonly infos: RawTableInfo[];
  private readonly handles = new Map<string, Handle<RawTransactionTable>>();
  private readonly writes = new Set<Written>();
  private over = false;

  /** @internal */
  constructor(raw: Handle<RawTransaction>, tables: RawTableInfo[]) {
    this.raw = raw;
    this.infos = tables;
  }

  /** A table within the transaction; `Invalid` if there was none of that name when it began. */
  table<R extends Row = Row>(name: string): TransactionTable<R> {
    this.check();
    const schema = schemaIn(this.infos, name);
    const handle = this.handles.get(name) ?? this.raw.start("table", name);
    this.handles.set(name, handle);
    return new TransactionTable<R>(handle, name, schema, this.writes);
  }

  /**
   * Commits it: all of it becomes visible at one moment, or nothing. `Conflict` if what it depends on was changed
   * since it began: begin anew. If a write that was not awaited fails, so does this, and nothing is committed.
   */
  async commit(): Promise<Committed> {
    this.check();
    this.over = true;
    try {
      // Commits happen in call order: nothing is awaited that need not be.
      const open = [...this.writes].filter((write) => !(write.failed && write.asked));
      if (open.length > 0) await Promise.all(open);
    } catch (error) {
      await this.undo();
      throw error;
    }
    const committed = this.raw.call("commit");
    this.release();
    const done = await committed;
    return { commits: done.rows > 0 ? 1 : 0, ...done };
  }

  /** Ends it without effect. Ending it twice is no error. */
  async rollback(): Promise<void> {
    if (this.over) return;
    this.over = true;
    await this.undo();
  }

  /** For `await using`: rolls back what was not committed. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.rollback();
  }

  private check(): void {
    if (this.over) throw ended();
  }

  private async undo(): Promise<void> {
    // If the engine or the database is gone, so are the writes.
    const undone = this.raw.call("rollback").catch(() => undefined);
    this.release();
    await undone;
  }

  private release(): void {
    for (const handle of [...this.handles.values(), this.raw]) handle.drop(ended());
  }
}

/** One table within a transaction: reads see the transaction's own writes. */
export class TransactionTable<R extends Row = Row> extends TableReader<R> {
  private readonly raw: Handle<RawTransactionTable>;
  private readonly writes: Set<Written>;

  /** @internal */
  constructor(raw: Handle<RawTransactionTable>, name: string, schema: RawSchema, writes: Set<Written>) {
    super(raw, name, schema);
    this.raw = raw;
    this.writes = writes;
  }

  /** Inserts rows; one whose key is there replaces the old row. How many. They are durable once it has committed. */
  ingest(rows: Batch): Promise<number> {
    return this.put(rows, {
      fields: this.schema.fields,
      ipc: (bytes) => this.raw.call("ingestIpc", bytes),
      columns: (columns, count) => this.raw.call("ingestColumns", columns, count, 0),
    });
  }

  /** Deletes rows by key; one that is not there is no error. Takes keys as `ingest` takes rows. */
  delete(keys: Batch | readonly Key[]): Promise<number> {
    return this.put(keys, {
      fields: keyFields(this.schema),
      ipc: (bytes) => this.raw.call("deleteIpc", bytes),
      columns: (columns, count) => this.raw.call("deleteColumns", columns, count),
    });
  }

  private put(rows: Batch | readonly Key[], way: Way<number>): Promise<number> {
    const done = (async () => write(batchCommit(rows), way))();
    const written = new Written((resolve, reject) => void done.then(resolve, reject));
    this.writes.add(written);
    done.then(
      () => this.writes.delete(written),
      () => (written.failed = true),
    );
    return written;
  }
}

/** What became of a write. Whoever never asks does not know that it failed: the commit must. */
class Written extends Promise<number> {
  failed = false;
  asked = false;

  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  override then<A = number, B = never>(
    done?: ((rows: number) => A | PromiseLike<A>) | null,
    failed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.asked = true;
    return super.then(done, failed);
  }
}

function ended(): LakeshoreError {
  return invalid("the transaction has ended: begin a new one");
}

/** @internal */
export async function begin(db: Handle<RawDb>, options: BeginOptions): Promise<Transaction> {
  const { isolation = "snapshot" } = options;
  if (isolation !== "snapshot" && isolation !== "serializable") {
    throw invalid(`isolation is ${JSON.stringify(isolation)}: it takes "snapshot" or "serializable"`);
  }
  const raw = db.start("begin", isolation === "serializable");
  return new Transaction(raw, await raw.call("tables"));
}

/** Runs `run` in a transaction and commits it, anew while it conflicts. @internal */
export async function transact<T>(
  db: Handle<RawDb>,
  run: (transaction: Transaction) => T | PromiseLike<T>,
  options: TransactionOptions,
): Promise<T> {
  const { attempts = 16, signal } = options;
  if (typeof run !== "function") {
    throw invalid(
      'transaction() takes a function: async (tx) => { await tx.table("flights").ingest(rows); }',
    );
  }
  if (!Number.isSafeInteger(attempts) || attempts < 1) {
    throw invalid(`attempts is ${String(attempts)}: it takes a whole number, at least 1`);
  }
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    const transaction = await begin(db, options);
    try {
      const value = await abortable((async () => run(transaction))(), signal);
      await abortable(transaction.commit(), signal);
      return value;
    } catch (error) {
      await transaction.rollback();
      const again = error instanceof LakeshoreError && error.code === "Conflict" && attempt < attempts;
      if (!again) throw error;
    }
    await abortable(pause(attempt), signal);
  }
}

/** A random while, longer after each attempt, so that those who conflict do not meet again. */
function pause(attempt: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(2 ** attempt, 128)));
}
