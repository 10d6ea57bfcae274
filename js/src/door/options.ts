// The one checker of options. A table says which options a call takes and what each of them is; what is not in the table,
// or is something else, is `Invalid`, with what was probably meant. Invariant: what comes out is our own object, with
// the options that were given (`undefined` is not given) and nothing else.

import { invalid } from "../errors.js";
import { nearest } from "./near.js";
import { quoted, show } from "./show.js";
import { isPlain, reading } from "./values.js";

/** What an option takes. */
export interface Kind<T> {
  /** In words, after "it takes". */
  readonly takes: string;
  /** Whether the value must not be shown: it may be a secret in the wrong place. */
  readonly secret?: boolean;
  /** Whether it is a number or a moment: then what was given matters most. */
  readonly numeric?: boolean;
  /** A copy of the value, or `wrong`, or an error of its own. */
  read(value: unknown, place: string): T | typeof wrong;
}

/** The value is not what the option takes. */
export const wrong: unique symbol = Symbol("wrong");

/** The options of a call. */
export type Rules = { readonly [option: string]: Kind<unknown> };

/** A table that has every option of `T`, each of its type. */
export type RulesOf<T> = { readonly [O in keyof T]-?: Kind<NonNullable<T[O]>> };

/** What was given of them. */
export type Given<R extends Rules> = { [O in keyof R]?: R[O] extends Kind<infer T> ? T : never };

/** The options that were given to `call`: `scan()`, or a part of them: `scan(): range`. */
export function checkOptions<R extends Rules>(
  call: string,
  given: unknown,
  rules: R,
  noun = "option",
): Given<R> {
  // Not without a prototype: the engine asks whether it is an `Object`.
  const values: Record<string, unknown> = {};
  if (given === undefined) return values as Given<R>;
  const names = Object.keys(rules);
  return reading(`what ${call} was given`, () => {
    if (!isPlain(given)) throw invalid(`${call} takes ${listed(names)}: it was given ${show(given)}`);
    for (const name of Object.keys(given)) {
      if (!Object.hasOwn(rules, name)) throw unknown(call, noun, name, names);
      const value = given[name];
      if (value === undefined) continue;
      const kind = rules[name]!;
      const read = kind.read(value, `${call}: ${name}`);
      if (read === wrong) throw misfit(`${call}: ${noun} ${name}`, value, kind);
      values[name] = read;
    }
    return values as Given<R>;
  });
}

function misfit(place: string, value: unknown, { takes, secret, numeric }: Kind<unknown>): Error {
  if (secret === true) return invalid(`${place} takes ${takes}`);
  if (numeric === true) return invalid(`${place} is ${show(value)}: it takes ${takes}`);
  return invalid(`${place} takes ${takes}: it was given ${show(value)}`);
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? "no options" : `options, { ${names.join(", ")} }`;
}

function unknown(call: string, noun: string, name: string, names: readonly string[]): Error {
  const meant = nearest(name, names);
  const hint = meant === undefined ? "" : `did you mean ${meant}? `;
  return invalid(`${call}: there is no ${noun} ${quoted(name)}: ${hint}It takes ${listed(names)}`);
}

/** Refuses arguments that the call would ignore: they were meant to say something. */
export function only(args: ArrayLike<unknown>, most: number, call: string): void {
  if (args.length <= most) return;
  const takes = ["no argument", "one argument", "two arguments"][most] ?? `${most} arguments`;
  throw invalid(`${call} takes ${takes}: it was given ${args.length}`);
}
