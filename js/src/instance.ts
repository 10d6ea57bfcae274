// One instance of the WebAssembly module, which one open database has to itself, and the table of calls in flight.
//
// After a trap (a defect, or memory that could not be had) nothing inside the instance settles by itself. So every call
// in flight is kept here and rejected with `Internal`, and what the dead instance holds of the outside (locks, open
// files) is released once its last storage request has ended. Other databases have instances of their own.

import { type Glue, instantiate } from "../wasm/lakeshore.js";
import { abortable } from "./abort.js";
import { guardedFetch } from "./door/answers.js";
import { fromEngine } from "./door/caller.js";
import { LakeshoreError } from "./errors.js";
import { LocalHandle } from "./handle.js";
import { HeldOpfs, type OpfsSpec } from "./opfs.js";
import type { Opening, RawCancel, RawModule, StoreSpec } from "./raw.js";
import type { ProbeReport } from "./types.js";
import { Tracked } from "./host/tracked.js";

/** What dead instances held alone (locks, open files) and have not released yet. */
let funeral: Promise<unknown> | undefined;

/** Resolves once dead instances have released what they held alone. */
export async function buried(): Promise<void> {
  await funeral;
}

type AnyFetch = (url: string, init: object) => unknown;

/** The options of a bucket, with a `fetch` whose answers are checked. */
function guarded(s3: object): StoreSpec {
  // The runtime's own is looked up at each call: it may be replaced meanwhile.
  const { fetch = globalFetch() } = s3 as { fetch?: AnyFetch };
  return { s3: { ...s3, ...(fetch !== undefined && { fetch: guardedFetch(fetch) }) } };
}

function globalFetch(): AnyFetch | undefined {
  if (typeof globalThis.fetch !== "function") return undefined;
  return (url, init) => globalThis.fetch(url, init as RequestInit);
}

/** One instance of the module. */
export class Instance {
  private readonly glue: Glue;
  private readonly waiting = new Set<(error: LakeshoreError) => void>();
  private readonly stores = new Set<Tracked | HeldOpfs>();
  private failure: LakeshoreError | undefined;

  constructor(module: WebAssembly.Module) {
    this.glue = instantiate();
    this.glue.initSync({ module });
    this.glue.__lakeshore.onTrap = (error) => this.fail(error);
  }

  /** Whether it trapped. */
  get dead(): boolean {
    return this.failure !== undefined;
  }

  /** Bytes of its WebAssembly memory. */
  get memoryBytes(): number {
    return this.dead ? 0 : this.glue.__lakeshore.memoryBytes();
  }

  open(
    data: StoreSpec,
    wal: StoreSpec | undefined,
    options: object,
    signal: AbortSignal | undefined,
  ): Opening {
    const stores: (Tracked | HeldOpfs)[] = [];
    const keep = <S extends Tracked | HeldOpfs>(store: S): S => {
      stores.push(store);
      this.stores.add(store);
      return store;
    };
    const track = (spec: StoreSpec): StoreSpec => {
      if ("host" in spec) return { host: keep(new Tracked(spec.host)).proxy };
      if ("opfs" in spec) return { opfs: keep(new HeldOpfs(spec.opfs as OpfsSpec)).spec };
      return guarded(spec.s3);
    };
    const module = new LocalHandle<RawModule>(this, this.glue as unknown as RawModule);
    const db = module.startUntil(signal, "openDb", track(data), wal && track(wal), options);
    const release = () => stores.forEach((store) => this.stores.delete(store));
    const abandon = async () => {
      release();
      await Promise.all(stores.map((store) => store.leave()));
    };
    return { db, release, abandon, memoryBytes: async () => this.memoryBytes };
  }

  async probe(data: StoreSpec, signal: AbortSignal | undefined): Promise<ProbeReport> {
    const module = new LocalHandle<RawModule>(this, this.glue as unknown as RawModule);
    if ("s3" in data) return module.callUntil(signal, "probe", guarded(data.s3));
    if ("opfs" in data) return module.callUntil(signal, "probe", data);
    return module.callUntil(signal, "probe", { host: new Tracked(data.host).proxy });
  }

  /** Makes a call; it settles even if the instance dies. */
  call<T>(action: () => T | Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) return reject(this.failure);
      this.waiting.add(reject);
      const settle = (how: () => void) => {
        this.waiting.delete(reject);
        how();
      };
      try {
        Promise.resolve(this.glue.__lakeshore.enter(action)).then(
          (value: T) => settle(() => resolve(value)),
          (error: unknown) => settle(() => reject(fromEngine(error))),
        );
      } catch (error) {
        settle(() => reject(this.failure ?? fromEngine(error)));
      }
    });
  }

  /** Makes a call that the signal ends. */
  callUntil<T>(signal: AbortSignal, action: () => T | Promise<T>): Promise<T> {
    if (signal.aborted) return Promise.reject(signal.reason);
    const { RawCancel } = this.glue as unknown as RawModule;
    let cancel: RawCancel;
    try {
      cancel = this.callNow(() => new RawCancel());
    } catch (error) {
      return Promise.reject(error);
    }
    const made = this.call(() => {
      cancel.arm();
      try {
        return action();
      } finally {
        cancel.disarm();
      }
    });
    let ended = false;
    // What is there nonetheless, made when the signal came, is nobody's.
    made.then(
      (late) => ended && this.letGo(late),
      () => undefined,
    );
    const end = () => {
      ended = true;
      this.tryNow(() => cancel.cancel());
    };
    return abortable(made, signal, end).finally(() => this.tryNow(() => cancel.free()));
  }

  private letGo(made: unknown): void {
    const { free } = (made ?? {}) as { free?: () => void };
    if (typeof free === "function") this.tryNow(() => free.call(made));
  }

  /** If the instance is dead, so is what this would end. */
  private tryNow(action: () => void): void {
    try {
      this.callNow(action);
    } catch {}
  }

  /** Makes a call whose answer is there at once. */
  callNow<T>(action: () => T): T {
    if (this.failure !== undefined) throw this.failure;
    try {
      return this.glue.__lakeshore.enter(action);
    } catch (error) {
      throw this.failure ?? fromEngine(error);
    }
  }

  /** The instance trapped: rejects what is in flight and releases what it held. */
  fail(cause: unknown): void {
    if (this.failure !== undefined) return;
    const reason = cause instanceof Error ? cause.message : String(cause);
    this.failure = new LakeshoreError(
      "Internal",
      `the engine stopped (${reason}): open the database again; acknowledged rows are kept. Please report this`,
      { cause },
    );
    const released = [...this.stores].map((store) => [store.exclusive, store.abandon()] as const);
    this.stores.clear();
    const awaited = released.filter(([exclusive]) => exclusive).map(([, ends]) => ends);
    if (awaited.length > 0) funeral = Promise.allSettled([funeral, ...awaited]);
    for (const reject of [...this.waiting]) reject(this.failure);
    this.waiting.clear();
  }
}
