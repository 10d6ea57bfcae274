// The types of rows, of a literal schema's or as a caller declares them. Types only: nothing here is there at run time.

import type { Literal } from "./predicate.js";
import type { ColumnSpec, Row, SchemaSpec } from "./types.js";

/** The names of a row's columns. */
export type ColumnName<R extends object> = keyof R & string;

/** A schema that is written out: columns by name. */
export type ColumnSpecs = { readonly [name: string]: ColumnSpec };

/** What a value of a column type is when it is read; `any` where the type is not known as text. */
export type ValueOf<T extends string> = string extends T
  ? any
  : T extends `${infer Inner} not null`
    ? ValueOf<Trimmed<Inner>>
    : T extends "bool" | "boolean"
      ? boolean
      : T extends SmallNumber | Unit<"time32">
        ? number
        : T extends "int64" | "long" | "uint64" | `time64${string}` | `duration${string}` | Decimal
          ? bigint
          : T extends "utf8" | "string" | "text" | "large_utf8" | "large_string"
            ? string
            : T extends "binary" | "bytes" | "large_binary" | `fixed_size_binary${string}`
              ? Uint8Array
              : T extends "date32" | "date" | "date64" | Unit<"timestamp", "s" | "ms">
                ? Date
                : T extends Unit<"timestamp", "us" | "ns">
                  ? bigint
                  : NestedOf<T>;

type NestedOf<T extends string> = T extends `list<${infer Item}>` | `large_list<${infer Item}>`
  ? Items<Item>
  : T extends `fixed_size_list<${infer Item}, ${number}>`
    ? Items<Item>
    : T extends `dictionary<${string},${infer Value}>`
      ? ValueOf<Trimmed<Value>>
      : T extends `struct<${string}>`
        ? { [name: string]: any }
        : T extends `map<${string}>`
          ? Map<any, any>
          : any;

type Items<Item extends string> = Item extends `${infer Inner} not null`
  ? ValueOf<Trimmed<Inner>>[]
  : (ValueOf<Trimmed<Item>> | null)[];

/** What may be written where a value of a column type is read; besides, null where the column may be null. */
export type WrittenOf<T extends string> = string extends T
  ? any
  : T extends Float
    ? number
    : T extends Decimal
      ? bigint | number | string
      : T extends `list<${infer Item}>` | `large_list<${infer Item}>`
        ? WrittenItems<Item>
        : T extends `fixed_size_list<${infer Item}, ${number}>`
          ? WrittenItems<Item>
          : T extends `dictionary<${string},${infer Value}>`
            ? WrittenOf<Trimmed<Value>>
            : Written<ValueOf<T>>;

type WrittenItems<Item extends string> = Item extends `${infer Inner} not null`
  ? List<WrittenOf<Trimmed<Inner>>>
  : List<WrittenOf<Trimmed<Item>> | null>;

type Float = "float16" | "float32" | "float64" | "double";

/** Items by number: of numbers also as a typed array. */
type List<Item> = readonly Item[] | (Extract<Item, number | bigint> extends never ? never : TypedArray<Item>);

type TypedArray<Item> =
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | (Extract<Item, bigint> extends never ? never : BigInt64Array | BigUint64Array);

type SmallNumber =
  | "int8"
  | "int16"
  | "int32"
  | "int"
  | "uint8"
  | "uint16"
  | "uint32"
  | "float16"
  | "float32"
  | "float64"
  | "double";
type Decimal = `decimal${string}`;
type Unit<Kind extends string, U extends string = string> = `${Kind}[${U}]` | `${Kind}[${U},${string}]`;
type Trimmed<T extends string> = T extends ` ${infer Rest}` | `${infer Rest} ` ? Trimmed<Rest> : T;
type IsAny<T> = 0 extends 1 & T ? true : false;

/** By what is read of a column, what may be written to it. */
export type Written<V> =
  IsAny<V> extends true
    ? any
    : V extends bigint
      ? bigint | number
      : V extends number
        ? number | bigint
        : V extends Date
          ? Date | bigint | number
          : V extends Uint8Array
            ? Uint8Array | ArrayBuffer
            : V extends ReadonlyMap<infer Name, infer Item>
              ? ReadonlyMap<Name, Item> | readonly (readonly [Name, Item])[]
              : V extends readonly (infer Item)[]
                ? List<Written<Item>>
                : V;

type TypeText<C> = C extends string ? C : C extends { type: infer T extends string } ? T : string;
type Nulls<C> = C extends { nullable: false } ? never : null;

/** The rows of a table of this schema and key, as they are read. */
export type RowOf<S extends ColumnSpecs, K> = string extends keyof S
  ? Row
  : { [N in keyof S]: ValueOf<TypeText<S[N]>> | (N extends K ? never : Nulls<S[N]>) };

/** The same as they are written: a column that may be null may be left out. */
export type NewRowOf<S extends ColumnSpecs, K> = string extends keyof S
  ? Row
  : { readonly [N in Needed<S, K>]: WrittenOf<TypeText<S[N]>> } & {
      readonly [N in Exclude<keyof S, Needed<S, K>>]?: WrittenOf<TypeText<S[N]>> | null | undefined;
    };

type Needed<S, K> = { [N in keyof S]: N extends K ? N : null extends Nulls<S[N]> ? never : N }[keyof S];

/** The key of a table of this schema. */
export type KeyOf<S extends ColumnSpecs, K extends PropertyKey> = string extends keyof S
  ? { readonly [name: string]: Literal }
  : { readonly [N in K & keyof S]: WrittenOf<TypeText<S[N]>> };

/** What is written to a table whose rows a caller declared: what may be null may be left out; a decimal as digits, too. */
export type NewRow<R extends object> = string extends keyof R
  ? Row
  : { readonly [N in Always<R>]: WrittenTo<R[N]> } & {
      readonly [N in Exclude<keyof R, Always<R>>]?: WrittenTo<R[N]> | null | undefined;
    };

type Always<R> = {
  [N in keyof R]-?: null extends R[N] ? never : undefined extends R[N] ? never : N;
}[keyof R];
type WrittenTo<V> = Written<V> | (bigint extends V ? string : never);

/** A key of such a table: some of its columns, which are not known. */
export type KeyIn<R extends object> = { readonly [N in keyof R]?: Written<NonNullable<R[N]>> };

/** What a read gives that selects columns. */
export type Selected<R extends object, S extends string> = [ColumnName<R>] extends [S]
  ? R
  : Pick<R, S & keyof R>;

/** How `db.table()` creates a table of a schema that is written out. */
export interface TypedTableOptions<S extends SchemaSpec, K extends readonly string[]> {
  /** The columns. */
  schema: S;
  /** The columns that identify a row, in order; they are never null. */
  primaryKey: K;
}
