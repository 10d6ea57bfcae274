// Serves the package as it is built, and the tests' pages, under a strict Content-Security-Policy; records what pages post.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { root } from "../../../scripts/lib.mjs";

const policy =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self' http://127.0.0.1:*";
const types = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};
/** Where each path comes from. */
const folders = { "/pkg/": "", "/tests/": "tests", "/elsewhere/": "js/wasm" };

/**
 * Starts it. Of the options `policy` is the Content-Security-Policy, `wasmType` the type that the module is served with,
 * `missing` are ends of paths that are not found, and `answers` functions by path for what pages post; what they post
 * elsewhere is in `posted`. `asked` has the path of every request.
 */
export async function serve(t, options = {}) {
  const state = {
    policy,
    wasmType: types[".wasm"],
    missing: [],
    posted: [],
    asked: [],
    answers: {},
    ...options,
  };
  const server = createServer((request, response) => {
    state.asked.push(request.url);
    answer(request, response, state).catch((error) => response.writeHead(500).end(String(error)));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  t.after(close);
  return Object.assign(state, { origin: `http://127.0.0.1:${server.address().port}` });
}

async function answer(request, response, state) {
  const { pathname } = new URL(request.url, "http://localhost");
  const headers = {
    "content-security-policy": state.policy,
    "cache-control": "no-store",
    "service-worker-allowed": "/",
  };
  if (request.method === "POST") {
    let body = "";
    for await (const chunk of request) body += chunk;
    const made = state.answers[pathname];
    if (made !== undefined)
      return response.writeHead(200, headers).end(JSON.stringify(made(JSON.parse(body))));
    state.posted.push(body);
    return response.writeHead(204, headers).end();
  }
  if (state.missing.some((end) => pathname.endsWith(end))) return response.writeHead(404, headers).end();
  const path = pathname === "/" ? "/tests/browser/support/page.html" : normalize(pathname);
  const [prefix, folder] = Object.entries(folders).find(([start]) => path.startsWith(start)) ?? [];
  if (prefix === undefined) return response.writeHead(404, headers).end();
  try {
    const bytes = await readFile(join(root, folder, path.slice(prefix.length)));
    const type = path.endsWith(".wasm") ? state.wasmType : (types[extname(path)] ?? "text/plain");
    response.writeHead(200, { ...headers, "content-type": type }).end(bytes);
  } catch {
    response.writeHead(404, headers).end();
  }
}
