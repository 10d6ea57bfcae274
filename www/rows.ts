// The table of flights, a page of it at a time: each page is a scan over a range of keys with a limit, from the last
// key of the page before, or backwards from the first key of the page after. No more rows than that are in the page.

import type { Predicate, ScanOptions, Table } from "lakeshore";
import { box, button, make } from "./elements.js";
import { count, minute } from "./format.js";
import type { Flight } from "./flights.js";

const pageRows = 25;
const backward = ["page-first", "page-previous"];
const forward = ["page-next", "page-last"];

export type Turn = "first" | "previous" | "next" | "last";

/** The pages of one filter's result. */
export class Pages {
  private rows: Flight[] = [];
  private total: number | undefined;
  /** How many rows of the result come before this page; unknown after a jump to an end that is not counted yet. */
  private before: number | undefined = 0;
  private more = { before: false, after: false };
  private turning = false;

  constructor(
    private readonly flights: Table<Flight>,
    private readonly where: Predicate | undefined,
    private readonly signal: AbortSignal,
  ) {}

  /** Shows another page; while one is being read, no other. */
  async turn(turn: Turn): Promise<void> {
    if (this.turning) return;
    this.turning = true;
    try {
      await this.read(turn);
    } finally {
      this.turning = false;
    }
  }

  private async read(turn: Turn): Promise<void> {
    const backwards = turn === "previous" || turn === "last";
    // One more than is shown, to know whether there is a page after.
    const scan: ScanOptions = { limit: pageRows + 1, reverse: backwards, signal: this.signal };
    if (this.where) scan.where = this.where;
    const [first, last] = [this.rows[0], this.rows.at(-1)];
    if (turn === "next" && last) scan.range = { from: { id: last.id + 1n } };
    if (turn === "previous" && first) scan.range = { to: { id: first.id } };
    const found = await this.flights.scan(scan).toArray();
    this.signal.throwIfAborted();
    const more = found.length > pageRows;
    const rows = found.slice(0, pageRows);
    if (backwards) rows.reverse();
    this.place(turn, rows.length);
    this.rows = rows;
    this.more = {
      before: turn === "next" || (backwards && more),
      after: turn === "previous" || (!backwards && more),
    };
    this.show();
  }

  /** How many rows the result has. */
  counted(total: number): void {
    this.total = total;
    if (this.before === undefined && !this.more.after) this.before = total - this.rows.length;
    this.show();
  }

  private place(turn: Turn, rows: number): void {
    if (turn === "first") this.before = 0;
    else if (turn === "last") this.before = this.total === undefined ? undefined : this.total - rows;
    else if (this.before !== undefined)
      this.before = turn === "next" ? this.before + this.rows.length : Math.max(this.before - rows, 0);
  }

  private show(): void {
    box("rows").replaceChildren(...this.rows.map(row));
    const { before, after } = this.more;
    // A button that was pressed to the end leaves its focus to the one that leads back.
    const focused = document.activeElement?.id ?? "";
    for (const id of backward) button(id).disabled = !before;
    for (const id of forward) button(id).disabled = !after;
    if (backward.includes(focused) && !before) button("page-next").focus();
    if (forward.includes(focused) && !after) button("page-previous").focus();
    box("page-range").textContent = this.range();
  }

  private range(): string {
    if (this.rows.length === 0 || this.before === undefined) return "";
    const of = this.total === undefined ? "" : ` of ${count(this.total)}`;
    return `${count(this.before + 1)} to ${count(this.before + this.rows.length)}${of}`;
  }
}

function row({ date, origin, destination, delay, distance, id }: Flight): HTMLTableRowElement {
  const number = (value: number | bigint, kind = "") =>
    make("td", count(value), { class: kind ? `number ${kind}` : "number" });
  return make("tr", [
    make("td", minute(date), { class: "date" }),
    make("td", origin),
    make("td", destination),
    number(delay, delay >= 15 ? "late" : ""),
    number(distance),
    number(id, "id"),
  ]);
}
