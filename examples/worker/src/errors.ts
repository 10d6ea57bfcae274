// Errors as HTTP: `LakeshoreError.code` says what the caller should do, and so does a status.

import { type ErrorCode, LakeshoreError } from "lakeshore";
import { forget } from "./events";

/** An answer other than success. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const statuses: Record<ErrorCode, number> = {
  Invalid: 400,
  Conflict: 409,
  Busy: 409,
  Expired: 410,
  Unsupported: 415,
  // Of no concern to the client: this Worker's own keys.
  Denied: 502,
  // Events have ids of their own, so sending them again is safe also where it is not known whether they arrived.
  Unknown: 503,
  Unavailable: 503,
  Closed: 503,
  Corrupt: 500,
  Internal: 500,
};

/** The answer that an error is. What only the operator should see is logged. */
export function answerError(error: unknown): Response {
  if (error instanceof HttpError) return answer(error.status, { error: error.message });
  if (!(error instanceof LakeshoreError)) {
    console.error(error);
    return answer(500, { error: "internal error" });
  }
  const { code, message } = error;
  // After these a handle that is kept is of no use; after a trap all are gone.
  if (code === "Internal" || code === "Closed") forget();
  const status = statuses[code];
  if (status < 500) return answer(status, { code, error: message });
  console.error(`${code}: ${message}`);
  return answer(status, { code, error: "the store could not do it" });
}

function answer(status: number, body: object): Response {
  const headers = status === 503 ? { "retry-after": "1" } : undefined;
  return Response.json(body, { status, headers });
}
