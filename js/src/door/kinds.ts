// What options take: the kinds that the tables are made of.

import type { Literal } from "./values.js";
import { invalid } from "../errors.js";
import { type Given, type Kind, checkOptions, type Rules, wrong } from "./options.js";
import { byName, isPlain, isWellFormed, literal, timeOf } from "./values.js";

/** A kind whose values are primitive, and so are their own copies. */
function primitive<T>(takes: string, is: (value: unknown) => boolean): Kind<T> {
  return { takes, read: (value) => (is(value) ? (value as T) : wrong) };
}

const isText = (value: unknown): value is string => typeof value === "string" && isWellFormed(value);

export const flag = primitive<boolean>("a boolean, true or false", (value) => typeof value === "boolean");

function number(takes: string, is: (value: number) => boolean): Kind<number> {
  const read = (value: unknown) => (typeof value === "number" && is(value) ? value : wrong);
  return { takes, numeric: true, read };
}

/** Counts and sizes. */
export const whole: Kind<number> = number(
  "a whole number, at least 0",
  (value) => Number.isSafeInteger(value) && value >= 0,
);

/** Times, in milliseconds. */
export const millis: Kind<number> = number(
  "milliseconds, at least 0",
  (value) => value >= 0 && value <= Number.MAX_SAFE_INTEGER,
);

/** A share, from 0 to below 1. */
export const rate: Kind<number> = number("a rate from 0 to below 1", (value) => value >= 0 && value < 1);

/** Whole numbers from `least`. */
export function atLeast(least: number, most = Number.MAX_SAFE_INTEGER): Kind<number> {
  return number(
    most === Number.MAX_SAFE_INTEGER
      ? `a whole number, at least ${least}`
      : `a whole number from ${least} to ${most}`,
    (value) => Number.isSafeInteger(value) && value >= least && value <= most,
  );
}

/** Well-formed text. */
export function text(takes: string): Kind<string> {
  return primitive(takes, isText);
}

/** The same, and not empty. */
export function filled(takes: string): Kind<string> {
  return primitive(takes, (value) => isText(value) && value !== "");
}

/** One of some texts. */
export function oneOf<T extends string>(...values: readonly T[]): Kind<T> {
  const takes = values.map((value) => JSON.stringify(value)).join(" or ");
  return primitive(takes, (value) => values.includes(value as T));
}

/** A function, to be called as one. */
export function func<T>(takes: string): Kind<T> {
  return { takes, secret: true, read: (value) => (isCallable(value) ? (value as T) : wrong) };
}

/** Whether it can be called: a class cannot. */
export function isCallable(value: unknown): boolean {
  return typeof value === "function" && !/^class\b/.test(Function.prototype.toString.call(value));
}

/** The same kind, whose values are not shown. */
export function secret<T>(kind: Kind<T>): Kind<T> {
  return { ...kind, secret: true };
}

/** Most names in a list. */
const longestList = 1_000_000;

/** A list of names, in an array. */
export function names(takes: string): Kind<string[]> {
  return {
    takes,
    read: (value) => {
      if (!Array.isArray(value) || value.length > longestList) return wrong;
      const copy: string[] = [];
      for (let i = 0; i < value.length; i++) {
        const item: unknown = value[i];
        if (!isText(item)) return wrong;
        copy.push(item);
      }
      return copy;
    },
  };
}

/** Options within an option. */
export function nested<R extends Rules>(rules: R): Kind<Given<R>> {
  return {
    takes: `{ ${Object.keys(rules).join(", ")} }`,
    read: (value, place) => (isPlain(value) ? checkOptions(place, value, rules) : wrong),
  };
}

/** An AbortSignal. It stays the caller's: its reason is passed on as it is. */
export const signal: Kind<AbortSignal> = {
  takes: "an AbortSignal: of a controller, controller.signal",
  read: (value) => (isSignal(value) ? value : wrong),
};

function isSignal(value: unknown): value is AbortSignal {
  if (typeof value !== "object" || value === null) return false;
  const signal = value as AbortSignal;
  const methods = [signal.addEventListener, signal.removeEventListener];
  if (typeof signal.aborted !== "boolean" || !methods.every(isCallable)) return false;
  // What takes no listener must be found out before anything is begun.
  signal.addEventListener("abort", ignore);
  signal.removeEventListener("abort", ignore);
  return true;
}

const ignore = (): void => undefined;

/** Values by name: a key, or a part of a row. */
export const key: Kind<Record<string, Literal>> = {
  takes: "values by column name, { id: 7n }",
  read: (value, place) => {
    const isObject = typeof value === "object" && value !== null;
    return isObject && !Array.isArray(value) && !ArrayBuffer.isView(value) ? keyOf(value, place) : wrong;
  },
};

/** A copy of a key: its own properties. */
export function keyOf(value: object, place: string): Record<string, Literal> {
  const copy = byName<Literal>();
  for (const name of Object.keys(value)) {
    const given = (value as Record<string, unknown>)[name];
    if (given !== undefined) copy[name] = literal(given, `${place}: ${JSON.stringify(name)}`);
  }
  return copy;
}

/** A moment: microseconds, or the name of a tag. */
export const moment: Kind<bigint | string> = {
  takes: "a Date, microseconds since 1970 as a bigint, or the name of a tag",
  numeric: true,
  read: (value, place) => {
    if (isText(value)) return value;
    if (typeof value === "bigint") return BigInt.asIntN(64, value) === value ? value : wrong;
    const time = timeOf(value);
    if (time === undefined) return wrong;
    if (Number.isNaN(time)) throw invalid(`${place} is an invalid Date: it takes ${moment.takes}`);
    return BigInt(time) * 1000n;
  },
};
