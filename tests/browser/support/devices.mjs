// Devices: a browser profile each, with a page that starts without a network, OPFS, a clock of its own, and a proxy
// before the store that counts what passes. And what they must hold.

import { fileURLToPath } from "node:url";
import { open, s3 } from "lakeshore";
import { bucket, proxyFor } from "./buckets.mjs";
import { ready } from "./chromium.mjs";

export const definition = {
  schema: { id: "int64", device: "utf8", n: "int32" },
  primaryKey: ["id"],
};

/** Rows of these keys. */
export function rows(device, n, ...ids) {
  return ids.map((id) => ({ id: BigInt(id), device, n }));
}

/**
 * What the log should hold, and what each device has not uploaded: the last to upload wins, key by key, and each device's
 * commits keep their order. A commit is `{ put: rows, gone: ids }`.
 */
export class Expected {
  log = new Map();
  pending = new Map();

  committed(device, commit) {
    this.pending.set(device, [...this.#of(device), commit]);
  }

  /** All but the last `left` of its commits are uploaded. */
  uploaded(device, left = 0) {
    const pending = this.#of(device);
    const done = pending.splice(0, Math.max(0, pending.length - left));
    for (const commit of done) apply(this.log, commit);
    return done.length;
  }

  /** How many commits it has not uploaded. */
  pendingOf(device) {
    return this.#of(device).length;
  }

  /** What a device reads that knows the log's end. */
  seenBy(device) {
    const seen = new Map(this.log);
    for (const commit of this.#of(device)) apply(seen, commit);
    return inOrder(seen);
  }

  /** What everybody else reads. */
  everybody() {
    return inOrder(this.log);
  }

  #of(device) {
    return this.pending.get(device) ?? [];
  }
}

function apply(content, { put = [], gone = [] }) {
  for (const row of put) content.set(row.id, row);
  for (const id of gone) content.delete(BigInt(id));
}

const inOrder = (content) => [...content.values()].sort((a, b) => (a.id < b.id ? -1 : 1));

/** Does something with the database by a handle that has no device: Node's. */
export async function remotely(name, work) {
  const db = await open({ data: s3(bucket({ prefix: name })) });
  try {
    return await work(db, await db.table("rows", definition));
  } finally {
    await db.close();
  }
}

/** What the store says the time is, in microseconds. */
export async function storeTime() {
  const { headers } = await fetch(bucket().endpoint);
  return BigInt(new Date(headers.get("date")).getTime()) * 1000n;
}

/** The service worker's script. */
export const appShell = "/tests/browser/support/app-shell.mjs";
const clock = fileURLToPath(new URL("wrong-clock.mjs", import.meta.url));

/** A device whose clock is `ahead` of the truth, in milliseconds. It has visited the page, and has not opened anything. */
export async function device(t, start, { name, ahead = 0 }) {
  const { context, server, page } = await start(t);
  t.after(() => context.setOffline(false));
  const made = new Device(context, server, page, await proxyFor(t), name);
  await page.addInitScript({ path: clock });
  await page.evaluate(async (script) => {
    const taken = new Promise((resolve) => (navigator.serviceWorker.oncontrollerchange = resolve));
    const options = { type: "module", scope: "/" };
    await navigator.serviceWorker.register(script, options);
    await taken;
  }, appShell);
  // What it needs goes through the service worker now, also what its engines need.
  await made.restart();
  await made.setClock(ahead);
  await page.evaluate(async (script) => {
    const worker = () => new Worker(script, { type: "module", name: "0" });
    for (const how of [{}, { worker }]) {
      const db = await lakeshore.open({ data: lakeshore.memory(), ...how });
      await db.close();
    }
  }, clockWorker);
  // The browser tells late that they have ended.
  while (page.workers().length > 0) await page.waitForTimeout(10);
  return made;
}

const clockWorker = "/tests/browser/support/wrong-clock-worker.mjs";

export class Device {
  ahead = 0;
  /** What its commits gave. */
  commits = [];
  /** Whether its proxy is down, too. */
  broken = false;

  constructor(context, server, page, proxy, name) {
    Object.assign(this, { context, server, page, proxy, name });
  }

  run(action, arg) {
    return this.page.evaluate(action, arg);
  }

  /** The database as the actions in the page take it. */
  database(options) {
    const endpoint = { endpoint: this.proxy.endpoint, retries: 1, timeoutMs: 10_000 };
    return { name: this.name, s3: bucket(endpoint), options: { retries: 1, ...options } };
  }

  /** Opens it, in a worker with the device's clock. */
  open(options) {
    const call = { ...this.database(options), worker: clockWorker, ahead: this.ahead };
    return this.run(async ({ worker, ahead, ...call }) => {
      const make = () => new Worker(worker, { type: "module", name: String(ahead) });
      globalThis.db = await actions.openAt({ ...call, options: { ...call.options, worker: make } });
      globalThis.rows = await globalThis.db.table("rows");
    }, call);
  }

  /** A call of the database's. */
  call(method, ...args) {
    return this.run(([method, args]) => globalThis.db[method](...args), [method, args]);
  }

  /** What a call of the database's rejects with. */
  refusal(method, ...args) {
    const work = async ([method, args]) => {
      const done = await globalThis.db[method](...args).catch((error) => error);
      return done instanceof lakeshore.LakeshoreError ? { code: done.code, message: done.message } : {};
    };
    return this.run(work, [method, args]);
  }

  /** Commits `put` and `gone`; both by a transaction. */
  async commit({ put = [], gone = [] }) {
    const keys = gone.map((id) => ({ id: BigInt(id) }));
    const work = async ({ put, keys }) => {
      const { db, rows } = globalThis;
      if (keys.length === 0) return rows.ingest(put);
      if (put.length === 0) return rows.delete(keys);
      const tx = await db.begin();
      const table = tx.table("rows");
      await table.ingest(put);
      await table.delete(keys);
      return tx.commit();
    };
    this.commits.push(await this.run(work, { put, keys }));
  }

  read() {
    return this.run(() => globalThis.rows.scan().toArray());
  }

  /** The page is gone, and back. */
  async restart() {
    await this.page.reload();
    await ready(this.page);
  }

  /** Sets the clocks of the page and of the engine: how far ahead, in milliseconds. */
  async setClock(ahead) {
    this.ahead = ahead;
    for (const thread of [this.page, ...this.page.workers()])
      await thread.evaluate((ahead) => globalThis.setClock(ahead), ahead);
  }

  /**
   * Cuts the network off, or not, by the devtools protocol: `Network.emulateNetworkConditions` for each page, with
   * their workers, and for its service worker; also for those that come later.
   */
  async cut(cut = true) {
    await this.context.setOffline(cut);
    if (!cut && this.broken) await this.proxy.up();
    this.broken = false;
  }

  /** The same, and takes requests with it that are under way: devtools let these end. */
  async breakOff() {
    await this.cut();
    await this.proxy.down();
    this.broken = true;
  }

  /** What becomes of a request to the store, and of one to the page's server: of each thread there is. */
  async reach() {
    const own = this.context.serviceWorkers().filter((worker) => worker.url().startsWith(this.server.origin));
    const threads = [["page", this.page], ...this.page.workers().map((worker) => ["engine", worker])];
    const reached = {};
    for (const [thread, at] of [...threads, ...own.map((worker) => ["service worker", worker])]) {
      const ask = async ([store, server]) => {
        const outcome = (request) =>
          request.then(
            () => "answered",
            (error) => error.name,
          );
        // What it answers does not matter, nor may it be read.
        const atStore = await outcome(fetch(store, { mode: "no-cors" }));
        return [atStore, await outcome(fetch(server, { method: "POST", body: "reached" }))];
      };
      reached[thread] = await at.evaluate(ask, [this.proxy.endpoint, `${this.server.origin}/reach`]);
    }
    return reached;
  }
}
