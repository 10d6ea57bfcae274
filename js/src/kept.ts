// Writes that go on when the client is gone, where the runtime lets them: it is given the promise of each. In Workers
// a request whose client hangs up is ended otherwise, and with it a commit that is on its way.

import type { LakeshoreError } from "./errors.js";
import type { Handle } from "./raw.js";

/** Keeps the runtime at it until the promise settles. */
export type Keep = (write: Promise<unknown>) => void;

/** Calls that change something, or move what was written. */
const writing: ReadonlySet<string> = new Set(
  (
    "ingestIpc ingestArrow ingestColumns deleteIpc deleteArrow deleteColumns commit alterTable dropTable tag untag configure " +
    "flush upload checkpoint gc restoreParked discardParked close"
  ).split(" "),
);
/** Calls that make an object by a commit. */
const creating: ReadonlySet<string> = new Set(["createTable", "createTableFromIpc", "alterTable"]);

/** What the option `waitUntil` does. */
export function kept(waitUntil: (write: Promise<unknown>) => void): Keep {
  return (write) => {
    // Its failure is told to whoever called, and nobody else.
    const settled = write.then(
      () => undefined,
      () => undefined,
    );
    try {
      waitUntil(settled);
    } catch {
      // The write is on its way, and says itself what becomes of it.
    }
  };
}

/** A handle whose writes are kept, and those of what it makes. */
export class KeptHandle<T> implements Handle<T> {
  private readonly handle: Handle<T>;
  private readonly keep: Keep;

  constructor(handle: Handle<T>, keep: Keep) {
    this.handle = handle;
    this.keep = keep;
  }

  get givesAway(): boolean | undefined {
    return this.handle.givesAway;
  }

  call(method: string, ...args: unknown[]): Promise<never> {
    return this.callUntil(undefined, method, ...args);
  }

  callUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Promise<never> {
    const answer = this.plain.callUntil(signal, method, ...args);
    if (writing.has(method)) this.keep(answer);
    return answer;
  }

  start(method: string, ...args: unknown[]): Handle<never> {
    return this.startUntil(undefined, method, ...args);
  }

  startUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Handle<never> {
    const made = this.plain.startUntil(signal, method, ...args);
    if (creating.has(method)) this.keep(made.ready());
    return new KeptHandle<never>(made, this.keep) as Handle<never>;
  }

  ready(): Promise<void> {
    return this.handle.ready();
  }

  drop(reason: LakeshoreError): void {
    this.handle.drop(reason);
  }

  private get plain(): {
    callUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Promise<never>;
    startUntil(signal: AbortSignal | undefined, method: string, ...args: unknown[]): Handle<never>;
  } {
    return this.handle as never;
  }
}
