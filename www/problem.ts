// Errors, as the page shows them: their code, what they say, and what to do.

import { type ErrorCode, LakeshoreError } from "lakeshore";
import { box, button } from "./elements.js";

const remedies: Record<ErrorCode, string> = {
  Busy: "Another tab has this database. Close it there, then open again.",
  Unavailable: "The place did not answer. What is acknowledged is kept; try again later.",
  Denied: "The store refused these keys. Check them, and what they may do.",
  Invalid: "The request cannot be right. Nothing was changed.",
  Corrupt: "Stored bytes are not what was written.",
  Unknown: "It is not known whether this happened. Refresh before you repeat it.",
  Conflict: "Somebody else wrote the same. Try again.",
  Expired: "This is older than what is kept.",
  Closed: "The database was closed. Open it again.",
  Unsupported: "This does not work here.",
  Internal: "The engine stopped. Open the database again: what is acknowledged is kept.",
};

let again: (() => void) | undefined;

/** Shows an error; `retry` is what "Open again" does, where that helps. */
export function showProblem(error: unknown, retry?: () => void): void {
  const known = error instanceof LakeshoreError;
  box("problem-code").textContent = known ? error.code : error instanceof Error ? error.name : "Error";
  box("problem-remedy").textContent = known ? remedies[error.code] : "The page could not go on.";
  box("problem-message").textContent = error instanceof Error ? error.message : String(error);
  again = retry;
  button("problem-retry").hidden = retry === undefined;
  box("problem").hidden = false;
}

export function hideProblem(): void {
  box("problem").hidden = true;
}

button("problem-dismiss").addEventListener("click", hideProblem);
button("problem-retry").addEventListener("click", () => {
  hideProblem();
  again?.();
});

/** Whether a call ended because it was told to. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
