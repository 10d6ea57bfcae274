// Rows that did not fit a table which was altered meanwhile, once more. Invariant: they are what they were when the call
// was made: nothing of the caller's is read after something was awaited.

import type { Column, DataType, Field } from "./columns/column.js";
import { copyOfRow } from "./columns/copy.js";
import { decodeRows } from "./columns/decode.js";

/** Gives the rows, to be fitted once more; undefined if they cannot be had again. */
export type Again = () => readonly object[] | undefined;

/** Of rows that could not be encoded: a copy, made now. */
export function ofRows(rows: readonly unknown[]): Again {
  try {
    const copies = new Map<object, unknown>();
    const copy = Array.from({ length: rows.length }, (_, i) => copyOfRow(rows[i] as object, copies));
    return () => copy;
  } catch {
    // What cannot be read fits no table.
    return () => undefined;
  }
}

/** Of columns that were sent: what they say, but for columns of nulls alone, which may be gone. */
export function ofColumns(fields: readonly Field[], columns: readonly Column[], count: number): Again {
  return () => {
    const plain = fields.map((field) => ({ ...field, type: plainType(field.type) }));
    const rows = decodeRows(plain, columns, count);
    const empty = fields.filter((_, i) => isEmpty(columns[i]!)).map(({ name }) => name);
    for (const row of rows) for (const name of empty) delete row[name];
    return rows;
  };
}

/** Whether all of it is null. */
function isEmpty({ validity, length }: Column): boolean {
  for (let i = 0; i < length; i++)
    if (validity === undefined || (validity[i >> 3]! >> (i & 7)) & 1) return false;
  return true;
}

/** As encoded columns have it: a dictionary's values themselves. */
function plainType(type: DataType): DataType {
  if (type.kind === "dictionary") return plainType(type.children![1]!.type);
  if (type.children === undefined) return type;
  return { ...type, children: type.children.map((field) => ({ ...field, type: plainType(field.type) })) };
}

/** Columns that stay when those that are sent are given away. */
export function kept(columns: readonly Column[]): Column[] {
  return structuredClone(columns) as Column[];
}
