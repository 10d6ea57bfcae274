// An open database.

import { engine } from "./engine.js";
import { invalid } from "./errors.js";
import type { Engine, Handle, Opening, RawDb, RawTable, StoreSpec } from "./raw.js";
import { tableInfos } from "./reader.js";
import { type Snapshot, snapshotOf } from "./snapshot.js";
import { Table } from "./table.js";
import { begin, transact, type Transaction } from "./transaction.js";
import type {
  AsOf,
  BeginOptions,
  OpenOptions,
  Row,
  SchemaSpec,
  Stats,
  Store,
  TableInfo,
  TableOptions,
  TransactionOptions,
} from "./types.js";

/** Opens a database. With `wal`, durability is local; without, each commit is a log record in `data`. */
export function open(options: OpenOptions): Promise<Db> {
  return openWith(options, engine);
}

/** Opens a database in an engine. */
export async function openWith(options: OpenOptions, find: () => Engine | Promise<Engine>): Promise<Db> {
  if (typeof options !== "object" || options === null)
    throw invalid("open() takes options: { data: directory(path) }");
  const { data, wal, ...bounds } = options;
  const specs = [specOf("data", data), wal === undefined ? undefined : specOf("wal", wal)] as const;
  const engine = await find();
  const opening = engine.open(specs[0], specs[1], bounds);
  try {
    await opening.db.ready();
    return new Db(engine, opening);
  } catch (error) {
    opening.release();
    throw error;
  }
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
  private closing: Promise<void> | undefined;

  /** @internal */
  constructor(engine: Engine, opened: Opening) {
    this.engine = engine;
    this.opened = opened;
    this.raw = opened.db;
  }

  /**
   * A table. With options it is created if it is missing; if it is there with another schema that is `Invalid`,
   * naming the difference. Without options it must be there.
   */
  async table<R extends Row = Row>(name: string, options?: TableOptions): Promise<Table<R>> {
    if (typeof name !== "string") throw invalid("table() takes the name of a table");
    const raw = this.start(name, options);
    return new Table<R>(raw, name, await raw.call("schema"));
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
  async snapshot(options: { asOf?: AsOf } = {}): Promise<Snapshot> {
    return snapshotOf(this.raw, options.asOf);
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

  /** Writes what is in memory and in the WAL to `data`. After it the device may be lost. */
  flush(): Promise<void> {
    return this.raw.call("flush");
  }

  /** Writes a checkpoint of the log, so that the next open reads no tail, and frees WAL segments. */
  checkpoint(): Promise<void> {
    return this.raw.call("checkpoint");
  }

  /**
   * Reads what other handles committed meanwhile: one request if there is nothing. True if anything new came; reads
   * see it from then on, scans under way keep what they have.
   */
  refresh(): Promise<boolean> {
    return this.raw.call("refresh");
  }

  /** What the database holds and does. */
  async stats(): Promise<Stats> {
    const [stats, wasmMemoryBytes] = await Promise.all([this.raw.call("stats"), this.engine.memoryBytes()]);
    return { ...stats, wasmMemoryBytes } as Stats;
  }

  /**
   * Refuses new calls, awaits commits in flight, syncs the WAL and ends scans with `Closed`. Uploads nothing: call
   * `flush()` first for that. Closing twice is the same as once.
   */
  close(): Promise<void> {
    this.closing ??= this.raw.call("close").finally(() => this.opened.release());
    return this.closing;
  }

  /** For `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private start(name: string, options: TableOptions | undefined): Handle<RawTable> {
    if (options === undefined) return this.raw.start("table", name);
    const { schema, primaryKey } = checked(options);
    const bytes = asBytes(schema);
    if (bytes !== undefined) return this.raw.start("createTableFromIpc", name, bytes, primaryKey);
    return this.raw.start("createTable", name, columnSpecs(schema as Record<string, unknown>), primaryKey);
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
