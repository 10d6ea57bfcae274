// Loads flights into the open database, with progress; stops and goes on where it was, also after a reload.

import { box, button, element, form, make, select } from "./elements.js";
import { count, duration } from "./format.js";
import type { Session } from "./database.js";
import { batches, type Manifest, nextRow } from "./flights.js";
import { isAbort } from "./problem.js";

/** What the page does when something has come of it. */
export interface LoaderEvents {
  onProgress(): void;
  onLoaded(): void;
  onError(error: unknown): void;
}

export class Loader {
  private session: Session | undefined;
  private manifest: Manifest | undefined;
  private running: { stop: AbortController; ended: Promise<void> } | undefined;
  private present = 0;

  constructor(private readonly events: LoaderEvents) {
    form("load-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    button("load-stop").addEventListener("click", () => void this.stop());
    select("load-target").addEventListener("change", () => this.show());
  }

  /** Offers what there is to load. */
  offer(manifest: Manifest): void {
    this.manifest = manifest;
    const { rows, batchRows } = manifest;
    const whole = (share: number) => Math.min(Math.ceil((rows * share) / batchRows) * batchRows, rows);
    const targets = [...new Set([0.1, 0.2, 0.5, 1].map(whole))];
    select("load-target").replaceChildren(
      ...targets.map((target) => make("option", `${count(target)} flights`, { value: String(target) })),
    );
    select("load-target").value = String(targets[1] ?? rows);
    this.show();
  }

  /** Takes a database that was opened; says what is in it. */
  async use(session: Session): Promise<void> {
    this.session = session;
    this.present = await nextRow(session.flights);
    const opened = `Opened in ${duration(session.openedIn)}.`;
    this.say(
      this.present === 0
        ? `${opened} No flights are here yet.`
        : `${opened} ${count(this.present)} flights were here already.`,
    );
    this.show();
  }

  /** Lets go of the database, after the commit that is under way. */
  async leave(): Promise<void> {
    await this.stop();
    this.session = undefined;
    this.present = 0;
    this.show();
  }

  /** Stops, and resolves when the last commit is done. */
  async stop(): Promise<void> {
    this.running?.stop.abort();
    await this.running?.ended;
  }

  say(text: string): void {
    box("load-status").textContent = text;
  }

  private get target(): number {
    return Number(select("load-target").value);
  }

  private start(): void {
    const { session, manifest } = this;
    if (session === undefined || manifest === undefined || this.running !== undefined) return;
    const stop = new AbortController();
    const ended = this.load(session, manifest, this.target, stop.signal).finally(() => {
      this.running = undefined;
      this.show();
      this.events.onLoaded();
    });
    this.running = { stop, ended };
    this.show();
    button("load-stop").focus();
  }

  private async load(
    session: Session,
    manifest: Manifest,
    target: number,
    signal: AbortSignal,
  ): Promise<void> {
    const from = this.present;
    const start = performance.now();
    this.say(`Loading up to ${count(target)} flights.`);
    try {
      await session.flights.ingest(batches(manifest, from, target, signal), {
        onProgress: ({ rows }) => {
          this.present = Math.floor(from / manifest.batchRows) * manifest.batchRows + rows;
          const rate = Math.round(((this.present - from) / (performance.now() - start)) * 1000);
          box("load-rate").textContent = `${count(this.present)} · ${count(rate)}/s`;
          this.showProgress(target);
          this.events.onProgress();
        },
      });
    } catch (error) {
      if (!isAbort(error)) this.events.onError(error);
    }
    const done = `${count(this.present - from)} flights loaded in ${duration(performance.now() - start)}`;
    if (this.present >= target) this.say(`${done}. All ${count(this.present)} are kept.`);
    else this.say(`Stopped at ${count(this.present)} of ${count(target)} flights. They are kept.`);
  }

  private show(): void {
    const running = this.running !== undefined;
    const start = button("load-start");
    const stop = button("load-stop");
    const hadFocus = document.activeElement === stop;
    const all = this.present >= this.target;
    start.hidden = running;
    stop.hidden = !running;
    start.disabled = this.session === undefined || this.manifest === undefined || all;
    start.textContent = this.present === 0 ? "Load" : all ? "Loaded" : "Continue";
    select("load-target").disabled = running;
    if (hadFocus && !running) (start.disabled ? select("load-target") : start).focus();
    if (!running) box("load-rate").textContent = this.present === 0 ? "" : count(this.present);
    this.showProgress(this.target);
  }

  private showProgress(target: number): void {
    const progress = element("load-progress", HTMLProgressElement);
    progress.max = Math.max(target, 1);
    progress.value = Math.min(this.present, target);
  }
}
