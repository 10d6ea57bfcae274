// Hands rows to the engine.

import type { Column, Field } from "./columns/column.js";
import { encodeRows } from "./columns/encode.js";
import type { Commit } from "./input.js";

/** Writes rows given as columns or as bytes. */
export interface Way<Answer> {
  fields: readonly Field[];
  ipc(bytes: Uint8Array): Promise<Answer>;
  columns(columns: Column[], rows: number): Promise<Answer>;
}

/** Writes the rows of one commit. */
export function write<Answer>(commit: Commit, way: Way<Answer>): Promise<Answer> {
  if ("bytes" in commit) return way.ipc(commit.bytes);
  const columns = encodeRows(way.fields, commit.rows);
  return way.columns(columns, commit.rows.length);
}
