// The lock file: one line that says who holds it (presence.ts), or nothing if free; see src/platform/native/lock.rs.
// Node has no file locks, so the content decides. Where there is no file, one made by `link` is ours. One whose holder
// is dead is replaced, by whoever holds the claim to that very content; a claim is a lock file like it. A native
// process writes into the file in place, so what was replaced is looked at once more, and put back if alive.
// Fence: a holder that was called dead and was not finds another's content there: `confirm` says so, before anything
// is acknowledged.

import * as fs from "node:fs";
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { codeOf, fail, isMissing, temporaryIn, temporaryPrefix, unlinkQuietly } from "./disk.js";
import { clear, type Holder, isAlive, parseHolder, Presence, who } from "./presence.js";

/** How often a lock file may change under our hands before we call it busy. */
const lockAttempts = 5;

export interface NodeLock {
  confirm(): void;
  release(): void;
}

/** Takes the lock file `path`, or throws `Busy` naming the holder. */
export async function takeLock(path: string): Promise<NodeLock> {
  const own = await Presence.announce(path);
  try {
    await take(path, { lock: path, own }, 0);
    own.sweep();
  } catch (error) {
    own.end();
    throw error;
  }
  return new Held(path, own);
}

/** The lock that is wanted, and what we show while we try: of claims, too. */
interface Taker {
  lock: string;
  own: Presence;
}

async function take(path: string, taker: Taker, depth: number): Promise<void> {
  const temporary = temporaryIn(dirname(path));
  fs.writeFileSync(temporary, taker.own.content, { flag: "wx" });
  try {
    for (let attempt = 0; attempt < lockAttempts; attempt++) {
      if (linked(temporary, path)) return;
      const found = readLock(path);
      if (found === undefined) continue;
      const holder = parseHolder(found);
      if (holder !== undefined && (await isAlive(taker.lock, holder, taker.own))) throw busy(path, holder);
      if (depth >= lockAttempts) break;
      const digest = createHash("sha256").update(found).digest("hex").slice(0, 32);
      const claim = join(dirname(path), `${temporaryPrefix}claim-${digest}`);
      await take(claim, taker, depth + 1);
      try {
        if (await replaced(path, found, temporary, taker)) {
          if (holder !== undefined) clear(taker.lock, holder);
          return;
        }
      } finally {
        giveBack(claim, taker.own);
      }
    }
    throw busy(path, undefined);
  } finally {
    unlinkQuietly(temporary);
  }
}

/** Gives a second name to a file; false if there is one of that name, or if the file is gone. */
function linked(from: string, to: string): boolean {
  try {
    fs.linkSync(from, to);
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST" || codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

function readLock(path: string): string | undefined {
  try {
    return fs.readFileSync(path, "latin1").slice(0, 512);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Puts the file `temporary` in place of the lock file whose content is `stale`, whose claim we hold. */
async function replaced(path: string, stale: string, temporary: string, taker: Taker): Promise<boolean> {
  const aside = temporaryIn(dirname(path));
  if (!linked(path, aside)) return false;
  try {
    if (readLock(aside) !== stale) return false;
    fs.renameSync(temporary, path);
    const now = readLock(aside) ?? "";
    const holder = now === stale ? undefined : parseHolder(now);
    if (holder !== undefined && (await isAlive(taker.lock, holder, taker.own))) {
      fs.renameSync(aside, path);
      throw busy(path, holder);
    }
    return true;
  } finally {
    unlinkQuietly(aside);
  }
}

function busy(path: string, holder: Holder | undefined): Error {
  const by = holder === undefined ? "another process" : who(holder);
  return fail("Busy", `${path} is held by ${by}: close it there first`);
}

function giveBack(path: string, own: Presence): void {
  if (readLock(path) === own.content) unlinkQuietly(path);
}

class Held implements NodeLock {
  private held = true;

  constructor(
    private readonly path: string,
    private readonly own: Presence,
  ) {}

  /** Throws `Closed`, saying who took it, if it is not ours any more. */
  confirm(): void {
    const found = readLock(this.path);
    if (found === this.own.content) return;
    const holder = parseHolder(found ?? "");
    let what = "somebody emptied or replaced it";
    if (found === undefined) what = "it was removed";
    else if (holder !== undefined) what = `${who(holder)} took it over`;
    throw fail("Closed", `${this.path} is not held any more: ${what}`);
  }

  release(): void {
    if (this.held) giveBack(this.path, this.own);
    this.held = false;
    this.own.end();
  }
}
