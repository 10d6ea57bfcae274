// An open database.

import { type Engine, engine } from "./engine.js";
import { invalid } from "./errors.js";
import type { RawDb, StoreSpec } from "./raw.js";
import { columnInfos, Table } from "./table.js";
import type { OpenOptions, Row, SchemaSpec, Stats, Store, TableInfo, TableOptions } from "./types.js";

/** Opens a database. With `wal`, durability is local; without, each commit is a log record in `data`. */
export async function open(options: OpenOptions): Promise<Db> {
  if (typeof options !== "object" || options === null)
    throw invalid("open() takes options: { data: directory(path) }");
  const { data, wal, ...bounds } = options;
  const instance = await engine();
  const tracked: object[] = [];
  const track = (spec: StoreSpec): StoreSpec => {
    if (!("host" in spec)) return spec;
    const host = instance.track(spec.host);
    tracked.push(host);
    return { host };
  };
  const specs = [specOf("data", data), ...(wal === undefined ? [] : [specOf("wal", wal)])].map(track);
  try {
    const raw = await instance.call(() => instance.raw.openDb(specs[0]!, specs[1], bounds));
    return new Db(instance, raw, tracked);
  } catch (error) {
    instance.untrack(tracked);
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
  private readonly raw: RawDb;
  private readonly hosts: readonly object[];
  private closing: Promise<void> | undefined;

  /** @internal */
  constructor(engine: Engine, raw: RawDb, hosts: readonly object[]) {
    this.engine = engine;
    this.raw = raw;
    this.hosts = hosts;
  }

  /**
   * A table. With options it is created if it is missing; if it is there with another schema that is `Invalid`,
   * naming the difference. Without options it must be there.
   */
  async table<R extends Row = Row>(name: string, options?: TableOptions): Promise<Table<R>> {
    if (typeof name !== "string") throw invalid("table() takes the name of a table");
    const raw = await this.engine.call(() => {
      if (options === undefined) return this.raw.table(name);
      const { schema, primaryKey } = checked(options);
      const bytes = asBytes(schema);
      if (bytes !== undefined) return this.raw.createTableFromIpc(name, bytes, primaryKey);
      return this.raw.createTable(name, columnSpecs(schema as Record<string, unknown>), primaryKey);
    });
    return new Table<R>(this.engine, raw, name);
  }

  /** All tables there are. */
  tables(): TableInfo[] {
    const all = this.engine.callNow(() => this.raw.tables());
    return all.map(({ name, schema }) => ({
      name,
      columns: columnInfos(schema),
      primaryKey: schema.primaryKey,
    }));
  }

  /** Writes what is in memory and in the WAL to `data`. After it the device may be lost. */
  flush(): Promise<void> {
    return this.engine.call(() => this.raw.flush());
  }

  /** Writes a checkpoint of the log, so that the next open reads no tail, and frees WAL segments. */
  checkpoint(): Promise<void> {
    return this.engine.call(() => this.raw.checkpoint());
  }

  /** What the database holds and does. */
  stats(): Stats {
    const stats = this.engine.callNow(() => this.raw.stats());
    return { ...stats, wasmMemoryBytes: this.engine.memoryBytes() } as Stats;
  }

  /**
   * Refuses new calls, awaits commits in flight, syncs the WAL and ends scans with `Closed`. Uploads nothing: call
   * `flush()` first for that. Closing twice is the same as once.
   */
  close(): Promise<void> {
    this.closing ??= this.engine.call(() => this.raw.close()).finally(() => this.engine.untrack(this.hosts));
    return this.closing;
  }

  /** For `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
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
