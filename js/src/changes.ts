// A running change feed.

import { abortable } from "./abort.js";
import { decodeRows } from "./columns/decode.js";
import { only } from "./door/options.js";
import { invalid } from "./errors.js";
import type { Handle, RawChange, RawChanges } from "./raw.js";
import type { Change, ChangedIpc, ChangedRows, Row } from "./types.js";

/**
 * What is committed from a moment on, commit by commit: read it once, in one of two ways. Iterated, it gives rows as
 * Arrow IPC streams; leaving the loop ends it.
 */
export class Changes implements AsyncIterable<Change<ChangedIpc>> {
  private readonly raw: Handle<RawChanges>;
  private readonly signal: AbortSignal | undefined;
  private taken = false;

  /** @internal */
  constructor(raw: Handle<RawChanges>, signal: AbortSignal | undefined) {
    this.raw = raw;
    this.signal = signal;
  }

  /** With rows as Arrow IPC streams. */
  [Symbol.asyncIterator](): AsyncGenerator<Change<ChangedIpc>, undefined> {
    const next = () => this.raw.call("nextIpc");
    return this.iterate(next, ({ table, kind, bytes }) => ({ table, kind, ipc: bytes }));
  }

  /** With rows as plain objects; of deleted ones the key columns. */
  rows(): AsyncGenerator<Change<ChangedRows>, undefined> {
    only(arguments, 0, "rows()");
    const next = () => this.raw.call("nextColumns");
    return this.iterate(next, ({ table, kind, batch: { fields, columns, rows } }) => ({
      table,
      kind,
      rows: decodeRows(fields, columns, rows) as Row[],
    }));
  }

  private iterate<Raw, Part>(
    next: () => Promise<RawChange<Raw> | undefined>,
    part: (raw: RawChange<Raw>["tables"][number]) => Part,
  ): AsyncGenerator<Change<Part>, undefined> {
    let begun = false;
    const generate = async function* (this: Changes): AsyncGenerator<Change<Part>, undefined> {
      if (this.taken) throw invalid("changes are read once: call db.changes() again");
      this.taken = begun = true;
      try {
        for (;;) {
          const change = await abortable(next(), this.signal);
          if (change === undefined) return undefined;
          yield { ...change, tables: change.tables.map(part) };
        }
      } finally {
        this.cancel();
        this.raw.drop(invalid("the changes have ended: call db.changes() again"));
      }
    };
    const changes = generate.call(this);
    const end = changes.return.bind(changes);
    // A generator would end only after the next change, which may never come.
    changes.return = (value) => {
      if (begun) this.cancel();
      return end(value);
    };
    return changes;
  }

  private cancel(): void {
    // Nobody waits for it. If it fails the instance is gone, and the feed with it.
    this.raw.call("cancel").catch(() => undefined);
  }
}
