// Workers as a user builds them: bundled by wrangler in a project that has the package from its tarball, run by
// workerd. A new instance is the restart.

import { readdirSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { Log, LogLevel, Miniflare } from "miniflare";
import { decode, encode } from "../../support/codec.mjs";
import { compatibilityDate, project } from "./project.mjs";
import { wrangler } from "./wrangler.mjs";

/** A Worker that does what `Instance.call` asks for, each call in a request of its own. */
const script = (actions) => `
import * as actions from ${JSON.stringify(`./${actions}`)};
import { decode, encode, plainError } from "./codec.mjs";

const counters = { started: 0, finished: 0 };

export default {
  async fetch(request) {
    const { action, args } = decode(await request.text());
    if (action === "counters") return new Response(encode({ result: counters }));
    counters.started += 1;
    try {
      return new Response(encode({ result: await actions[action](args) }));
    } catch (error) {
      return new Response(encode({ error: plainError(error) }));
    } finally {
      counters.finished += 1;
    }
  },
};
`;

/** Bundles a Worker of the functions in `actions` (a file's name) and gives what starts instances of it. */
export async function worker(actions, files = {}) {
  const settings = { name: "user", main: "index.mjs", compatibility_date: compatibilityDate };
  const all = { "index.mjs": script(actions), "wrangler.json": JSON.stringify(settings), ...files };
  const dir = await project(all, [actions]);
  await wrangler(dir, "deploy", "--dry-run", "--outdir", "out");
  const bundled = readdirSync(join(dir, "out")).filter((name) => name.endsWith(".wasm"));
  const modules = [
    { type: "ESModule", path: join(dir, "out", "index.js") },
    ...bundled.map((name) => ({ type: "CompiledWasm", path: join(dir, "out", name) })),
  ];
  return { dir, bundled, start: (options) => new Instance(join(dir, "out"), modules, options) };
}

/** A running workerd with one isolate of the Worker. */
export class Instance {
  constructor(modulesRoot, modules, options = {}) {
    this.output = "";
    const take = (stream) => stream.on("data", (chunk) => (this.output += chunk));
    this.miniflare = new Miniflare({
      ...{ modulesRoot, modules, compatibilityDate, cf: false, log: new Log(LogLevel.NONE) },
      handleRuntimeStdio: (stdout, stderr) => [stdout, stderr].forEach(take),
      ...options,
    });
  }

  /** Calls a function of the Worker and gives what it returned. */
  async call(action, args, { abortAfterMs } = {}) {
    const body = encode({ action, args });
    const { status, text } = await post(await this.miniflare.ready, body, abortAfterMs ?? 60_000);
    if (status !== 200) throw new Error(`${action}: ${status} ${text}\n${this.output}`);
    const { result, error } = decode(text);
    if (error) throw Object.assign(new Error(`${action}: ${error.code}: ${error.message}`), error);
    return result;
  }

  stop() {
    return this.miniflare.dispose();
  }
}

/** Rejects with `name: "TimeoutError"` after `ms`: the connection is reset, since workerd takes no notice of its end. */
function post(url, body, ms) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: "POST", agent: false }, async (response) => {
      try {
        const chunks = await response.toArray();
        resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString() });
      } catch (error) {
        reject(error);
      } finally {
        clearTimeout(timer);
      }
    });
    const timer = setTimeout(() => {
      reject(new DOMException(`no answer in ${ms} ms`, "TimeoutError"));
      request.socket?.resetAndDestroy();
      request.destroy();
    }, ms);
    request.on("error", (error) => (clearTimeout(timer), reject(error)));
    request.end(body);
  });
}
