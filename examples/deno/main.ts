// Visits of a web site, kept in a bucket: reads JSON lines and answers questions about them.
//   deno run PERMISSIONS main.ts ingest < visits.jsonl
//   deno run PERMISSIONS main.ts report --since=2026-01-01 --path=/docs
// PERMISSIONS are in README.md: the bucket's host, the variables below, the package's own files, nothing else.

import { and, col, open, type Predicate, s3, type Table } from "lakeshore";

interface Visit {
  id: string;
  at: Date;
  path: string;
  ms: number;
}

const variable = (name: string): string => {
  const value = Deno.env.get(name);
  if (!value) throw new Error(`set ${name}`);
  return value;
};

const data = s3({
  bucket: variable("S3_BUCKET"),
  prefix: Deno.env.get("S3_PREFIX") ?? "visits",
  region: Deno.env.get("AWS_REGION") ?? "us-east-1",
  endpoint: Deno.env.get("S3_ENDPOINT"),
  credentials: {
    accessKeyId: variable("AWS_ACCESS_KEY_ID"),
    secretAccessKey: variable("AWS_SECRET_ACCESS_KEY"),
    sessionToken: Deno.env.get("AWS_SESSION_TOKEN"),
  },
});

const [command, ...options] = Deno.args;
await using db = await open({ data });
const visits = await db.table<Visit>("visits", {
  schema: { id: "utf8", at: "timestamp[ms, UTC]", path: "utf8", ms: "float64" },
  primaryKey: ["id"],
});
if (command === "ingest") await ingest(visits);
else if (command === "report") await report(visits);
else throw new Error("say what to do: ingest, or report [--since=TIME] [--path=PREFIX]");

/** Each batch is one commit: durable once `onProgress` says so. Lines that come again replace themselves, by id. */
async function ingest(visits: Table<Visit>): Promise<void> {
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream());
  const show = ({ rows }: { rows: number }) => console.error(`${rows} visits are in the bucket`);
  const { rows, commits } = await visits.ingest(batches(lines), { onProgress: show });
  await db.flush();
  console.log(JSON.stringify({ rows, commits }));
}

async function* batches(text: ReadableStream<string>, size = 1000): AsyncGenerator<Visit[]> {
  let batch: Visit[] = [];
  let rest = "";
  const take = (line: string) => {
    if (line.trim() === "") return;
    const visit = JSON.parse(line);
    batch.push({ ...visit, at: new Date(visit.at) });
  };
  for await (const chunk of text) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      take(line);
      if (batch.length < size) continue;
      yield batch;
      batch = [];
    }
  }
  take(rest);
  if (batch.length > 0) yield batch;
}

/** Visits and their mean time by path; columns that are not asked for are not read. */
async function report(visits: Table<Visit>): Promise<void> {
  const value = (name: string) => options.find((o) => o.startsWith(`--${name}=`))?.slice(name.length + 3);
  const [since, path] = [value("since"), value("path")];
  const filters: Predicate[] = [];
  if (since) filters.push(col("at").gte(new Date(since)));
  if (path) filters.push(col("path").startsWith(path));
  const paths = new Map<string, { visits: number; ms: number }>();
  const scan = visits.scan({ where: and(...filters), select: ["path", "ms"] });
  for await (const { path, ms } of scan.rows()) {
    const sum = paths.get(path) ?? { visits: 0, ms: 0 };
    paths.set(path, { visits: sum.visits + 1, ms: sum.ms + ms });
  }
  for (const [path, { visits, ms }] of [...paths].sort(([, a], [, b]) => b.visits - a.visits)) {
    console.log(JSON.stringify({ path, visits, ms: Math.round(ms / visits) }));
  }
}
