// Append files: WAL segments.

import * as fs from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { fail, syncDirectory, writeAllSync } from "./disk.js";

const fdatasync = promisify(fs.fdatasync);

export interface NodeAppendFile {
  /** The length in bytes when it was opened. */
  readonly size: number;
  write(bytes: Uint8Array): void;
  sync(): Promise<void>;
  confirm(): void;
  close(): void;
}

/** A file that grows at its end. */
export class AppendFile implements NodeAppendFile {
  readonly size: number;
  private readonly fd: number;
  private named = false;
  /** Where what we know of it ends. */
  private end: number;
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
    this.end = this.size;
  }

  write(bytes: Uint8Array): void {
    this.check();
    try {
      writeAllSync(this.fd, bytes);
      this.end += bytes.length;
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

  /** Throws `Closed` if the file was removed, with its directory perhaps, or if somebody else wrote to it. */
  confirm(): void {
    const { nlink, size } = fs.fstatSync(this.fd);
    if (nlink === 0) {
      throw fail("Closed", `${this.path} was removed, and what was written to it is lost`);
    }
    if (size !== this.end) {
      throw fail("Closed", `somebody else wrote to ${this.path}: the WAL is in use twice`);
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
