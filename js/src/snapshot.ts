// All tables at one moment.

import { abortable } from "./abort.js";
import { invalid } from "./errors.js";
import type { Handle, RawDb, RawSnapshot, RawSnapshotTable, RawTableInfo } from "./raw.js";
import { schemaIn, tableInfos, TableReader } from "./reader.js";
import type { AsOf, Row, TableInfo } from "./types.js";

/**
 * All tables at one moment, of which it never sees more or less. It keeps what it reads from in memory: close it, or
 * hold it by `using`. It keeps no files: what is read of it later than the grace time may be `Expired`.
 */
export class Snapshot implements Disposable {
  /**
   * The greatest timestamp it may see, in microseconds since the Unix epoch. Without `asOf` and with a `wal` it may be
   * provisional: rows of this device get theirs when they are uploaded.
   */
  readonly timestamp: bigint;
  private readonly raw: Handle<RawSnapshot>;
  private readonly infos: RawTableInfo[];
  private readonly handles = new Map<string, Handle<RawSnapshotTable>>();
  private closed = false;

  /** @internal */
  constructor(raw: Handle<RawSnapshot>, timestamp: bigint, tables: RawTableInfo[]) {
    this.raw = raw;
    this.timestamp = timestamp;
    this.infos = tables;
  }

  /** A table as it was; `Invalid` if there was none of that name. */
  table<R extends Row = Row>(name: string): SnapshotTable<R> {
    if (this.closed) throw ended();
    const schema = schemaIn(this.infos, name);
    const handle = this.handles.get(name) ?? this.raw.start("table", name);
    this.handles.set(name, handle);
    return new SnapshotTable<R>(handle, name, schema);
  }

  /** All tables there were. */
  tables(): TableInfo[] {
    return tableInfos(this.infos);
  }

  /** Lets go of it. Scans under way go on; closing twice is the same as once. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const handle of [...this.handles.values(), this.raw]) handle.drop(ended());
  }

  /** For `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** One table of a snapshot: it can only be read. */
export class SnapshotTable<R extends Row = Row> extends TableReader<R> {}

function ended() {
  return invalid("the snapshot was closed: take a new one");
}

/** @internal */
export async function snapshotOf(
  db: Handle<RawDb>,
  asOf: AsOf | undefined,
  signal: AbortSignal | undefined,
): Promise<Snapshot> {
  const raw = db.startUntil(signal, "snapshot", moment(asOf));
  const both = Promise.all([raw.call("timestamp"), raw.call("tables")]);
  const [timestamp, tables] = await abortable(both, signal);
  return new Snapshot(raw, timestamp, tables);
}

/** A moment as the engine takes it: microseconds, or a tag. */
export function moment(asOf: AsOf | undefined): bigint | string | undefined {
  if (asOf === undefined || typeof asOf === "string") return asOf;
  if (asOf instanceof Date && !Number.isNaN(asOf.getTime())) return BigInt(asOf.getTime()) * 1000n;
  if (typeof asOf === "bigint" && BigInt.asIntN(64, asOf) === asOf) return asOf;
  const remedy = "a Date, microseconds since 1970 as a bigint, or the name of a tag";
  throw invalid(
    `asOf is ${typeof asOf === "object" ? String(asOf) : `a ${typeof asOf}`}: it takes ${remedy}`,
  );
}
