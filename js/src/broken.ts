// The error of a stream that broke off, which says how many of its items went in. Invariant: that number is this call's
// alone: it is never written to an error that another call may be told.

import { LakeshoreError } from "./errors.js";
import { isOurs, messageOf } from "./door/values.js";

/** Errors of callers that carry a number of ours. */
const carrying = new WeakSet<object>();

/** The error with the number in `committed`: itself, if it can be nobody else's, or a copy of which it is the cause. */
export function brokenOff(error: unknown, committed: number, isReason: boolean): unknown {
  if (isOurs(error)) {
    const { code, message, cause } = error;
    const own = new LakeshoreError(code, message, cause === undefined ? undefined : { cause });
    return Object.assign(own, { committed });
  }
  if (isReason || typeof error !== "object" || error === null) return copyOf(error, committed);
  // The stream's own error passes as it is; of one that two streams threw the second call gets a copy.
  try {
    if (carrying.has(error) || Object.hasOwn(error, "committed")) return copyOf(error, committed);
    Object.assign(error, { committed });
    carrying.add(error);
    return error;
  } catch {
    // It is frozen, or something that cannot be looked at.
    return copyOf(error, committed);
  }
}

function copyOf(error: unknown, committed: number): Error {
  return Object.defineProperties(likeness(error), {
    cause: { value: error, configurable: true, writable: true },
    committed: { value: committed, configurable: true, writable: true, enumerable: true },
  });
}

/** An error of the same class, with the same message and properties, as far as these can be read. */
function likeness(error: unknown): Error {
  try {
    // What it is called is in slots of the browser's own.
    if (typeof DOMException !== "undefined" && error instanceof DOMException)
      return new DOMException(error.message, error.name) as Error;
    if (typeof error === "object" && error !== null) {
      const copy = new Error(messageOf(error));
      Object.setPrototypeOf(copy, Object.getPrototypeOf(error) as object | null);
      for (const name of Reflect.ownKeys(error)) {
        const property = Reflect.getOwnPropertyDescriptor(error, name);
        // Of one that is frozen the copy is not.
        if (property) Object.defineProperty(copy, name, { ...property, configurable: true });
      }
      return copy;
    }
  } catch {
    // It stays the cause.
  }
  return new Error(messageOf(error));
}
