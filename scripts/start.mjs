// `npm start`: the demo page (www/) on Vite's development server, and a local S3 server for its form where Ceph is
// installed. Prints the address; Ctrl-C ends both.
//   node scripts/start.mjs --port=5173   a port in use gives way to the next
//   node scripts/start.mjs --no-s3       without the S3 server
//
// The page may ask this server, which listens on loopback only, for keys of that S3 server: they are of a session, and
// the server and all that is in it end with this process. A store that the environment names is never offered.

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { build } from "./build.mjs";
import { root, step } from "./lib.mjs";
import { startS3 } from "./s3-server.mjs";
import { setup } from "./setup.mjs";
import { prepareFlights } from "./www-flights.mjs";

/** Serves the page. `s3` is a promise of an S3 server to offer, or of undefined; `config` is more for Vite. */
export async function servePage({ port = 0, s3 = Promise.resolve(), config = {} } = {}) {
  // Not before `npm ci`.
  const { createServer } = await import("vite");
  const server = await createServer({
    configFile: join(root, "www", "vite.config.mjs"),
    clearScreen: false,
    logLevel: "warn",
    ...config,
    plugins: [localS3(s3)],
    server: { host: "127.0.0.1", port, strictPort: false },
  });
  await server.listen();
  return { address: server.resolvedUrls.local[0], close: () => server.close() };
}

/** Answers the page's question for a local S3 server once it is known whether there is one. */
function localS3(s3) {
  const answer = async (response) => {
    const server = await s3;
    if (server === undefined) return response.writeHead(204).end();
    const { endpoint, region, bucket, session } = server;
    const headers = { "content-type": "application/json", "cache-control": "no-store" };
    return response
      .writeHead(200, headers)
      .end(JSON.stringify({ endpoint, region, bucket, credentials: session }));
  };
  return {
    name: "local-s3",
    configureServer: ({ middlewares }) => {
      middlewares.use("/local-s3", (_, response, next) => void answer(response).catch(next));
    },
  };
}

async function main() {
  const options = { port: { type: "string", default: "5173" }, "no-s3": { type: "boolean", default: false } };
  const { values } = parseArgs({ options });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new Error(`--port takes a port, not ${values.port}`);
  await setup({ tests: false });
  await build({ quick: true });
  await step("flights", () => prepareFlights());
  const s3 = values["no-s3"] ? Promise.resolve() : startLocal();
  const page = await servePage({ port, s3 });
  let server;
  const end = async () => {
    await page.close();
    await server?.stop();
    // One that is still starting ends with us.
    process.exit(0);
  };
  process.once("SIGINT", end).once("SIGTERM", end);
  console.log(`\nThe page is at ${page.address}   (Ctrl-C ends it)`);
  server = await s3;
  if (server)
    console.log(`A local S3 server, in memory, is at ${server.endpoint}: the page's form offers it`);
}

async function startLocal() {
  try {
    return await startS3({ own: true });
  } catch (error) {
    const missing = error.cause?.code === "ENOENT";
    console.log(
      missing ? "No local S3 server: Ceph is not installed (npm run setup does it)" : error.message,
    );
    return undefined;
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
