// Objects of an engine in a worker.

import type { LakeshoreError } from "../errors.js";
import type { Handle } from "../raw.js";
import type { Peer } from "./peer.js";

/** Tells the worker of what the page let go of. */
const forgotten = new FinalizationRegistry<() => void>((drop) => drop());

/** An object that the worker has, or is making. */
export class RemoteHandle<T> implements Handle<T> {
  private readonly peer: Peer;
  private readonly id: number = -1;
  private failure: unknown;

  /** Starts the call that makes it, unless that has failed already. */
  constructor(peer: Peer, on: number, method: string, args: unknown[], failure?: unknown) {
    this.peer = peer;
    this.failure = failure;
    if (failure !== undefined) return;
    try {
      const id = peer.start(on, method, args.map(copied));
      this.id = id;
      forgotten.register(this, () => peer.drop(id), this);
    } catch (error) {
      this.failure = error;
    }
  }

  call(method: string, ...args: unknown[]): Promise<never> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    return this.peer.call(this.id, method, args.map(copied)) as Promise<never>;
  }

  start(method: string, ...args: unknown[]): Handle<never> {
    return new RemoteHandle<never>(this.peer, this.id, method, args, this.failure);
  }

  async ready(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    await this.peer.ready(this.id);
  }

  drop(reason: LakeshoreError): void {
    if (this.failure !== undefined) return;
    this.failure = reason;
    forgotten.unregister(this);
    this.peer.drop(this.id);
  }
}

/** Bytes are the caller's, who may use them again: a copy crosses. */
function copied(argument: unknown): unknown {
  return argument instanceof Uint8Array ? argument.slice() : argument;
}
