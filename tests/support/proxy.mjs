// A proxy between client and S3 server that counts requests and makes faults. It passes Host and the body on as they
// came, so that signatures stay valid, and CORS answers as the server gave them.
//
//   const proxy = await startProxy({ target: "http://127.0.0.1:9000" });
//   proxy.fault({ method: "PUT", path: "/log/", nth: 3, action: { lost: true } });   // applied, but the reply is lost
//   proxy.counts();  proxy.reset();  proxy.clear();  await proxy.down();  await proxy.up();  await proxy.stop();
//
// For other processes and languages: `startControl({ target, server })` answers at `control.url`
//   POST /new → { id, endpoint }                       a proxy of its own, so that tests don't disturb each other
//   POST /ID/fault | clear | reset | latency | down | up | stop, GET /ID/counts | log
//   POST /server/down | up | restart                   the S3 server itself
// and every proxy answers the same below ENDPOINT/__proxy/ (as long as it isn't down).

import http from "node:http";
import https from "node:https";
import { s3Request } from "../../scripts/s3-request.mjs";

/**
 * A rule: `{ method?, kind?, path?, nth = 1, every = 1, times = 1, action }`. `path` is a regular expression over the
 * request's path and query. The rule skips `nth - 1` matching requests, then acts on each `every`-th until it has acted
 * on `times` of them (0: for ever), and is over.
 * Of several rules the first that acts is taken. `action` is one of, with `delayMs` beside any:
 *   { status, code?, message?, headers? }   an XML error in the server's place; the request isn't passed on
 *   { reset: true }                         the connection breaks before the server sees the request
 *   { lost: true } or { lost: 503 }         the server carries it out; the reply is lost, or replaced
 *   { hang: true }                          no answer until the client gives up
 *   { page: 200 }                           a web page in the server's place, as a portal gives it for everything
 *   { unconditional: true }                 the server isn't told of If-None-Match
 *   { dripMs: 100 }                         the reply's body comes byte by byte, so far apart
 *   { cut: 100 }                            the connection breaks after so many bytes of the reply's body
 *   { delayMs }                             only late
 */
export class Proxy {
  #target;
  /** Whose keys sign what the proxy itself sends. */
  #account;
  #agent;
  #server;
  #port = 0;
  #sockets = new Set();
  #rules = [];
  #latencyMs = 0;
  #counts = emptyCounts();
  #log = [];
  #inFlight = 0;

  constructor(target, account) {
    this.#target = new URL(target);
    this.#account = account;
    const { Agent } = this.#target.protocol === "https:" ? https : http;
    this.#agent = new Agent({ keepAlive: true, noDelay: true });
    this.#server = http.createServer({ noDelay: true }, (request, response) =>
      this.#answer(request, response).catch(() => response.destroy()),
    );
    // A connection that we close when it has been idle may meet a request: faults are made on demand only.
    this.#server.keepAliveTimeout = 0;
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  get endpoint() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Listens; after `down` on the same port again. */
  up() {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#port, "127.0.0.1", () => {
        this.#port = this.#server.address().port;
        resolve();
      });
    });
  }

  /** Breaks all connections and refuses new ones. */
  down() {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      for (const socket of this.#sockets) socket.resetAndDestroy();
    });
  }

  async stop() {
    await this.down();
    this.#agent.destroy();
  }

  /** Adds a rule. */
  fault({ method, kind, path, nth = 1, every = 1, times = 1, action }) {
    const pattern = path === undefined ? undefined : new RegExp(path);
    const left = times === 0 ? Infinity : times;
    this.#rules.push({ method, kind, pattern, skip: nth - 1, every, left, action });
  }

  /** Forgets all rules and the latency. */
  clear() {
    this.#rules = [];
    this.#latencyMs = 0;
  }

  /** Every request takes so much longer. */
  latency(ms) {
    this.#latencyMs = ms;
  }

  /** Requests by kind since `reset`; `total` leaves preflights out. */
  counts() {
    return { ...this.#counts };
  }

  /** What was asked, in order: `{ method, kind, path, status, fault }`. */
  log() {
    return [...this.#log];
  }

  /** Counts from 0 again. */
  reset() {
    this.#counts = emptyCounts();
    this.#log = [];
  }

  #actionFor(method, kind, path) {
    for (const rule of this.#rules) {
      if (rule.left <= 0 || (rule.method && rule.method !== method) || (rule.kind && rule.kind !== kind))
        continue;
      if (rule.pattern && !rule.pattern.test(path)) continue;
      if (rule.skip > 0) {
        rule.skip -= 1;
        continue;
      }
      rule.left -= 1;
      rule.skip = rule.every - 1;
      return rule.action;
    }
    return {};
  }

  async #answer(request, response) {
    const body = await readAll(request);
    const path = request.url;
    if (path.startsWith("/__proxy/")) {
      return void sendJson(response, await command(this, path.slice("/__proxy/".length), body));
    }
    const kind = kindOf(request);
    const entry = { method: request.method, kind, path, status: 0, fault: undefined };
    this.#log.push(entry);
    this.#counts[kind] += 1;
    if (kind !== "preflight") this.#counts.total += 1;
    this.#counts.bytesUp += body.length;
    this.#inFlight += 1;
    this.#counts.mostAtOnce = Math.max(this.#counts.mostAtOnce, this.#inFlight);
    try {
      await this.#act(request, body, response, entry);
    } finally {
      this.#inFlight -= 1;
    }
  }

  async #act(request, body, response, entry) {
    const { path } = entry;
    const action = entry.kind === "preflight" ? {} : this.#actionFor(entry.method, entry.kind, entry.path);
    const { delayMs = 0, status, page, reset, lost, hang, cut, unconditional, dripMs } = action;
    if (Object.keys(action).length > 0) entry.fault = action;
    if (this.#latencyMs + delayMs > 0) await sleep(this.#latencyMs + delayMs);
    if (reset) return void request.socket.resetAndDestroy();
    if (hang) return void (await new Promise((resolve) => response.on("close", resolve)));
    if (status !== undefined) return void this.#canned(response, entry, action);
    if (page !== undefined) return void this.#page(response, entry, action);
    let reply;
    try {
      const untold = unconditional && request.headers["if-none-match"] !== undefined;
      reply = await (untold ? this.#putAnyway(path, body) : this.#forward(request, body));
    } catch {
      return void request.socket.resetAndDestroy();
    }
    entry.status = reply.status;
    if (lost === true) return void request.socket.resetAndDestroy();
    if (lost) return void this.#canned(response, entry, { status: lost });
    this.#counts.bytesDown += reply.body.length;
    response.writeHead(reply.status, reply.headers);
    if (dripMs !== undefined) return void (await drip(response, reply.body, dripMs));
    if (cut === undefined) return void response.end(reply.body);
    response.write(reply.body.subarray(0, cut), () => request.socket.resetAndDestroy());
  }

  #canned(
    response,
    entry,
    { status, code = codes[status] ?? "InternalError", message = "by the proxy", headers },
  ) {
    const text = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
    entry.status = status;
    response.writeHead(status, {
      "content-type": "application/xml",
      "access-control-allow-origin": "*",
      "access-control-expose-headers": "ETag, Date",
      ...headers,
    });
    response.end(text);
  }

  /** What captive portals and single-page applications give for every path, without a word of a store's. */
  #page(response, entry, { page, headers }) {
    entry.status = page;
    response.writeHead(page, {
      "content-type": "text/html; charset=utf-8",
      "access-control-allow-origin": "*",
      ...headers,
    });
    response.end("<!doctype html>\n<html><title>Sign in</title><body>Please sign in.</body></html>\n");
  }

  /** Without the condition, which the client's signature covers: signed anew. */
  async #putAnyway(path, body) {
    const key = decodeURIComponent(new URL(path, "http://x").pathname);
    const { status, headers, body: bytes } = await s3Request(this.#account, "PUT", key, { body });
    return { status, headers: { etag: headers.get("etag"), "content-length": bytes.length }, body: bytes };
  }

  #forward(request, body) {
    const { request: send } = this.#target.protocol === "https:" ? https : http;
    const { hostname, port } = this.#target;
    return new Promise((resolve, reject) => {
      const headers = passedOn(request, body.length);
      const options = { agent: this.#agent, hostname, port, method: request.method, path: request.url };
      const onward = send({ ...options, headers, setHost: false }, (reply) => {
        readAll(reply).then((bytes) => {
          resolve({ status: reply.statusCode, headers: passedOn(reply, bytes.length), body: bytes });
        }, reject);
      });
      onward.on("error", reject);
      onward.end(body);
    });
  }
}

/** Starts a proxy on a free port. `account` is what `startS3` gives. */
export async function startProxy({ target, account }) {
  const proxy = new Proxy(target, account);
  await proxy.up();
  return proxy;
}

/** The same for other processes, over HTTP. `server` is what `startS3` gives. */
export async function startControl({ target, server }) {
  const proxies = new Map();
  const answer = async (path, body) => {
    const [id, what] = path.split("/");
    if (id === "new") {
      const made = await startProxy({ target: asJson(body).target ?? target, account: server });
      proxies.set(String(proxies.size + 1), made);
      return { id: String(proxies.size), endpoint: made.endpoint };
    }
    if (id === "server") {
      if (!["down", "up", "restart"].includes(what) || !server?.[what])
        throw new Error(`the server can't ${what}`);
      await server[what]();
      return {};
    }
    const proxy = proxies.get(id);
    if (!proxy) throw new Error(`there is no proxy ${id}`);
    return command(proxy, what, body);
  };
  const http1 = http.createServer(async (request, response) => {
    try {
      sendJson(response, await answer(request.url.slice(1), await readAll(request)));
    } catch (error) {
      sendJson(response, { error: error.message }, 400);
    }
  });
  await new Promise((resolve) => http1.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${http1.address().port}`,
    async stop() {
      http1.closeAllConnections();
      http1.close();
      await Promise.all([...proxies.values()].map((proxy) => proxy.stop()));
    },
  };
}

/** A proxy by `POST /new`, as one that this process started looks like: its methods are asynchronous. */
export async function remoteProxy(control, options = {}) {
  const post = async (path, body = {}) => {
    const response = await fetch(`${control}/${path}`, { method: "POST", body: JSON.stringify(body) });
    const value = await response.json();
    if (!response.ok) throw new Error(value.error);
    return value;
  };
  const { id, endpoint } = await post("new", options);
  const call = (what) => (body) => post(`${id}/${what}`, body);
  const latency = (ms) => post(`${id}/latency`, { ms });
  const names = ["fault", "clear", "reset", "counts", "log", "down", "up", "stop"];
  return { endpoint, latency, ...Object.fromEntries(names.map((name) => [name, call(name)])) };
}

async function command(proxy, what, body) {
  switch (what) {
    case "fault":
      return (proxy.fault(asJson(body)), {});
    case "latency":
      return (proxy.latency(asJson(body).ms), {});
    case "counts":
    case "log":
      return proxy[what]();
    case "clear":
    case "reset":
    case "down":
    case "up":
    case "stop":
      return (await proxy[what](), {});
    default:
      throw new Error(`there is no command ${what}`);
  }
}

const codes = {
  403: "AccessDenied",
  404: "NoSuchKey",
  409: "ConditionalRequestConflict",
  412: "PreconditionFailed",
  429: "TooManyRequests",
  500: "InternalError",
  503: "SlowDown",
};

const hopByHop = new Set(["connection", "keep-alive", "transfer-encoding"]);

function emptyCounts() {
  const kinds = { get: 0, head: 0, put: 0, putIfAbsent: 0, list: 0, delete: 0, other: 0, preflight: 0 };
  return { ...kinds, total: 0, bytesUp: 0, bytesDown: 0, mostAtOnce: 0 };
}

function kindOf({ method, url, headers }) {
  const query = new URL(url, "http://x").searchParams;
  if (method === "OPTIONS") return "preflight";
  if (["partNumber", "uploads", "uploadId", "delete"].some((name) => query.has(name))) return "other";
  if (method === "GET") return query.has("list-type") ? "list" : "get";
  if (method === "PUT") return headers["if-none-match"] === undefined ? "put" : "putIfAbsent";
  return { HEAD: "head", DELETE: "delete" }[method] ?? "other";
}

/** Headers as they came; a body that came in chunks goes on in one piece, with its length. */
function passedOn({ headers, rawHeaders }, length) {
  const pairs = Array.from({ length: rawHeaders.length / 2 }, (_, i) => [
    rawHeaders[2 * i],
    rawHeaders[2 * i + 1],
  ]);
  const kept = pairs.filter(([name]) => !hopByHop.has(name.toLowerCase()));
  if (headers["transfer-encoding"] !== undefined) kept.push(["content-length", String(length)]);
  return kept.flat();
}

async function readAll(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function drip(response, body, ms) {
  for (let at = 0; at < body.length && !response.destroyed; at++) {
    response.write(body.subarray(at, at + 1));
    await sleep(ms);
  }
  response.end();
}

const asJson = (body) => (body.length > 0 ? JSON.parse(body.toString()) : {});

function sendJson(response, value, status = 200) {
  response.writeHead(status, { "content-type": "application/json", "access-control-allow-origin": "*" });
  response.end(JSON.stringify(value));
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
