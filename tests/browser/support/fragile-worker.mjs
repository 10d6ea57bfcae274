// A worker script of a user's own, whose engine can be made to trap: by a panic (an exception inside of a call that
// cannot fail), or by memory that cannot be had, since its module may have 24 MiB only.

import "/pkg/js/dist/worker.js";
import { setModuleLoader } from "/pkg/js/dist/engine.js";

const mostPages = (24 * 2 ** 20) / 65536;

new BroadcastChannel("fragile").onmessage = ({ data }) => {
  if (data !== "panic") return;
  const now = Date.now;
  // Once: the worker lives on, and its next database has an instance of its own.
  Date.now = () => {
    Date.now = now;
    throw new Error("panicked at a test");
  };
};

setModuleLoader(async () => {
  const response = await fetch("/pkg/js/wasm/lakeshore_bg.wasm");
  return WebAssembly.compile(await limited(new Uint8Array(await response.arrayBuffer())));
});

/** The module with a maximum in its memory section: one memory, `00 min` becomes `01 min max`. */
function limited(bytes) {
  for (let at = 8; at < bytes.length;) {
    const id = bytes[at];
    const [size, start] = number(bytes, at + 1);
    if (id === 5) {
      const [least, end] = number(bytes, start + 2);
      if (bytes[start] !== 1 || bytes[start + 1] !== 0 || end !== start + size)
        throw new Error("another layout");
      const section = [1, 1, ...leb(least), ...leb(mostPages)];
      const parts = [
        bytes.subarray(0, at),
        Uint8Array.of(5, ...leb(section.length), ...section),
        bytes.subarray(end),
      ];
      return new Blob(parts).arrayBuffer();
    }
    at = start + size;
  }
  throw new Error("no memory section");
}

function number(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value |= (byte & 127) << shift;
    if (byte < 128) return [value, at];
  }
}

function leb(value) {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(value >> 7)];
}
