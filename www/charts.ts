// Bar charts, drawn as SVG: two counts to a bar, one on the other. They are as wide as their box, and drawn anew when
// that changes. Pointer and arrow keys read single bars out.

import { count } from "./format.js";

export interface Bar {
  /** Below the bar, where there is room. */
  tick?: string;
  /** What it counts: read out before its numbers. */
  name: string;
  onTime: number;
  late: number;
}

const svg = "http://www.w3.org/2000/svg";
const height = 168;
const edge = { top: 10, right: 2, bottom: 22, left: 46 };

/** One chart in a box, and the place where single bars are read out. */
export class BarChart {
  private bars: Bar[] = [];
  private chosen: number | undefined;
  private readonly root = document.createElementNS(svg, "svg");

  constructor(
    private readonly title: string,
    private readonly host: HTMLElement,
    private readonly readout: HTMLElement,
  ) {
    this.root.setAttribute("role", "img");
    this.root.setAttribute("tabindex", "0");
    host.append(this.root);
    new ResizeObserver(() => this.draw()).observe(host);
    this.root.addEventListener("pointermove", (event) => this.choose(this.barAt(event.offsetX)));
    this.root.addEventListener("pointerleave", () => this.choose(undefined));
    this.root.addEventListener("blur", () => this.choose(undefined));
    this.root.addEventListener("keydown", (event) => this.onKey(event));
  }

  show(bars: Bar[]): void {
    this.bars = bars;
    if (this.chosen !== undefined && this.chosen >= bars.length) this.chosen = undefined;
    this.draw();
    this.say();
  }

  private draw(): void {
    const width = Math.max(this.host.clientWidth, 120);
    const most = Math.max(0, ...this.bars.map(({ onTime, late }) => onTime + late));
    const scale = niceScale(most);
    const plot = { width: width - edge.left - edge.right, height: height - edge.top - edge.bottom };
    const y = (value: number) => edge.top + plot.height * (1 - value / scale.top);
    const base = y(0);
    const drawn: Element[] = [];
    for (let value = 0; value <= scale.top; value += scale.step) {
      drawn.push(
        shape("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(value), y2: y(value) }),
      );
      drawn.push(text("y", edge.left - 8, y(value) + 4, shortCount(value)));
    }
    const step = plot.width / Math.max(this.bars.length, 1);
    const gap = Math.min(2, step * 0.2);
    let free = 0;
    this.bars.forEach(({ tick, onTime, late }, i) => {
      const x = edge.left + i * step;
      const box = { x: x + gap / 2, width: Math.max(step - gap, 0.5) };
      const all = shape("g", { class: i === this.chosen ? "bar chosen" : "bar" });
      all.append(
        shape("rect", { class: "reach", x, width: step, y: edge.top, height: plot.height }),
        shape("rect", { class: "on-time", ...box, y: y(onTime), height: base - y(onTime) }),
        shape("rect", { class: "late", ...box, y: y(onTime + late), height: y(onTime) - y(onTime + late) }),
      );
      drawn.push(all);
      const half = (tick?.length ?? 0) * 3.6;
      const middle = Math.min(Math.max(x + step / 2, half), width - half);
      if (tick === undefined || middle - half < free) return;
      free = middle + half + 8;
      drawn.push(text("x", middle, height - 6, tick));
    });
    this.root.setAttribute("width", String(width));
    this.root.setAttribute("height", String(height));
    this.root.setAttribute("aria-label", this.description(most));
    this.root.replaceChildren(...drawn);
  }

  private description(most: number): string {
    const top = this.bars.find(({ onTime, late }) => most > 0 && onTime + late === most);
    if (top === undefined) return `${this.title}: no flights`;
    return `${this.title}: most flights at ${top.name}, ${count(most)}. Arrow keys read each bar.`;
  }

  private barAt(x: number): number | undefined {
    const width = Number(this.root.getAttribute("width")) - edge.left - edge.right;
    const bar = Math.floor(((x - edge.left) / width) * this.bars.length);
    return bar >= 0 && bar < this.bars.length ? bar : undefined;
  }

  private onKey(event: KeyboardEvent): void {
    const last = this.bars.length - 1;
    const from = this.chosen;
    const to = {
      ArrowLeft: Math.max((from ?? last + 1) - 1, 0),
      ArrowRight: Math.min((from ?? -1) + 1, last),
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.choose(to);
  }

  private choose(bar: number | undefined): void {
    if (bar === this.chosen) return;
    const groups = this.root.querySelectorAll(".bar");
    if (this.chosen !== undefined) groups[this.chosen]?.classList.remove("chosen");
    if (bar !== undefined) groups[bar]?.classList.add("chosen");
    this.chosen = bar;
    this.say();
  }

  private say(): void {
    const bar = this.chosen === undefined ? undefined : this.bars[this.chosen];
    this.readout.textContent =
      bar === undefined ? "" : `${bar.name}: ${count(bar.onTime + bar.late)}, ${count(bar.late)} late`;
  }
}

/** Round numbers for the axis: a step of 1, 2 or 5 times a power of ten, and two to five of them. */
function niceScale(most: number): { step: number; top: number } {
  const rough = Math.max(most, 1) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max([1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? 10 * power, 1);
  return { step, top: Math.ceil(Math.max(most, 1) / step) * step };
}

function shortCount(value: number): string {
  return value >= 10_000 ? `${value / 1000}k` : count(value);
}

function shape(tag: string, attributes: Record<string, string | number>): SVGElement {
  const made = document.createElementNS(svg, tag);
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, typeof value === "number" ? String(Math.round(value * 100) / 100) : value);
  }
  return made;
}

function text(kind: string, x: number, y: number, content: string): SVGElement {
  const made = shape("text", { class: `tick ${kind}`, x, y });
  made.textContent = content;
  return made;
}
