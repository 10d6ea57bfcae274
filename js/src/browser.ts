// The package in browsers. In a page the engine runs in a dedicated worker, so that the page stays responsive and OPFS
// can be written with sync access handles; in a worker it runs in place.

import { type Db, openWith, probeWith } from "./db.js";
import { engine, setModuleLoader } from "./engine.js";
import { askToPersist } from "./opfs.js";
import { remoteEngine, type WorkerSource } from "./remote/page.js";
import type { CallOptions, OpenOptions, ProbeReport, Store } from "./types.js";
import { fetchModule } from "./wasm-module.js";

export * from "./index.js";
export type { WorkerSource } from "./remote/page.js";

setModuleLoader(fetchModule);

type Module = WebAssembly.Module | PromiseLike<WebAssembly.Module>;
let given: Module | undefined;

/**
 * Gives the package its WebAssembly module, where a bundler does not find it or it is to come from elsewhere: once,
 * before `open`.
 */
export function init(module: Module): void {
  given = module;
  setModuleLoader(() => module);
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

/** Opens a database. With `wal`, durability is local; without, each commit is a log record in `data`. */
export function open(options: BrowserOptions): Promise<Db> {
  if (typeof options !== "object" || options === null || typeof document === "undefined") {
    return openWith(options, engine);
  }
  const { worker, ...rest } = options;
  return openWith(rest, async () => {
    await askToPersist(rest.data, rest.wal);
    return remoteEngine(worker, ownWorker, await given);
  });
}

/**
 * Tries whether a store does what Lakeshore needs of it, in a prefix of its own (`probe/…`), which it empties at the
 * end: some 90 requests and 13 MiB. What fails is told in the report, not thrown.
 */
export function probe(
  store: Store,
  options: CallOptions & { worker?: WorkerSource } = {},
): Promise<ProbeReport> {
  if (typeof document === "undefined") return probeWith(store, options, engine);
  const { worker, ...rest } = options;
  return probeWith(store, rest, async () => remoteEngine(worker, ownWorker, await given));
}

/** Bundlers look for exactly this expression. */
function ownWorker(): Worker {
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
}
