// An open database.

import { abortable } from "./abort.js";
import { rawAlterations } from "./alter.js";
import { Changes } from "./changes.js";
import { engine } from "./engine.js";
import { closed, invalid, LakeshoreError } from "./errors.js";
import { kept, type Keep, KeptHandle } from "./kept.js";
import type { Engine, Handle, Opening, RawDb, RawTable, StoreSpec } from "./raw.js";
import { tableInfos } from "./reader.js";
import { moment, type Snapshot, snapshotOf } from "./snapshot.js";
import { Table } from "./table.js";
import { begin, transact, type Transaction } from "./transaction.js";
import { inTurn, placeOf, underWay } from "./turns.js";
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
  ProbeReport,
  Row,
  SchemaSpec,
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
export function open(options: OpenOptions): Promise<Db> {
  return openWith(options, engine);
}

/** Opens a database in an engine. */
export async function openWith(options: OpenOptions, find: () => Engine | Promise<Engine>): Promise<Db> {
  if (typeof options !== "object" || options === null)
    throw invalid("open() takes options: { data: directory(path) }");
  const { data, wal, signal, waitUntil, ...bounds } = options;
  signal?.throwIfAborted();
  const specs = [specOf("data", data), wal === undefined ? undefined : specOf("wal", wal)] as const;
  const place = specs[1] && placeOf(specs[1]);
  const opened = inTurn(place, async () => {
    const engine = await abortable((async () => find())(), signal);
    const opening = engine.open(specs[0], specs[1], bounds, signal);
    try {
      await opening.db.ready();
      return new Db(engine, opening, place, waitUntil && kept(waitUntil));
    } catch (error) {
      opening.release();
      throw error;
    }
  });
  // What is there nonetheless, made when the signal came, is nobody's.
  return abortable(opened, signal, () => void opened.then((db) => db.close()).catch(() => undefined));
}

/** Tries a store as `probe` says. */
export async function probeWith(
  store: Store,
  options: CallOptions,
  find: () => Engine | Promise<Engine>,
): Promise<ProbeReport> {
  const { signal } = options;
  signal?.throwIfAborted();
  const spec = specOf("store", store);
  const engine = await abortable((async () => find())(), signal);
  return engine.probe(spec, signal);
}

/**
 * Tries whether a store does what Lakeshore needs of it, in a prefix of its own (`probe/…`), which it empties at the
 * end: some 90 requests and 13 MiB. What fails is told in the report, not thrown.
 */
export function probe(store: Store, options: CallOptions = {}): Promise<ProbeReport> {
  return probeWith(store, options, engine);
}

/** What the engine takes for a store: exactly one of `host`, `s3` and `opfs`. */
function specOf(option: string, store: Store): StoreSpec {
  for (const kind of ["host", "s3", "opfs"] as const) {
    const given = (store as unknown as Record<string, unknown> | undefined)?.[kind];
    if (typeof given === "object" && given !== null) return { [kind]: given } as unknown as StoreSpec;
  }
  throw invalid(`option ${option} takes a store: s3(), opfs(), directory(path), memory() or host(object)`);
}

/** An open database. Close it, or hold it by `await using`. */
export class Db implements AsyncDisposable {
  private readonly engine: Engine;
  private readonly opened: Opening;
  private readonly raw: Handle<RawDb>;
  private readonly place: unknown;
  private closing: Promise<void> | undefined;

  /** @internal `place` is that of its WAL. */
  constructor(engine: Engine, opened: Opening, place?: unknown, keep?: Keep) {
    this.place = place;
    this.engine = engine;
    this.opened = opened;
    this.raw = keep === undefined ? opened.db : new KeptHandle<RawDb>(opened.db, keep);
  }

  /**
   * A table. With options it is created if it is missing; if it is there with another schema that is `Invalid`,
   * naming the difference. Without options it must be there.
   */
  async table<R extends Row = Row>(
    name: string,
    options?: (TableOptions & CallOptions) | CallOptions,
  ): Promise<Table<R>> {
    if (typeof name !== "string") throw invalid("table() takes the name of a table");
    const { signal, ...rest } = options ?? {};
    signal?.throwIfAborted();
    const created = options === undefined || ("signal" in options && Object.keys(rest).length === 0);
    const raw = this.start(name, created ? undefined : (rest as TableOptions), signal);
    return new Table<R>(raw, name, await abortable(raw.call("schema"), signal));
  }

  /** All tables there are. */
  async tables(): Promise<TableInfo[]> {
    return tableInfos(await this.raw.call("tables"));
  }

  /**
   * All tables at one moment. Without `asOf` that is now, with what is not uploaded yet. With it, it is what the log
   * had then, the same for every reader: a time beyond the log's end means its end, after a look whether it still is.
   * `Expired`, naming the oldest time there is, if it is not kept any more.
   */
  async snapshot(options: { asOf?: AsOf } & CallOptions = {}): Promise<Snapshot> {
    options.signal?.throwIfAborted();
    return snapshotOf(this.raw, options.asOf, options.signal);
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
    return transact(this.raw, run, options);
  }

  /** Begins a transaction on the newest state this handle has (`refresh()` brings one), for you to commit. */
  async begin(options: BeginOptions = {}): Promise<Transaction> {
    return begin(this.raw, options);
  }

  /**
   * What is committed from now on, or after `since`, in the order of the log, whoever wrote it. With a `wal` rows of
   * this device come at once, too, as previews (`uploaded: false`), and again once they are in the log. What is wrong
   * with the options is said when it is iterated; `Expired` if what comes after `since` is not kept any more.
   */
  changes(options: ChangesOptions = {}): Changes {
    const { signal, ...rest } = options;
    signal?.throwIfAborted();
    return new Changes(this.raw.start("changes", rest), signal);
  }

  /**
   * Alters a table, all changes in one commit, and gives it. No row is rewritten; rows there are read as the table is
   * today; a snapshot as of an earlier time sees it as it was then. Other handles see it when they next refresh or commit. With a `wal`, too, it
   * needs `data` to be within reach.
   */
  async alterTable<R extends Row = Row>(name: string, changes: readonly Alteration[]): Promise<Table<R>> {
    if (typeof name !== "string") throw invalid("alterTable() takes the name of a table");
    const raw = this.raw.start("alterTable", name, rawAlterations(changes));
    const renamed = changes.map((change) => ("renameTable" in change ? change.renameTable : undefined));
    return new Table<R>(
      raw,
      renamed.filter((to) => to !== undefined).at(-1) ?? name,
      await raw.call("schema"),
    );
  }

  /** Drops a table with all its rows, those too that a device has not uploaded yet. Whether there was one. */
  async dropTable(name: string): Promise<boolean> {
    if (typeof name !== "string") throw invalid("dropTable() takes the name of a table");
    return this.raw.call("dropTable", name);
  }

  /**
   * Names a moment, and keeps what reads as of it need until `untag`. Without `asOf` it is the newest version; with a
   * `wal` what this device has is flushed first. Gives its timestamp.
   */
  async tag(name: string, options: { asOf?: AsOf } = {}): Promise<bigint> {
    if (typeof name !== "string") throw invalid("tag() takes a name");
    return this.raw.call("tag", name, moment(options.asOf));
  }

  /** Removes a tag. Whether there was one of that name. */
  async untag(name: string): Promise<boolean> {
    if (typeof name !== "string") throw invalid("untag() takes the name of a tag");
    return this.raw.call("untag", name);
  }

  /** All tags, by name. */
  tags(): Promise<Tag[]> {
    return this.raw.call("tags");
  }

  /** The newest versions that can be read and whose log records are kept, newest first: at most a GET each. */
  async versions(options: { limit?: number } = {}): Promise<LogVersion[]> {
    const { limit = 100 } = options;
    if (!Number.isInteger(limit) || limit < 0 || limit > 0xffff_ffff) {
      throw invalid(`option limit is ${String(limit)}: it takes a whole number, at least 0`);
    }
    return this.raw.call("versions", limit);
  }

  /**
   * Deletes what nobody can need any more: log records, checkpoints and files that are older than the grace time and
   * that no read since `now - retentionMs` or of a tag needs. Any number of handles may run it, and it may be stopped
   * anywhere. With `dryRun` it only reports.
   */
  async gc(options: { dryRun?: boolean } & CallOptions = {}): Promise<GcReport> {
    return this.raw.callUntil(options.signal, "gc", options.dryRun ?? false);
  }

  /** The settings that all handles of the database use, kept in its catalog. */
  settings(): Promise<Settings> {
    return this.raw.call("settings");
  }

  /** Changes settings for all handles, by a commit. Gives what holds from then on. */
  async configure(change: Partial<Settings>): Promise<Settings> {
    return this.raw.call("configure", { ...change });
  }

  /** Writes what is in memory and in the WAL to `data`. After it the device may be lost. */
  async flush(options: CallOptions = {}): Promise<void> {
    return this.raw.callUntil(options.signal, "flush");
  }

  /**
   * Uploads what is pending, or a part of it: whole commits, the oldest first. It may be broken off at any moment.
   * `Unavailable` if `data` does not answer: nothing is lost, and what it did so far stays done.
   */
  async upload(options: UploadOptions = {}): Promise<Uploaded> {
    const { signal, ...rest } = options;
    return this.raw.callUntil(signal, "upload", rest);
  }

  /**
   * Uploads whenever something is pending, until the database closes or the signal ends it; then it resolves. While
   * `data` is out of reach it goes on trying. Rejects with what no retry makes good, as `stats()` says, too.
   */
  async keepUploaded(options: KeepUploadedOptions = {}): Promise<void> {
    const { signal, ...rest } = options;
    if (signal?.aborted) return;
    const raw = this.raw.start("keepUploaded", rest);
    const cancel = () => void raw.call("cancel").catch(() => undefined);
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      await raw.call("done");
    } catch (error) {
      if (!(error instanceof LakeshoreError && error.code === "Closed")) throw error;
    } finally {
      signal?.removeEventListener("abort", cancel);
      raw.drop(closed());
    }
  }

  /** Whether what a commit gave is in the `data` store by now. */
  async isUploaded(commit: Committed): Promise<boolean> {
    return this.raw.call("isUploaded", { ...commit });
  }

  /** Resolves when it is. It waits, and uploads nothing itself. `Closed` if the database closes first. */
  async uploaded(commit: Committed, options: { signal?: AbortSignal } = {}): Promise<void> {
    options.signal?.throwIfAborted();
    return abortable(this.raw.call("uploaded", { ...commit }), options.signal);
  }

  /**
   * Commits that this device acknowledged and may have uploaded more than the retention ago without having heard of
   * it: to upload them again could bring old rows back, so they are parked. Take out what is wanted, or
   * `restoreParked()`; then `discardParked()`.
   */
  async parked(): Promise<Parked[]> {
    const all = await this.raw.call("parked");
    return all.map(({ bytes, ...rest }) => ({ ...rest, ipc: bytes }));
  }

  /**
   * Commits again what is parked, each commit as one, in their old order. How many. Rows of dropped tables are left
   * out. Should one be refused (its table was altered, say), it and later ones are still parked.
   */
  restoreParked(): Promise<number> {
    return this.raw.call("restoreParked");
  }

  /** Gives up what is parked, for ever. How many commits that was. */
  discardParked(): Promise<number> {
    return this.raw.call("discardParked");
  }

  /** Writes a checkpoint of the log, so that the next open reads no tail, and frees WAL segments. */
  async checkpoint(options: CallOptions = {}): Promise<void> {
    return this.raw.callUntil(options.signal, "checkpoint");
  }

  /**
   * Reads what other handles committed meanwhile: one request if there is nothing. True if anything new came; reads
   * see it from then on, scans under way keep what they have.
   */
  async refresh(options: CallOptions = {}): Promise<boolean> {
    return this.raw.callUntil(options.signal, "refresh");
  }

  /** What the database holds and does. */
  async stats(): Promise<Stats> {
    const [stats, wasmMemoryBytes] = await Promise.all([this.raw.call("stats"), this.engine.memoryBytes()]);
    return { ...stats, wasmMemoryBytes } as Stats;
  }

  /**
   * Refuses new calls, awaits commits in flight, syncs the WAL and ends scans with `Closed`. Uploads nothing: call
   * `flush()` first for that. Closing twice is the same as once. A signal ends the waiting alone: it goes on closing.
   */
  async close(options: CallOptions = {}): Promise<void> {
    this.closing ??= underWay(
      this.place,
      this.raw.call("close").finally(() => this.opened.release()),
    );
    return abortable(this.closing, options.signal);
  }

  /** For `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private start(
    name: string,
    options: TableOptions | undefined,
    signal: AbortSignal | undefined,
  ): Handle<RawTable> {
    if (options === undefined) return this.raw.startUntil(signal, "table", name);
    const { schema, primaryKey } = checked(options);
    const bytes = asBytes(schema);
    if (bytes !== undefined)
      return this.raw.startUntil(signal, "createTableFromIpc", name, bytes, primaryKey);
    const columns = columnSpecs(schema as Record<string, unknown>);
    return this.raw.startUntil(signal, "createTable", name, columns, primaryKey);
  }
}

function checked(options: TableOptions): TableOptions {
  const { schema, primaryKey } = options ?? {};
  if (typeof schema !== "object" || schema === null) {
    throw invalid('schema is an object of column types, { id: "int64" }, or an Arrow schema as IPC bytes');
  }
  if (!Array.isArray(primaryKey) || primaryKey.some((name) => typeof name !== "string")) {
    throw invalid('primaryKey is an array of column names: ["id"]');
  }
  return { schema, primaryKey };
}

function asBytes(schema: SchemaSpec): Uint8Array | undefined {
  if (schema instanceof Uint8Array) return schema;
  return schema instanceof ArrayBuffer ? new Uint8Array(schema) : undefined;
}

function columnSpecs(schema: Record<string, unknown>): [string, string, boolean | undefined][] {
  return Object.entries(schema).map(([name, spec]) => {
    const { type, nullable } = (typeof spec === "string" ? { type: spec } : (spec ?? {})) as Record<
      string,
      unknown
    >;
    if (typeof type !== "string" || (nullable !== undefined && typeof nullable !== "boolean")) {
      const remedy = '"int64", or { type: "int64", nullable: false }';
      throw invalid(`column ${JSON.stringify(name)}: its type is given as ${remedy}`);
    }
    return [name, type, nullable];
  });
}
