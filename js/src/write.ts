// Hands rows to the engine.

import type { Column, Field } from "./columns/column.js";
import { encodeRows } from "./columns/encode.js";
import { looksLike } from "./door/sniff.js";
import { reading } from "./door/values.js";
import { LakeshoreError } from "./errors.js";
import type { Commit } from "./input.js";
import type { RawArrow } from "./raw.js";

/** Writes rows given as columns or as bytes. */
export interface Way<Answer> {
  fields: readonly Field[];
  ipc(bytes: Uint8Array): Promise<Answer>;
  arrow(batches: RawArrow): Promise<Answer>;
  columns(columns: Column[], rows: number): Promise<Answer>;
}

/** Writes the rows of one commit. */
export function write<Answer>(commit: Commit, way: Way<Answer>): Promise<Answer> {
  if ("arrow" in commit) return way.arrow(commit.arrow);
  if ("bytes" in commit) {
    const { bytes, head } = commit;
    const length = bytes.byteLength;
    return way.ipc(bytes).catch((error: unknown) => {
      throw named(error, head, length);
    });
  }
  const { rows } = commit;
  const count = reading("the rows", () => rows.length);
  return way.columns(
    reading("the rows", () => encodeRows(way.fields, rows)),
    count,
  );
}

/** The error for bytes that were refused, with what they look like. */
function named(error: unknown, head: Uint8Array, length: number): unknown {
  const refused =
    error instanceof LakeshoreError && (error.code === "Invalid" || error.code === "Unsupported");
  if (!refused || !aboutBytes.test(error.message) || tooMany.test(error.message)) return error;
  const like = looksLike(head, length);
  if (like === undefined) return error;
  return new LakeshoreError(error.code, `${error.message}; ${like}`, { cause: error.cause });
}

/** What the engine says of bytes, in contrast to rows in them. */
const tooMany = /commitBytes/;
const aboutBytes = /IPC|Arrow|stream|message|bytes/;
