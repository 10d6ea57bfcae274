// The package in Deno: the module is read from the package's own files, which needs read access to them only, or
// fetched from where the package was imported from.

import { setModuleLoader } from "./engine.js";

export * from "./index.js";

declare const Deno: { readFile(path: URL): Promise<Uint8Array<ArrayBuffer>> };

setModuleLoader(async () => {
  const url = new URL("../wasm/lakeshore_bg.wasm", import.meta.url);
  if (url.protocol === "file:") return WebAssembly.compile(await Deno.readFile(url));
  return WebAssembly.compileStreaming(fetch(url));
});
