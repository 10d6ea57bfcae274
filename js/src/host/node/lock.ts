// The lock file: `<pid> <start> <kind>`, or nothing if free; see src/platform/native/lock.rs. Node has no file locks, so
// the content decides (a nonce behind it makes it unique). Where there is no file, one made by `link` is ours. One
// whose holder is dead is replaced, by whoever holds the claim to that very content; a claim is a lock file like it.
// A native process writes into the file in place, so what was replaced is looked at once more, and put back if alive.

import * as fs from "node:fs";
import { createHash, randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { codeOf, fail, isMissing, temporaryIn, temporaryPrefix, unlinkQuietly } from "./disk.js";

/** How often a lock file may change under our hands before we call it busy. */
const lockAttempts = 5;

interface Holder {
  pid: number;
  start: string;
  kind: string;
}

function parseHolder(content: string): Holder | undefined {
  const [pid, start, kind] = content.trim().split(/\s+/);
  if (pid === undefined || start === undefined || kind === undefined || !/^[1-9]\d*$/.test(pid))
    return undefined;
  return { pid: Number(pid), start, kind };
}

/** When a process started, in clock ticks since the boot; undefined where nobody can tell. */
function startOf(pid: number): string | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the program's name in parentheses and may hold anything.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

function isAlive(holder: Holder): boolean {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // EPERM: it lives and is not ours.
    if (codeOf(error) !== "EPERM") return false;
  }
  const start = startOf(holder.pid);
  return start === undefined || holder.start === "-" || holder.start === start;
}

export function takeLock(path: string, depth = 0): { release(): void } {
  const nonce = randomBytes(8).toString("hex");
  const mine = `${process.pid} ${startOf(process.pid) ?? "-"} node ${nonce}\n`;
  const temporary = temporaryIn(dirname(path));
  fs.writeFileSync(temporary, mine, { flag: "wx" });
  try {
    for (let attempt = 0; attempt < lockAttempts; attempt++) {
      if (linked(temporary, path)) return heldLock(path, mine);
      const found = readLock(path);
      if (found === undefined) continue;
      refuseIfAlive(path, found);
      if (depth >= lockAttempts) break;
      const digest = createHash("sha256").update(found).digest("hex").slice(0, 32);
      const claim = takeLock(join(dirname(path), `${temporaryPrefix}claim-${digest}`), depth + 1);
      try {
        if (replaced(path, found, temporary)) return heldLock(path, mine);
      } finally {
        claim.release();
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
    return fs.readFileSync(path, "latin1").slice(0, 256);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function refuseIfAlive(path: string, content: string): void {
  const holder = parseHolder(content);
  if (holder !== undefined && isAlive(holder)) throw busy(path, holder);
}

/** Puts the file `temporary` in place of the lock file whose content is `stale`, whose claim we hold. */
function replaced(path: string, stale: string, temporary: string): boolean {
  const aside = temporaryIn(dirname(path));
  if (!linked(path, aside)) return false;
  try {
    if (readLock(aside) !== stale) return false;
    fs.renameSync(temporary, path);
    try {
      refuseIfAlive(path, readLock(aside) ?? "");
    } catch (error) {
      fs.renameSync(aside, path);
      throw error;
    }
    return true;
  } finally {
    unlinkQuietly(aside);
  }
}

function busy(path: string, holder: Holder | undefined): Error {
  let who = "another process";
  if (holder?.pid === process.pid) who = `this process (pid ${holder.pid})`;
  else if (holder !== undefined) who = `process ${holder.pid} (${holder.kind})`;
  return fail("Busy", `${path} is held by ${who}: close it there first`);
}

function heldLock(path: string, mine: string): { release(): void } {
  let held = true;
  return {
    release() {
      if (held && readLock(path) === mine) unlinkQuietly(path);
      held = false;
    },
  };
}
