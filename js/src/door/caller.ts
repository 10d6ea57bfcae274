// Errors of the engine in the caller's language: the engine calls its options as Rust does. Here, and not in the engine,
// since here it costs no bytes of the module.

import { type ErrorCode, LakeshoreError } from "../errors.js";
import { openOptions } from "./tables.js";

/** What the engine rejects with, as what users see. Errors of a host's own functions pass unchanged. */
export function fromEngine(error: unknown): unknown {
  if (typeof error !== "object" || error === null || error instanceof Error) return error;
  const { kind, message, cause } = error as { kind?: ErrorCode; message?: string; cause?: unknown };
  if (kind === undefined) return error;
  const options = cause === undefined ? undefined : { cause };
  return new LakeshoreError(kind, inCallersWords(String(message)), options);
}

/** By the engine's names: `batch_rows` is `batchRows`, and `grace` `graceMs`. */
const names = new Map(
  Object.keys(openOptions).map((name) => [
    name.replace(/Ms$/, "").replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`),
    name,
  ]),
);

const phrases: readonly (readonly [RegExp, string])[] = [
  [/`is null`/g, "isNull()"],
  [/`starts with`/g, "startsWith()"],
  [/\b(option|setting) (grace|retention)\b/g, "$1 $2Ms"],
];

/** The message, but what is in quotes: that is the caller's own. */
function inCallersWords(message: string): string {
  const parts = message.split(/("(?:[^"\\]|\\.)*")/);
  return parts.map((part, i) => (i % 2 === 1 ? part : translated(part))).join("");
}

function translated(text: string): string {
  const named = text.replace(/\b[a-z]+(?:_[a-z]+)+\b/g, (word) => names.get(word) ?? word);
  return phrases.reduce((text, [from, to]) => text.replace(from, to), named);
}
