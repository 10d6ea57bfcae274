/**
 * Lakeshore: an embedded, Arrow-native database for the edge.
 *
 * ```ts
 * import { open, directory, col } from "lakeshore";
 *
 * await using db = await open("./my-db");
 * const flights = await db.table("flights", {
 *   schema: { id: "int64", origin: "utf8", delay: "int32" },
 *   primaryKey: ["id"],
 * });
 * await flights.ingest([{ id: 1n, origin: "SFO", delay: 42 }]);
 * for await (const ipc of flights.scan({ where: col("delay").gt(30), select: ["id", "delay"] })) { … }
 * ```
 *
 * @packageDocumentation
 */

import { only } from "./door/options.js";
import { giveModule } from "./engine.js";
import type { WasmModule } from "./types.js";

export { Changes } from "./changes.js";
export { Db, open, probe } from "./db.js";
export { type ErrorCode, LakeshoreError } from "./errors.js";
export { opfs } from "./opfs.js";
export { and, col, Column, type Literal, not, or, Predicate } from "./predicate.js";
export { s3 } from "./s3.js";
export { Scan } from "./scan.js";
export { host, memory } from "./stores.js";
export { TableReader } from "./reader.js";
export { Snapshot, SnapshotTable } from "./snapshot.js";
export { Table } from "./table.js";
export { Transaction, TransactionTable } from "./transaction.js";
export type * from "./host/host.js";
export type * from "./types.js";

/**
 * Gives the package its WebAssembly module, where the runtime's entry file has not: once, before `open`. `Invalid` if it
 * is none, or comes after an `open` that has taken another.
 */
export function init(module: WasmModule | PromiseLike<WasmModule>): void {
  only(arguments, 1, "init()");
  giveModule(module);
}
