// JavaScript of the page that the engine in the worker calls: the methods of a host and of what it opens, and functions
// among a store's options. In place of each a mark crosses, and the worker makes an object of the mark whose methods
// are calls over the port. Bytes that a host gives stay its own: copies cross.

import type { StoreSpec } from "../raw.js";
import type { Peer, Service } from "./peer.js";

const hostMethods =
  "get getRange getSuffix put putIfAbsent list delete create append lock write finish abort sync close release";
const methodNames = hostMethods.split(" ");
/** Methods of a host whose result is a thing with methods. */
const opening: ReadonlySet<string> = new Set(["create", "append", "lock"]);

/** Stands for an object, or, without methods, for a function. */
interface Mark {
  readonly lakeshoreMark: number;
  readonly methods?: readonly string[];
  /** What the object says of itself, since that must be known at once. */
  readonly description?: string;
  readonly size?: number;
}

type Callable = Record<string, unknown>;

/** The page's side: what it offers, by number. */
export class Offers implements Service {
  private readonly offered = new Map<number, Callable | ((...args: unknown[]) => unknown)>();
  private last = 0;

  /** The store as it crosses, and how to take back what it offers. */
  store(spec: StoreSpec): { spec: object; withdraw: () => void } {
    const first = this.last + 1;
    const packed = "host" in spec ? { host: this.object(spec.host as Callable) } : this.functionsIn(spec);
    const last = this.last;
    const withdraw = () => {
      for (let id = first; id <= last; id++) this.offered.delete(id);
    };
    return { spec: packed, withdraw };
  }

  async call(on: number, method: string, args: unknown[]): Promise<unknown> {
    const target = this.offered.get(on);
    if (target === undefined) throw new Error("the database that asks this was closed");
    if (typeof target === "function") return plain(await target(...args));
    const result = await (target[method] as (...args: unknown[]) => unknown)(...args);
    return opening.has(method) ? this.object(result as Callable) : copied(result);
  }

  start(): void {
    throw new Error("a page makes no objects for its worker");
  }

  async ready(): Promise<void> {}

  drop(on: number): void {
    this.offered.delete(on);
  }

  private object(target: Callable): Mark {
    // Not an object: the engine says what is wrong with it.
    if (typeof target !== "object" || target === null) return target;
    const methods = methodNames.filter((name) => typeof target[name] === "function");
    const description =
      typeof target["describe"] === "function" ? (target["describe"] as () => unknown)() : "";
    const { size } = target;
    return {
      lakeshoreMark: this.offer(target),
      methods,
      ...(typeof description === "string" && description !== "" && { description }),
      ...(typeof size === "number" && { size }),
    };
  }

  private functionsIn(value: object): object {
    const pack = ([name, member]: [string, unknown]): [string, unknown] => {
      if (typeof member === "function") {
        const bound = (...args: unknown[]): unknown => member.apply(value, args);
        return [name, { lakeshoreMark: this.offer(bound) }];
      }
      const proto: unknown = typeof member === "object" && member !== null && Object.getPrototypeOf(member);
      const isPlain = proto === Object.prototype || (member !== null && proto === null);
      return [name, isPlain ? this.functionsIn(member as object) : member];
    };
    return Object.fromEntries(Object.entries(value).map(pack));
  }

  private offer(target: Callable | ((...args: unknown[]) => unknown)): number {
    this.offered.set(++this.last, target);
    return this.last;
  }
}

/** The worker's side: a store's options with callable things in place of marks. */
export function revive<T>(value: T, peer: Peer): T {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  if ("lakeshoreMark" in value) return made(value as unknown as Mark, peer) as T;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, revive(member, peer)])) as T;
}

/** Tells the page of what the engine let go of. */
const forgotten = new FinalizationRegistry<() => void>((drop) => drop());

function made(mark: Mark, peer: Peer): unknown {
  const { lakeshoreMark: id, methods, description, size } = mark;
  if (methods === undefined) {
    return async (...args: unknown[]) => response(await peer.call(id, "", args.map(crossing)));
  }
  const object: Record<string, unknown> = {};
  for (const method of methods) {
    object[method] = async (...args: unknown[]) => {
      const result = await peer.call(id, method, args);
      return opening.has(method) ? revive(result, peer) : result;
    };
  }
  if (description !== undefined) object["describe"] = () => description;
  if (size !== undefined) object["size"] = size;
  forgotten.register(object, () => peer.drop(id));
  return object;
}

/** A copy of the bytes a host gave: they are its own. */
function copied(value: unknown): unknown {
  if (value instanceof Uint8Array) return value.slice();
  if (typeof value !== "object" || value === null) return value;
  const { bytes } = value as { bytes?: unknown };
  return bytes instanceof Uint8Array ? { ...value, bytes: bytes.slice() } : value;
}

// A function of the user's may be a `fetch`: requests and responses cross by their parts.

interface ResponseParts {
  readonly lakeshoreResponse: ResponseInit;
  readonly body: Uint8Array;
}

/** What a function was called with, as it crosses. Signals stay: who waits stops waiting on its own side. */
function crossing(argument: unknown): unknown {
  if (typeof argument !== "object" || argument === null) return argument;
  if (argument instanceof URL) return argument.href;
  if (argument instanceof Headers) return Object.fromEntries(argument);
  if (Object.getPrototypeOf(argument) !== Object.prototype) return argument;
  const { signal: _, ...rest } = argument as Record<string, unknown>;
  return Object.fromEntries(Object.entries(rest).map(([name, member]) => [name, crossing(member)]));
}

/** What a function returned, as it crosses. */
async function plain(result: unknown): Promise<unknown> {
  if (!(result instanceof Response)) return copied(result);
  const parts: ResponseParts = {
    lakeshoreResponse: {
      status: result.status,
      statusText: result.statusText,
      headers: Object.fromEntries(result.headers),
    },
    body: new Uint8Array(await result.arrayBuffer()),
  };
  return parts;
}

/** What crossed, as the engine takes it. */
function response(result: unknown): unknown {
  if (typeof result !== "object" || result === null || !("lakeshoreResponse" in result)) return result;
  const { lakeshoreResponse: init, body } = result as ResponseParts;
  const bodiless = [101, 204, 205, 304].includes(init.status ?? 200);
  return new Response(bodiless ? null : (body as BodyInit), init);
}
