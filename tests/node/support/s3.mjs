// The S3 server that the environment names (scripts/test.mjs starts one).

import { randomUUID } from "node:crypto";
import { remoteProxy } from "../../support/proxy.mjs";

const { env } = process;
export const endpoint = env.LAKESHORE_S3_ENDPOINT;

/** Why tests over S3 are skipped, or false. */
export const skip = endpoint
  ? false
  : "LAKESHORE_S3_ENDPOINT names no server: node scripts/test.mjs starts one";
export const skipFaults = env.LAKESHORE_PROXY_CONTROL
  ? skip
  : "LAKESHORE_PROXY_CONTROL names no fault proxy: node scripts/test.mjs starts one";

export const keys = {
  accessKeyId: env.AWS_ACCESS_KEY_ID,
  secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
  ...(env.AWS_SESSION_TOKEN && { sessionToken: env.AWS_SESSION_TOKEN }),
};

/** Options of `s3()` for a prefix that nobody else uses. */
export function bucket(options = {}) {
  return {
    bucket: env.LAKESHORE_S3_BUCKET ?? "lakeshore",
    prefix: `node-test-${randomUUID()}`,
    region: env.AWS_REGION ?? "us-east-1",
    endpoint,
    credentials: keys,
    ...options,
  };
}

/** A fault proxy before the server, for the time of a test. */
export async function proxyFor(t) {
  const proxy = await remoteProxy(env.LAKESHORE_PROXY_CONTROL);
  t.after(() => proxy.stop());
  return proxy;
}
