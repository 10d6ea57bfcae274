// A signed S3 request from Node (SigV4), for setting servers up and for looking at what they hold: independent of
// the package, so that tests check one signer against another.

import { createHash, createHmac } from "node:crypto";

const hmac = (key, text) => createHmac("sha256", key).update(text).digest();
const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const encode = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** Headers of a signed request. `path` starts with "/", unencoded; `query` is an object. */
export function signed(account, method, path, { query = {}, headers = {}, body = "", service = "s3" } = {}) {
  const { endpoint, region, accessKeyId, secretAccessKey, sessionToken } = account;
  const time = new Date().toISOString().replace(/[-:]|\.\d{3}/g, "");
  const scope = `${time.slice(0, 8)}/${region}/${service}/aws4_request`;
  const all = {
    ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
    host: new URL(endpoint).host,
    "x-amz-content-sha256": sha256(body),
    "x-amz-date": time,
    ...(sessionToken === undefined ? {} : { "x-amz-security-token": sessionToken }),
  };
  const names = Object.keys(all).sort();
  const search = Object.entries(query)
    .map(([name, value]) => `${encode(name)}=${encode(String(value))}`)
    .sort()
    .join("&");
  const location = path.split("/").map(encode).join("/");
  const canonical = [
    ...[method, location, search],
    ...names.map((name) => `${name}:${String(all[name]).trim()}`),
    ...["", names.join(";"), all["x-amz-content-sha256"]],
  ].join("\n");
  const toSign = ["AWS4-HMAC-SHA256", time, scope, sha256(canonical)].join("\n");
  const key = [...scope.split("/")].reduce((k, part) => hmac(k, part), `AWS4${secretAccessKey}`);
  const signature = createHmac("sha256", key).update(toSign).digest("hex");
  all.authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
  delete all.host;
  return { url: `${endpoint}${location}${search ? `?${search}` : ""}`, headers: all };
}

/** Makes a signed request and gives `{ status, headers, body }`, the body as bytes. */
export async function s3Request(account, method, path, options = {}) {
  const { url, headers } = signed(account, method, path, options);
  const body = method === "GET" || method === "HEAD" ? undefined : (options.body ?? "");
  const response = await fetch(url, { method, headers, body, signal: AbortSignal.timeout(30_000) });
  return {
    status: response.status,
    headers: response.headers,
    body: new Uint8Array(await response.arrayBuffer()),
  };
}

/** As `s3Request`, and rejects unless the store said 2xx. */
export async function s3Must(account, method, path, options) {
  const answer = await s3Request(account, method, path, options);
  if (answer.status >= 200 && answer.status < 300) return answer;
  const text = new TextDecoder().decode(answer.body).slice(0, 500);
  throw new Error(`${method} ${path}: ${answer.status} ${text}`);
}
