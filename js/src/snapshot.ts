/// <reference lib="esnext.disposable" preserve="true" />
// All tables at one moment.

import { abortable } from "./abort.js";
import { only } from "./door/options.js";
import { invalid } from "./errors.js";
import type { Handle, RawDb, RawSnapshot, RawSnapshotTable, RawTableInfo } from "./raw.js";
import { schemaIn, tableInfos, TableReader } from "./reader.js";
import type { Row, TableInfo } from "./types.js";

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
  table<R extends object = Row>(name: string): SnapshotTable<R> {
    only(arguments, 1, "table()");
    if (this.closed) throw ended();
    const schema = schemaIn(this.infos, name);
    const handle = this.handles.get(name) ?? this.raw.start("table", name);
    this.handles.set(name, handle);
    return new SnapshotTable<R>(handle, name, schema);
  }

  /** All tables there were. */
  tables(): TableInfo[] {
    only(arguments, 0, "tables()");
    return tableInfos(this.infos);
  }

  /** Lets go of it. Scans under way go on; closing twice is the same as once. */
  close(): void {
    only(arguments, 0, "close()");
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
export class SnapshotTable<R extends object = Row> extends TableReader<R> {}

function ended() {
  return invalid("the snapshot was closed: take a new one");
}

/** @internal */
export async function snapshotOf(
  db: Handle<RawDb>,
  asOf: bigint | string | undefined,
  signal: AbortSignal | undefined,
): Promise<Snapshot> {
  const raw = db.startUntil(signal, "snapshot", asOf);
  const both = Promise.all([raw.call("timestamp"), raw.call("tables")]);
  const [timestamp, tables] = await abortable(both, signal);
  return new Snapshot(raw, timestamp, tables);
}
