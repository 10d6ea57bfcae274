// Uses the crate from Node: node run.mjs [FOLDER OF THE GLUE]. The bucket comes from the environment.

import { pathToFileURL } from "node:url";
import { resolve } from "node:path";

const folder = resolve(process.argv[2] ?? "pkg");
const { Bucket, Readings } = await import(pathToFileURL(`${folder}/lakeshore_example.js`));

const { env } = process;

function bucket() {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = env;
  const made = new Bucket(env.S3_BUCKET, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN);
  made.prefix = env.S3_PREFIX ?? "readings";
  made.region = env.AWS_REGION ?? "us-east-1";
  made.endpoint = env.S3_ENDPOINT;
  return made;
}

const hour = 3_600_000;
const begin = Date.parse("2026-01-01T00:00:00Z");
const hours = Array.from({ length: 24 }, (_, n) => n);

const writer = await Readings.open(bucket());
await writer.record(
  "roof",
  hours.map((n) => begin + n * hour),
  hours.map((n) => 5 + n / 10),
);
await writer.flush();
// The same sensor and time replace the reading that is there.
await writer.record("roof", [begin], [-3]);
await writer.record("cellar", [begin], [11.5]);
await writer.close();

const reader = await Readings.open(bucket());
const answer = {
  roof: await reader.mean("roof"),
  newest: new Date(await reader.newest("roof")).toISOString(),
  cellar: await reader.mean("cellar"),
  attic: await reader.mean("attic"),
  refused: await reader.record("attic", [begin], []).catch((error) => error.code),
};
await reader.close();
console.log(JSON.stringify(answer));
