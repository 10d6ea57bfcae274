// The WebAssembly instance all databases of this JavaScript realm share, and the table of calls in flight.
//
// After a trap (a defect, or memory that could not be had) nothing inside the instance settles by itself. So
// every call in flight is kept here and rejected with `Internal`; what the dead instance holds of the outside
// (locks, open files) is released once its last storage request has ended; and the next `open` makes a fresh
// instance of the same module.

import * as glue from "../wasm/lakeshore.js";
import { LakeshoreError, fromEngine } from "./errors.js";
import type { RawModule } from "./raw.js";
import { Tracked } from "./host/tracked.js";

/** Gives the compiled module: set once by the runtime's entry file. */
export type ModuleLoader = () => Promise<WebAssembly.Module>;

let loader: ModuleLoader | undefined;
let compiled: Promise<WebAssembly.Module> | undefined;
let booted = false;
let current: Engine | undefined;
/** What is left to be released of dead instances. */
let funeral: Promise<unknown> = Promise.resolve();

/** Says where the WebAssembly module comes from. */
export function setModuleLoader(load: ModuleLoader): void {
  loader = load;
}

/** The living instance, made if need be. */
export async function engine(): Promise<Engine> {
  if (current !== undefined) return current;
  if (loader === undefined) {
    throw new LakeshoreError(
      "Unsupported",
      "there is no WebAssembly module: call init() with it before open()",
    );
  }
  compiled ??= loader();
  const module = await compiled.catch((error: unknown) => {
    compiled = undefined;
    throw error;
  });
  await funeral;
  current ??= boot(module);
  return current;
}

function boot(module: WebAssembly.Module): Engine {
  if (booted) glue.__wbg_reset_state();
  else glue.initSync({ module });
  booted = true;
  const made = new Engine();
  glue.__lakeshore.onTrap = (error: unknown) => made.fail(error);
  return made;
}

/** One instance of the module. */
export class Engine {
  readonly raw = glue as unknown as RawModule;
  private readonly waiting = new Set<(error: LakeshoreError) => void>();
  private readonly hosts = new Set<Tracked>();
  private failure: LakeshoreError | undefined;

  /** Bytes of its memory. */
  memoryBytes(): number {
    return this.failure === undefined ? glue.__lakeshore.memoryBytes() : 0;
  }

  /** A host that this instance may use, and that outlives it no longer than its last request. */
  track(host: object): object {
    const tracked = new Tracked(host);
    this.hosts.add(tracked);
    return tracked.proxy;
  }

  /** Forgets a host whose database is closed. */
  untrack(proxies: readonly object[]): void {
    for (const tracked of this.hosts) if (proxies.includes(tracked.proxy)) this.hosts.delete(tracked);
  }

  /** Makes an asynchronous call; it settles even if the instance dies. */
  call<T>(action: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) return reject(this.failure);
      this.waiting.add(reject);
      const settle = (how: () => void) => {
        this.waiting.delete(reject);
        how();
      };
      try {
        glue.__lakeshore.enter(action).then(
          (value: T) => settle(() => resolve(value)),
          (error: unknown) => settle(() => reject(fromEngine(error))),
        );
      } catch (error) {
        settle(() => reject(this.failure ?? fromEngine(error)));
      }
    });
  }

  /** Makes a synchronous call. */
  callNow<T>(action: () => T): T {
    if (this.failure !== undefined) throw this.failure;
    try {
      return glue.__lakeshore.enter(action);
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
    if (current === this) current = undefined;
    const settled = [...this.hosts].map((host) => host.abandon());
    this.hosts.clear();
    funeral = Promise.allSettled([funeral, ...settled]);
    for (const reject of [...this.waiting]) reject(this.failure);
    this.waiting.clear();
  }
}
