// A store in the memory of this process, outside of WebAssembly's.

import { LakeshoreError } from "../errors.js";
import type { Host, HostAppendFile, HostEntry, HostLock, HostWriter } from "./host.js";

/** An empty store. */
export function memoryHost(): Host {
  return new MemoryHost();
}

class MemoryHost implements Host {
  private readonly objects = new Map<string, Uint8Array>();
  private readonly locks = new Set<string>();

  describe(): string {
    return "memory";
  }

  get(key: string): Uint8Array | null {
    return this.objects.get(key) ?? null;
  }

  getRange(key: string, start: number, end: number): Uint8Array | null {
    return this.objects.get(key)?.subarray(start, end) ?? null;
  }

  getSuffix(key: string, length: number): { bytes: Uint8Array; size: number } | null {
    const bytes = this.objects.get(key);
    return bytes ? { bytes: bytes.subarray(Math.max(0, bytes.length - length)), size: bytes.length } : null;
  }

  put(key: string, bytes: Uint8Array): void {
    this.objects.set(key, bytes);
  }

  putIfAbsent(key: string, bytes: Uint8Array): boolean {
    if (this.objects.has(key)) return false;
    this.objects.set(key, bytes);
    return true;
  }

  list(prefix: string, startAfter = ""): HostEntry[] {
    const found: HostEntry[] = [];
    for (const [key, { length }] of this.objects) {
      if (key.startsWith(prefix) && key > startAfter) found.push({ key, size: length });
    }
    return found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  delete(key: string): void {
    this.objects.delete(key);
  }

  create(key: string): HostWriter {
    const pieces = new Pieces(new Uint8Array());
    return {
      write: (bytes) => pieces.add(bytes),
      finish: () => this.put(key, pieces.whole()),
      abort: () => undefined,
    };
  }

  append(key: string): HostAppendFile {
    const before = this.objects.get(key) ?? new Uint8Array();
    const pieces = new Pieces(before);
    const store = () => void this.objects.set(key, pieces.whole());
    store();
    return {
      size: before.length,
      write: (bytes) => {
        pieces.add(bytes);
        store();
      },
      sync: () => undefined,
      close: () => undefined,
    };
  }

  lock(name: string): HostLock {
    if (this.locks.has(name)) {
      throw new LakeshoreError(
        "Busy",
        `${name} of this memory store is held by another open database: close it first`,
      );
    }
    this.locks.add(name);
    return { release: () => void this.locks.delete(name) };
  }
}

/** Bytes that grow at the end, with room to spare. */
class Pieces {
  private room: Uint8Array;
  private length: number;

  constructor(start: Uint8Array) {
    this.room = start.slice();
    this.length = start.length;
  }

  add(bytes: Uint8Array): void {
    const needed = this.length + bytes.length;
    if (needed > this.room.length) {
      const larger = new Uint8Array(Math.max(needed, this.room.length * 2, 1024));
      larger.set(this.whole());
      this.room = larger;
    }
    this.room.set(bytes, this.length);
    this.length = needed;
  }

  whole(): Uint8Array {
    return this.room.subarray(0, this.length);
  }
}
