// A server's signing function: SigV4 once more, by other hands.

import { createHash, createHmac } from "node:crypto";

const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const hmac = (key, text) => createHmac("sha256", key).update(text).digest();

/** What `sign` of `s3()` may be. */
export function signer({ accessKeyId, secretAccessKey, sessionToken }, region) {
  return ({ method, url, headers }) => {
    const { host, pathname, search } = new URL(url);
    const date = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
    const added = { "x-amz-date": date, ...(sessionToken && { "x-amz-security-token": sessionToken }) };
    const all = Object.entries({ host, ...headers, ...added }).sort(([a], [b]) => (a < b ? -1 : 1));
    const names = all.map(([name]) => name).join(";");
    const lines = all.map(([name, value]) => `${name}:${value}\n`).join("");
    const canonical = [method, pathname, search.slice(1), lines, names, headers["x-amz-content-sha256"]];
    const scope = `${date.slice(0, 8)}/${region}/s3/aws4_request`;
    const text = ["AWS4-HMAC-SHA256", date, scope, sha256(canonical.join("\n"))].join("\n");
    const parts = [date.slice(0, 8), region, "s3", "aws4_request"];
    const key = parts.reduce(hmac, `AWS4${secretAccessKey}`);
    const signature = createHmac("sha256", key).update(text).digest("hex");
    const credential = `${accessKeyId}/${scope}`;
    const authorization = `AWS4-HMAC-SHA256 Credential=${credential},SignedHeaders=${names},Signature=${signature}`;
    return { headers: new Headers({ ...added, authorization }) };
  };
}
