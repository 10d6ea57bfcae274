// Plain values between processes and runtimes, as text: JSON with bigints and bytes.

export function encode(value) {
  return JSON.stringify(value, (_, v) => toText(v)) ?? "null";
}

export function decode(text) {
  return JSON.parse(text, (_, v) => (typeof v === "string" ? fromText(v) : v));
}

function toText(value) {
  if (typeof value === "bigint") return `bigint:${value}`;
  if (!(value instanceof Uint8Array)) return value;
  return `bytes:${btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join(""))}`;
}

function fromText(text) {
  if (text.startsWith("bigint:")) return BigInt(text.slice(7));
  if (text.startsWith("bytes:")) return Uint8Array.from(atob(text.slice(6)), (c) => c.charCodeAt(0));
  return text;
}

/** An error as plain values. */
export function plainError(error) {
  const { name, code, retryable, message } = error ?? {};
  return { name, code, retryable, message: message ?? String(error) };
}
