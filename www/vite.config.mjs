// How Vite serves and builds the demo page. `npm start` (scripts/start.mjs) does it with a local S3 server;
// `npx vite build www` makes a folder that any web server can serve, with its Content-Security-Policy.

import { fileURLToPath } from "node:url";
import { flightsFolder } from "../scripts/www-flights.mjs";

const folder = (path) => fileURLToPath(new URL(path, import.meta.url));

/** No more than the package needs, and the endpoints that a user may type. */
const policy = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self' https: http://127.0.0.1:* http://localhost:*",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** Not in development, where Vite itself puts styles into the page. */
const contentSecurityPolicy = {
  name: "content-security-policy",
  apply: "build",
  transformIndexHtml: () => [
    {
      tag: "meta",
      attrs: { "http-equiv": "Content-Security-Policy", content: policy },
      injectTo: "head-prepend",
    },
  ],
};

export default {
  root: folder("."),
  base: "./",
  // What is not there is a 404, not this page.
  appType: "mpa",
  publicDir: flightsFolder,
  plugins: [contentSecurityPolicy],
  // Its worker and its module are found by their addresses; bundled together with others they would not be.
  optimizeDeps: { exclude: ["lakeshore"], include: ["apache-arrow"] },
  server: { fs: { allow: [folder("..")] }, cors: false },
  build: { outDir: folder("../target/www"), emptyOutDir: true, assetsInlineLimit: 0, target: "es2022" },
};
