// What the parts of the directory share: `node:fs` calls that go on until they are done, and errors with a code.

import * as fs from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";

export const fsync = promisify(fs.fsync);
const readAsync = promisify(fs.read);
const writeAsync = promisify(fs.write);

/** Up to this many bytes are read or written synchronously. */
export const small = 64 * 1024;
export const temporaryPrefix = ".tmp-";
export const lockSuffix = ".lock";

export function fail(code: string, message: string, cause?: unknown): Error {
  return Object.assign(new Error(message, { cause }), { code });
}

export function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}

/** Whether the error says that there is no such object. */
export function isMissing(error: unknown): boolean {
  const code = codeOf(error);
  return code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR";
}

export function unlinkQuietly(path: string): void {
  try {
    fs.unlinkSync(path);
  } catch {
    // It is gone, or stays as a file that no listing shows.
  }
}

/** Makes the entries of a directory durable. Windows cannot, and need not. */
export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const fd = fs.openSync(path, "r");
  try {
    await fsync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

export function writeAllSync(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += fs.writeSync(fd, bytes, at);
}

export async function writeAll(fd: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await writeAsync(fd, bytes, at)).bytesWritten;
}

export async function readLater(fd: number, bytes: Uint8Array, start: number): Promise<Uint8Array> {
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

export async function entriesOf(path: string): Promise<fs.Dirent[]> {
  try {
    return await fs.promises.readdir(path, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

export function temporaryIn(directory: string): string {
  return join(directory, temporaryPrefix + randomBytes(16).toString("hex"));
}
