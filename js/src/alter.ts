// Alterations of a table, as a caller writes them and as they cross to the engine.

import { invalid } from "./errors.js";
import type { RawAlteration } from "./raw.js";
import type { Alteration } from "./types.js";

/** By what is done, the property that says to what. */
const second: Record<string, "type" | "to" | undefined> = {
  addColumn: "type",
  widen: "to",
  renameColumn: "to",
  dropColumn: undefined,
  renameTable: undefined,
};

/** The alterations, or `Invalid` saying how one is written. */
export function rawAlterations(changes: readonly Alteration[]): RawAlteration[] {
  if (!Array.isArray(changes)) throw invalid(`alterTable() takes an array of alterations: ${remedy}`);
  return changes.map((change: Alteration, i) => {
    const given = Object.entries(change ?? {});
    const what = given.find(([name]) => Object.hasOwn(second, name))?.[0];
    const also = what === undefined ? undefined : second[what];
    const known = given.every(([name, value]) => [what, also].includes(name) && typeof value === "string");
    if (what === undefined || !known || given.length !== (also === undefined ? 1 : 2)) {
      throw invalid(`alteration ${i} is none: ${remedy}`);
    }
    const values = change as unknown as Record<string, string>;
    return [what, values[what]!, also === undefined ? "" : values[also]!];
  });
}

const remedy =
  '{ addColumn: "note", type: "utf8" }, { widen: "delay", to: "int64" }, { renameColumn: "note", to: "text" }, ' +
  '{ dropColumn: "text" } or { renameTable: "trips" }';
