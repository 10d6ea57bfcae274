// Buckets of the S3 server's first user, and what its second user, whom nothing is allowed by default, may do in them.

import { createHash, randomUUID } from "node:crypto";
import { s3Must } from "../../../scripts/s3-request.mjs";

/** A new bucket: its name. */
export async function freshBucket(server) {
  const bucket = `readme-${randomUUID()}`;
  await s3Must(server, "PUT", `/${bucket}`);
  return bucket;
}

/** Gives the second user what an IAM policy allows, as the bucket's own policy. */
export function allow(server, bucket, policy) {
  const Principal = { AWS: ["arn:aws:iam:::user/nolist"] };
  const Statement = policy.Statement.map((statement) => ({ ...statement, Principal }));
  return configure(server, bucket, "policy", JSON.stringify({ ...policy, Statement }));
}

/** Sets the bucket's CORS rules. */
export function setCors(server, bucket, xml) {
  return configure(server, bucket, "cors", xml);
}

function configure(server, bucket, what, body) {
  const headers = { "content-md5": createHash("md5").update(body).digest("base64") };
  return s3Must(server, "PUT", `/${bucket}`, { query: { [what]: "" }, headers, body });
}
