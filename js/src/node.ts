// The package in Node: the module is read from the file system, and there are directories.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openWith, type Db } from "./db.js";
import { only } from "./door/options.js";
import { show } from "./door/show.js";
import { name } from "./door/values.js";
import { setModuleLoader } from "./engine.js";
import { invalid } from "./errors.js";
import { nodeDirectory } from "./host/node.js";
import type { OpenOptions, Store } from "./types.js";

export * from "./index.js";

setModuleLoader(async () =>
  WebAssembly.compile(await readFile(new URL("../wasm/lakeshore_bg.wasm", import.meta.url))),
);

/** A store in a directory of this machine; it is made if it is missing. */
export function directory(path: string): Store {
  only(arguments, 1, "directory()");
  return { host: nodeDirectory(pathIn(path, "directory()")) };
}

/**
 * Opens a database. A path is short for `{ data: directory(path), wal: directory(path + "/wal") }`: commits are
 * durable on this machine. With `wal`, durability is local; without, each commit is a log record in `data`.
 */
export async function open(options: string | OpenOptions): Promise<Db> {
  only(arguments, 1, "open()");
  if (typeof options !== "string") return openWith(options);
  const path = pathIn(options, "open()");
  return openWith({ data: directory(path), wal: directory(join(path, "wal")) });
}

function pathIn(path: unknown, call: string): string {
  const takes = `${call} takes the path of a directory, as text`;
  const text = name(path, takes);
  if (text === "" || text.includes("\0")) throw invalid(`${takes}: it was given ${show(text)}`);
  return text;
}
