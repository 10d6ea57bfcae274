// The S3 server that scripts/test.mjs started, or one of our own; and prefixes in it.

import { randomUUID } from "node:crypto";
import { s3Must, s3Request } from "../../../scripts/s3-request.mjs";
import { startS3 } from "../../../scripts/s3-server.mjs";

/** The server, for the tests of this file. */
export async function server(t) {
  const found = await startS3();
  t.after(() => found.stop());
  return found;
}

/** Arguments of `s3()` for a fresh prefix; by a proxy, its endpoint. */
export function place(server, { endpoint = server.endpoint, prefix = `edge/${randomUUID()}` } = {}) {
  const { region, bucket, accessKeyId, secretAccessKey, sessionToken } = server;
  const credentials = { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
  return { endpoint, region, bucket, prefix, credentials };
}

/** Keys below the prefix of a place, without it. */
export async function keys(server, { bucket, prefix }) {
  const query = { "list-type": 2, prefix: `${prefix}/` };
  const { body } = await s3Must(server, "GET", `/${bucket}`, { query });
  const found = [...new TextDecoder().decode(body).matchAll(/<Key>([^<]+)<\/Key>/g)].map(([, key]) => key);
  return found.map((key) => key.slice(prefix.length + 1));
}

/** Copies some keys of a place to another. */
export async function copy(server, from, to, wanted) {
  for (const key of wanted) {
    const { body } = await s3Must(server, "GET", `/${from.bucket}/${from.prefix}/${key}`);
    await s3Must(server, "PUT", `/${to.bucket}/${to.prefix}/${key}`, { body });
  }
}

export { s3Request };
