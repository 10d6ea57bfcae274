/// <reference lib="esnext.disposable" preserve="true" />
// Transactions over several tables.

import { abortable, throwIfAborted } from "./abort.js";
import { only } from "./door/options.js";
import { isOurs } from "./door/values.js";
import { invalid, type LakeshoreError } from "./errors.js";
import { batchCommit } from "./input.js";
import type { Handle, RawDb, RawSchema, RawTableInfo, RawTransaction, RawTransactionTable } from "./raw.js";
import { keyFields, schemaIn, TableReader } from "./reader.js";
import type { Batch, Committed, KeyIn, NewRow, Row } from "./types.js";
import { type Way, write } from "./write.js";

/**
 * An open transaction. It reads one snapshot and its own writes, which are in memory alone until `commit()`: ended in
 * any other way, or not at all, it leaves nothing behind.
 */
export class Transaction implements AsyncDisposable {
  private readonly raw: Handle<RawTransaction>;
  private readonly infos: RawTableInfo[];
  private readonly handles = new Map<string, Handle<RawTransactionTable>>();
  private readonly writes: Writes;

  /** @internal */
  constructor(raw: Handle<RawTransaction>, tables: RawTableInfo[], told = false) {
    this.raw = raw;
    this.infos = tables;
    this.writes = { over: false, told, all: new Set() };
  }

  /** A table within the transaction; `Invalid` if there was none of that name when it began. */
  table<R extends object = Row>(name: string): TransactionTable<R> {
    only(arguments, 1, "table()");
    this.check();
    const schema = schemaIn(this.infos, name);
    const handle = this.handles.get(name) ?? this.raw.start("table", name);
    this.handles.set(name, handle);
    return new TransactionTable<R>(handle, name, schema, this.writes);
  }

  /**
   * Commits it: all of it becomes visible at one moment, or nothing. `Conflict` if what it depends on was changed
   * since it began: begin anew. If a write fails that is not awaited itself (a `catch` alone does not count), so does
   * this, whenever it failed, and nothing is committed.
   */
  async commit(): Promise<Committed> {
    only(arguments, 0, "commit()");
    this.check();
    this.writes.over = true;
    // Commits happen in call order: nothing is awaited that need not be.
    for (const write of this.writes.all) write.heard();
    const lost = this.writes.all.size > 0 ? await this.lost() : undefined;
    if (lost !== undefined) {
      await this.undo();
      throw lost.reason;
    }
    const committed = this.raw.call("commit");
    this.release();
    const done = await committed;
    return { commits: done.rows > 0 ? 1 : 0, ...done };
  }

  /** Ends it without effect. Ending it twice is no error. */
  async rollback(): Promise<void> {
    only(arguments, 0, "rollback()");
    if (this.writes.over) return;
    this.writes.over = true;
    await this.undo();
  }

  /** For `await using`: rolls back what was not committed. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.rollback();
  }

  private check(): void {
    if (this.writes.over) throw ended();
  }

  /**
   * The first write that failed without anybody asking, whenever it did: as with any promise, who asks does so by the
   * time all that is ready to run has run.
   */
  private async lost(): Promise<{ reason: unknown } | undefined> {
    const writes = [...this.writes.all];
    const failed: { write: Written; reason: unknown }[] = [];
    await Promise.all(
      writes.map(async (write) => {
        const reason = await write.failure;
        if (reason !== undefined) failed.push({ write, ...reason });
      }),
    );
    const unasked = () => writes.map((write) => failed.find((one) => one.write === write && !write.asked));
    if (unasked().some((one) => one !== undefined)) await new Promise((resolve) => setTimeout(resolve));
    return unasked().find((one) => one !== undefined);
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
export class TransactionTable<
  R extends object = Row,
  K extends object = KeyIn<R>,
  W extends object = NewRow<R>,
> extends TableReader<R, K> {
  private readonly raw: Handle<RawTransactionTable>;
  private readonly writes: Writes;

  /** @internal */
  constructor(raw: Handle<RawTransactionTable>, name: string, schema: RawSchema, writes: Writes) {
    super(raw, name, schema);
    this.raw = raw;
    this.writes = writes;
  }

  /** Inserts rows; one whose key is there replaces the old row. How many. They are durable once it has committed. */
  ingest(rows: Batch<W>): Promise<number> {
    const extra = arguments;
    return this.put(() => (only(extra, 1, "ingest()"), rows), {
      fields: this.schema.fields,
      ipc: (bytes) => this.raw.call("ingestIpc", bytes),
      arrow: ({ fields, batches }) => this.raw.call("ingestArrow", fields, batches),
      columns: (columns, count) => this.raw.call("ingestColumns", columns, count, 0),
    });
  }

  /** Deletes rows by key; one that is not there is no error. Takes keys as `ingest` takes rows. */
  delete(keys: Batch<K>): Promise<number> {
    const extra = arguments;
    return this.put(() => (only(extra, 1, "delete()"), keys), {
      fields: keyFields(this.schema),
      ipc: (bytes) => this.raw.call("deleteIpc", bytes),
      arrow: ({ fields, batches }) => this.raw.call("deleteArrow", fields, batches),
      columns: (columns, count) => this.raw.call("deleteColumns", columns, count),
    });
  }

  private put(given: () => unknown, way: Way<number>): Promise<number> {
    const { over, told, all } = this.writes;
    // What commits has begun to: this would go in or get lost, as it happens.
    if (over) return Promise.reject(ended());
    const done = (async () => write(batchCommit(given()), way))();
    const written = Written.of(done);
    if (told) written.heard();
    all.add(written);
    done.then(
      () => all.delete(written),
      () => undefined,
    );
    return written;
  }
}

/** The writes of a transaction. */
interface Writes {
  /** Whether it has ended, or begun to commit. */
  over: boolean;
  /** Whether somebody is told in any case that one failed: who called `transaction()`. */
  readonly told: boolean;
  readonly all: Set<Written>;
}

/** What became of a write. Whoever never asks does not know that it failed: the commit must. */
class Written extends Promise<number> {
  asked = false;
  /** Why it failed, once it is known whether it did. */
  failure: Promise<{ reason: unknown } | undefined> = Promise.resolve(undefined);

  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  static of(done: Promise<number>): Written {
    const written = new Written((resolve, reject) => void done.then(resolve, reject));
    written.failure = done.then(
      () => undefined,
      (reason: unknown) => ({ reason }),
    );
    return written;
  }

  /** Its failure is not unhandled, whoever asks for it: it is told otherwise. */
  heard(): void {
    super.then(undefined, () => undefined).catch(() => undefined);
  }

  override then<A = number, B = never>(
    done?: ((rows: number) => A | PromiseLike<A>) | null,
    failed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    // A `catch` alone keeps an error from being unhandled: nobody is told what became of the write by that.
    if (typeof done === "function") this.asked = true;
    return super.then(done, failed);
  }
}

function ended(): LakeshoreError {
  return invalid("the transaction has ended: begin a new one");
}

type Isolation = { isolation?: "snapshot" | "serializable" };

/** @internal */
export async function begin(db: Handle<RawDb>, { isolation }: Isolation, told = false): Promise<Transaction> {
  const raw = db.start("begin", isolation === "serializable");
  return new Transaction(raw, await raw.call("tables"), told);
}

/** Runs `run` in a transaction and commits it, anew while it conflicts. @internal */
export async function transact<T>(
  db: Handle<RawDb>,
  run: (transaction: Transaction) => T | PromiseLike<T>,
  options: Isolation & { attempts?: number; signal?: AbortSignal },
): Promise<T> {
  const { attempts = 16, signal } = options;
  for (let attempt = 1; ; attempt++) {
    throwIfAborted(signal);
    const transaction = await begin(db, options, true);
    try {
      const value = await abortable((async () => run(transaction))(), signal);
      await abortable(transaction.commit(), signal);
      return value;
    } catch (error) {
      await transaction.rollback();
      const again = isOurs(error) && error.code === "Conflict" && attempt < attempts;
      if (!again) throw error;
    }
    await abortable(pause(attempt), signal);
  }
}

/** A random while, longer after each attempt, so that those who conflict do not meet again. */
function pause(attempt: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(2 ** attempt, 128)));
}
