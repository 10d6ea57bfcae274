// JavaScript of the page that the engine in the worker calls: the methods of a host and of what it opens, and functions
// among a store's options. In place of each a mark crosses, and the worker makes an object of the mark whose methods
// are calls over the port. Bytes that a host gives stay its own: copies cross.

import { reading } from "../door/values.js";
import type { StoreSpec } from "../raw.js";
import { callable, CalledFunction, copied } from "./functions.js";
import type { Peer, Service } from "./peer.js";

const hostMethods =
  "get getRange getSuffix put putIfAbsent list delete create append lock write finish abort sync confirm close release";
const methodNames = hostMethods.split(" ");
/** Methods of a host whose result is a thing with methods. */
const opening: ReadonlySet<string> = new Set(["create", "append", "lock"]);

/** Stands for an object, or, without methods, for a function. */
interface Mark {
  readonly lakeshoreMark: number;
  readonly methods?: readonly string[];
  /** What the object says of itself, since that must be known at once. */
  readonly description?: string;
  readonly size?: number | bigint;
}

type Callable = Record<string, unknown>;

/** The page's side: what it offers, by number. */
export class Offers implements Service {
  private readonly offered = new Map<number, Callable | CalledFunction>();
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
    if (target instanceof CalledFunction) return target.call(method, args);
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
    return reading("the host", () => {
      const methods = methodNames.filter((name) => typeof target[name] === "function");
      const description = describe(target);
      const { size } = target;
      return {
        lakeshoreMark: this.offer(target),
        methods,
        ...(typeof description === "string" && { description }),
        ...((typeof size === "number" || typeof size === "bigint") && { size }),
      };
    });
  }

  private functionsIn(value: object): object {
    const pack = ([name, member]: [string, unknown]): [string, unknown] => {
      if (typeof member === "function") {
        const bound = (...args: unknown[]): unknown => member.apply(value, args);
        return [name, { lakeshoreMark: this.offer(new CalledFunction(bound)) }];
      }
      const proto: unknown = typeof member === "object" && member !== null && Object.getPrototypeOf(member);
      const isPlain = proto === Object.prototype || (member !== null && proto === null);
      return [name, isPlain ? this.functionsIn(member as object) : member];
    };
    return Object.fromEntries(Object.entries(value).map(pack));
  }

  private offer(target: Callable | CalledFunction): number {
    this.offered.set(++this.last, target);
    return this.last;
  }
}

/** What a host says of itself, if it can. */
function describe(target: Callable): unknown {
  try {
    return typeof target["describe"] === "function" ? target["describe"]() : undefined;
  } catch {
    return undefined;
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
  if (methods === undefined) return callable((method, args) => peer.call(id, method, args));
  const object: Record<string, unknown> = {};
  const locks = new Set<Asked>();
  for (const method of methods) {
    object[method] = async (...args: unknown[]) => {
      const result = await peer.call(id, method, args);
      return opening.has(method) ? opened(method, result, peer, locks) : result;
    };
  }
  if (description !== undefined) object["describe"] = () => description;
  if (size !== undefined) object["size"] = size;
  forgotten.register(object, () => peer.drop(id));
  return object;
}

/** Asks the page whether a lock is still held. */
type Asked = () => Promise<unknown>;
type Confirming = { confirm?: () => unknown; release?: () => Promise<unknown> };

/**
 * What a host of the page opened. A lock must answer `confirm` at once, which nobody over there can: it says what was
 * said last, and the append files of its host ask it with each `confirm` of theirs, before which nothing is
 * acknowledged.
 */
function opened(method: string, result: unknown, peer: Peer, locks: Set<Asked>): unknown {
  const thing = revive(result, peer) as Confirming | undefined;
  if (typeof thing !== "object" || thing === null) return thing;
  const { confirm, release } = thing;
  if (method === "append") {
    if (confirm === undefined && locks.size === 0) return thing;
    thing.confirm = async () => {
      await Promise.all([...locks].map((ask) => ask()));
      await confirm?.();
    };
  } else if (method === "lock" && confirm !== undefined) {
    let lost: { error: unknown } | undefined;
    const ask = async () => {
      try {
        await confirm();
      } catch (error) {
        lost = { error };
        throw error;
      }
    };
    locks.add(ask);
    thing.confirm = () => {
      if (lost !== undefined) throw lost.error;
      ask().catch(() => undefined);
    };
    if (release !== undefined) {
      thing.release = () => {
        locks.delete(ask);
        return release();
      };
    }
  }
  return thing;
}
