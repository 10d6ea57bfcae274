// The filter, and what it finds: counted over the streamed batches of one scan, in their Arrow columns, so that no row
// becomes an object. The engine works in its worker; the page counts a batch and is free until the next.

import { type Data, tableFromIPC, type TimestampSecond, type Int16 } from "apache-arrow";
import { and, col, type Predicate, type Table } from "lakeshore";
import type { Flight } from "./flights.js";

/** What is asked for; what is left out is not asked. Days are as "2001-01-31". */
export interface Filter {
  origin?: string;
  delay?: number;
  from?: string;
  until?: string;
}

/** From this many minutes on a flight counts as late: so the U.S. statistics have it. */
const lateMinutes = 15;

/** The bars of the delays: 5 minutes each, from -30 to before 120, and one for all before and one for all after. */
export const delayBars = { first: -30, last: 120, width: 5 };
const delayCount = (delayBars.last - delayBars.first) / delayBars.width + 2;

/** How many flights are on time, and how many late. */
export type Pair = [onTime: number, late: number];

/** What a scan found. */
export interface Summary {
  rows: number;
  late: number;
  delaySum: number;
  delays: Pair[];
  hours: Pair[];
  /** By day since 1970. */
  days: Map<number, Pair>;
}

/** The filter, as the database takes it. */
export function predicate({ origin, delay, from, until }: Filter): Predicate | undefined {
  const parts: Predicate[] = [];
  if (origin !== undefined) parts.push(col("origin").eq(origin));
  if (delay !== undefined) parts.push(col("delay").gte(delay));
  if (from !== undefined) parts.push(col("date").gte(new Date(from)));
  if (until !== undefined) parts.push(col("date").lt(new Date(Date.parse(until) + 86_400_000)));
  return parts.length === 0 ? undefined : and(...parts);
}

/** Counts the flights for which `where` is true; `onBatch` sees the counts grow. */
export async function summarize(
  flights: Table<Flight>,
  where: Predicate | undefined,
  signal: AbortSignal,
  onBatch: (summary: Summary) => void,
): Promise<Summary> {
  const summary = emptySummary();
  const scan = flights.scan({ ...(where && { where }), select: ["date", "delay"], signal });
  for await (const ipc of scan) {
    for (const { data } of tableFromIPC(ipc).batches) {
      add(summary, data.children[0] as Data<TimestampSecond>, data.children[1] as Data<Int16>);
    }
    onBatch(summary);
  }
  return summary;
}

export function emptySummary(): Summary {
  const pairs = (length: number) => Array.from({ length }, (): Pair => [0, 0]);
  return { rows: 0, late: 0, delaySum: 0, delays: pairs(delayCount), hours: pairs(24), days: new Map() };
}

function add(summary: Summary, dates: Data<TimestampSecond>, delays: Data<Int16>): void {
  for (let i = 0; i < dates.length; i++) {
    const seconds = Number(dates.values[i]);
    const delay = delays.values[i]!;
    const late = delay >= lateMinutes ? 1 : 0;
    const day = Math.floor(seconds / 86_400);
    let ofDay = summary.days.get(day);
    if (ofDay === undefined) summary.days.set(day, (ofDay = [0, 0]));
    ofDay[late] += 1;
    summary.hours[Math.floor(seconds / 3600) - day * 24]![late] += 1;
    summary.delays[delayBar(delay)]![late] += 1;
    summary.late += late;
    summary.delaySum += delay;
  }
  summary.rows += dates.length;
}

function delayBar(delay: number): number {
  const bar = Math.floor((delay - delayBars.first) / delayBars.width) + 1;
  return Math.min(Math.max(bar, 0), delayCount - 1);
}
