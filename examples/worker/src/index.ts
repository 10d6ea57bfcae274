// Collects events in a bucket. Every answer comes after the rows are in it, so a 201 is durable, and any isolate
// anywhere reads it.
//   POST   /events                  rows as a JSON array, or as Arrow IPC: one atomic commit
//   GET    /events?since=&origin=&limit=    rows as JSON lines
//   GET    /events/:id              one row
//   DELETE /events/:id

import { and, col, type Predicate } from "lakeshore";
import { answerError, HttpError } from "./errors";
import { current, type Event } from "./events";

const mostBytes = 8 * 2 ** 20;

export default {
  async fetch(request, env): Promise<Response> {
    try {
      await authorize(request, env);
      return await route(request, env);
    } catch (error) {
      return answerError(error);
    }
  },

  /** Now and then: the rows of log records become Parquet, and the next open reads no tail. */
  async scheduled(_, env): Promise<void> {
    const { db } = await current(env);
    await db.flush();
    await db.checkpoint();
  },
} satisfies ExportedHandler<Env>;

async function route(request: Request, env: Env): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url);
  const [, collection, id, ...more] = pathname.split("/").map(decodeURIComponent);
  if (collection !== "events" || more.length > 0) throw new HttpError(404, "there is only /events");
  if (id === undefined) {
    if (request.method === "POST") return collect(request, env);
    if (request.method === "GET") return find(searchParams, env);
  } else {
    if (request.method === "GET") return one(id, env);
    if (request.method === "DELETE") return remove(id, env);
  }
  throw new HttpError(405, `${request.method} is not for ${pathname}`);
}

async function collect(request: Request, env: Env): Promise<Response> {
  const length = Number(request.headers.get("content-length") ?? Infinity);
  if (!(length <= mostBytes)) throw new HttpError(413, `send ${mostBytes} bytes at most, and content-length`);
  const type = request.headers.get("content-type") ?? "";
  const batch = /^application\/vnd\.apache\.arrow\./.test(type)
    ? new Uint8Array(await request.arrayBuffer())
    : eventsOf(await request.json().catch(() => undefined));
  const { events } = await current(env);
  const { rows, timestamp } = await events.ingest(batch);
  return Response.json({ rows, timestamp: timestamp?.toString() }, { status: 201 });
}

/** What JSON cannot say is told apart here; the rest is checked by the table. */
function eventsOf(body: unknown): Event[] {
  if (!Array.isArray(body)) throw new HttpError(400, "send a JSON array of events, or Arrow IPC");
  return body.map((event) => ({ ...event, at: time(event?.at) }));
}

function time(text: unknown): Date {
  const at = new Date(typeof text === "string" ? text : NaN);
  if (Number.isNaN(at.getTime())) throw new HttpError(400, "a time is ISO text: 2026-01-01T00:00:00Z");
  return at;
}

async function find(parameters: URLSearchParams, env: Env): Promise<Response> {
  const [since, origin] = [parameters.get("since"), parameters.get("origin")];
  const limit = Number(parameters.get("limit") ?? 1000);
  const filters: Predicate[] = [];
  if (since !== null) filters.push(col("at").gte(time(since)));
  if (origin !== null) filters.push(col("origin").eq(origin));
  const { events } = await current(env);
  const rows = events.scan({ where: and(...filters), limit }).rows();
  // Whatever is wrong with the scan is said by its first row, while the status can still tell.
  const first = await rows.next();
  return new Response(lines(first, rows), { headers: { "content-type": "application/x-ndjson" } });
}

/** Rows as they are read: no more than a batch of them is in memory. */
function lines(first: IteratorResult<Event>, rows: AsyncGenerator<Event>): ReadableStream {
  const encoder = new TextEncoder();
  let next: IteratorResult<Event> | undefined = first;
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = next ?? (await rows.next());
      next = undefined;
      if (done) controller.close();
      else controller.enqueue(encoder.encode(`${JSON.stringify(value)}\n`));
    },
    async cancel() {
      await rows.return(undefined);
    },
  });
}

async function one(id: string, env: Env): Promise<Response> {
  const { events } = await current(env);
  const event = await events.get({ id });
  if (event === undefined) throw new HttpError(404, "there is no such event");
  return Response.json(event);
}

async function remove(id: string, env: Env): Promise<Response> {
  const { events } = await current(env);
  await events.delete([{ id }]);
  return new Response(null, { status: 204 });
}

/** Compares digests, so that the time it takes says nothing about the token. */
async function authorize(request: Request, env: Env): Promise<void> {
  const digest = (text: string) => crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const given = request.headers.get("authorization") ?? "";
  const [is, wanted] = await Promise.all([digest(given), digest(`Bearer ${env.TOKEN}`)]);
  if (!env.TOKEN || !crypto.subtle.timingSafeEqual(is, wanted)) {
    throw new HttpError(401, "send authorization: Bearer …");
  }
}
