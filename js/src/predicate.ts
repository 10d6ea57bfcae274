// Filters, as a caller writes them: col("delay").gt(30).and(col("origin").eq("SFO")).

import { invalid } from "./errors.js";

/** A value in a filter or a key. Integers: `bigint` or a safe integer; decimals: unscaled `bigint` or digits as text. */
export type Literal = null | boolean | number | bigint | string | Date | Uint8Array;

/** What crosses to the engine: an operator, then its operands. */
export type PredicateSpec = readonly [string, ...unknown[]];

/**
 * A filter. Three-valued as in SQL: a comparison with null is null, and a row stays if the whole is true.
 * Strings compare by UTF-8 bytes, -0 is +0, every NaN is one and last.
 */
export class Predicate {
  /** @internal */
  readonly spec: PredicateSpec;

  /** @internal */
  constructor(spec: PredicateSpec) {
    this.spec = spec;
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
    return new Predicate(["not", this.spec]);
  }
}

/** A column in a filter. */
export class Column {
  readonly name: string;

  constructor(name: string) {
    if (typeof name !== "string") throw invalid("col() takes the name of a column");
    this.name = name;
  }

  /** Equal to a value. */
  eq(value: Literal): Predicate {
    return this.compare("eq", value);
  }

  /** Not equal to a value; null where the column is null. */
  ne(value: Literal): Predicate {
    return this.compare("ne", value);
  }

  /** Less than a value. */
  lt(value: Literal): Predicate {
    return this.compare("lt", value);
  }

  /** Less than a value, or equal. */
  lte(value: Literal): Predicate {
    return this.compare("lte", value);
  }

  /** Greater than a value. */
  gt(value: Literal): Predicate {
    return this.compare("gt", value);
  }

  /** Greater than a value, or equal. */
  gte(value: Literal): Predicate {
    return this.compare("gte", value);
  }

  /** Equal to one of some values. */
  in(values: Iterable<Literal>): Predicate {
    return new Predicate(["in", this.name, [...values]]);
  }

  /** From `low` to `high`, both included. */
  between(low: Literal, high: Literal): Predicate {
    return new Predicate(["between", this.name, low, high]);
  }

  /** Null. */
  isNull(): Predicate {
    return new Predicate(["isNull", this.name]);
  }

  /** Beginning with a text, or with bytes. */
  startsWith(prefix: string | Uint8Array): Predicate {
    return new Predicate(["startsWith", this.name, prefix]);
  }

  private compare(operator: string, value: Literal): Predicate {
    if (value === undefined) {
      throw invalid(`col(${JSON.stringify(this.name)}).${operator}() takes a value: it was given undefined`);
    }
    return new Predicate([operator, this.name, value]);
  }
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
  return predicate.not();
}

/** A chain of the same operator stays flat, however long: a.or(b).or(c)… */
function combine(operator: "and" | "or", predicates: Predicate[]): Predicate {
  const parts = predicates.flatMap((predicate) => {
    if (!(predicate instanceof Predicate)) throw invalid('a filter is made with col(): col("delay").gt(30)');
    const [name, nested] = predicate.spec;
    return name === operator ? (nested as PredicateSpec[]) : [predicate.spec];
  });
  return new Predicate([operator, parts]);
}
