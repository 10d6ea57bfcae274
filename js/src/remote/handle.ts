// Objects of an engine in a worker.

import { abortable } from "../abort.js";
import type { LakeshoreError } from "../errors.js";
import type { Handle } from "../raw.js";
import type { Peer } from "./peer.js";

/** Tells the worker of what the page let go of. */
const forgotten = new FinalizationRegistry<() => void>((drop) => drop());

/** An object that the worker has, or is making. */
export class RemoteHandle<T> implements Handle<T> {
  readonly givesAway = true;
  private readonly peer: Peer;
  private readonly id: number = -1;
  private failure: unknown;
  /** Where a signal may end its making: that it was made. */
  private readonly made: Promise<unknown> | undefined;

  /** Starts the call that makes it, unless that has failed already, until the signal ends it. */
  constructor(
    peer: Peer,
    on: number,
    method: string,
    args: unknown[],
    { failure, signal }: { failure?: unknown; signal?: AbortSignal | undefined } = {},
  ) {
    this.peer = peer;
    this.failure = signal?.aborted ? signal.reason : failure;
    if (this.failure !== undefined) return;
    try {
      const id = peer.start(on, method, args.map(copied), signal !== undefined);
      this.id = id;
      forgotten.register(this, () => peer.drop(id), this);
    } catch (error) {
      this.failure = error;
      return;
    }
    if (signal === undefined) return;
    this.made = abortable(peer.ready(this.id), signal, () => peer.abort(this.id));
    this.made.catch(() => undefined);
  }

  call(method: string, ...args: unknown[]): Promise<never> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    return this.peer.call(this.id, method, args.map(copied)) as Promise<never>;
  }

  callUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Promise<never> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    return this.peer.call(this.id, method, args.map(copied), signal) as Promise<never>;
  }

  start(method: string, ...args: unknown[]): Handle<never> {
    return new RemoteHandle<never>(this.peer, this.id, method, args, { failure: this.failure });
  }

  startUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Handle<never> {
    return new RemoteHandle<never>(this.peer, this.id, method, args, { failure: this.failure, signal });
  }

  async ready(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    await (this.made ?? this.peer.ready(this.id));
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
