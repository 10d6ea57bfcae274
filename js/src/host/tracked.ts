// A host as one instance of the engine uses it: knows what is under way and what is held open, so that both can
// be ended if the instance dies.

import { LakeshoreError } from "../errors.js";

type Method = (...args: unknown[]) => unknown;

/** Methods of a host whose result is a thing to be closed. */
const opening: ReadonlySet<string> = new Set(["create", "append", "lock"]);
/** How such things are given up, the first that there is. */
const closing = ["abort", "close", "release"] as const;

/** Wraps a host. */
export class Tracked {
  readonly proxy: object;
  private readonly running = new Set<Promise<unknown>>();
  private readonly held = new Set<object>();
  private abandoned = false;
  /** Whether it was asked for what only one can have, so that the next instance has to wait until it is released. */
  exclusive = false;

  constructor(host: object) {
    this.proxy = this.wrap(host, undefined);
  }

  /** Ends what is under way and releases what is held; resolves when both are done. */
  async abandon(): Promise<void> {
    this.abandoned = true;
    while (this.running.size > 0) await Promise.allSettled([...this.running]);
    for (const thing of this.held) await release(thing);
    this.held.clear();
  }

  private wrap(target: object, holder: object | undefined): object {
    // Over an empty object: the host may be frozen, and a proxy of that could not wrap its methods.
    return new Proxy(Object.create(null) as object, {
      get: (_, name) => {
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== "function" || typeof name !== "string") return member;
        return (...args: unknown[]) => this.call(target, holder, name, member as Method, args);
      },
    });
  }

  private call(
    target: object,
    holder: object | undefined,
    name: string,
    method: Method,
    args: unknown[],
  ): unknown {
    if (this.abandoned) throw new LakeshoreError("Internal", "the engine that made this request stopped");
    if (name === "lock" || name === "append") this.exclusive = true;
    const result = method.apply(target, args);
    if (!(result instanceof Promise)) return this.opened(name, holder, result);
    const tracked: Promise<unknown> = result.then((value) => this.opened(name, holder, value));
    this.running.add(tracked);
    const done = () => void this.running.delete(tracked);
    tracked.then(done, done);
    return tracked;
  }

  private opened(name: string, holder: object | undefined, value: unknown): unknown {
    if (holder !== undefined) {
      if (name === "finish" || (closing as readonly string[]).includes(name)) this.held.delete(holder);
      return value;
    }
    if (!opening.has(name) || typeof value !== "object" || value === null) return value;
    this.held.add(value);
    return this.wrap(value, value);
  }
}

async function release(thing: object): Promise<void> {
  for (const name of closing) {
    const method = (thing as Record<string, unknown>)[name];
    if (typeof method !== "function") continue;
    try {
      await method.call(thing);
    } catch {
      // It is gone either way.
    }
    return;
  }
}
