// The WebAssembly module, fetched from beside this script: how browsers get it.

import { LakeshoreError } from "./errors.js";

/** Compiles the module while it comes, or, where the server names its type wrongly, when it is there. */
export async function fetchModule(): Promise<WebAssembly.Module> {
  const url = new URL("../wasm/lakeshore_bg.wasm", import.meta.url);
  let response: Response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw failed("Unavailable", `${url.href} could not be fetched`, error, "try again when it is reachable");
  }
  const remedy = "serve the package's js/wasm/lakeshore_bg.wasm there";
  const type = response.headers.get("content-type") ?? "no type";
  if (!response.ok) {
    throw failed("Unavailable", `${url.href} was answered by status ${response.status}`, undefined, remedy);
  }
  try {
    if (/^application\/wasm\s*(;|$)/i.test(type)) return await WebAssembly.compileStreaming(response);
    return await WebAssembly.compile(await response.arrayBuffer());
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError)) {
      throw failed("Unavailable", `${url.href} broke off`, error, "try again");
    }
    if (/content security policy|unsafe-eval/i.test(error.message)) {
      const allow = "let the Content-Security-Policy of this script have script-src 'wasm-unsafe-eval'";
      throw failed("Unsupported", "WebAssembly is not allowed here", error, allow);
    }
    throw failed("Unsupported", `${url.href} (${type}) is not our WebAssembly module`, error, remedy);
  }
}

function failed(
  code: "Unavailable" | "Unsupported",
  what: string,
  cause: unknown,
  remedy: string,
): LakeshoreError {
  const reason = cause instanceof Error ? ` (${cause.message})` : "";
  return new LakeshoreError(code, `${what}${reason}: ${remedy}`);
}
