// How a table is defined, as a caller writes it and as it crosses to the engine.

import { bytesIn } from "./door/bytes.js";
import { flag, names, signal, text } from "./door/kinds.js";
import { type Kind, checkOptions, wrong } from "./door/options.js";
import { quoted } from "./door/show.js";
import { isPlain, name, reading } from "./door/values.js";
import { invalid } from "./errors.js";
import type { RawColumn } from "./raw.js";

const schemaTakes = 'an object of column types, { id: "int64" }, or an Arrow schema as IPC bytes';

const schema: Kind<RawColumn[] | Uint8Array> = {
  takes: schemaTakes,
  read: (value, place) => {
    const bytes = bytesIn(value, place);
    if (bytes !== undefined) return bytes;
    return isPlain(value) ? Object.keys(value).map((column) => rawColumn(column, value[column])) : wrong;
  },
};

const columnOptions = { type: text('a type as text, "int64"'), nullable: flag };
const keyKind = names('an array of column names: ["id"]');
const tableRules = { schema, primaryKey: keyKind, signal };

/** How a table is created: columns or an Arrow schema, and its key. */
export interface Definition {
  schema: RawColumn[] | Uint8Array;
  primaryKey: string[];
}

/** What `db.table()` was given: how the table is made, if it says so, or `Invalid` saying how it is written. */
export function tableOptions(given: unknown): { definition?: Definition; signal?: AbortSignal } {
  const { schema, primaryKey, signal } = checkOptions("table()", given, tableRules);
  const until = signal === undefined ? {} : { signal };
  if (schema === undefined && primaryKey === undefined) {
    // An object that says nothing may have lost what it was to say.
    if (given === undefined || signal !== undefined) return until;
  }
  if (schema === undefined) throw invalid(`table(): option schema is missing: it takes ${schemaTakes}`);
  if (primaryKey === undefined) {
    throw invalid(`table(): option primaryKey is missing: it takes ${keyKind.takes}`);
  }
  return { definition: { schema, primaryKey }, ...until };
}

function rawColumn(column: string, given: unknown): RawColumn {
  const place = `table(): column ${quoted(column)}`;
  name(column, `${place}: a name is text`);
  const spec = typeof given === "string" ? { type: given } : given;
  const { type, nullable } = reading(place, () =>
    isPlain(spec) ? checkOptions(place, spec, columnOptions) : {},
  );
  if (type !== undefined) return [column, type, nullable];
  throw invalid(`${place}: its type is given as "int64", or { type: "int64", nullable: false }`);
}
