// Options of `open` that are more than a value: stores, and the policy of syncs.

import type { StoreSpec } from "../raw.js";
import type { Store, SyncPolicy } from "../types.js";
import { millis, whole } from "./kinds.js";
import { type Kind, checkOptions, wrong } from "./options.js";
import { isPlain } from "./values.js";

const made = new WeakSet<object>();

/** Marks what was checked: options of a bucket or a directory that its maker made. It changes no more. */
export function checked<T extends object>(spec: T): T {
  made.add(Object.freeze(spec));
  return spec;
}

/** Exactly one of `host`, `s3` and `opfs`, as the makers of stores return it. A host is asked only for what it does. */
export const store: Kind<Store> = {
  takes: "a store: s3(), opfs(), directory(path), memory() or host(object)",
  read: (value) => {
    if (!isPlain(value)) return wrong;
    const kinds = Object.keys(value);
    const kind = kinds[0] as "host" | "s3" | "opfs" | undefined;
    if (kinds.length !== 1 || kind === undefined || !["host", "s3", "opfs"].includes(kind)) return wrong;
    const given = value[kind];
    const isObject = (typeof given === "object" || typeof given === "function") && given !== null;
    if (!isObject || (kind !== "host" && !made.has(given))) return wrong;
    return { [kind]: given } as unknown as Store;
  },
};

/** The same as the engine takes it. */
export function specOf(given: Store): StoreSpec {
  return given as unknown as StoreSpec;
}

export const sync: Kind<SyncPolicy> = {
  takes: '"always", "never", { intervalMs } or { bytes }',
  read: (value, place) => {
    if (value === "always" || value === "never") return value;
    if (!isPlain(value)) return wrong;
    const { intervalMs, bytes } = checkOptions(place, value, { intervalMs: millis, bytes: whole });
    if (intervalMs !== undefined && bytes === undefined) return { intervalMs };
    return bytes !== undefined && intervalMs === undefined ? { bytes } : wrong;
  },
};
