// What a filter finds: its count, charts and pages. A new filter ends the scans of the one before.

import { type Bar, BarChart } from "./charts.js";
import type { Session } from "./database.js";
import { box, form, input, make, select } from "./elements.js";
import type { Manifest } from "./flights.js";
import { bytes, count, day, duration, some } from "./format.js";
import { isAbort } from "./problem.js";
import {
  delayBars,
  emptySummary,
  type Filter,
  type Pair,
  predicate,
  summarize,
  type Summary,
} from "./query.js";
import { Pages, type Turn } from "./rows.js";
import { spent } from "./where.js";

/** While a scan runs, what it has found so far is drawn this often. */
const drawMs = 120;

export interface ResultsEvents {
  onRead(): void;
  onError(error: unknown): void;
}

export class Results {
  private session: Session | undefined;
  private running: AbortController | undefined;
  private pages: Pages | undefined;
  private total: number | undefined;
  private readonly charts = {
    delay: new BarChart("Delay in minutes", box("chart-delay"), box("chart-delay-at")),
    hour: new BarChart("Hour of departure", box("chart-hour"), box("chart-hour-at")),
    day: new BarChart("Day", box("chart-day"), box("chart-day-at")),
  };

  constructor(private readonly events: ResultsEvents) {
    const filter = form("filter-form");
    filter.addEventListener("submit", (event) => event.preventDefault());
    filter.addEventListener("submit", () => this.run());
    filter.addEventListener("change", () => this.run());
    // The fields are empty only afterwards.
    filter.addEventListener("reset", () => setTimeout(() => this.run()));
    for (const turn of ["first", "previous", "next", "last"] as const) {
      box(`page-${turn}`).addEventListener("click", () => void this.turn(turn));
    }
    this.draw(emptySummary());
  }

  /** Offers the airports and days there are. */
  offer({ origins, first, last }: Manifest): void {
    const named = origins.map(({ code, city }) =>
      make("option", city === "" ? code : `${code}  ${city}`, { value: code }),
    );
    select("filter-origin").append(...named);
    for (const id of ["filter-from", "filter-until"]) Object.assign(input(id), { min: first, max: last });
  }

  use(session: Session): void {
    this.session = session;
    this.changed();
  }

  leave(): void {
    this.running?.abort();
    this.session = undefined;
    this.pages = undefined;
    this.total = undefined;
    this.draw(emptySummary());
  }

  /** The table is not as it was: counts and reads anew. */
  changed(): void {
    this.total = undefined;
    this.run();
  }

  private run(): void {
    this.running?.abort();
    const { session } = this;
    if (session === undefined) return;
    const stop = new AbortController();
    this.running = stop;
    box("results").setAttribute("aria-busy", "true");
    this.read(session, readFilter(), stop.signal)
      .catch((error: unknown) => {
        if (!isAbort(error)) this.events.onError(error);
      })
      .finally(() => {
        if (this.running === stop) box("results").setAttribute("aria-busy", "false");
        this.events.onRead();
      });
  }

  private async read(session: Session, filter: Filter, signal: AbortSignal): Promise<void> {
    const { db, flights } = session;
    const where = predicate(filter);
    const start = performance.now();
    const before = await db.stats();
    signal.throwIfAborted();
    const pages = (this.pages = new Pages(flights, where, signal));
    let drawn = start;
    const counting = summarize(flights, where, signal, (soFar) => {
      const now = performance.now();
      if (now - drawn < drawMs) return;
      drawn = now;
      this.draw(soFar);
    });
    const [summary] = await Promise.all([counting, pages.turn("first")]);
    const took = performance.now() - start;
    const { requests, bytesRead } = spent(before, await db.stats());
    this.total =
      where === undefined ? summary.rows : (this.total ?? (await flights.scan({ signal }).count()));
    signal.throwIfAborted();
    pages.counted(summary.rows);
    this.draw(summary);
    box("query-cost").textContent =
      `Read in ${duration(took)}: ${some(requests, "request")} to data, ${bytes(bytesRead)}.`;
    box("announce").textContent = `${some(summary.rows, "flight")} found`;
  }

  private async turn(turn: Turn): Promise<void> {
    try {
      await this.pages?.turn(turn);
    } catch (error) {
      if (!isAbort(error)) this.events.onError(error);
    }
    this.events.onRead();
  }

  private draw(summary: Summary): void {
    const { rows, late, delaySum } = summary;
    box("count").textContent = count(rows);
    box("count-of").textContent =
      this.total === undefined || this.total === rows ? word(rows) : of(this.total);
    if (rows === 0) box("query-cost").textContent = "";
    box("late-share").textContent =
      rows === 0
        ? ""
        : `${Math.round((late / rows) * 100)}% late, ${(delaySum / rows).toFixed(1).replace("-", "−")} minutes on average.`;
    this.charts.delay.show(summary.delays.map(delayBar));
    this.charts.hour.show(summary.hours.map(hourBar));
    this.charts.day.show(dayBars(summary.days));
    const empty = box("empty");
    empty.hidden = rows > 0;
    box("found").hidden = rows === 0;
    empty.textContent = this.total
      ? "No flight is like that: ask for less."
      : "Nothing is here yet: load flights above.";
  }
}

const word = (rows: number) => (rows === 1 ? "flight." : "flights.");
const of = (total: number) => `of ${some(total, "flight")}.`;

function readFilter(): Filter {
  const filter: Filter = {};
  const origin = select("filter-origin").value;
  const delay = input("filter-delay").valueAsNumber;
  const [from, until] = [input("filter-from").value, input("filter-until").value];
  if (origin) filter.origin = origin;
  if (Number.isFinite(delay)) filter.delay = Math.min(Math.max(Math.round(delay), -32768), 32767);
  if (from) filter.from = from;
  if (until) filter.until = until;
  return filter;
}

function bar(name: string, [onTime, late]: Pair, tick?: string): Bar {
  return { name, onTime, late, ...(tick !== undefined && { tick }) };
}

function delayBar(pair: Pair, i: number, all: Pair[]): Bar {
  const { first, last, width } = delayBars;
  const from = first + (i - 1) * width;
  const minus = (value: number) => String(value).replace("-", "−");
  if (i === 0) return bar(`more than ${-first} early`, pair);
  if (i === all.length - 1) return bar(`${last} and more`, pair, `${last}+`);
  return bar(`${minus(from)} to ${minus(from + width - 1)}`, pair, from % 30 === 0 ? minus(from) : undefined);
}

function hourBar(pair: Pair, hour: number): Bar {
  const at = `${String(hour).padStart(2, "0")}:00`;
  return bar(at, pair, hour % 3 === 0 ? String(hour) : undefined);
}

function dayBars(days: Map<number, Pair>): Bar[] {
  if (days.size === 0) return [];
  const numbers = [...days.keys()];
  const [first, last] = [Math.min(...numbers), Math.max(...numbers)];
  return Array.from({ length: last - first + 1 }, (_, i) => {
    const name = day(first + i);
    // Of many days the Mondays; day 4 since 1970 was one.
    const tick = (first + i) % 7 === 4 || last - first < 21 ? name.split(" ").slice(1).join(" ") : undefined;
    return bar(name, days.get(first + i) ?? [0, 0], tick);
  });
}
