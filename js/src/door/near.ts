// Which of the known names a misspelt one is meant to be.

/** What other libraries call it, or what is easily taken for it. */
const synonyms: Record<string, readonly string[]> = {
  where: ["filter", "predicate", "query", "condition"],
  select: ["columns", "fields", "projection", "project"],
  range: ["keys", "between", "bounds"],
  from: ["gte", "gt", "start", "low", "lower", "min"],
  to: ["lt", "lte", "end", "high", "upper", "max"],
  since: ["from", "cursor", "after", "startafter", "resume"],
  asOf: ["at", "time", "timestamp", "version", "ts", "when"],
  limit: ["take", "top", "count", "first"],
  reverse: ["desc", "descending", "order", "orderby"],
  batchRows: ["batchsize", "chunksize"],
  signal: ["abort", "abortsignal", "controller"],
  primaryKey: ["key", "keys", "pk", "id"],
  schema: ["columns", "fields"],
  dryRun: ["simulate", "preview", "noop"],
  data: ["store", "storage", "path", "url"],
  attempts: ["retries", "tries"],
  accessKeyId: ["accesskey", "keyid", "awsaccesskeyid"],
  secretAccessKey: ["secretkey", "secret", "awssecretaccesskey"],
  sessionToken: ["token", "securitytoken", "awssessiontoken"],
  expiration: ["expires", "expiry", "expiretime", "expiresat", "expireat", "expirationtime"],
  url: ["uri", "href"],
};

/** The known name that `name` is meant to be, if it is near enough to one. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  if (name.length > 40) return undefined;
  const plain = bare(name);
  const same = known.find((other) => bare(other) === plain);
  if (same !== undefined) return same;
  const meant = known.find((other) => Object.hasOwn(synonyms, other) && synonyms[other]!.includes(plain));
  if (meant !== undefined) return meant;
  const ranked = known.map((other) => ({ other, steps: distance(plain, bare(other)) }));
  const best = ranked.sort((a, b) => a.steps - b.steps)[0];
  return best !== undefined && best.steps <= Math.max(1, Math.floor(plain.length / 3))
    ? best.other
    : undefined;
}

/** `batch_rows`, `BatchRows` and `batch-rows` are the same. */
const bare = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, "");

/** How many letters must be put in, left out, changed or swapped. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + change);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) least = Math.min(least, before[j - 2]! + 1);
      row.push(least);
    }
    [before, last] = [last, row];
  }
  return last[b.length]!;
}
