// Objects of an engine that runs in this realm.

import { abortable } from "./abort.js";
import { copyOf } from "./door/bytes.js";
import type { Instance } from "./instance.js";
import type { LakeshoreError } from "./errors.js";
import type { Handle } from "./raw.js";

type Methods = Record<string, (...args: unknown[]) => unknown>;

/** Every object of the engine has this of wasm-bindgen. */
interface Freed {
  free(): void;
}

/** A raw object, or one that is being made. */
export class LocalHandle<T> implements Handle<T> {
  private readonly instance: Instance;
  private target: T | undefined;
  private readonly making: Promise<T>;
  private end: LakeshoreError | undefined;

  constructor(instance: Instance, target: T | Promise<T>) {
    this.instance = instance;
    this.making = Promise.resolve(target);
    if (!(target instanceof Promise)) this.target = target;
    // A failure is told to whoever calls; if nobody does, it is nobody's.
    this.making.then(
      (made) => (this.target = made),
      () => undefined,
    );
  }

  call(method: string, ...given: unknown[]): Promise<never> {
    if (this.end !== undefined) return Promise.reject(this.end);
    const args = this.kept(given);
    const make = (target: T): Promise<never> =>
      this.instance.call(() => (target as Methods)[method]!(...args)) as Promise<never>;
    // At once if it can be: what a call reads is the state of the moment when it was made.
    return this.target === undefined ? this.making.then(make) : make(this.target);
  }

  callUntil(signal: AbortSignal | undefined, method: string, ...given: unknown[]): Promise<never> {
    if (signal === undefined) return this.call(method, ...given);
    if (this.end !== undefined) return Promise.reject(this.end);
    const args = this.kept(given);
    const make = (target: T): Promise<never> =>
      this.instance.callUntil(signal, () => (target as Methods)[method]!(...args)) as Promise<never>;
    return this.target === undefined ? abortable(this.making, signal).then(make) : make(this.target);
  }

  start(method: string, ...args: unknown[]): Handle<never> {
    return new LocalHandle(this.instance, this.begin(method, this.kept(args))) as Handle<never>;
  }

  startUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Handle<never> {
    if (signal === undefined) return this.start(method, ...args);
    return new LocalHandle(this.instance, this.callUntil(signal, method, ...args)) as Handle<never>;
  }

  async ready(): Promise<void> {
    await this.making;
  }

  drop(reason: LakeshoreError): void {
    if (this.end !== undefined) return;
    this.end = reason;
    // Not left to the garbage collector: it sees nothing of the memory that the object holds in the engine.
    const free = (target: T) => this.instance.callNow(() => (target as Partial<Freed>).free?.());
    this.making.then(free).catch(() => undefined);
  }

  /** Bytes are the caller's, who may use them again: what waits until the object is there is a copy. */
  private kept(args: unknown[]): unknown[] {
    return this.target === undefined
      ? args.map((arg) => (arg instanceof Uint8Array ? copyOf(arg) : arg))
      : args;
  }

  /** What the method makes, or the promise of it, or of its failure. */
  private begin(method: string, args: unknown[]): unknown {
    const { target, instance } = this;
    if (this.end !== undefined) return Promise.reject(this.end);
    const make = (target: T): unknown => (target as Methods)[method]!(...args);
    if (target === undefined) return this.making.then((made) => instance.call(() => make(made)));
    try {
      const made = instance.callNow(() => make(target));
      return made instanceof Promise ? instance.call(() => made) : made;
    } catch (error) {
      return Promise.reject(error);
    }
  }
}

/** A handle that is not there yet: calls on it wait. */
export class LaterHandle<T> implements Handle<T> {
  private readonly handle: Promise<AnyHandle>;

  constructor(handle: Promise<Handle<T>>) {
    this.handle = handle as Promise<unknown> as Promise<AnyHandle>;
    handle.catch(() => undefined);
  }

  call(method: string, ...args: unknown[]): Promise<never> {
    return this.callUntil(undefined, method, ...args);
  }

  callUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Promise<never> {
    return this.handle.then((handle) => handle.callUntil(signal, method, ...args)) as Promise<never>;
  }

  start(method: string, ...args: unknown[]): Handle<never> {
    return this.startUntil(undefined, method, ...args);
  }

  startUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Handle<never> {
    return new LaterHandle(this.handle.then((handle) => handle.startUntil(signal, method, ...args)));
  }

  async ready(): Promise<void> {
    await (await this.handle).ready();
  }

  drop(reason: LakeshoreError): void {
    this.handle.then((handle) => handle.drop(reason)).catch(() => undefined);
  }
}

interface AnyHandle {
  callUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Promise<unknown>;
  startUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Handle<never>;
  ready(): Promise<void>;
  drop(reason: LakeshoreError): void;
}
