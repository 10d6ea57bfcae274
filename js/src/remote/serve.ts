// The worker's side: holds the engine's objects and calls them as the page says.

import { engine, setModuleLoader } from "../engine.js";
import { closed, type LakeshoreError } from "../errors.js";
import { LaterHandle } from "../handle.js";
import type { Handle, Opening, StoreSpec } from "../raw.js";
import { type Hello, protocol } from "./messages.js";
import { revive } from "./offer.js";
import { Peer, type Service } from "./peer.js";

type AnyHandle = {
  call(method: string, ...args: unknown[]): Promise<unknown>;
  callUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Promise<unknown>;
  start(method: string, ...args: unknown[]): AnyHandle;
  startUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): AnyHandle;
  ready(): Promise<void>;
  drop(reason: LakeshoreError): void;
};

/** So many batches of a scan are read before they are asked for. */
const ahead = 2;

/** Answers the pages that say hello to this worker. */
export function serve(): void {
  globalThis.addEventListener("message", (event: MessageEvent) => {
    const hello = event.data as Hello | undefined;
    const [port] = event.ports;
    if (typeof hello?.lakeshore !== "number" || port === undefined) return;
    const { life, module } = hello;
    if (module !== undefined) setModuleLoader(() => module);
    const objects = new Objects();
    const peer = new Peer(port, objects);
    objects.peer = peer;
    hold(life).then((locked) => peer.send({ type: "hello", protocol, locked }));
  });
}

/** An object that is not there yet. */
function later(handle: Promise<AnyHandle>): AnyHandle {
  return new LaterHandle(handle as Promise<Handle<never>>) as Handle<never> as AnyHandle;
}

/** Holds a lock for as long as this worker lives, by which its page knows. Whether there are locks. */
function hold(name: string): Promise<boolean> {
  const { locks } = navigator;
  if (locks === undefined) return Promise.resolve(false);
  return new Promise((resolve) => {
    const forEver = new Promise(() => undefined);
    const held = locks.request(name, () => {
      resolve(true);
      return forEver;
    });
    held.catch(() => resolve(false));
  });
}

/** What a page has made here, by number. */
class Objects implements Service {
  declare peer: Peer;
  private readonly objects = new Map<number, AnyHandle>();
  private readonly openings = new Map<number, Promise<Opening>>();

  call(on: number, method: string, args: unknown[], signal: AbortSignal | undefined): unknown {
    if (on === 0) {
      const spec = revive(args[0] as StoreSpec, this.peer);
      return engine().then((found) => found.probe(spec, signal));
    }
    if (method === "memoryBytes") return this.openings.get(on)?.then((opening) => opening.memoryBytes());
    return this.get(on).callUntil(signal, method, ...args);
  }

  start(id: number, on: number, method: string, args: unknown[], signal: AbortSignal | undefined): void {
    if (on === 0) return this.open(id, args, signal);
    let made: AnyHandle;
    try {
      made = this.get(on).startUntil(signal, method, ...args);
    } catch (error) {
      made = later(Promise.reject(error));
    }
    this.objects.set(id, method === "scan" ? new ReadAhead(made) : made);
  }

  async ready(on: number): Promise<void> {
    await this.get(on).ready();
  }

  drop(on: number): void {
    this.objects.get(on)?.drop(closed());
    this.objects.delete(on);
    this.openings.get(on)?.then(
      (opening) => opening.release(),
      () => undefined,
    );
    this.openings.delete(on);
  }

  private get(on: number): AnyHandle {
    const object = this.objects.get(on);
    if (object === undefined) throw closed();
    return object;
  }

  private open(id: number, [data, wal, options]: unknown[], signal: AbortSignal | undefined): void {
    const specs = [data, wal].map((spec) => revive(spec as StoreSpec | undefined, this.peer));
    const opening = engine().then((found) => found.open(specs[0]!, specs[1], options as object, signal));
    const db = opening.then(({ db }) => db as Handle<never> as AnyHandle);
    this.openings.set(id, opening);
    this.objects.set(id, later(db));
    db.then(
      (made) => this.objects.has(id) && this.objects.set(id, made),
      () => undefined,
    );
  }
}

/** A scan that reads a few batches ahead of the page, so that both work at once. */
class ReadAhead implements AnyHandle {
  private readonly scan: AnyHandle;
  private readonly batches: Promise<unknown>[] = [];
  private last: Promise<unknown> = Promise.resolve();
  private ended = false;

  constructor(scan: AnyHandle) {
    this.scan = scan;
  }

  call(method: string, ...args: unknown[]): Promise<unknown> {
    if (method !== "nextIpc" && method !== "nextColumns") {
      this.ended = true;
      return this.scan.call(method, ...args);
    }
    while (!this.ended && this.batches.length <= ahead) this.batches.push(this.read(method));
    return this.batches.shift() ?? Promise.resolve(undefined);
  }

  callUntil(_: AbortSignal | undefined, method: string, ...args: unknown[]): Promise<unknown> {
    return this.call(method, ...args);
  }

  start(): AnyHandle {
    return this;
  }

  startUntil(): AnyHandle {
    return this;
  }

  ready(): Promise<void> {
    return this.scan.ready();
  }

  drop(reason: LakeshoreError): void {
    this.ended = true;
    this.scan.drop(reason);
  }

  private read(method: string): Promise<unknown> {
    const batch = this.last.then(() => (this.ended ? undefined : this.scan.call(method)));
    const end = () => void (this.ended = true);
    this.last = batch.then((value) => value === undefined && end(), end);
    return batch;
  }
}
