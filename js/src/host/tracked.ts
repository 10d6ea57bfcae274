// A host as one instance of the engine uses it: knows what is under way and what is held open, so that both can
// be ended if the instance dies.

import { hostAnswer, settled } from "../door/answers.js";
import { isWellFormed } from "../door/values.js";
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
  /** Of these, calls that take what is held or give it back. */
  private readonly taking = new Set<Promise<unknown>>();
  private readonly held = new Set<object>();
  private abandoned = false;
  /** Whether it was asked for what only one can have, so that the next instance has to wait until it is released. */
  exclusive = false;

  constructor(host: object) {
    this.proxy = this.wrap(host, undefined, "host");
  }

  /** Ends what is under way and releases what is held; resolves when both are done. */
  async abandon(): Promise<void> {
    await this.releaseAfter(this.running);
  }

  /**
   * The open that it was made for came to nothing: releases what is held, and what calls under way are still to give;
   * resolves when that is done. What only reads may go on.
   */
  async leave(): Promise<void> {
    await this.releaseAfter(this.taking);
  }

  private async releaseAfter(calls: ReadonlySet<Promise<unknown>>): Promise<void> {
    this.abandoned = true;
    while (calls.size > 0) await Promise.allSettled([...calls]);
    for (const thing of this.held) await release(thing);
    this.held.clear();
  }

  private wrap(target: object, holder: object | undefined, of: string): object {
    // Over an empty object: the host may be frozen, and a proxy of that could not wrap its methods.
    return new Proxy(Object.create(null) as object, {
      get: (_, name) => {
        if (typeof name !== "string") return undefined;
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member === "function") {
          return (...args: unknown[]) =>
            this.call(target, holder, `${of}.${name}()`, name, member as Method, args);
        }
        return typeof member === "number" || typeof member === "bigint" ? member : undefined;
      },
    });
  }

  private call(
    target: object,
    holder: object | undefined,
    place: string,
    name: string,
    method: Method,
    args: unknown[],
  ): unknown {
    if (this.abandoned) throw new LakeshoreError("Internal", "the engine that made this request stopped");
    if (name === "lock" || name === "append") this.exclusive = true;
    const ends = holder !== undefined && (closing as readonly string[]).includes(name);
    // Not released twice: it may be another's by then.
    if (ends) this.held.delete(holder);
    const result = Reflect.apply(method, target, args);
    if (name === "describe") return typeof result === "string" && isWellFormed(result) ? result : undefined;
    const answered = settled(result, (value) => this.answered(name, holder, place, value));
    if (!(answered instanceof Promise)) return answered;
    const among =
      ends || (holder === undefined && opening.has(name)) ? [this.running, this.taking] : [this.running];
    const done = () => among.forEach((calls) => calls.delete(answered));
    among.forEach((calls) => calls.add(answered));
    answered.then(done, done);
    return answered;
  }

  private answered(name: string, holder: object | undefined, place: string, value: unknown): unknown {
    if (holder !== undefined) {
      if (name === "finish") this.held.delete(holder);
      return undefined;
    }
    if (!opening.has(name)) return hostAnswer(name, place, value);
    if (typeof value !== "object" || value === null) return undefined;
    this.held.add(value);
    return this.wrap(value, value, place.slice(0, -2));
  }
}

async function release(thing: object): Promise<void> {
  for (const name of closing) {
    try {
      const method = (thing as Record<string, unknown>)[name];
      if (typeof method !== "function") continue;
      await Reflect.apply(method, thing, []);
    } catch {
      // It is gone either way.
    }
    return;
  }
}
