// The package in browsers. In a page the engine runs in a dedicated worker, so that the page stays responsive and OPFS
// can be written with sync access handles; in a worker it runs in place.

import { checkOpen, type Db, openChecked, probeWith } from "./db.js";
import { checkOptions, type Kind, only, wrong } from "./door/options.js";
import { callOptions, openOptions } from "./door/tables.js";
import { engine, givenModule, giveModule, setModuleLoader } from "./engine.js";
import { askToPersist } from "./opfs.js";
import { isRunning, remoteEngine } from "./remote/page.js";
import type { CallOptions, OpenOptions, ProbeReport, Store, WasmModule, WorkerSource } from "./types.js";
import { fetchModule } from "./wasm-module.js";

export * from "./index.js";

setModuleLoader(fetchModule);

type Module = WasmModule | PromiseLike<WasmModule>;

/**
 * Gives the package its WebAssembly module, where a bundler does not find it or it is to come from elsewhere: once,
 * before `open`. `Invalid` if it is none, or comes after an `open` that has taken another.
 */
export function init(module: Module): void {
  only(arguments, 1, "init()");
  giveModule(module, isRunning());
}

/** Options of an open database in a browser. */
export interface BrowserOptions extends OpenOptions {
  /**
   * Of a page: the worker that the engine runs in, whose script imports `lakeshore/worker`; or where its script is; or
   * what makes it. By default the package's own. Databases with the same one share it, and it is ended when the last
   * of them closes.
   */
  worker?: WorkerSource;
}

const worker: Kind<WorkerSource> = {
  takes: "a Worker, the URL of its script, or a function that makes one",
  read: (value) => {
    if (typeof value === "function" || (typeof value === "string" && value !== ""))
      return value as () => Worker;
    return value instanceof URL || (typeof Worker !== "undefined" && value instanceof Worker) ? value : wrong;
  },
};

/** Opens a database. With `wal`, durability is local; without, each commit is a log record in `data`. */
export async function open(options: BrowserOptions): Promise<Db> {
  only(arguments, 1, "open()");
  const { worker: source, ...rest } = checkOpen(options, { ...openOptions, worker });
  if (typeof document === "undefined") return openChecked(rest, engine);
  return openChecked(rest, async () => {
    await askToPersist(rest.data, rest.wal);
    return remoteEngine(source, ownWorker, await givenModule());
  });
}

/**
 * Tries whether a store does what Lakeshore needs of it, in a prefix of its own (`probe/…`), which it empties at the
 * end: some 90 requests and 13 MiB. What fails is told in the report, not thrown.
 */
export async function probe(
  store: Store,
  options: CallOptions & { worker?: WorkerSource } = {},
): Promise<ProbeReport> {
  only(arguments, 2, "probe()");
  const { worker: source, ...rest } = checkOptions("probe()", options, { ...callOptions, worker });
  if (typeof document === "undefined") return probeWith(store, rest, engine);
  return probeWith(store, rest, async () => remoteEngine(source, ownWorker, await givenModule()));
}

/** Bundlers look for exactly this expression. */
function ownWorker(): Worker {
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
}
