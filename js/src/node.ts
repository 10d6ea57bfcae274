// The package in Node: the module is read from the file system, and there are directories.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { open as openWith, type Db } from "./db.js";
import { setModuleLoader } from "./engine.js";
import { nodeDirectory } from "./host/node.js";
import type { OpenOptions, Store } from "./types.js";

export * from "./index.js";

setModuleLoader(async () =>
  WebAssembly.compile(await readFile(new URL("../wasm/lakeshore_bg.wasm", import.meta.url))),
);

/** A store in a directory of this machine; it is made if it is missing. */
export function directory(path: string): Store {
  return { host: nodeDirectory(path) };
}

/**
 * Opens a database. A path is short for `{ data: directory(path), wal: directory(path + "/wal") }`: commits are
 * durable on this machine. With `wal`, durability is local; without, each commit is a log record in `data`.
 */
export function open(options: string | OpenOptions): Promise<Db> {
  if (typeof options !== "string") return openWith(options);
  return openWith({ data: directory(options), wal: directory(join(options, "wal")) });
}
