// A directory of the local file system as a host, over `node:fs`.
//
// The layout is that of the native store (src/platform/native/files.rs): object `a/b` is the file `<root>/a/b`;
// beside the objects lie only `.tmp-*` (being written; abandoned if older than an hour) and `<name>.lock`. A file gets
// its name only after its bytes are synced, and a write resolves only after the name is synced, too.
//
// What the page cache answers at once (small reads, appends) is done synchronously, because a trip to the thread pool
// costs more than the call; what may wait for the disk is not, so that the event loop goes on.
//
// node/object.ts writes objects, node/append.ts WAL segments, node/lock.ts lock files, by node/presence.ts; node/disk.ts
// is what they share.

import * as fs from "node:fs";
import { dirname, join, resolve } from "node:path";
import {
  codeOf,
  entriesOf,
  fail,
  isMissing,
  lockSuffix,
  readLater,
  small,
  syncDirectory,
  temporaryPrefix,
} from "./node/disk.js";
import { AppendFile, type NodeAppendFile } from "./node/append.js";
import { type NodeLock, takeLock } from "./node/lock.js";
import { LazyWriter, type NodeObjectWriter, removeAbandoned, Temporary } from "./node/object.js";

/** The host that {@link nodeDirectory} returns. */
export interface NodeDirectory {
  describe(): string;
  get(key: string): Uint8Array | null | Promise<Uint8Array | null>;
  getRange(key: string, start: number, end: number): Uint8Array | null | Promise<Uint8Array | null>;
  getSuffix(key: string, length: number): Suffix | null | Promise<Suffix | null>;
  put(key: string, bytes: Uint8Array): Promise<void>;
  putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean>;
  create(key: string): NodeObjectWriter;
  list(prefix: string, startAfter?: string): Promise<Entry[]>;
  delete(key: string): void;
  append(key: string): NodeAppendFile;
  lock(name: string): Promise<NodeLock>;
}

interface Entry {
  key: string;
  size: number;
  modified: Date;
}

interface Suffix {
  bytes: Uint8Array;
  size: number;
}

/** The directory `path` as a host; the first write creates it. */
export function nodeDirectory(path: string): NodeDirectory {
  return new Directory(resolve(path));
}

function isKey(key: string): boolean {
  const isSegment = (s: string) =>
    /^[A-Za-z0-9._-]{1,250}$/.test(s) && s !== "." && s !== ".." && !s.startsWith(temporaryPrefix);
  return key.length <= 1024 && key.split("/").every(isSegment);
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

  async list(prefix: string, startAfter?: string): Promise<Entry[]> {
    const slash = prefix.lastIndexOf("/");
    const top = prefix.slice(0, slash + 1);
    if (top !== "" && !isKey(prefix.slice(0, slash))) throw fail("Invalid", `${prefix} is not a key prefix`);
    const found: Entry[] = [];
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
        if (stat?.isFile() && wanted(key)) found.push({ key, size: stat.size, modified: stat.mtime });
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

  async lock(name: string): Promise<NodeLock> {
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
