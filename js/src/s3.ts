// Buckets of S3, and of stores that speak as it does (src/platform/s3). What users give is checked here, once, and
// brought into the form that the engine takes (src/bindings/s3.rs).

import { invalid } from "./errors.js";
import type { S3Credentials, S3Options, S3Store, SignedRequest } from "./types.js";

type Pairs = [string, string][];

interface Checks {
  [option: string]: { test: (value: unknown) => boolean; takes: string };
}

const isText = (value: unknown): boolean => typeof value === "string";
const isName = (value: unknown): boolean => typeof value === "string" && value !== "";
const isFlag = (value: unknown): boolean => typeof value === "boolean";
const isFunction = (value: unknown): boolean => typeof value === "function";
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isObject = (value: unknown): boolean => typeof value === "object" && value !== null;

const checks: Checks = {
  bucket: { test: isName, takes: "the name of a bucket" },
  prefix: { test: isText, takes: "what all keys begin with, as text" },
  region: { test: isName, takes: 'a region, such as "eu-central-1"' },
  endpoint: { test: isName, takes: '"https://host" or "http://host:port"' },
  pathStyle: { test: isFlag, takes: "true or false" },
  credentials: {
    test: (value) => isObject(value) || isFunction(value),
    takes: "{ accessKeyId, secretAccessKey, sessionToken? }, or a function that returns them",
  },
  sign: { test: isFunction, takes: "a function that signs a request" },
  anonymous: { test: isFlag, takes: "true or false" },
  timeoutMs: {
    test: (value) => typeof value === "number" && value >= 1 && Number.isFinite(value),
    takes: "milliseconds, at least 1",
  },
  retries: { test: isCount, takes: "a whole number, at least 0" },
  concurrency: { test: isCount, takes: "a whole number; 0 for no bound" },
  fetch: { test: isFunction, takes: "a function as fetch is" },
};

/**
 * A bucket of S3 or of a store that speaks as it does (R2, MinIO, Ceph, Tigris, …), by `fetch`. Exactly one of
 * `credentials`, `sign` and `anonymous: true` says how requests are signed. In a browser never give long-lived keys:
 * give a function that gets expiring ones, or `sign`, so that your server signs.
 */
export function s3(options: S3Options): S3Store {
  if (!isObject(options)) throw invalid('s3() takes options: s3({ bucket: "my-bucket", … })');
  const given = options as unknown as Record<string, unknown>;
  for (const [name, value] of Object.entries(given)) {
    const check = checks[name];
    if (check === undefined) {
      throw invalid(`s3(): there is no option ${name}: options are ${Object.keys(checks).join(", ")}`);
    }
    // Not shown: it may be a secret in the wrong place.
    if (value !== undefined && !check.test(value)) throw invalid(`s3(): ${name} takes ${check.takes}`);
  }
  if (options.bucket === undefined) throw invalid("s3(): bucket is missing");
  const { credentials, sign, anonymous, ...rest } = options;
  const ways = [credentials !== undefined, sign !== undefined, anonymous === true];
  if (ways.filter(Boolean).length !== 1) {
    throw invalid("s3() takes exactly one of credentials, sign and anonymous: true");
  }
  return {
    s3: {
      ...rest,
      ...(credentials !== undefined && {
        credentials:
          typeof credentials === "function" ? async () => plain(await credentials()) : plain(credentials),
      }),
      ...(sign !== undefined && {
        sign: async (request: Parameters<typeof sign>[0]) => signed(await sign(request)),
      }),
    },
  };
}

/** Credentials as the engine takes them: the time in milliseconds. */
function plain(given: S3Credentials): object {
  const fields: Partial<S3Credentials> = isObject(given) ? given : {};
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = fields;
  if (!isName(accessKeyId)) throw invalid("s3(): credentials.accessKeyId is missing, or not text");
  if (!isName(secretAccessKey)) throw invalid("s3(): credentials.secretAccessKey is missing, or not text");
  if (sessionToken !== undefined && !isName(sessionToken)) {
    throw invalid("s3(): credentials.sessionToken is not text: leave it out if there is none");
  }
  const expires = expiration === undefined ? undefined : new Date(expiration).getTime();
  if (Number.isNaN(expires)) {
    throw invalid("s3(): credentials.expiration takes a Date, its ISO text, or milliseconds since 1970");
  }
  return {
    accessKeyId,
    secretAccessKey,
    ...(sessionToken !== undefined && { sessionToken }),
    ...(expires !== undefined && { expires }),
  };
}

/** What a signer returned, with its headers as pairs. */
function signed(given: SignedRequest): { url?: string; headers: Pairs } {
  const { url, headers } = (isObject(given) ? given : {}) as Partial<SignedRequest>;
  if (url !== undefined && !isName(url)) throw invalid("s3(): sign() must return its url as text");
  if (!isObject(headers)) throw invalid("s3(): sign() must return { headers }, as an object or Headers");
  const iterable = typeof (headers as Iterable<unknown>)[Symbol.iterator] === "function";
  const pairs = iterable ? [...(headers as Iterable<[string, string]>)] : Object.entries(headers as object);
  return {
    ...(url !== undefined && { url }),
    headers: pairs.map(([name, value]): [string, string] => [String(name), String(value)]),
  };
}
