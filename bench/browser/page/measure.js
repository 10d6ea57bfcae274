// What the pages share: the flights, a stopwatch, percentiles.

/** The flights as Arrow IPC streams of 20,000 rows. */
export async function flights() {
  const bytes = await (await fetch("/flights.bin")).arrayBuffer();
  const lengths = new DataView(bytes);
  const parts = [];
  for (let at = 0; at < bytes.byteLength;) {
    const length = lengths.getUint32(at, true);
    // Copies: a database may take a buffer over.
    parts.push(new Uint8Array(bytes.slice(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  return parts;
}

export async function timed(action) {
  const start = performance.now();
  await action();
  return performance.now() - start;
}

/** The time of each of `count` runs of `action(i)`, in milliseconds. */
export async function each(count, action) {
  const times = [];
  for (let i = 0; i < count; i++) times.push(await timed(() => action(i)));
  return times;
}

export function percentiles(name, times) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return { [`${name}_p50_ms`]: at(0.5), [`${name}_p99_ms`]: at(0.99) };
}

/** The same ids for everybody, in no order. */
export const someId = (i, rows) => (i * 7919 * 131) % rows;
