// The page: one open database, and what is done with it. What it shows is what the package says.

import { LakeshoreError } from "lakeshore";
import { offerPlaces, showPlace } from "./connect.js";
import { inBrowser, openAt, type Place, removeInBrowser, type Session } from "./database.js";
import { box, button, element } from "./elements.js";
import { readManifest } from "./flights.js";
import { duration, some } from "./format.js";
import { Loader } from "./loader.js";
import { hideProblem, showProblem } from "./problem.js";
import { Results } from "./results.js";
import { showWhere } from "./where.js";

/** While rows come in, the panel is brought up to date this often. */
const panelMs = 250;
const actions = ["delete-open", "flush", "checkpoint", "refresh"];

let session: Session | undefined;
let entering = false;
const panel = { running: false, again: false, soon: false };

const loader = new Loader({
  onProgress: updatePanelSoon,
  onLoaded: () => results.changed(),
  onError: fail,
});
const results = new Results({ onRead: updatePanel, onError: fail });

/** Opens the database of a place in place of the one before, which stays if that fails. */
async function enter(place: Place): Promise<boolean> {
  if (entering) return false;
  entering = true;
  hideProblem();
  try {
    // Of the same WAL this tab itself is the holder.
    if (session?.place.walName === place.walName) await leave();
    loader.say("Opening the database …");
    const next = await openAt(place);
    await leave();
    session = next;
    await loader.use(next);
    results.use(next);
    return true;
  } catch (error) {
    showProblem(error, () => void enter(place));
    loader.say(session ? `Still open: ${session.place.title}.` : "The database is not open.");
    return false;
  } finally {
    entering = false;
    showPlace(session?.place);
    for (const id of actions) button(id).disabled = session === undefined;
  }
}

/** Ends what is under way, and closes the database. */
async function leave(): Promise<void> {
  const left = session;
  results.leave();
  await loader.leave();
  session = undefined;
  // An engine that died cannot be closed.
  await left?.db.close().catch(() => undefined);
}

/** Shows an error. Where the handle is of no more use, it offers to open again. */
function fail(error: unknown): void {
  const dead = error instanceof LakeshoreError && ["Internal", "Closed"].includes(error.code);
  const place = session?.place;
  showProblem(error, dead && place ? () => void enter(place) : undefined);
}

/** Brings the panel up to date; calls that come while it is at it are one more time. */
function updatePanel(): void {
  if (panel.running) {
    panel.again = true;
    return;
  }
  Object.assign(panel, { running: true, again: false });
  Promise.resolve(session?.db.stats())
    .then((stats) => stats && showWhere(stats))
    // Whoever did something with a dead handle has been told.
    .catch(() => undefined)
    .finally(() => {
      panel.running = false;
      if (panel.again) updatePanel();
    });
}

function updatePanelSoon(): void {
  if (panel.soon) return;
  panel.soon = true;
  setTimeout(() => {
    panel.soon = false;
    updatePanel();
  }, panelMs);
}

/** A button that does something with the database, and says how long it took. */
function action(id: string, work: (session: Session) => Promise<string>): void {
  button(id).addEventListener("click", async () => {
    if (session === undefined) return;
    const start = performance.now();
    button(id).disabled = true;
    try {
      const done = await work(session);
      box("action-status").textContent = `${done}, ${duration(performance.now() - start)}.`;
    } catch (error) {
      fail(error);
    } finally {
      button(id).disabled = session === undefined;
      updatePanel();
    }
  });
}

action("flush", async ({ db }) => {
  await db.flush();
  return "Flushed: all is in data";
});
action("checkpoint", async ({ db }) => {
  await db.checkpoint();
  return "Checkpoint written";
});
action("refresh", async ({ db }) => {
  const news = await db.refresh();
  if (news) results.changed();
  return news ? "Refreshed: others have written" : "Refreshed: nothing new";
});

const dialog = element("delete-dialog", HTMLDialogElement);
button("delete-open").addEventListener("click", () => {
  const inBucket = session?.place.kind === "s3";
  box("delete-text").textContent = inBucket
    ? "Every flight in the bucket is deleted, for all who read it. The objects stay until they are collected."
    : "Data and WAL are removed from this browser. This cannot be undone.";
  dialog.returnValue = "cancel";
  dialog.showModal();
});
dialog.addEventListener("close", () => {
  if (dialog.returnValue === "delete" && session) remove(session).catch(fail);
});

/** Removes the files in the browser; in a bucket, which others may read, deletes the rows. */
async function remove({ place, db, flights }: Session): Promise<void> {
  if (place.kind === "opfs") {
    await leave();
    const failure: unknown = await removeInBrowser().catch((error: unknown) => error);
    await enter(place);
    if (failure !== undefined) fail(failure);
    return;
  }
  await loader.stop();
  const { rows } = await flights.delete(flights.scan({ select: ["id"] }), { onProgress: updatePanelSoon });
  await db.flush();
  if (session?.db !== db) return;
  await loader.use(session);
  loader.say(`${some(rows, "flight")} deleted.`);
  results.changed();
}

offerPlaces(enter, fail);
readManifest().then((manifest) => {
  loader.offer(manifest);
  results.offer(manifest);
}, fail);
void enter(inBrowser);
