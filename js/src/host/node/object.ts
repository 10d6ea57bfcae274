// Objects being written: a temporary file beside the object gets its name, synced, when it is whole.

import * as fs from "node:fs";
import { dirname, join } from "node:path";
import {
  codeOf,
  fail,
  fsync,
  small,
  syncDirectory,
  temporaryIn,
  temporaryPrefix,
  unlinkQuietly,
  writeAll,
  writeAllSync,
} from "./disk.js";

/** After this long nobody is still writing a temporary file. */
const abandonedMs = 3_600_000;

export interface NodeObjectWriter {
  write(bytes: Uint8Array): void | Promise<void>;
  finish(): Promise<void>;
  abort(): void;
}

export function removeAbandoned(directory: string): void {
  for (const name of fs.readdirSync(directory)) {
    if (!name.startsWith(temporaryPrefix)) continue;
    const path = join(directory, name);
    const stat = fs.statSync(path, { throwIfNoEntry: false });
    if (stat !== undefined && Date.now() - stat.mtimeMs > abandonedMs) unlinkQuietly(path);
  }
}

/** An object being written. */
export class Temporary {
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
export class LazyWriter implements NodeObjectWriter {
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
