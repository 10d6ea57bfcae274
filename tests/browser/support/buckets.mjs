// Where data is kept in tests: in OPFS, and, if there is a server (scripts/test.mjs starts one), in S3.

import { randomBytes } from "node:crypto";

const { env } = process;

/** Options of `s3()` but the prefix, or undefined. */
export function bucketOf(bucket = env.LAKESHORE_S3_BUCKET) {
  if (!env.LAKESHORE_S3_ENDPOINT) return undefined;
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = env;
  const sessionToken = env.AWS_SESSION_TOKEN;
  return {
    bucket,
    endpoint: env.LAKESHORE_S3_ENDPOINT,
    region: env.AWS_REGION,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) },
  };
}

/** Kinds of places for data. */
export const places = [
  { place: "OPFS", s3: undefined },
  ...(env.LAKESHORE_S3_ENDPOINT ? [{ place: "S3", s3: bucketOf() }] : []),
];

/** A name that no database had before: a bucket outlives a browser's profile. */
export function fresh(name) {
  return `${name}-${randomBytes(4).toString("hex")}`;
}
