/// <reference lib="esnext.disposable" preserve="true" />
// An open database.

import { abortable, onAbort, throwIfAborted } from "./abort.js";
import { rawAlterations } from "./alter.js";
import { Changes } from "./changes.js";
import { isCallable } from "./door/kinds.js";
import { checkOptions, type Given, only, wrong } from "./door/options.js";
import { show } from "./door/show.js";
import { specOf, store } from "./door/stores.js";
import {
  beginOptions,
  callOptions,
  changesOptions,
  committed,
  gcOptions,
  keepUploadedOptions,
  openOptions,
  settings,
  snapshotOptions,
  tagOptions,
  transactionOptions,
  uploadOptions,
  versionsOptions,
} from "./door/tables.js";
import { messageOf, name as nameOf, reading } from "./door/values.js";
import { engine } from "./engine.js";
import { closed, invalid, LakeshoreError } from "./errors.js";
import { kept, type Keep, KeptHandle } from "./kept.js";
import type { Engine, Handle, Opening, RawDb, RawTable } from "./raw.js";
import { tableInfos } from "./reader.js";
import { type Definition, tableOptions } from "./schema.js";
import { type Snapshot, snapshotOf } from "./snapshot.js";
import { Table } from "./table.js";
import { begin, transact, type Transaction } from "./transaction.js";
import { inTurn, placeOf, soon, underWay } from "./turns.js";
import type {
  Alteration,
  AsOf,
  BeginOptions,
  CallOptions,
  ChangesOptions,
  Committed,
  GcReport,
  KeepUploadedOptions,
  LogVersion,
  OpenOptions,
  Parked,
  ColumnName,
  ColumnSpecs,
  KeyOf,
  NewRowOf,
  ProbeReport,
  Row,
  RowOf,
  TypedTableOptions,
  Settings,
  Stats,
  Store,
  TableInfo,
  Tag,
  TableOptions,
  TransactionOptions,
  Uploaded,
  UploadOptions,
} from "./types.js";

/** Opens a database. With `wal`, durability is local; without, each commit is a log record in `data`. */
export async function open(options: OpenOptions): Promise<Db> {
  only(arguments, 1, "open()");
  return openWith(options);
}

/**
 * Tries whether a store does what Lakeshore needs of it, in a prefix of its own (`probe/…`), which it empties at the
 * end: some 90 requests and 13 MiB. What fails is told in the report, not thrown.
 */
export async function probe(given: Store, options: CallOptions = {}): Promise<ProbeReport> {
  only(arguments, 2, "probe()");
  return probeWith(given, checkOptions("probe()", options, callOptions), engine);
}

/** Tries a store as `probe` says. */
export async function probeWith(
  given: unknown,
  { signal }: Given<typeof callOptions>,
  find: () => Engine | Promise<Engine>,
): Promise<ProbeReport> {
  const own = reading("the store", () => store.read(given, "probe()"));
  if (own === wrong) throw invalid(`probe() takes ${store.takes}: it was given ${show(given)}`);
  throwIfAborted(signal);
  const engine = await abortable((async () => find())(), signal);
  return engine.probe(specOf(own), signal);
}

/** Opens a database in this realm's engine, with other defaults. */
export async function openWith(options: OpenOptions, defaults: Partial<OpenOptions> = {}): Promise<Db> {
  return openChecked({ ...defaults, ...checkOpen(options, openOptions) }, engine);
}

/** The options of `open`, checked. */
export function checkOpen<R extends typeof openOptions>(
  given: unknown,
  rules: R,
): Given<R> & { data: Store } {
  if (given === undefined) throw invalid("open() takes options: { data: directory(path) }");
  const checked = checkOptions("open()", given, rules);
  const { data } = checked as Given<typeof openOptions>;
  if (data === undefined) throw invalid(`open(): option data is missing: it takes ${store.takes}`);
  return { ...checked, data };
}

/** Opens a database in an engine. */
export async function openChecked(
  options: Given<typeof openOptions> & { data: Store },
  find: () => Engine | Promise<Engine>,
): Promise<Db> {
  const { data, wal, signal, waitUntil, ...bounds } = options;
  throwIfAborted(signal);
  const specs = [specOf(data), wal && specOf(wal)] as const;
  const place = specs[1] && placeOf(specs[1]);
  const opened = inTurn(place, async () => {
    const engine = await abortable((async () => find())(), signal);
    const opening = engine.open(specs[0], specs[1], bounds, signal);
    try {
      await opening.db.ready();
      return new Db(opening, place, waitUntil && kept(waitUntil));
    } catch (error) {
      // Within the turn: the next open finds free what this one took.
      await soon(opening.abandon());
      throw error;
    }
  });
  // What is there nonetheless, made when the signal came, is nobody's.
  return abortable(opened, signal, () => void opened.then((db) => db.close()).catch(() => undefined));
}

/** An open database. Close it, or hold it by `await using`. */
export class Db implements AsyncDisposable {
  private readonly opened: Opening;
  private readonly raw: Handle<RawDb>;
  private readonly place: unknown;
  private closing: Promise<void> | undefined;

  /** @internal `place` is that of its WAL. */
  constructor(opened: Opening, place?: unknown, keep?: Keep) {
    this.place = place;
    this.opened = opened;
    this.raw = keep === undefined ? opened.db : new KeptHandle<RawDb>(opened.db, keep);
  }

  /**
   * A table. With options it is created if it is missing; if it is there with another schema that is `Invalid`,
   * naming the difference. Without options it must be there.
   */
  table<const S extends ColumnSpecs, const K extends readonly ColumnName<S>[]>(
    name: string,
    options: TypedTableOptions<S, K> & CallOptions,
  ): Promise<Table<RowOf<S, K[number]>, KeyOf<S, K[number]>, NewRowOf<S, K[number]>>>;
  table<R extends object = Row>(
    name: string,
    options?: (TableOptions & CallOptions) | CallOptions,
  ): Promise<Table<R>>;
  async table<R extends object>(
    name: string,
    options?: (TableOptions & CallOptions) | CallOptions,
  ): Promise<Table<R>> {
    only(arguments, 2, "table()");
    const of = nameOf(name, "table() takes the name of a table");
    const { definition, signal } = tableOptions(options);
    throwIfAborted(signal);
    const raw = this.start(of, definition, signal);
    return new Table<R>(raw, of, await abortable(raw.call("schema"), signal));
  }

  /** All tables there are. */
  async tables(): Promise<TableInfo[]> {
    only(arguments, 0, "tables()");
    return tableInfos(await this.raw.call("tables"));
  }

  /**
   * All tables at one moment. Without `asOf` that is now, with what is not uploaded yet. With it, it is what the log
   * had then, the same for every reader: a time beyond the log's end means its end, after a look whether it still is.
   * `Expired`, naming the oldest time there is, if it is not kept any more.
   */
  async snapshot(options: { asOf?: AsOf } & CallOptions = {}): Promise<Snapshot> {
    only(arguments, 1, "snapshot()");
    const { asOf, signal } = checkOptions("snapshot()", options, snapshotOptions);
    throwIfAborted(signal);
    return snapshotOf(this.raw, asOf, signal);
  }

  /**
   * Runs a function in a transaction, commits it, and gives the function's value. If it conflicts with another, the
   * function runs again on what is there then, at most `attempts` times: what it does besides must bear being done
   * twice. If the function throws, nothing is committed, and the error is passed on. `Unknown` if it is not known
   * whether it was committed: read before you run it again.
   */
  async transaction<T>(
    run: (tx: Transaction) => T | PromiseLike<T>,
    options: TransactionOptions = {},
  ): Promise<T> {
    only(arguments, 2, "transaction()");
    if (!isCallable(run)) {
      const takes = 'a function: async (tx) => { await tx.table("flights").ingest(rows); }';
      throw invalid(`transaction() takes ${takes}: it was given ${show(run)}`);
    }
    return transact(this.raw, run, checkOptions("transaction()", options, transactionOptions));
  }

  /** Begins a transaction on the newest state this handle has (`refresh()` brings one), for you to commit. */
  async begin(options: BeginOptions = {}): Promise<Transaction> {
    only(arguments, 1, "begin()");
    return begin(this.raw, checkOptions("begin()", options, beginOptions));
  }

  /**
   * What is committed from now on, or after `since`, in the order of the log, whoever wrote it. With a `wal` rows of
   * this device come at once, too, as previews (`uploaded: false`), and again once they are in the log. What is wrong
   * with the options is said when it is iterated; `Expired` if what comes after `since` is not kept any more.
   */
  changes(options: ChangesOptions = {}): Changes {
    only(arguments, 1, "changes()");
    const { signal, ...rest } = checkOptions("changes()", options, changesOptions);
    throwIfAborted(signal);
    return new Changes(this.raw.start("changes", rest), signal);
  }

  /**
   * Alters a table, all changes in one commit, and gives it. No row is rewritten; rows there are read as the table is
   * today; a snapshot as of an earlier time sees it as it was then. Other handles see it when they next refresh or
   * commit. With a `wal`, too, it needs `data` to be within reach.
   */
  async alterTable<R extends object = Row>(name: string, changes: readonly Alteration[]): Promise<Table<R>> {
    only(arguments, 2, "alterTable()");
    const of = nameOf(name, "alterTable() takes the name of a table");
    const alterations = rawAlterations(changes);
    const raw = this.raw.start("alterTable", of, alterations);
    const renamed = alterations.filter(([what]) => what === "renameTable").at(-1);
    return new Table<R>(raw, renamed?.[1] ?? of, await raw.call("schema"));
  }

  /** Drops a table with all its rows, those too that a device has not uploaded yet. Whether there was one. */
  async dropTable(name: string): Promise<boolean> {
    only(arguments, 1, "dropTable()");
    return this.raw.call("dropTable", nameOf(name, "dropTable() takes the name of a table"));
  }

  /**
   * Names a moment, and keeps what reads as of it need until `untag`. Without `asOf` it is the newest version; with a
   * `wal` what this device has is flushed first. Gives its timestamp.
   */
  async tag(name: string, options: { asOf?: AsOf } = {}): Promise<bigint> {
    only(arguments, 2, "tag()");
    const { asOf } = checkOptions("tag()", options, tagOptions);
    return this.raw.call("tag", nameOf(name, "tag() takes a name"), asOf);
  }

  /** Removes a tag. Whether there was one of that name. */
  async untag(name: string): Promise<boolean> {
    only(arguments, 1, "untag()");
    return this.raw.call("untag", nameOf(name, "untag() takes the name of a tag"));
  }

  /** All tags, by name. */
  async tags(): Promise<Tag[]> {
    only(arguments, 0, "tags()");
    return this.raw.call("tags");
  }

  /** The newest versions that can be read and whose log records are kept, newest first: at most a GET each. */
  async versions(options: { limit?: number } = {}): Promise<LogVersion[]> {
    only(arguments, 1, "versions()");
    const { limit = 100 } = checkOptions("versions()", options, versionsOptions);
    return this.raw.call("versions", limit);
  }

  /**
   * Deletes what nobody can need any more: log records, checkpoints and files that are older than the grace time and
   * that no read since `now - retentionMs` or of a tag needs. Any number of handles may run it, and it may be stopped
   * anywhere. With `dryRun` it only reports.
   */
  async gc(options: { dryRun?: boolean } & CallOptions = {}): Promise<GcReport> {
    only(arguments, 1, "gc()");
    const { dryRun = false, signal } = checkOptions("gc()", options, gcOptions);
    return this.raw.callUntil(signal, "gc", dryRun);
  }

  /** The settings that all handles of the database use, kept in its catalog. */
  async settings(): Promise<Settings> {
    only(arguments, 0, "settings()");
    return this.raw.call("settings");
  }

  /** Changes settings for all handles, by a commit. Gives what holds from then on. */
  async configure(change: Partial<Settings>): Promise<Settings> {
    only(arguments, 1, "configure()");
    if (change === undefined)
      throw invalid(`configure() takes settings, { ${Object.keys(settings).join(", ")} }`);
    return this.raw.call("configure", checkOptions("configure()", change, settings, "setting"));
  }

  /** Writes what is in memory and in the WAL to `data`. After it the device may be lost. */
  async flush(options: CallOptions = {}): Promise<void> {
    only(arguments, 1, "flush()");
    return this.raw.callUntil(checkOptions("flush()", options, callOptions).signal, "flush");
  }

  /**
   * Uploads what is pending, or a part of it: whole commits, the oldest first. It may be broken off at any moment.
   * `Unavailable` if `data` does not answer: nothing is lost, and what it did so far stays done.
   */
  async upload(options: UploadOptions = {}): Promise<Uploaded> {
    only(arguments, 1, "upload()");
    const { signal, ...rest } = checkOptions("upload()", options, uploadOptions);
    return this.raw.callUntil(signal, "upload", rest);
  }

  /**
   * Uploads whenever something is pending, until the database closes or the signal ends it; then it resolves. While
   * `data` is out of reach it goes on trying. Rejects with what no retry makes good, as `stats()` says, too.
   */
  async keepUploaded(options: KeepUploadedOptions = {}): Promise<void> {
    only(arguments, 1, "keepUploaded()");
    const { signal, ...rest } = checkOptions("keepUploaded()", options, keepUploadedOptions);
    if (signal?.aborted === true) return;
    const raw = this.raw.start("keepUploaded", rest);
    const cancel = () => void raw.call("cancel").catch(() => undefined);
    const forget = signal && onAbort(signal, cancel);
    try {
      await raw.call("done");
    } catch (error) {
      if (!(error instanceof LakeshoreError && error.code === "Closed")) throw error;
    } finally {
      forget?.();
      raw.drop(closed());
    }
  }

  /** Whether what a commit gave is in the `data` store by now. */
  async isUploaded(commit: Committed): Promise<boolean> {
    only(arguments, 1, "isUploaded()");
    return this.raw.call("isUploaded", commitOf("isUploaded()", commit));
  }

  /** Resolves when it is. It waits, and uploads nothing itself. `Closed` if the database closes first. */
  async uploaded(commit: Committed, options: { signal?: AbortSignal } = {}): Promise<void> {
    only(arguments, 2, "uploaded()");
    const { signal } = checkOptions("uploaded()", options, callOptions);
    throwIfAborted(signal);
    const of = commitOf("uploaded()", commit);
    return abortable(this.raw.call("uploaded", of), signal);
  }

  /**
   * Commits that this device acknowledged and may have uploaded more than the retention ago without having heard of
   * it: to upload them again could bring old rows back, so they are parked. Take out what is wanted, or
   * `restoreParked()`; then `discardParked()`.
   */
  async parked(): Promise<Parked[]> {
    only(arguments, 0, "parked()");
    const all = await this.raw.call("parked");
    return all.map(({ bytes, ...rest }) => ({ ...rest, ipc: bytes }));
  }

  /**
   * Commits again what is parked, each commit as one, in their old order. How many. Rows of dropped tables are left
   * out. Should one be refused (its table was altered, say), it and later ones are still parked.
   */
  async restoreParked(): Promise<number> {
    only(arguments, 0, "restoreParked()");
    return this.raw.call("restoreParked");
  }

  /** Gives up what is parked, for ever. How many commits that was. */
  async discardParked(): Promise<number> {
    only(arguments, 0, "discardParked()");
    return this.raw.call("discardParked");
  }

  /** Writes a checkpoint of the log, so that the next open reads no tail, and frees WAL segments. */
  async checkpoint(options: CallOptions = {}): Promise<void> {
    only(arguments, 1, "checkpoint()");
    return this.raw.callUntil(checkOptions("checkpoint()", options, callOptions).signal, "checkpoint");
  }

  /**
   * Reads what other handles committed meanwhile: one request if there is nothing. True if anything new came; reads
   * see it from then on, scans under way keep what they have.
   */
  async refresh(options: CallOptions = {}): Promise<boolean> {
    only(arguments, 1, "refresh()");
    return this.raw.callUntil(checkOptions("refresh()", options, callOptions).signal, "refresh");
  }

  /** What the database holds and does. */
  async stats(): Promise<Stats> {
    only(arguments, 0, "stats()");
    const [stats, wasmMemoryBytes] = await Promise.all([this.raw.call("stats"), this.opened.memoryBytes()]);
    return { ...stats, wasmMemoryBytes } as Stats;
  }

  /**
   * Refuses new calls, awaits commits in flight, syncs the WAL and ends scans with `Closed`. Uploads nothing: call
   * `flush()` first for that. Closing twice is the same as once. A signal ends the waiting alone: it goes on closing.
   */
  async close(options: CallOptions = {}): Promise<void> {
    only(arguments, 1, "close()");
    const { signal } = checkOptions("close()", options, callOptions);
    this.closing ??= underWay(
      this.place,
      this.raw.call("close").finally(() => this.opened.release()),
    );
    return abortable(this.closing, signal);
  }

  /** For `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private start(
    name: string,
    definition: Definition | undefined,
    signal: AbortSignal | undefined,
  ): Handle<RawTable> {
    if (definition === undefined) return this.raw.startUntil(signal, "table", name);
    const { schema, primaryKey } = definition;
    if (schema instanceof Uint8Array)
      return this.raw.startUntil(signal, "createTableFromIpc", name, schema, primaryKey);
    return this.raw.startUntil(signal, "createTable", name, schema, primaryKey);
  }
}

/** What a commit gave, with which it is asked about. */
function commitOf(call: string, commit: unknown): Given<typeof committed> {
  try {
    return checkOptions(call, commit, committed, "property");
  } catch (error) {
    throw invalid(`${call} takes what a commit gave, as it was: ${messageOf(error)}`);
  }
}
