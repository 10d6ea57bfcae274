// The engine in this realm: an instance of the module for each open database. It costs some 2 MB and 2 ms; a trap ends
// one database alone, and memory, which WebAssembly never gives back, goes with the instance when its database is
// closed. In Workers all databases share one, so that requests at once do not fill the isolate.

import { LakeshoreError } from "./errors.js";
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

/** The engine, once its module is there. */
export async function engine(): Promise<Engine> {
  if (loader === undefined) {
    throw new LakeshoreError(
      "Unsupported",
      "there is no WebAssembly module: call init() with it before open()",
    );
  }
  compiled ??= loader();
  let module: WebAssembly.Module;
  try {
    module = await compiled;
  } catch (error) {
    compiled = undefined;
    throw error;
  }
  await buried();
  return new LocalEngine(module);
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
