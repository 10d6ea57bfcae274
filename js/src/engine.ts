// The engine in this realm: an instance of the module for each open database. It costs some 2 MB and 2 ms; a trap ends
// one database alone, and memory, which WebAssembly never gives back, goes with the instance when its database is
// closed. In Workers all databases share one, so that requests at once do not fill the isolate.

import { isThenable } from "./door/answers.js";
import { show } from "./door/show.js";
import { isOurs, messageOf, reading } from "./door/values.js";
import { invalid, LakeshoreError } from "./errors.js";
import { buried, Instance } from "./instance.js";
import type { Engine, Opening, StoreSpec } from "./raw.js";
import type { ProbeReport } from "./types.js";

/** Gives the compiled module: set once by the runtime's entry file. */
export type ModuleLoader = () => WebAssembly.Module | PromiseLike<WebAssembly.Module>;

let loader: ModuleLoader | undefined;
/** In Workers never a promise: one request must not wait for what another began. */
let compiled: WebAssembly.Module | PromiseLike<WebAssembly.Module> | undefined;
/** Whether all databases have the same instance, and which. */
let sharing = false;
let shared: Instance | undefined;
/** One that a database has left, for the next. */
let spare: Instance | undefined;
/** An instance that has grown beyond this is not used again, in bytes. */
const spareBytes = 8 << 20;

/** Says where the WebAssembly module comes from. */
export function setModuleLoader(load: ModuleLoader): void {
  loader = load;
}

/** From now on all databases have one instance. */
export function shareInstance(): void {
  sharing = true;
}

/** What `init()` was given, and whether an `open` in this realm has taken it, or what the runtime has, since. */
let given: unknown;
let taken = false;

const takes =
  "the WebAssembly module of lakeshore/lakeshore_bg.wasm, compiled: a WebAssembly.Module, or a promise of one";

/**
 * Takes the module that a caller gives. What is none is refused now, and what it promises when it is there. It comes too
 * late if an engine is running, here or (`elsewhere`) in a worker.
 */
export function giveModule(module: unknown, elsewhere = false): void {
  const isThere = reading("what init() was given", () => isModule(module) || isThenable(module));
  if (!isThere) throw invalid(`init() takes ${takes}: it was given ${show(module)}`);
  if ((taken || elsewhere) && module !== given)
    throw invalid("init() comes too late: the module has been taken already. Call it once, before open()");
  given = module;
  setModuleLoader(() => module as WebAssembly.Module);
}

/** The module that `init()` was given, if it was: where another realm is to have it. */
export async function givenModule(): Promise<WebAssembly.Module | undefined> {
  return given === undefined ? undefined : awaited(() => given as WebAssembly.Module);
}

/** The engine, once its module is there. */
export async function engine(): Promise<Engine> {
  const load = loader;
  if (load === undefined) {
    throw new LakeshoreError(
      "Unsupported",
      "there is no WebAssembly module: call init() with it before open()",
    );
  }
  taken = true;
  let module: WebAssembly.Module;
  try {
    module = await awaited(() => (compiled ??= load()));
  } catch (error) {
    compiled = undefined;
    taken = false;
    throw error;
  }
  await buried();
  return new LocalEngine(module);
}

/** The module, checked. */
async function awaited(load: () => WebAssembly.Module | PromiseLike<WebAssembly.Module>) {
  try {
    const module: unknown = await load();
    const whose = given === undefined ? "what was loaded" : "what init() was given";
    if (!isModule(module)) throw invalid(`${whose} became ${show(module)}: it takes ${takes}`);
    if (WebAssembly.Module.exports(module).some(({ name }) => name === "openDb")) return module;
    throw invalid(`${whose} is another WebAssembly module: it takes ${takes}`);
  } catch (error) {
    if (given === undefined || isOurs(error)) throw error;
    const message = `what init() was given failed: ${messageOf(error)}`;
    throw new LakeshoreError("Invalid", message, { cause: error });
  }
}

/** By what only modules have: it may be of another realm. */
function isModule(value: unknown): value is WebAssembly.Module {
  if (typeof value !== "object" || value === null) return false;
  try {
    WebAssembly.Module.exports(value as WebAssembly.Module);
    return true;
  } catch {
    return false;
  }
}

class LocalEngine implements Engine {
  private readonly module: WebAssembly.Module;

  constructor(module: WebAssembly.Module) {
    this.module = module;
  }

  open(
    data: StoreSpec,
    wal: StoreSpec | undefined,
    options: object,
    signal: AbortSignal | undefined,
  ): Opening {
    const instance = take(this.module);
    const opening = instance.open(data, wal, options, signal);
    let open = true;
    const release = () => {
      opening.release();
      if (open) giveBack(instance);
      open = false;
    };
    const abandon = () => {
      release();
      return opening.abandon();
    };
    return { ...opening, release, abandon };
  }

  async probe(data: StoreSpec, signal: AbortSignal | undefined): Promise<ProbeReport> {
    const instance = take(this.module);
    try {
      return await instance.probe(data, signal);
    } finally {
      giveBack(instance);
    }
  }
}

function take(module: WebAssembly.Module): Instance {
  if (sharing) {
    if (shared === undefined || shared.dead) shared = new Instance(module);
    return shared;
  }
  const found = spare;
  spare = undefined;
  return found === undefined || found.dead ? new Instance(module) : found;
}

function giveBack(instance: Instance): void {
  if (!sharing && !instance.dead && instance.memoryBytes <= spareBytes) spare = instance;
}
