// The package in Cloudflare Workers: the module is imported, compiled at deployment. There I/O belongs to the request
// that began it, so nothing here is shared between requests but the instance itself: no promise, no queue, no
// permit of one request is what another waits for.

import wasm from "../wasm/lakeshore_bg.wasm";
import { open as openWith, type Db } from "./db.js";
import { setModuleLoader } from "./engine.js";
import type { OpenOptions } from "./types.js";

export * from "./index.js";

setModuleLoader(() => wasm);

/**
 * Opens a database. Here `detachedTasks` is off unless said otherwise: each call does its own work within its own
 * request, and a handle may be kept from one request to the next.
 */
export function open(options: OpenOptions): Promise<Db> {
  return openWith({ detachedTasks: false, ...options });
}
