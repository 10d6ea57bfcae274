// Answers of a caller's own code that are not what they should be: of each method of a host, of a `fetch`, of functions
// that give credentials or sign. The database that asked gets an error that is not `Internal`, or does without.

import { rows } from "./calls.mjs";
import { allowed, describe, seeded, shuffled, withoutEnd } from "./run.mjs";
import { hostileValues } from "./values.mjs";

const definition = { schema: { id: "int64", text: "utf8" }, primaryKey: ["id"] };
const hostMethods = [
  "get",
  "getRange",
  "getSuffix",
  "put",
  "putIfAbsent",
  "list",
  "delete",
  "create",
  "append",
  "lock",
];
const things = {
  create: ["write", "finish", "abort"],
  append: ["write", "sync", "close", "size"],
  lock: ["release"],
};

/** The work of a database: what it asks of its stores is all there is. */
async function work({ open, col }, stores) {
  const errors = [];
  const attempt = async (action) => {
    try {
      return await action();
    } catch (error) {
      errors.push(error);
    }
  };
  const db = await attempt(() =>
    open({ ...stores, retries: 0, rowGroupRows: 4, pageRows: 2, inlineCommitBytes: 0 }),
  );
  if (db === undefined) return errors;
  const table = await attempt(() => db.table("rows", definition));
  if (table !== undefined) {
    const all = rows().map(({ id, text }) => ({ id, text }));
    await attempt(() => table.ingest(all));
    await attempt(() => db.flush());
    await attempt(() => table.get({ id: 3n }));
    await attempt(() => table.scan({ where: col("text").eq("row 5") }).toArray());
    await attempt(() => db.checkpoint());
    await attempt(() => db.gc());
    await attempt(() => db.refresh());
  }
  await attempt(() => db.close());
  return errors;
}

/** A host over memory of which one answer, from the `nth` on, is another. */
function lying(inner, method, nth, thing, answer) {
  let count = 0;
  const host = {};
  for (const name of hostMethods) {
    host[name] = (...args) => {
      const result = inner[name](...args);
      if (name !== method || ++count < nth) return result;
      if (thing === undefined) return answer(result);
      const lies = {};
      for (const part of things[name]) {
        const value = typeof result[part] === "function" ? (...args) => result[part](...args) : result[part];
        lies[part] =
          part !== thing ? value : part === "size" ? answer() : (...args) => (value(...args), answer());
      }
      return lies;
    };
  }
  return host;
}

/** How lengths and lists may lie besides. */
const lies = {
  "half of the bytes": (right) => half(right),
  "twice the bytes": (right) => twice(right),
  "a size that lies": (right) => ({ ...right, size: 1e15 }),
  "a list of nonsense": () => [{ key: 5 }, null, { key: "log/1", size: -1 }],
  "dates that are none": (right) =>
    Array.isArray(right) ? right.map((e) => ({ ...e, modified: new Date(NaN) })) : right,
};
const half = (right) => (right instanceof Uint8Array ? right.subarray(0, right.length >> 1) : right);
const twice = (right) => (right instanceof Uint8Array ? Uint8Array.of(...right, ...right) : right);

/**
 * Runs all of it in an order that the seed gives, until the time is over; with a WAL where one can be (`local`).
 */
export async function answerAnything({ lakeshore, foreign, seed, ms, local = true }) {
  const { memory, host, open, s3 } = lakeshore;
  const values = hostileValues(foreign);
  const result = { calls: 0, failures: [], all: 0 };
  const jobs = [];
  const answers = [
    ...Object.entries(values).map(([name, make]) => [name, () => make()]),
    ...Object.entries(lies),
  ];
  const ways = {
    "at once": (value) => value,
    "in a promise": async (value) => value,
    thrown: (value) => {
      throw value;
    },
    rejected: async (value) => {
      throw value;
    },
  };
  for (const [name, answer] of answers) {
    for (const [way, give] of Object.entries(ways)) {
      for (const method of hostMethods) {
        for (const nth of [1, 3]) {
          for (const thing of [undefined, ...(things[method] ?? [])]) {
            // Nobody awaits a size: one that is a promise is a test's own unhandled rejection.
            if (thing === "size" && way !== "at once") continue;
            const run = () => {
              const lie = (inner) => host(lying(inner, method, nth, thing, (right) => give(answer(right))));
              const [data, wal] = [memory().host, memory().host];
              return work(lakeshore, { data: lie(data), ...(local && { wal: lie(wal) }) });
            };
            const part = thing === undefined ? "" : `.${thing}`;
            jobs.push([`host.${method}${part}() from ${nth} on: ${name} ${way}`, run]);
          }
        }
      }
      const ofFetch = {
        "a response": () => give(answer()),
        "a status": async () => ({
          status: answer(),
          headers: new Headers(),
          arrayBuffer: async () => new ArrayBuffer(0),
        }),
        headers: async () => ({
          status: 200,
          headers: answer(),
          arrayBuffer: async () => new ArrayBuffer(0),
        }),
        "a header": async () => ({
          status: 200,
          headers: { get: () => answer() },
          arrayBuffer: async () => new ArrayBuffer(8),
        }),
        "a body": async () => ({ status: 200, headers: new Headers(), arrayBuffer: () => give(answer()) }),
      };
      const bucket = { bucket: "b", endpoint: "http://127.0.0.1:9", retries: 0, timeoutMs: 1000 };
      for (const [what, fetch] of Object.entries(ofFetch)) {
        const run = () => work(lakeshore, { data: s3({ ...bucket, anonymous: true, fetch }) });
        jobs.push([`fetch, ${what}: ${name} ${way}`, run]);
      }
      const fetch = async () => new Response(null, { status: 404 });
      const credentials = () => give(answer());
      jobs.push([
        `credentials(): ${name} ${way}`,
        () => work(lakeshore, { data: s3({ ...bucket, fetch, credentials }) }),
      ]);
      const sign = () => give(answer());
      jobs.push([`sign(): ${name} ${way}`, () => work(lakeshore, { data: s3({ ...bucket, fetch, sign }) })]);
      const headers = () => give({ headers: answer() });
      jobs.push([
        `sign() with headers: ${name} ${way}`,
        () => work(lakeshore, { data: s3({ ...bucket, fetch, sign: headers }) }),
      ]);
    }
  }
  result.all = jobs.length;
  const bystander = await open({ data: memory() });
  const kept = await bystander.table("kept", definition);
  await kept.ingest([{ id: 1n, text: "kept" }]);
  const end = Date.now() + ms;
  for (const [name, run] of shuffled(jobs, seeded(seed))) {
    if (Date.now() > end || result.failures.length > 20) break;
    result.calls += 1;
    const working = run();
    const late = await withoutEnd(working, 30_000);
    const errors = late ? [new Error("it did not settle")] : await working;
    for (const error of errors) {
      if (!allowed(error, lakeshore)) result.failures.push(`${name}: ${describe(error)}`);
    }
    const there = await kept.get({ id: 1n }).catch((error) => error);
    if (there?.text !== "kept") {
      result.failures.push(`${name}: the other database does not answer: ${describe(there)}`);
      break;
    }
  }
  await bystander.close().catch(() => undefined);
  return result;
}
