// The page's side: an engine in a dedicated worker.
//
// One worker serves all databases of the page that were opened with the same `worker` option; it is ended when the
// last of them closes. If it dies (a trap, a script that does not load, somebody's `terminate()`), every call in
// flight is rejected, what it held of the page's own stores is released, and the next `open` starts a new worker.

import { show } from "../door/show.js";
import { messageOf, reading } from "../door/values.js";
import { closed, invalid, LakeshoreError } from "../errors.js";
import { Tracked } from "../host/tracked.js";
import type { Engine, Handle, Opening, RawDb, StoreSpec } from "../raw.js";
import type { ProbeReport, WorkerSource } from "../types.js";
import { RemoteHandle } from "./handle.js";
import { type Hello, protocol } from "./messages.js";
import { Offers } from "./offer.js";
import { Peer } from "./peer.js";

/** A worker that has said nothing for so long after its start is given up. */
const startMs = 60_000;
/** And after so long, if an error in its script was not caught. */
const brokenMs = 3_000;

const engines = new Map<unknown, RemoteEngine>();
const ended = new WeakSet<Worker>();
/** What dead workers held alone of the page's stores (locks, open files) and have not released yet. */
let funeral: Promise<unknown> | undefined;
let started = 0;

/** The engine in the worker that `source` says, started by `start` if need be, with the page's module if it has one. */
export async function remoteEngine(
  source: WorkerSource | undefined,
  start: () => Worker,
  module: WebAssembly.Module | undefined,
): Promise<RemoteEngine> {
  await funeral;
  const key = source instanceof URL ? source.href : source;
  let engine = engines.get(key);
  if (engine === undefined) {
    const forget = () => {
      if (engines.get(key) === engine) engines.delete(key);
    };
    engine = new RemoteEngine(startWorker(source, start), module, forget);
    engines.set(key, engine);
  }
  engine.expectOpen();
  return engine;
}

/** Whether an engine runs in a worker of this page. */
export function isRunning(): boolean {
  return engines.size > 0;
}

function startWorker(source: WorkerSource | undefined, start: () => Worker): Worker {
  if (source instanceof Worker) {
    if (!ended.has(source)) return source;
    throw new LakeshoreError("Closed", "this worker was ended: pass a new one, or a function that makes one");
  }
  let made: unknown;
  try {
    if (source === undefined) return start();
    made = typeof source === "function" ? source() : new Worker(source, { type: "module" });
  } catch (error) {
    throw noStart(messageOf(error));
  }
  if (!isWorker(made))
    throw invalid(`open(): the function in option worker gave ${show(made)}, and no Worker`);
  if (!ended.has(made)) return made;
  throw new LakeshoreError("Closed", "this worker was ended: make a new one with each call");
}

/** By what it can: it may be of a frame. */
function isWorker(made: unknown): made is Worker {
  return reading("what the function in option worker gave", () => {
    if (typeof made !== "object" || made === null) return false;
    const { postMessage, addEventListener, terminate } = made as Partial<Worker>;
    return [postMessage, addEventListener, terminate].every((method) => typeof method === "function");
  });
}

function noStart(reason: string): LakeshoreError {
  const remedy =
    "serve the package's js/dist/worker.js from this page's origin, let its Content-Security-Policy allow it " +
    "(worker-src 'self'), or say by option worker where it is";
  return new LakeshoreError("Unavailable", `the engine's worker did not start (${reason}): ${remedy}`);
}

/** An engine in a worker. */
export class RemoteEngine implements Engine {
  private readonly worker: Worker;
  private readonly forget: () => void;
  private readonly peer: Peer;
  private readonly offers = new Offers();
  private readonly hosts = new Set<Tracked>();
  private readonly watching = new AbortController();
  private patience: ReturnType<typeof setTimeout>;
  private databases = 0;
  private said = false;
  private failure: Error | undefined;

  constructor(worker: Worker, module: WebAssembly.Module | undefined, forget: () => void) {
    this.worker = worker;
    this.forget = forget;
    const { port1, port2 } = new MessageChannel();
    this.peer = new Peer(port1, this.offers);
    const life = `lakeshore-worker-${performance.timeOrigin}-${Math.random()}-${++started}`;
    this.peer.onHello = (hello) => this.greet(hello, life);
    this.peer.onDied = (error) => this.fail(error);
    worker.addEventListener("error", (event) => this.crashed(event), { signal: this.watching.signal });
    this.patience = setTimeout(() => this.fail(noStart(`it said nothing for ${startMs / 1000} s`)), startMs);
    const hello: Hello = { lakeshore: protocol, life, module };
    try {
      worker.postMessage(hello, [port2]);
    } catch (error) {
      this.end(closed());
      throw noStart(messageOf(error));
    }
  }

  open(
    data: StoreSpec,
    wal: StoreSpec | undefined,
    options: object,
    signal: AbortSignal | undefined,
  ): Opening {
    this.databases += 1;
    const stores: (ReturnType<RemoteEngine["offer"]> | undefined)[] = [];
    try {
      for (const spec of [data, wal]) stores.push(spec && this.offer(spec));
    } catch (error) {
      for (const store of stores) store?.withdraw();
      this.left();
      throw error;
    }
    const specs = stores.map((store) => store?.spec);
    const db = new RemoteHandle<RawDb>(this.peer, 0, "open", [...specs, options], { signal });
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      for (const store of stores) store?.withdraw();
      db.drop(closed());
      this.left();
    };
    const memoryBytes = async () => (await db.call("memoryBytes")) as number;
    const abandon = async () => {
      release();
      await Promise.all(stores.map((store) => store?.leave()));
    };
    return { db: db as Handle<RawDb>, release, abandon, memoryBytes };
  }

  async probe(data: StoreSpec, signal: AbortSignal | undefined): Promise<ProbeReport> {
    this.databases += 1;
    let store: { spec: object; withdraw: () => void } | undefined;
    try {
      store = this.offer(data);
      return (await this.peer.call(0, "probe", [store.spec], signal)) as ProbeReport;
    } finally {
      store?.withdraw();
      this.left();
    }
  }

  /** Somebody is about to open a database, or has thought better of it: then the worker is of no use. */
  expectOpen(): void {
    this.databases += 1;
    setTimeout(() => this.left());
  }

  /** A database is closed, or did not open. */
  private left(): void {
    this.databases -= 1;
    // Later, since an `open` may have found this engine already.
    setTimeout(() => this.databases === 0 && this.end(closed()));
  }

  private offer(spec: StoreSpec): { spec: object; withdraw: () => void; leave: () => Promise<void> } {
    if (!("host" in spec)) return { ...this.offers.store(spec), leave: async () => undefined };
    const tracked = new Tracked(spec.host);
    const store = this.offers.store({ host: tracked.proxy });
    this.hosts.add(tracked);
    const withdraw = () => {
      this.hosts.delete(tracked);
      store.withdraw();
    };
    return { spec: store.spec, withdraw, leave: () => tracked.leave() };
  }

  private greet(hello: { protocol: number; locked: boolean }, life: string): void {
    this.said = true;
    clearTimeout(this.patience);
    if (hello.protocol !== protocol) {
      this.fail(
        new LakeshoreError("Unsupported", "the worker's script is of another version of the package: reload"),
      );
    } else if (hello.locked) {
      void this.watch(life);
    }
  }

  /**
   * Something in the worker was not caught. Once it has said hello that is not the engine, whose end is told by itself
   * or by the worker's lock: a worker of the user's own has code of the user's. Before, its script may be broken.
   */
  private crashed({ message }: Partial<ErrorEvent>): void {
    if (this.said) return;
    if (!message) return this.fail(noStart("its script did not load"));
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.fail(noStart(message)), brokenMs);
  }

  /** Waits for the worker's lock, which is granted only when the worker is no more. */
  private async watch(life: string): Promise<void> {
    // After the site's data was cleared an open page and a new worker have locks of their own each.
    const { held = [] } = await navigator.locks.query().catch(() => ({}) as LockManagerSnapshot);
    if (this.failure !== undefined || !held.some(({ name }) => name === life)) return;
    const gone = () => this.fail(dead("its worker was terminated"));
    navigator.locks.request(life, { signal: this.watching.signal }, gone).catch(() => undefined);
  }

  /** The worker is of no more use. */
  private fail(error: Error): void {
    if (this.failure !== undefined) return;
    const released = [...this.hosts].map((host) => [host.exclusive, host.abandon()] as const);
    this.hosts.clear();
    const awaited = released.filter(([exclusive]) => exclusive).map(([, ends]) => ends);
    if (awaited.length > 0) funeral = Promise.allSettled([funeral, ...awaited]);
    this.end(error);
  }

  private end(error: Error): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.forget();
    clearTimeout(this.patience);
    this.watching.abort();
    ended.add(this.worker);
    this.worker.terminate();
    this.peer.end(error);
  }
}

function dead(reason: string): LakeshoreError {
  return new LakeshoreError(
    "Internal",
    `the engine stopped (${reason}): open the database again; acknowledged rows are kept`,
  );
}
