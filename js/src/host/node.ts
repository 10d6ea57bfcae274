// A directory of the local file system as a host, over `node:fs`.
//
// The layout is that of the native store (src/platform/native/files.rs): object `a/b` is the file `<root>/a/b`;
// beside the objects lie only `.tmp-*` (being written; abandoned if older than an hour) and `<name>.lock`. A file gets
// its name only after its bytes are synced, and a write resolves only after the name is synced, too.
//
// What the page cache answers at once (small reads, appends) is done synchronously, because a trip to the thread pool
// costs more than the call; what may wait for the disk is not, so that the event loop goes on.

import * as fs from "node:fs";
import { createHash, randomBytes } from "node:crypto";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";

const fsync = promisify(fs.fsync);
const fdatasync = promisify(fs.fdatasync);
const readAsync = promisify(fs.read);
const writeAsync = promisify(fs.write);

/** Up to this many bytes are read or written synchronously. */
const small = 64 * 1024;
/** After this long nobody is still writing a temporary file. */
const abandonedMs = 3_600_000;
const temporaryPrefix = ".tmp-";
const lockSuffix = ".lock";
/** How often a lock file may change under our hands before we call it busy. */
const lockAttempts = 5;

interface NodeObjectWriter {
  write(bytes: Uint8Array): void | Promise<void>;
  finish(): Promise<void>;
  abort(): void;
}

interface NodeAppendFile {
  /** The length in bytes when it was opened. */
  readonly size: number;
  write(bytes: Uint8Array): void;
  sync(): Promise<void>;
  close(): void;
}

/** The host that {@link nodeDirectory} returns. */
export interface NodeDirectory {
  describe(): string;
  get(key: string): Uint8Array | null | Promise<Uint8Array | null>;
  getRange(key: string, start: number, end: number): Uint8Array | null | Promise<Uint8Array | null>;
  getSuffix(key: string, length: number): Suffix | null | Promise<Suffix | null>;
  put(key: string, bytes: Uint8Array): Promise<void>;
  putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean>;
  create(key: string): NodeObjectWriter;
  list(prefix: string, startAfter?: string): Promise<{ key: string; size: number }[]>;
  delete(key: string): void;
  append(key: string): NodeAppendFile;
  lock(name: string): { release(): void };
}

interface Suffix {
  bytes: Uint8Array;
  size: number;
}

/** The directory `path` as a host; the first write creates it. */
export function nodeDirectory(path: string): NodeDirectory {
  return new Directory(resolve(path));
}

function fail(code: string, message: string, cause?: unknown): Error {
  return Object.assign(new Error(message, { cause }), { code });
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}

/** Whether the error says that there is no such object. */
function isMissing(error: unknown): boolean {
  const code = codeOf(error);
  return code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR";
}

function isKey(key: string): boolean {
  const isSegment = (s: string) =>
    /^[A-Za-z0-9._-]{1,250}$/.test(s) && s !== "." && s !== ".." && !s.startsWith(temporaryPrefix);
  return key.length <= 1024 && key.split("/").every(isSegment);
}

function unlinkQuietly(path: string): void {
  try {
    fs.unlinkSync(path);
  } catch {
    // It is gone, or stays as a file that no listing shows.
  }
}

/** Makes the entries of a directory durable. Windows cannot, and need not. */
async function syncDirectory(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const fd = fs.openSync(path, "r");
  try {
    await fsync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function writeAllSync(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += fs.writeSync(fd, bytes, at);
}

async function writeAll(fd: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await writeAsync(fd, bytes, at)).bytesWritten;
}

class Directory implements NodeDirectory {
  /** Directories that exist, durably, as far as this object made sure. */
  private readonly durable = new Set<string>();

  constructor(private readonly root: string) {}

  describe(): string {
    return `directory ${this.root}`;
  }

  get(key: string): Uint8Array | null | Promise<Uint8Array | null> {
    return this.read(
      key,
      (size) => [0, size],
      (bytes) => bytes,
    );
  }

  getRange(key: string, start: number, end: number): Uint8Array | null | Promise<Uint8Array | null> {
    return this.read(
      key,
      (size) => [Math.min(start, size), Math.min(end, size)],
      (bytes) => bytes,
    );
  }

  getSuffix(key: string, length: number): Suffix | null | Promise<Suffix | null> {
    return this.read(
      key,
      (size) => [Math.max(0, size - length), size],
      (bytes, size) => ({ bytes, size }),
    );
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const writer = await this.begin(key);
    await writer.writeWhole(bytes);
    await writer.finish();
  }

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    const path = this.path(key);
    if (fs.statSync(path, { throwIfNoEntry: false })?.isFile()) {
      // Whoever made it may not have synced its name yet; the caller may build on it.
      await syncDirectory(dirname(path));
      return false;
    }
    const writer = await this.begin(key);
    await writer.writeWhole(bytes);
    return writer.link();
  }

  create(key: string): NodeObjectWriter {
    const path = this.path(key);
    const making = this.prepare(dirname(path));
    return new LazyWriter(making.then(() => new Temporary(path)));
  }

  async list(prefix: string, startAfter?: string): Promise<{ key: string; size: number }[]> {
    const slash = prefix.lastIndexOf("/");
    const top = prefix.slice(0, slash + 1);
    if (top !== "" && !isKey(prefix.slice(0, slash))) throw fail("Invalid", `${prefix} is not a key prefix`);
    const found: { key: string; size: number }[] = [];
    const wanted = (key: string) => key.startsWith(prefix) && (startAfter === undefined || key > startAfter);
    const mayBeIn = (folder: string) =>
      (folder.startsWith(prefix) || prefix.startsWith(folder)) &&
      (startAfter === undefined || startAfter.startsWith(folder) || folder > startAfter);
    const folders = [top];
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      for (const entry of await entriesOf(join(this.root, folder))) {
        const key = folder + entry.name;
        if (!isKey(key) || key.endsWith(lockSuffix)) continue;
        if (entry.isDirectory()) {
          if (mayBeIn(`${key}/`)) folders.push(`${key}/`);
          continue;
        }
        if (!entry.isSymbolicLink() && !(entry.isFile() && wanted(key))) continue;
        const stat = fs.statSync(join(this.root, key), { throwIfNoEntry: false });
        if (stat?.isDirectory() && mayBeIn(`${key}/`)) folders.push(`${key}/`);
        if (stat?.isFile() && wanted(key)) found.push({ key, size: stat.size });
      }
    }
    return found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  delete(key: string): void {
    try {
      fs.unlinkSync(this.path(key));
    } catch (error) {
      // macOS says EPERM of a directory, which is no object.
      const isDirectory = () => fs.statSync(this.path(key), { throwIfNoEntry: false })?.isDirectory();
      if (!isMissing(error) && !isDirectory()) throw error;
    }
  }

  append(key: string): NodeAppendFile {
    const path = this.path(key);
    fs.mkdirSync(dirname(path), { recursive: true });
    return new AppendFile(path, () => this.prepare(dirname(path)));
  }

  lock(name: string): { release(): void } {
    if (!isKey(name)) throw fail("Invalid", `${JSON.stringify(name)} is not a lock name`);
    const path = join(this.root, name + lockSuffix);
    fs.mkdirSync(dirname(path), { recursive: true });
    return takeLock(path);
  }

  private path(key: string): string {
    if (!isKey(key) || key.endsWith(lockSuffix)) {
      throw fail("Invalid", `${JSON.stringify(key)} is not an object key`);
    }
    return join(this.root, key);
  }

  /** Reads the range that `pick` chooses, given the size. */
  private read<T>(
    key: string,
    pick: (size: number) => [number, number],
    make: (bytes: Uint8Array, size: number) => T,
  ): T | null | Promise<T | null> {
    let fd: number;
    try {
      fd = fs.openSync(this.path(key), "r");
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
    let later = false;
    try {
      const stat = fs.fstatSync(fd);
      if (stat.isDirectory()) return null;
      const [start, end] = pick(stat.size);
      const bytes = new Uint8Array(Math.max(0, end - start));
      if (bytes.length > small) {
        later = true;
        return readLater(fd, bytes, start).then((read) => make(read, stat.size));
      }
      for (let at = 0; at < bytes.length;) {
        const read = fs.readSync(fd, bytes, at, bytes.length - at, start + at);
        if (read === 0) return make(bytes.subarray(0, at), stat.size);
        at += read;
      }
      return make(bytes, stat.size);
    } finally {
      if (!later) fs.closeSync(fd);
    }
  }

  private async begin(key: string): Promise<Temporary> {
    const path = this.path(key);
    await this.prepare(dirname(path));
    return new Temporary(path);
  }

  /** Makes sure that a directory exists durably; at the first write to it, removes what was abandoned there. */
  private async prepare(directory: string): Promise<void> {
    if (this.durable.has(directory)) return;
    const first = fs.mkdirSync(directory, { recursive: true });
    // Within the root another process may have made a directory and not synced it yet; above the root only what was
    // made just now is ours to sync.
    const highest = first !== undefined && first.length < this.root.length ? first : this.root;
    for (let at = directory; at.length >= highest.length && dirname(at) !== at; at = dirname(at)) {
      if (this.durable.has(at)) break;
      try {
        await syncDirectory(dirname(at));
      } catch (error) {
        if (at !== this.root || codeOf(error) !== "EACCES") throw error;
      }
      if (at.length >= this.root.length) this.durable.add(at);
    }
    removeAbandoned(directory);
  }
}

async function readLater(fd: number, bytes: Uint8Array, start: number): Promise<Uint8Array> {
  try {
    for (let at = 0; at < bytes.length;) {
      const { bytesRead } = await readAsync(fd, bytes, at, bytes.length - at, start + at);
      if (bytesRead === 0) return bytes.subarray(0, at);
      at += bytesRead;
    }
    return bytes;
  } finally {
    fs.closeSync(fd);
  }
}

async function entriesOf(path: string): Promise<fs.Dirent[]> {
  try {
    return await fs.promises.readdir(path, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function temporaryIn(directory: string): string {
  return join(directory, temporaryPrefix + randomBytes(16).toString("hex"));
}

function removeAbandoned(directory: string): void {
  for (const name of fs.readdirSync(directory)) {
    if (!name.startsWith(temporaryPrefix)) continue;
    const path = join(directory, name);
    const stat = fs.statSync(path, { throwIfNoEntry: false });
    if (stat !== undefined && Date.now() - stat.mtimeMs > abandonedMs) unlinkQuietly(path);
  }
}

/** An object being written. */
class Temporary {
  private readonly temporary: string;
  private readonly fd: number;

  constructor(private readonly path: string) {
    this.temporary = temporaryIn(dirname(path));
    this.fd = fs.openSync(this.temporary, "wx");
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (bytes.length <= small) writeAllSync(this.fd, bytes);
    else await writeAll(this.fd, bytes);
  }

  /** The only write: leaves nothing if it fails. */
  async writeWhole(bytes: Uint8Array): Promise<void> {
    try {
      await this.write(bytes);
    } catch (error) {
      this.abort();
      throw error;
    }
  }

  /** Makes the object durable under its name, replacing one that is there. */
  async finish(): Promise<void> {
    await this.syncAndClose();
    try {
      fs.renameSync(this.temporary, this.path);
    } catch (error) {
      unlinkQuietly(this.temporary);
      throw error;
    }
    await syncDirectory(dirname(this.path));
  }

  /** Makes the object durable under its name; false if there is one. */
  async link(): Promise<boolean> {
    await this.syncAndClose();
    const created = this.linkNow();
    await syncDirectory(dirname(this.path));
    return created;
  }

  abort(): void {
    fs.closeSync(this.fd);
    unlinkQuietly(this.temporary);
  }

  private linkNow(): boolean {
    try {
      fs.linkSync(this.temporary, this.path);
      return true;
    } catch (error) {
      const code = codeOf(error);
      if (code === "EEXIST" && !fs.statSync(this.path, { throwIfNoEntry: false })?.isDirectory())
        return false;
      if (code === "EPERM" || code === "ENOTSUP" || code === "ENOSYS") {
        throw fail(
          "Unsupported",
          `create ${this.path}: the file system has no hard links: use another`,
          error,
        );
      }
      throw error;
    } finally {
      unlinkQuietly(this.temporary);
    }
  }

  private async syncAndClose(): Promise<void> {
    try {
      await fsync(this.fd);
    } catch (error) {
      this.abort();
      throw error;
    }
    fs.closeSync(this.fd);
  }
}

/** A writer whose file is still being made. */
class LazyWriter implements NodeObjectWriter {
  constructor(private readonly making: Promise<Temporary>) {
    making.catch(() => {}); // It is told by the next call.
  }

  async write(bytes: Uint8Array): Promise<void> {
    await (await this.making).write(bytes);
  }

  async finish(): Promise<void> {
    await (await this.making).finish();
  }

  abort(): void {
    void this.making.then(
      (temporary) => temporary.abort(),
      () => {},
    );
  }
}

/** A file that grows at its end. */
class AppendFile implements NodeAppendFile {
  readonly size: number;
  private readonly fd: number;
  private named = false;
  private closed = false;
  /** Syncs under way: the file must not be closed below them. */
  private syncing = 0;
  /** What the kernel kept after a failure is not known: it stays failed until it is opened again. */
  private failure: unknown;

  constructor(
    private readonly path: string,
    private readonly prepare: () => Promise<void>,
  ) {
    this.fd = fs.openSync(path, "a");
    this.size = fs.fstatSync(this.fd).size;
  }

  write(bytes: Uint8Array): void {
    this.check();
    try {
      writeAllSync(this.fd, bytes);
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }

  async sync(): Promise<void> {
    this.check();
    this.syncing += 1;
    try {
      await fdatasync(this.fd);
      if (!this.named) {
        await this.prepare();
        await syncDirectory(dirname(this.path));
        this.named = true;
      }
    } catch (error) {
      this.failure = error;
      throw error;
    } finally {
      this.syncing -= 1;
      if (this.closed && this.syncing === 0) fs.closeSync(this.fd);
    }
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.syncing === 0) fs.closeSync(this.fd);
  }

  private check(): void {
    if (this.closed) throw fail("Closed", `${this.path} is closed`);
    if (this.failure !== undefined) {
      throw fail("Unavailable", `${this.path}: an earlier write or sync failed: open it again`, this.failure);
    }
  }
}

// The lock file: `<pid> <start> <kind>`, or nothing if free; see src/platform/native/lock.rs. Node has no file locks, so
// the content decides (a nonce behind it makes it unique). Where there is no file, one made by `link` is ours. One
// whose holder is dead is replaced, by whoever holds the claim to that very content; a claim is a lock file like it.
// A native process writes into the file in place, so what was replaced is looked at once more, and put back if alive.

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

function takeLock(path: string, depth = 0): { release(): void } {
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
