// Opens and closes of one WAL in this realm, one after the other: who opens it while its last handle is closing, or being
// opened by somebody who may be about to close it (React mounts twice), waits instead of being told that it is busy.

import type { StoreSpec } from "./raw.js";

/** Longer than a directory takes to find out whether the holder of its lock lives. */
const patienceMs = 15_000;

/** What is under way last, by place. */
const last = new Map<unknown, Promise<unknown>>();

/** What tells one WAL from another: stores of the same directory are the same. */
export function placeOf(spec: StoreSpec): unknown {
  if ("opfs" in spec) return `opfs ${String((spec.opfs as { name?: unknown }).name)}`;
  if (!("host" in spec)) return spec;
  const { host } = spec as { host: { describe?: unknown } };
  try {
    const described: unknown = typeof host.describe === "function" ? host.describe() : undefined;
    return typeof described === "string" && described.startsWith("directory ") ? described : host;
  } catch {
    return host;
  }
}

/** Notes that something is under way in a place, until it has settled. */
export function underWay<T>(place: unknown, what: Promise<T>): Promise<T> {
  if (place === undefined) return what;
  const settled: Promise<unknown> = what.then(nothing, nothing).then(() => {
    if (last.get(place) === settled) last.delete(place);
  });
  last.set(place, settled);
  return what;
}

/** Does something in a place when nothing is under way there. */
export async function inTurn<T>(place: unknown, act: () => Promise<T>): Promise<T> {
  for (let before = last.get(place); before !== undefined; before = last.get(place)) {
    await before;
    // Whoever was given a handle may close it at once.
    await new Promise((resolve) => setTimeout(resolve));
  }
  return underWay(place, act());
}

/** Waits until something has settled, but not for ever. */
export async function soon(what: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, patienceMs)));
  await Promise.race([what.then(nothing, nothing), late]);
  clearTimeout(timer);
}

function nothing(): void {}
