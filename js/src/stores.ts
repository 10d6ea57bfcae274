// Where data can be kept.

import type { Host } from "./host/host.js";
import { memoryHost } from "./host/memory.js";
import { only } from "./door/options.js";
import { show } from "./door/show.js";
import { invalid } from "./errors.js";
import type { Store } from "./types.js";

/**
 * A store in the memory of this process: for tests, and for data that may be lost with it. It lives as long as the
 * object, so a database can be closed and opened again on it.
 */
export function memory(): Store {
  only(arguments, 0, "memory()");
  return { host: memoryHost() };
}

/** A store of your own: an object with the methods of {@link Host}. */
export function host(object: Host): Store {
  only(arguments, 1, "host()");
  if (typeof object !== "object" || object === null) {
    throw invalid(`host() takes an object with the methods of a Host: it was given ${show(object)}`);
  }
  return { host: object };
}
