// Alterations of a table, as a caller writes them and as they cross to the engine.

import { nearest } from "./door/near.js";
import { quoted, show } from "./door/show.js";
import { isPlain, name, reading } from "./door/values.js";
import { invalid } from "./errors.js";
import type { RawAlteration } from "./raw.js";

/** By what is done, the property that says to what. */
const second: Record<string, "type" | "to" | undefined> = {
  addColumn: "type",
  widen: "to",
  renameColumn: "to",
  dropColumn: undefined,
  renameTable: undefined,
};

/** Most alterations of one call. */
const most = 10_000;

/** The alterations, or `Invalid` saying how one is written. */
export function rawAlterations(changes: unknown): RawAlteration[] {
  return reading("what alterTable() was given", () => {
    if (!Array.isArray(changes) || changes.length > most) {
      throw invalid(`alterTable() takes an array of alterations, ${remedy}: it was given ${show(changes)}`);
    }
    return Array.from({ length: changes.length }, (_, i) => rawAlteration(changes[i], i));
  });
}

function rawAlteration(change: unknown, index: number): RawAlteration {
  const given = isPlain(change) ? Object.entries(change) : [];
  const what = given.find(([property]) => Object.hasOwn(second, property))?.[0];
  const also = what === undefined ? undefined : second[what];
  const known = given.every(([property]) => property === what || property === also);
  const values = new Map(given);
  const [first, to] = [what && values.get(what), also === undefined ? "" : values.get(also)];
  const isText = typeof first === "string" && typeof to === "string";
  if (what === undefined || !known || !isText || given.length !== (also === undefined ? 1 : 2)) {
    throw invalid(`alteration ${index} is none: ${hint(given)}it is ${remedy}`);
  }
  const takes = `alteration ${index}: ${what} takes text`;
  return [what, name(first, takes), name(to, takes)];
}

function hint(given: [string, unknown][]): string {
  for (const [property] of given) {
    const meant = Object.hasOwn(second, property) ? undefined : nearest(property, Object.keys(second));
    if (meant !== undefined) return `${quoted(property)} is not known, did you mean ${meant}? `;
  }
  return "";
}

const remedy =
  '{ addColumn: "note", type: "utf8" }, { widen: "delay", to: "int64" }, { renameColumn: "note", to: "text" }, ' +
  '{ dropColumn: "text" } or { renameTable: "trips" }';
