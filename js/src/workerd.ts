// The package in Cloudflare Workers: the module is imported, compiled at deployment. There I/O belongs to the request
// that began it, so nothing here is shared between requests but the instance itself: no promise, no queue, no
// permit of one request is what another waits for.

import wasm from "../wasm/lakeshore_bg.wasm";
import { openWith, type Db } from "./db.js";
import { only } from "./door/options.js";
import { setModuleLoader, shareInstance } from "./engine.js";
import { bucket } from "./s3.js";
import type { OpenOptions, S3Options, S3Store } from "./types.js";

export * from "./index.js";

setModuleLoader(() => wasm);
shareInstance();

/**
 * A bucket: the same as elsewhere, but without a bound on requests at once unless `concurrency` sets one. Who waits for
 * a place in that waits for another request's I/O; and workerd has a bound of its own.
 */
export function s3(options: S3Options): S3Store {
  only(arguments, 1, "s3()");
  return bucket(options, { concurrency: 0 });
}

/**
 * Opens a database. Here `detachedTasks` is off unless said otherwise: each call does its own work within its own
 * request, and a handle may be kept from one request to the next.
 */
export async function open(options: OpenOptions): Promise<Db> {
  only(arguments, 1, "open()");
  return openWith(options, { detachedTasks: false });
}
