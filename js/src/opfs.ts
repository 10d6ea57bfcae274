// Directories of the browser's origin-private file system (src/platform/wasm/opfs).

import { opfsOptions } from "./door/tables.js";
import { only, checkOptions } from "./door/options.js";
import { checked } from "./door/stores.js";
import { name } from "./door/values.js";
import { invalid } from "./errors.js";
import type { OpfsOptions, OpfsStore } from "./types.js";

/** What the engine takes (src/platform/wasm/opfs/mod.rs). */
export interface OpfsSpec {
  name: string;
  persist: boolean;
  /** Locks (functions that give them back) and access handles, kept here while they are held, or are being made. */
  held?: Set<(() => void) | Closed | Promise<Closed>>;
}

interface Closed {
  close(): void;
}

/** An OPFS store as one instance of the engine uses it: what is held can be let go of if the instance dies. */
export class HeldOpfs {
  readonly spec: OpfsSpec;
  readonly exclusive = true;
  private readonly held: NonNullable<OpfsSpec["held"]> = new Set();

  constructor(spec: OpfsSpec) {
    this.spec = { ...spec, held: this.held };
  }

  async abandon(): Promise<void> {
    const made: Promise<unknown>[] = [];
    for (const thing of this.held) {
      if (typeof thing === "function") thing();
      else if (thing instanceof Promise) made.push(thing.then((late) => late.close()));
      else thing.close();
    }
    this.held.clear();
    await Promise.allSettled(made);
  }

  /** The engine gives up by itself what comes when nobody waits for it. */
  async leave(): Promise<void> {}
}

/**
 * A directory of the browser's origin-private file system, as `data`, as `wal` or, under two names, as both:
 * `{ data: opfs("my-app"), wal: opfs("my-app-wal") }`. It is made by the first write. A commit is as durable as the
 * browser's flush makes it, and the browser may evict all of an origin's data unless it is asked to persist it.
 */
export function opfs(directory: string, options: OpfsOptions = {}): OpfsStore {
  only(arguments, 2, "opfs()");
  const takes = 'opfs() takes the name of a directory: opfs("my-app")';
  if (directory === "") throw invalid(takes);
  const { persist = false } = checkOptions("opfs()", options, opfsOptions);
  const spec: OpfsSpec = { name: name(directory, takes), persist };
  return { opfs: checked(spec) };
}

/**
 * Asks the browser to keep the data of stores that want it: only a page may ask, so a page does before it hands the
 * stores to a worker. The answer does not matter here; `stats()` shows it.
 */
export async function askToPersist(...stores: unknown[]): Promise<void> {
  const wanted = stores.some((store) => (store as { opfs?: OpfsSpec } | undefined)?.opfs?.persist === true);
  const storage = (globalThis as { navigator?: { storage?: Partial<StorageManager> } }).navigator?.storage;
  if (!wanted || typeof storage?.persist !== "function") return;
  await storage.persist().catch(() => false);
}
