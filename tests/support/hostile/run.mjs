// Calls everything with everything that is wrong. Each call ends in success, in a `LakeshoreError` that is not
// `Internal`, or in what the caller's own code threw; afterwards another database of the same process still answers, and
// no table has changed that was not asked to.

import { functions, objects, rows, world } from "./calls.mjs";
import { Boom, hostileValues, misplaced, places, replaced } from "./values.mjs";

/** A seeded generator of numbers from 0 to 1. */
export function seeded(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

export function shuffled(list, next) {
  const all = [...list];
  for (let i = all.length - 1; i > 0; i--) {
    const other = Math.floor(next() * (i + 1));
    [all[i], all[other]] = [all[other], all[i]];
  }
  return all;
}

/** Whether the outcome of a call is one that it may have. */
export function allowed(error, { LakeshoreError }) {
  if (error instanceof Boom) return true;
  return error instanceof LakeshoreError && error.code !== "Internal";
}

export const describe = (error) => {
  try {
    return String(error?.stack ?? error).slice(0, 600);
  } catch {
    return "an error that cannot be shown";
  }
};

/** Methods of an object, by reflection: own names along its prototypes, but of its runtime's. */
function methodsOf(object) {
  const names = new Set();
  for (let proto = Object.getPrototypeOf(object); proto; proto = Object.getPrototypeOf(proto)) {
    if ([Object.prototype, Promise.prototype, Error.prototype].includes(proto)) break;
    for (const name of Reflect.ownKeys(proto)) {
      const { value } = Object.getOwnPropertyDescriptor(proto, name);
      if (typeof value === "function" && name !== "constructor") names.add(name);
    }
  }
  return names;
}

const recipe = (given) => {
  if (Array.isArray(given)) return { all: [() => []] };
  if (typeof given === "function") return { all: [given] };
  return { ...given, all: given.all ?? [given.args] };
};

/**
 * Runs all of it in an order that the seed gives, until the time is over. Gives the number of calls, what failed, and
 * which methods have no recipe.
 */
export async function callEverything({ lakeshore, stores, foreign, seed, ms, only }) {
  const next = seeded(seed);
  const end = Date.now() + ms;
  const values = hostileValues(foreign);
  const w = await world(lakeshore, stores);
  const bystander = await world(lakeshore, stores);
  const result = {
    calls: 0,
    failures: [],
    unknown: [],
    values: Object.keys(values).length,
    methods: 0,
    all: 0,
  };
  const jobs = [];
  for (const [name, kind] of Object.entries(objects)) {
    const made = await kind.make(w);
    const methods = kind.methods(w);
    for (const method of methodsOf(made)) {
      if (kind.internal?.includes(method)) continue;
      if (methods[method] === undefined) result.unknown.push(`${name}.${String(method)}`);
      const how = recipe(methods[method] ?? []);
      jobs.push({
        name: `${name}.${String(method)}`,
        method,
        make: () => (how.on ?? kind.make)(w),
        end: kind.end,
        how,
      });
    }
    kind.end?.(made);
  }
  const exported = functions(w);
  for (const [name, value] of Object.entries(lakeshore)) {
    if (typeof value !== "function" || /^[A-Z]/.test(name) || exported[name] === "internal") continue;
    if (exported[name] === undefined) result.unknown.push(name);
    jobs.push({ name, method: name, make: () => lakeshore, how: recipe(exported[name] ?? []) });
  }
  result.methods = jobs.length;
  const calls = [];
  for (const job of jobs) {
    for (const args of job.how.all) {
      const right = args();
      const at = [...places(right), [right.length]];
      for (const path of at) {
        const inner = path.reduce((value, step) => value?.[step], right);
        const wrong = { ...values };
        for (const [name, value] of Object.entries(misplaced(inner))) wrong[name] = () => value;
        for (const [name, make] of Object.entries(wrong)) calls.push({ job, args, path, name, make });
      }
    }
  }
  result.all = calls.length;
  let kept = rows();
  const check = async (doing) => {
    const found = await w.table.scan().toArray();
    const same = JSON.stringify(found, shown) === JSON.stringify(kept, shown);
    const others = await bystander.table.scan().count();
    if (!same || others !== 10) result.failures.push(`${doing}: the rows are not what they were`);
    kept = found;
  };
  for (const call of shuffled(calls, next)) {
    if (Date.now() > end) break;
    const { job, path, name } = call;
    const doing = `${job.name}(${path.join(".")}: ${name})`;
    if (only !== undefined && doing !== only) continue;
    result.calls += 1;
    // Where the clock stands still while there is no I/O, and where a page must stay alive.
    if (result.calls % 50 === 0) await new Promise((resolve) => setTimeout(resolve));
    const outcome = await attempt(call, w);
    if (outcome !== undefined && !allowed(outcome.error, lakeshore))
      result.failures.push(`${doing}: ${describe(outcome.error)}`);
    // What a write that was taken has made of the table is what it is from then on: also if it is the caller's own
    // code, a callback or the next item of a stream, that threw then.
    const taken = outcome === undefined || path[1] === "onProgress" || outcome.error.committed > 0;
    if (job.how.changes && taken) kept = await w.table.scan().toArray();
    else if (job.how.changes) await check(doing);
    else if (result.calls % 20 === 0) await check(`${doing} or one of 20 before`);
    if (result.failures.length > 20) break;
  }
  await check("at the end");
  await w.db.close();
  await bystander.db.close();
  return result;
}

const shown = (_, value) => (typeof value === "bigint" ? `${value}n` : value);

/** Makes a call, and gives what it threw. */
async function attempt({ job, args, path, make }, w) {
  const { method, how } = job;
  let object;
  try {
    object = await job.make();
    const wrong = replaced(args(), path, make());
    const called = (async () => {
      // Not awaited as it is: what comes out may have a `then`.
      const done = object[method](...wrong);
      const made = done instanceof Promise ? await done : done;
      await how.after?.(made);
    })();
    const late = await withoutEnd(called, how.waits ? 30 : 20_000);
    if (late && !how.waits) return { error: new Error("it did not settle") };
  } catch (error) {
    return { error };
  } finally {
    if (job.end) await end(job, object);
    else if (how.on) await object.close().catch(() => undefined);
  }
}

/** Whether a promise has not settled after a while; throws what it threw. */
export async function withoutEnd(promise, ms) {
  let timer;
  const patience = new Promise((resolve) => (timer = setTimeout(resolve, ms, true)));
  try {
    return (await Promise.race([promise.then(() => false), patience])) === true;
  } finally {
    clearTimeout(timer);
  }
}

async function end(job, object) {
  try {
    await job.end(object);
  } catch {
    // It has ended.
  }
}
