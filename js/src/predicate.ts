// Filters, as a caller writes them: col("delay").gt(30).and(col("origin").eq("SFO")).

import { only } from "./door/options.js";
import { quoted, show } from "./door/show.js";
import { isPlain, type Literal, literal, name, reading } from "./door/values.js";
import { invalid } from "./errors.js";

export type { Literal } from "./door/values.js";

/** What crosses to the engine: an operator, then its operands. */
export type PredicateSpec = readonly [string, ...unknown[]];

/** Of one comparison its spec; of others the operator and what it joins. */
type Node = PredicateSpec | { readonly operator: "and" | "or" | "not"; readonly parts: readonly Predicate[] };

/**
 * A filter. Three-valued as in SQL: a comparison with null is null, and a row stays if the whole is true.
 * Strings compare by UTF-8 bytes, -0 is +0, every NaN is one and last.
 */
export class Predicate {
  readonly #node: Node;

  /** @internal */
  constructor(node: Node) {
    this.#node = node;
  }

  /** Both this and all of the others. */
  and(...others: Predicate[]): Predicate {
    return combine("and", [this, ...others]);
  }

  /** This, or any of the others. */
  or(...others: Predicate[]): Predicate {
    return combine("or", [this, ...others]);
  }

  /** Not this. What was null stays null. */
  not(): Predicate {
    only(arguments, 0, "not()");
    return combine("not", [this]);
  }

  /** @internal Whether it was made here. */
  static is(value: unknown): value is Predicate {
    return typeof value === "object" && value !== null && #node in value;
  }

  /** @internal */
  static nodeOf(predicate: Predicate): Node {
    return predicate.#node;
  }
}

/** Deepest nesting of a filter: what the engine's stack bears with room to spare (src/bindings/predicate.rs). */
const deepest = 100;
/** Most comparisons and values of a filter. */
const largest = 1_000_000;
/** Most bytes of its values: they go into the engine's memory at once. */
const mostBytes = 16 * 2 ** 20;

/** A filter as it crosses. A chain of one operator is flat, however long: a.or(b).or(c)… */
export function specOf(predicate: Predicate): PredicateSpec {
  const whole: PredicateSpec[] = [];
  // Without recursion: nothing bounds how a caller nests. Each entry is put into the list of what it belongs to.
  const open: { of: Predicate; within: string; into: PredicateSpec[]; depth: number }[] = [];
  open.push({ of: predicate, within: "", into: whole, depth: 0 });
  let size = 0;
  for (let steps = 0, entry = open.pop(); entry !== undefined; entry = open.pop()) {
    const { of, within, into, depth } = entry;
    const node = Predicate.nodeOf(of);
    if (++steps > largest) throw invalid(`a filter has at most ${largest} parts: use in(…)`);
    if (!("operator" in node)) {
      size += sizeOf(node);
      if (size > mostBytes) throw invalid(`the values of a filter have at most ${mostBytes} bytes`);
      into.push(node);
      continue;
    }
    const { operator, parts } = node;
    const joins = operator === within && operator !== "not";
    if (!joins && depth > deepest) {
      throw invalid(`the filter is nested more than ${deepest} levels deep: use and(…), or(…) and in(…)`);
    }
    const deeper = joins ? { into, depth } : { into: begun(operator, into), depth: depth + 1 };
    for (let i = parts.length - 1; i >= 0; i--) open.push({ of: parts[i]!, within: operator, ...deeper });
  }
  return whole[0]!;
}

/** Puts what an operator joins into a list; where its parts go. */
function begun(operator: string, into: PredicateSpec[]): PredicateSpec[] {
  const parts: PredicateSpec[] = [];
  if (operator !== "not") {
    into.push([operator, parts]);
    return parts;
  }
  const negation: [string, ...PredicateSpec[]] = ["not"];
  into.push(negation);
  return negation as unknown as PredicateSpec[];
}

/** About the bytes of its texts and bytes. */
function sizeOf(comparison: PredicateSpec): number {
  let size = 0;
  for (const part of comparison.flat(1)) {
    if (typeof part === "string") size += part.length;
    else if (part instanceof Uint8Array) size += part.byteLength;
  }
  return size;
}

/** A column in a filter. */
export class Column {
  readonly name: string;

  constructor(column: string) {
    this.name = name(column, "col() takes the name of a column");
  }

  /** Equal to a value. */
  eq(value: Literal): Predicate {
    only(arguments, 1, "eq()");
    return this.compare("eq", value);
  }

  /** Not equal to a value; null where the column is null. */
  ne(value: Literal): Predicate {
    only(arguments, 1, "ne()");
    return this.compare("ne", value);
  }

  /** Less than a value. */
  lt(value: Literal): Predicate {
    only(arguments, 1, "lt()");
    return this.compare("lt", value);
  }

  /** Less than a value, or equal. */
  lte(value: Literal): Predicate {
    only(arguments, 1, "lte()");
    return this.compare("lte", value);
  }

  /** Greater than a value. */
  gt(value: Literal): Predicate {
    only(arguments, 1, "gt()");
    return this.compare("gt", value);
  }

  /** Greater than a value, or equal. */
  gte(value: Literal): Predicate {
    only(arguments, 1, "gte()");
    return this.compare("gte", value);
  }

  /** Equal to one of some values. */
  in(values: Iterable<Literal>): Predicate {
    only(arguments, 1, "in()");
    const takes = `${this.place("in")} takes an array of values`;
    return reading(takes, () => {
      // Text is iterable, too, and so are bytes and objects with keys: what was meant is not that.
      const listed = typeof values === "object" && values !== null && !ArrayBuffer.isView(values);
      if (!listed || isPlain(values) || typeof values[Symbol.iterator] !== "function") {
        throw invalid(`${takes}: it was given ${show(values)}`);
      }
      const copy: Literal[] = [];
      for (const value of values) {
        if (copy.length === largest) throw invalid(`${takes}, at most ${largest}`);
        copy.push(literal(value, `value ${copy.length} of ${this.place("in")}`));
      }
      return new Predicate(["in", this.name, copy]);
    });
  }

  /** From `low` to `high`, both included. */
  between(low: Literal, high: Literal): Predicate {
    only(arguments, 2, "between()");
    const place = this.place("between");
    return new Predicate([
      "between",
      this.name,
      operand(low, `the low end of ${place}`),
      operand(high, `the high end of ${place}`),
    ]);
  }

  /** Null. */
  isNull(): Predicate {
    only(arguments, 0, "isNull()");
    return new Predicate(["isNull", this.name]);
  }

  /** Beginning with a text, or with bytes. */
  startsWith(prefix: string | Uint8Array): Predicate {
    only(arguments, 1, "startsWith()");
    return new Predicate([
      "startsWith",
      this.name,
      operand(prefix, `the value of ${this.place("startsWith")}`),
    ]);
  }

  private compare(operator: string, value: Literal): Predicate {
    return new Predicate([operator, this.name, operand(value, `the value of ${this.place(operator)}`)]);
  }

  private place(operator: string): string {
    return `col(${quoted(this.name)}).${operator}()`;
  }
}

function operand(value: unknown, place: string): Literal {
  return reading(place, () => literal(value, place));
}

/** A column, to build a filter of. */
export function col(name: string): Column {
  return new Column(name);
}

/** All of the filters; true if there are none. */
export function and(...predicates: Predicate[]): Predicate {
  return combine("and", predicates);
}

/** Any of the filters; false if there are none. */
export function or(...predicates: Predicate[]): Predicate {
  return combine("or", predicates);
}

/** Not the filter. */
export function not(predicate: Predicate): Predicate {
  only(arguments, 1, "not()");
  return combine("not", [predicate]);
}

function combine(operator: "and" | "or" | "not", parts: Predicate[]): Predicate {
  for (const part of parts) {
    if (!Predicate.is(part))
      throw invalid(`${operator}() takes filters, col("delay").gt(30): it was given ${show(part)}`);
  }
  return new Predicate({ operator, parts });
}
