// Buckets of S3, and of stores that speak as it does (src/platform/s3). What users give is checked here, once, and
// brought into the form that the engine takes (src/bindings/s3.rs).

import { filled, flag, func, isCallable, secret, text, whole } from "./door/kinds.js";
import { type Kind, only, checkOptions, type RulesOf, wrong } from "./door/options.js";
import { nearest } from "./door/near.js";
import { quoted } from "./door/show.js";
import { checked } from "./door/stores.js";
import { isWellFormed, reading, timeOf } from "./door/values.js";
import { invalid } from "./errors.js";
import type { S3Credentials, S3Options, S3Store, SignedRequest } from "./types.js";

type Pairs = [string, string][];
type Fetch = NonNullable<S3Options["fetch"]>;
type Sign = NonNullable<S3Options["sign"]>;

const isName = (value: unknown): value is string =>
  typeof value === "string" && value !== "" && isWellFormed(value);
const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

const credentials: Kind<NonNullable<S3Options["credentials"]>> = {
  takes: "{ accessKeyId, secretAccessKey, sessionToken? }, or a function that returns them",
  secret: true,
  read: (value) => {
    if (isCallable(value)) return value as () => S3Credentials;
    return isObject(value) ? (value as S3Credentials) : wrong;
  },
};

const millisFrom1: Kind<number> = {
  takes: "milliseconds, at least 1",
  read: (value) => (typeof value === "number" && value >= 1 && Number.isFinite(value) ? value : wrong),
};

/** No value is shown: it may be a secret in the wrong place. */
const s3Options = {
  bucket: secret(filled("the name of a bucket")),
  prefix: secret(text("what all keys begin with, as text")),
  region: secret(filled('a region, such as "eu-central-1"')),
  endpoint: secret(filled('"https://host" or "http://host:port"')),
  pathStyle: secret(flag),
  credentials,
  sign: func<Sign>("a function that signs a request"),
  anonymous: secret(flag),
  timeoutMs: secret(millisFrom1),
  retries: secret(whole),
  concurrency: secret({ ...whole, takes: "a whole number; 0 for no bound" }),
  fetch: func<Fetch>("a function as fetch is"),
} satisfies RulesOf<S3Options>;

/**
 * A bucket of S3 or of a store that speaks as it does (R2, MinIO, Ceph, Tigris, …), by `fetch`. Exactly one of
 * `credentials`, `sign` and `anonymous: true` says how requests are signed. In a browser never give long-lived keys:
 * give a function that gets expiring ones, or `sign`, so that your server signs.
 */
export function s3(options: S3Options): S3Store {
  only(arguments, 1, "s3()");
  return bucket(options, {});
}

/** The same, with other defaults. */
export function bucket(given: S3Options, defaults: Partial<S3Options>): S3Store {
  if (given === undefined) throw invalid('s3() takes options: s3({ bucket: "my-bucket", … })');
  const { credentials, sign, anonymous, ...rest } = checkOptions("s3()", given, s3Options);
  if (rest.bucket === undefined) throw invalid("s3(): bucket is missing");
  const ways = [credentials !== undefined, sign !== undefined, anonymous === true];
  if (ways.filter(Boolean).length !== 1) {
    throw invalid("s3() takes exactly one of credentials, sign and anonymous: true");
  }
  return {
    s3: checked({
      ...defaults,
      ...rest,
      ...(credentials !== undefined && {
        credentials:
          typeof credentials === "function"
            ? async () => plain(await credentials(), false)
            : plain(credentials, true),
      }),
      ...(sign !== undefined && {
        sign: async (request: Parameters<Sign>[0]) => signed(await sign(request)),
      }),
    }),
  };
}

const credentialNames = ["accessKeyId", "secretAccessKey", "sessionToken", "expiration"];
/** What credentials have besides, where AWS's SDK found them. */
const foundNames = ["$source", "accountId", "credentialScope"];
const signedNames = ["url", "headers"];

/**
 * Refuses a name that is none of the known: any, if `isOurs`; of what a function gives, which may have more to say than
 * we ask, one that is meant to be one of those that are missing. A name that says nothing is none.
 */
function checkNames(place: string, given: object, known: readonly string[], isOurs: boolean): void {
  const values = given as Record<string, unknown>;
  const missing = known.filter((name) => values[name] === undefined);
  for (const name of Object.keys(given)) {
    if (known.includes(name) || (values[name] ?? undefined) === undefined) continue;
    if (known === credentialNames && foundNames.includes(name)) continue;
    const meant = nearest(name, isOurs ? known : missing);
    if (meant === undefined && !isOurs) continue;
    const hint = meant === undefined ? "" : `did you mean ${meant}? `;
    throw invalid(`s3(): ${place} has no ${quoted(name)}: ${hint}It takes { ${known.join(", ")} }`);
  }
}

/** Credentials as the engine takes them: the time in milliseconds. */
function plain(given: S3Credentials, isOurs: boolean): object {
  return reading("s3(): what gives the credentials", () => {
    const fields: Partial<S3Credentials> = isObject(given) ? given : {};
    checkNames("credentials", fields, credentialNames, isOurs);
    const { accessKeyId, secretAccessKey, sessionToken, expiration } = fields;
    if (!isName(accessKeyId)) throw invalid("s3(): credentials.accessKeyId is missing, or not text");
    if (!isName(secretAccessKey)) throw invalid("s3(): credentials.secretAccessKey is missing, or not text");
    if (sessionToken !== undefined && !isName(sessionToken)) {
      throw invalid("s3(): credentials.sessionToken is not text: leave it out if there is none");
    }
    const expires = expiration === undefined ? undefined : timeIn(expiration);
    if (Number.isNaN(expires)) {
      throw invalid("s3(): credentials.expiration takes a Date, its ISO text, or milliseconds since 1970");
    }
    return {
      accessKeyId,
      secretAccessKey,
      ...(sessionToken !== undefined && { sessionToken }),
      ...(expires !== undefined && { expires }),
    };
  });
}

/** Milliseconds, or NaN. */
function timeIn(moment: unknown): number {
  if (typeof moment === "string" || typeof moment === "number") return new Date(moment).getTime();
  return timeOf(moment) ?? NaN;
}

/** What a signer returned, with its headers as pairs. */
function signed(given: SignedRequest): { url?: string; headers: Pairs } {
  return reading("s3(): what sign() returned", () => {
    if (isObject(given)) checkNames("what sign() returned", given, signedNames, false);
    const { url, headers } = (isObject(given) ? given : {}) as Partial<SignedRequest>;
    if (url !== undefined && !isName(url)) throw invalid("s3(): sign() must return its url as text");
    if (!isObject(headers)) throw invalid("s3(): sign() must return { headers }, as an object or Headers");
    const iterable = typeof (headers as Iterable<unknown>)[Symbol.iterator] === "function";
    const pairs = iterable ? [...(headers as Iterable<[string, string]>)] : Object.entries(headers as object);
    return {
      ...(url !== undefined && { url }),
      headers: pairs.map(([name, value]): [string, string] => [String(name), String(value)]),
    };
  });
}
