// One end of a port over which both sides call each other's objects. Invariants: messages are handled in the order in
// which they were sent, so calls take effect in call order; every call settles, also if the other side dies.

import { abortable } from "../abort.js";
import { messageOf } from "../door/values.js";
import { invalid, LakeshoreError } from "../errors.js";
import { type Crossing, errorIn, errorOut, givenAway, type Message } from "./messages.js";

/** What this side has for the other. */
export interface Service {
  call(on: number, method: string, args: unknown[], signal: AbortSignal | undefined): unknown;
  start(id: number, on: number, method: string, args: unknown[], signal: AbortSignal | undefined): void;
  ready(on: number): Promise<void>;
  drop(on: number): void;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

export class Peer {
  /** Told of the other side's first and last words. */
  onHello: (hello: { protocol: number; locked: boolean }) => void = () => undefined;
  onDied: (error: Error) => void = () => undefined;
  private readonly port: MessagePort;
  private readonly service: Service;
  private readonly waiting = new Map<number, Waiting>();
  /** Of calls and objects that the other side may abort. */
  private readonly controllers = new Map<number, AbortController>();
  private failure: Error | undefined;
  private last = 0;

  constructor(port: MessagePort, service: Service) {
    this.port = port;
    this.service = service;
    port.addEventListener("message", ({ data }) => this.take(data as Message));
    port.addEventListener("messageerror", () =>
      this.onDied(new LakeshoreError("Internal", "a message of the engine's worker could not be read")),
    );
    port.start();
  }

  call(on: number, method: string, args: unknown[], signal?: AbortSignal): Promise<unknown> {
    if (signal === undefined) return this.ask((id) => ({ type: "call", id, on, method, args }));
    if (signal.aborted) return Promise.reject(signal.reason);
    const answer = this.ask((id) => ({ type: "call", id, on, method, args, abortable: true }));
    const id = this.last;
    return abortable(answer, signal, () => this.abort(id));
  }

  /** Says that nobody waits any more for what was called or started so. */
  abort(id: number): void {
    if (this.failure === undefined) this.send({ type: "abort", id });
  }

  ready(on: number): Promise<unknown> {
    return this.ask((id) => ({ type: "ready", id, on }));
  }

  /** The number of the object that the call makes. */
  start(on: number, method: string, args: unknown[], abortable = false): number {
    if (this.failure !== undefined) throw this.failure;
    const id = ++this.last;
    this.send({ type: "start", id, on, method, args, ...(abortable && { abortable }) });
    return id;
  }

  drop(on: number): void {
    if (this.failure === undefined) this.send({ type: "drop", on });
  }

  send(message: Message): void {
    const values = message.type === "result" ? [message.value] : message.type === "call" ? message.args : [];
    try {
      this.port.postMessage(message, givenAway(values));
    } catch (error) {
      const what = message.type === "result" ? "an answer" : "an argument";
      throw invalid(`${what} cannot be passed between the page and the engine's worker: ${messageOf(error)}`);
    }
  }

  /** Ends it: what waits, and what will be called, is rejected. */
  end(failure: Error): void {
    this.failure ??= failure;
    for (const { reject } of this.waiting.values()) reject(this.failure);
    this.waiting.clear();
    this.port.close();
  }

  private ask(message: (id: number) => Message): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) return reject(this.failure);
      const id = ++this.last;
      try {
        this.send(message(id));
        this.waiting.set(id, { resolve, reject });
      } catch (error) {
        reject(error);
      }
    });
  }

  private take(message: Message): void {
    switch (message.type) {
      case "call":
        return this.answer(message.id, () => {
          const signal = this.signalOf(message);
          return this.service.call(message.on, message.method, message.args, signal);
        });
      case "ready":
        return this.answer(message.id, () => this.service.ready(message.on));
      case "start":
        return this.service.start(
          message.id,
          message.on,
          message.method,
          message.args,
          this.signalOf(message),
        );
      case "abort":
        return this.controllers.get(message.id)?.abort();
      case "drop":
        this.controllers.delete(message.on);
        return this.service.drop(message.on);
      case "result":
        this.waiting.get(message.id)?.resolve(message.value);
        return void this.waiting.delete(message.id);
      case "failed":
        this.waiting.get(message.id)?.reject(errorIn(message.error));
        return void this.waiting.delete(message.id);
      case "hello":
        return this.onHello(message);
    }
  }

  /** What the other side may abort: a call until it is answered, an object until it is dropped. */
  private signalOf({ id, abortable }: { id: number; abortable?: boolean }): AbortSignal | undefined {
    if (abortable !== true) return undefined;
    const controller = new AbortController();
    this.controllers.set(id, controller);
    return controller.signal;
  }

  /** Calls at once, and answers when there is an answer. */
  private answer(id: number, action: () => unknown): void {
    let result: unknown;
    try {
      result = action();
    } catch (error) {
      return this.fail(id, errorOut(error));
    }
    // Of what cannot even be awaited that is the answer, too.
    (async () => result)()
      .then((value) => this.send({ type: "result", id, value }))
      .catch((error: unknown) => this.fail(id, errorOut(error)))
      .finally(() => this.controllers.delete(id));
  }

  private fail(id: number, error: Crossing): void {
    // Text alone: it can be passed.
    this.send({ type: "failed", id, error });
  }
}
