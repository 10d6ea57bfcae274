// The one error the package throws.

/** What the caller should do about a {@link LakeshoreError}. */
export type ErrorCode =
  /** Another transaction wrote what this one read: retry the transaction. */
  | "Conflict"
  /** The store did not answer or is overloaded: retry later. */
  | "Unavailable"
  /** The call is wrong: fix it. Nothing was changed. */
  | "Invalid"
  /** Somebody else holds it: the message names the holder. */
  | "Busy"
  /** Stored bytes are not what was written: the message names object and offset. */
  | "Corrupt"
  /** The time or snapshot asked for is older than what is kept. */
  | "Expired"
  /** The store refused the credentials or the permission. */
  | "Denied"
  /** It is not known whether the commit happened: read before you retry. */
  | "Unknown"
  /** The handle was closed. */
  | "Closed"
  /** Not supported here: the message names the remedy. */
  | "Unsupported"
  /** A defect of Lakeshore. */
  | "Internal";

const retryable: ReadonlySet<string> = new Set<ErrorCode>(["Conflict", "Unavailable", "Busy"]);

/** Any failure of Lakeshore. The message names what is wrong and what to do; it holds no secret. */
export class LakeshoreError extends Error {
  override readonly name = "LakeshoreError";
  /** What the caller should do. */
  readonly code: ErrorCode;
  /** Of an ingest of a stream that broke off, and only of that: how many of its items were committed before. */
  declare committed?: number;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** Whether the same call may succeed when made again unchanged. */
  get retryable(): boolean {
    return retryable.has(this.code);
  }
}

/** An `Invalid` error. */
export function invalid(message: string): LakeshoreError {
  return new LakeshoreError("Invalid", message);
}

/** A `Closed` error. */
export function closed(): LakeshoreError {
  return new LakeshoreError("Closed", "the database handle is closed: open it again");
}
