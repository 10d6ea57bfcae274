// Bytes of a caller, whatever class and realm they are of. Invariant: what comes out is a `Uint8Array` of this realm
// that nobody else has, over a buffer that was there a moment ago: to be copied before anybody else runs.

import { invalid } from "../errors.js";

const typed = Object.getPrototypeOf(Uint8Array.prototype) as object;

function getter(of: object, name: PropertyKey): (this: unknown) => unknown {
  return Object.getOwnPropertyDescriptor(of, name)!.get!;
}

// Of the engine's own: a subclass, or a property of the object, may say anything.
const tagOf = getter(typed, Symbol.toStringTag);
const parts = (of: object) => ({
  buffer: getter(of, "buffer"),
  offset: getter(of, "byteOffset"),
  length: getter(of, "byteLength"),
});
const ofTyped = parts(typed);
const ofDataView = parts(DataView.prototype);
const lengthOfBuffer = getter(ArrayBuffer.prototype, "byteLength");
const validate = (typed as { keys(): unknown }).keys;

/** Whether it is a `Uint8Array`, of any realm. */
export function isUint8Array(value: unknown): value is Uint8Array {
  return ArrayBuffer.isView(value) && tagOf.call(value) === "Uint8Array";
}

/** Whether it is an `ArrayBuffer` or a shared one, of any realm. */
export function isBuffer(value: unknown): value is ArrayBufferLike {
  return hasLength(value, lengthOfBuffer) || isShared(value);
}

function isShared(value: unknown): boolean {
  return typeof SharedArrayBuffer !== "undefined" && hasLength(value, sharedLength());
}

const sharedLength = () => getter(SharedArrayBuffer.prototype, "byteLength");

function hasLength(value: unknown, get: (this: unknown) => unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  try {
    get.call(value);
    return true;
  } catch {
    return false;
  }
}

/** A fresh view of the bytes of a buffer or of any view of one; undefined if it is neither. */
export function bytesIn(value: unknown, place: string): Uint8Array | undefined {
  try {
    if (ArrayBuffer.isView(value)) return viewed(value);
    // Of a buffer that was transferred away no view can be made.
    return isBuffer(value) ? new Uint8Array(value) : undefined;
  } catch {
    throw invalid(
      `${place}: the bytes are gone: their buffer was transferred (by postMessage, say) or made shorter. ` +
        "Pass a copy, or call before you give it away",
    );
  }
}

function viewed(value: ArrayBufferView): Uint8Array {
  const isTyped = tagOf.call(value) !== undefined;
  // Throws if the buffer is gone, or has become too short.
  if (isTyped) validate.call(value);
  const { buffer, offset, length } = isTyped ? ofTyped : ofDataView;
  return new Uint8Array(
    buffer.call(value) as ArrayBufferLike,
    offset.call(value) as number,
    length.call(value) as number,
  );
}

/** Whether its bytes are there: a view over memory that is gone, or has become too short, says that it is empty. */
export function isThere(view: ArrayBufferView): boolean {
  try {
    viewed(view);
    return true;
  } catch {
    return false;
  }
}

/** A copy of them. */
export function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes.byteLength);
  copy.set(bytes);
  return copy;
}
