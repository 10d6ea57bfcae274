// Where data is kept in tests: in OPFS, and, if there is a server (scripts/test.mjs starts one), in S3.

import { randomBytes } from "node:crypto";
import { remoteProxy } from "../../support/proxy.mjs";

const { env } = process;
const server = "node scripts/test.mjs starts one";

/** Why tests over S3 are skipped, or false. */
export const skip = env.LAKESHORE_S3_ENDPOINT ? false : `LAKESHORE_S3_ENDPOINT names no server: ${server}`;
export const skipFaults = env.LAKESHORE_PROXY_CONTROL
  ? skip
  : `LAKESHORE_PROXY_CONTROL names no fault proxy: ${server}`;

export const keys = {
  accessKeyId: env.AWS_ACCESS_KEY_ID,
  secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
  ...(env.AWS_SESSION_TOKEN && { sessionToken: env.AWS_SESSION_TOKEN }),
};

/** Options of `s3()` but the prefix. */
export function bucket(options = {}) {
  return {
    bucket: env.LAKESHORE_S3_BUCKET ?? "lakeshore",
    region: env.AWS_REGION ?? "us-east-1",
    endpoint: env.LAKESHORE_S3_ENDPOINT,
    credentials: keys,
    ...options,
  };
}

/** Kinds of places for data. */
export const places = [{ place: "OPFS", s3: undefined }, ...(skip ? [] : [{ place: "S3", s3: bucket() }])];

/** A name that no database had before: a bucket outlives a browser's profile. */
export function fresh(name) {
  return `${name}-${randomBytes(4).toString("hex")}`;
}

/** A fault proxy before the server, for the time of a test. */
export async function proxyFor(t) {
  const proxy = await remoteProxy(env.LAKESHORE_PROXY_CONTROL);
  t.after(() => proxy.stop());
  return proxy;
}
