// Functions of the page that the worker calls. They may be a `fetch`, so requests, responses and signals cross by their
// parts: a signal by a number, since when it is aborted the page must be told.

import { bytesIn, copyOf } from "../door/bytes.js";
import { invalid } from "../errors.js";

type Call = (method: string, args: unknown[]) => Promise<unknown>;

interface SignalMark {
  readonly lakeshoreSignal: number;
}

interface ResponseParts {
  readonly lakeshoreResponse: { status: number; headers: Record<string, string> };
  readonly body: Uint8Array<ArrayBuffer>;
}

/** The page's side. */
export class CalledFunction {
  private readonly target: (...args: unknown[]) => unknown;
  private readonly controllers = new Map<number, AbortController>();

  constructor(target: (...args: unknown[]) => unknown) {
    this.target = target;
  }

  async call(method: string, args: unknown[]): Promise<unknown> {
    if (method === "abort") return this.controllers.get(args[0] as number)?.abort();
    const init = args[1] as { signal?: SignalMark } | undefined;
    const mark = typeof init === "object" && init !== null ? init.signal : undefined;
    if (mark === undefined) return parts(await this.target(...args));
    const controller = new AbortController();
    this.controllers.set(mark.lakeshoreSignal, controller);
    try {
      return await parts(await this.target(args[0], { ...init, signal: controller.signal }));
    } finally {
      this.controllers.delete(mark.lakeshoreSignal);
    }
  }
}

let signals = 0;

/** The worker's side: what the engine calls. */
export function callable(call: Call): (...args: unknown[]) => Promise<unknown> {
  return async (first: unknown, second: unknown) => {
    const { signal, ...init } = (second ?? {}) as { signal?: AbortSignal };
    if (signal === undefined) return whole(await call("", second === undefined ? [first] : [first, second]));
    const lakeshoreSignal = ++signals;
    const abort = () => void call("abort", [lakeshoreSignal]).catch(() => undefined);
    signal.addEventListener("abort", abort, { once: true });
    try {
      return whole(await call("", [first, { ...init, signal: { lakeshoreSignal } }]));
    } finally {
      signal.removeEventListener("abort", abort);
    }
  };
}

/** A result with a copy of the bytes in it: they stay their owner's. */
export function copied(value: unknown): unknown {
  if (value instanceof Uint8Array) return value.slice();
  if (typeof value !== "object" || value === null) return value;
  const { bytes } = value as { bytes?: unknown };
  return bytes instanceof Uint8Array ? { ...value, bytes: bytes.slice() } : value;
}

/** What a function returned, as it crosses. Of a `fetch` that need not be a `Response`, but what is read of one. */
async function parts(result: unknown): Promise<unknown> {
  const { status, headers, arrayBuffer } = (
    typeof result === "object" && result !== null ? result : {}
  ) as Partial<Response>;
  if (typeof arrayBuffer !== "function") return copied(result);
  const given: unknown = await arrayBuffer.call(result as Response);
  const bytes = bytesIn(given, "the body that fetch gave");
  if (!Number.isInteger(status) || bytes === undefined) throw invalid("fetch must return a Response");
  const crossing: ResponseParts = {
    lakeshoreResponse: { status: status!, headers: Object.fromEntries(new Headers(headers)) },
    body: copyOf(bytes),
  };
  return crossing;
}

/** What crossed, as the engine takes it. Not a `Response`: of that not every status can be made. */
function whole(result: unknown): unknown {
  if (typeof result !== "object" || result === null || !("lakeshoreResponse" in result)) return result;
  const { lakeshoreResponse, body } = result as ResponseParts;
  const { status, headers } = lakeshoreResponse;
  return { status, headers: new Headers(headers), arrayBuffer: async () => body.buffer };
}
