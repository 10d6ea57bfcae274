// Waiting that an AbortSignal can end. However many calls wait for one signal, it has one listener of ours, and none once
// nobody waits.

const waiting = new WeakMap<AbortSignal, Listener>();

class Listener {
  private readonly signal: AbortSignal;
  private readonly told = new Set<() => void>();
  private readonly tell = () => {
    for (const listener of [...this.told]) listener();
  };

  constructor(signal: AbortSignal) {
    this.signal = signal;
  }

  add(listener: () => void): void {
    if (this.told.size === 0) this.signal.addEventListener("abort", this.tell);
    this.told.add(listener);
  }

  remove(listener: () => void): void {
    this.told.delete(listener);
    if (this.told.size === 0) this.signal.removeEventListener("abort", this.tell);
  }
}

/** Calls `listener` once the signal is aborted. Gives what takes that back: to be called in any case. */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  let found = waiting.get(signal);
  if (found === undefined) waiting.set(signal, (found = new Listener(signal)));
  const own = () => listener();
  try {
    found.add(own);
  } catch {
    // It took one at the door. What was begun since is not undone by that.
  }
  return () => {
    try {
      found.remove(own);
    } catch {
      // It keeps a listener that has nobody to tell.
    }
  };
}

/** Throws the signal's reason if it is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw signal.reason;
}

/**
 * The promise's result, or `signal.reason` once the signal is aborted. What was begun goes on, unless `end` ends it.
 */
export function abortable<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  end: () => void = () => undefined,
): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) {
    promise.catch(() => undefined);
    end();
    return Promise.reject(signal.reason);
  }
  return new Promise((resolve, reject) => {
    const forget = onAbort(signal, () => {
      forget();
      reject(signal.reason);
      end();
    });
    promise.finally(forget).then(resolve, reject);
  });
}
