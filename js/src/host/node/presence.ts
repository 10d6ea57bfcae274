// How a holder of a lock file shows that it lives, to processes that may not see its pid: in another container, or on
// another machine. Shared with the native store; see src/platform/native/presence.rs, whose files and words these are:
// beside `wal.lock` a listening socket `wal.<nonce>.socket.lock`, which its kernel closes when it dies, and
// `wal.<nonce>.beat.lock`, written every second, for whom that kernel does not tell. On Windows the socket is a pipe.

import * as fs from "node:fs";
import * as net from "node:net";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { hostname, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { codeOf, lockSuffix, unlinkQuietly } from "./disk.js";

const beatMs = 1_000;
/** After so long without a beat a holder that cannot be seen is dead. */
const patienceMs = 10_000;
const lookMs = 200;
/** Files of who did not beat for so long are nobody's, unless it holds the lock. */
const abandonedMs = 3_600_000;
/** Longest path that a socket can have everywhere, less what libraries add. */
const longestSocketPath = 100;

export interface Holder {
  pid: number;
  start: string;
  kind: string;
  nonce: string;
  /** The kernel it runs on, and the pids it sees; `-` where that cannot be told. */
  boot: string;
  space: string;
  socket: boolean;
}

export function parseHolder(content: string): Holder | undefined {
  const [pid, start, kind, nonce = "-", boot = "-", space = "-", socket] = content.trim().split(/\s+/);
  if (pid === undefined || start === undefined || kind === undefined || !/^[1-9]\d*$/.test(pid))
    return undefined;
  return { pid: Number(pid), start, kind, nonce, boot, space, socket: socket === "socket" };
}

function tried(read: () => string): string | undefined {
  try {
    return read().trim().split(/\s+/)[0] || undefined;
  } catch {
    return undefined;
  }
}

let place: { boot: string; space: string } | undefined;

function here(): { boot: string; space: string } {
  const ask = () => execFileSync("sysctl", ["-n", "kern.bootsessionuuid"], { encoding: "latin1" });
  const boot = () => {
    if (process.platform === "win32") return `win-${hostname()}`;
    return tried(() => fs.readFileSync("/proc/sys/kernel/random/boot_id", "latin1")) ?? tried(ask);
  };
  place ??= { boot: boot() ?? "-", space: tried(() => fs.readlinkSync("/proc/self/ns/pid")) ?? "-" };
  return place;
}

function isSameKernel(holder: Holder): boolean {
  return holder.boot !== "-" && holder.boot === here().boot;
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

/** For messages. */
export function who(holder: Holder): string {
  const same = isSameKernel(holder) && holder.space === here().space;
  if (holder.pid === process.pid && same) return `this process (pid ${holder.pid})`;
  const elsewhere = holder.boot === here().boot ? " in another container" : " on another machine";
  return `process ${holder.pid} (${holder.kind})${same ? "" : elsewhere}`;
}

/** The file of a holder beside the lock file. A nonce comes from a file: it must not lead elsewhere. */
function beside(lock: string, nonce: string, what: "socket" | "beat"): string {
  const name = basename(lock, lockSuffix);
  return join(dirname(lock), `${name}.${nonce.replace(/[^A-Za-z0-9]/g, "")}.${what}${lockSuffix}`);
}

function modified(path: string): number | undefined {
  return fs.statSync(path, { throwIfNoEntry: false })?.mtimeMs;
}

/** Removes what a dead holder left beside the lock file. */
export function clear(lock: string, holder: Holder): void {
  unlinkQuietly(beside(lock, holder.nonce, "socket"));
  unlinkQuietly(beside(lock, holder.nonce, "beat"));
}

/** Whether the holder lives, which may take {@link patienceMs} to be known. `own` is what we show ourselves. */
export async function isAlive(lock: string, holder: Holder, own: Presence): Promise<boolean> {
  const same = isSameKernel(holder);
  if (holder.socket) {
    const seen = await connect(lock, holder.nonce);
    if (seen === "alive") return true;
    if (seen === "refused" && same) return false;
  } else if (same && holder.space === here().space && holder.space !== "-") {
    const start = startOf(holder.pid);
    return start !== undefined && (holder.start === "-" || holder.start === start);
  }
  return beats(lock, holder, own);
}

/** Watches its beat: true as soon as there is one. */
async function beats(lock: string, holder: Holder, own: Presence): Promise<boolean> {
  const path = beside(lock, holder.nonce, "beat");
  let last = modified(path);
  for (let watched = 0; watched < patienceMs; watched += lookMs) {
    // By the clock of the file system: ours may be another.
    const now = own.now();
    if (last !== undefined && now !== undefined && now - last >= patienceMs) return false;
    await new Promise((resolve) => setTimeout(resolve, lookMs));
    const beat = modified(path);
    if (beat !== undefined && beat !== last) return true;
  }
  return false;
}

/** What we show for as long as we hold a lock, or try to. */
export class Presence {
  readonly content: string;
  private readonly beating: NodeJS.Timeout;

  private constructor(
    private readonly lock: string,
    private readonly nonce: string,
    private readonly server: net.Server | undefined,
  ) {
    const { boot, space } = here();
    const start = startOf(process.pid) ?? "-";
    this.content = `${process.pid} ${start} node ${nonce} ${boot} ${space} ${server ? "socket" : "-"}\n`;
    this.beating = setInterval(() => this.beat(), beatMs).unref();
    this.beat();
  }

  /** Shows that we live, beside the file `lock`. */
  static async announce(lock: string): Promise<Presence> {
    const nonce = randomBytes(8).toString("hex");
    return new Presence(lock, nonce, await listen(lock, nonce));
  }

  /** What time it is in the file system. */
  now(): number | undefined {
    this.beat();
    return modified(beside(this.lock, this.nonce, "beat"));
  }

  /** Removes what is left beside the lock file, which we hold, of those who were killed while they waited for it. */
  sweep(): void {
    const own = basename(this.lock, lockSuffix);
    const rest = /^\.([0-9a-f]{16})\.(?:socket|beat)\.lock$/;
    try {
      const now = this.now();
      for (const name of fs.readdirSync(dirname(this.lock))) {
        const nonce = name.startsWith(own) && rest.exec(name.slice(own.length))?.[1];
        if (!nonce || now === undefined) continue;
        const path = join(dirname(this.lock), name);
        const seen = modified(beside(this.lock, nonce, "beat")) ?? modified(path);
        if (seen !== undefined && now - seen > abandonedMs) unlinkQuietly(path);
      }
    } catch {
      // The next holder's.
    }
  }

  end(): void {
    clearInterval(this.beating);
    this.server?.close();
    unlinkQuietly(beside(this.lock, this.nonce, "socket"));
    unlinkQuietly(beside(this.lock, this.nonce, "beat"));
  }

  private beat(): void {
    try {
      fs.writeFileSync(beside(this.lock, this.nonce, "beat"), "alive\n");
    } catch {
      // Whoever cannot see us may take the lock then, and the fence tells us.
    }
  }
}

/** Listens; undefined where there are no sockets. That it takes connections says enough. */
function listen(lock: string, nonce: string): Promise<net.Server | undefined> {
  return byShortPath(lock, nonce, (path) => {
    const server = net.createServer((socket) => socket.destroy());
    return new Promise<net.Server | undefined>((resolve) => {
      server.once("error", () => resolve(undefined));
      server.listen({ path, exclusive: true }, () => resolve(server.unref()));
    });
  }).catch(() => undefined);
}

/** Whether somebody listens there. */
function connect(lock: string, nonce: string): Promise<"alive" | "refused" | "unknown"> {
  return byShortPath<"alive" | "refused" | "unknown">(lock, nonce, (path) => {
    const socket = net.connect({ path });
    return new Promise((resolve) => {
      const told = (seen: "alive" | "refused" | "unknown") => {
        clearTimeout(timer);
        socket.destroy();
        resolve(seen);
      };
      // A process that is stopped and was asked too often lets us wait: it lives.
      const timer = setTimeout(() => told("alive"), beatMs);
      socket.once("connect", () => told("alive"));
      socket.once("error", (error) => {
        const code = codeOf(error);
        const closed = code === "ECONNREFUSED" || (process.platform === "win32" && code === "ENOENT");
        told(code === "EAGAIN" ? "alive" : closed ? "refused" : "unknown");
      });
    });
  }).catch(() => "unknown");
}

/** A socket's path is short: that of a long directory leads through a link to it. */
async function byShortPath<T>(lock: string, nonce: string, act: (path: string) => Promise<T>): Promise<T> {
  if (process.platform === "win32") return act(`\\\\.\\pipe\\lakeshore-${nonce}`);
  const path = beside(lock, nonce, "socket");
  if (Buffer.byteLength(path) <= longestSocketPath) return act(path);
  const link = join(tmpdir(), `lk-${randomBytes(4).toString("hex")}`);
  fs.symlinkSync(dirname(path), link);
  try {
    return await act(join(link, basename(path)));
  } finally {
    unlinkQuietly(link);
  }
}
