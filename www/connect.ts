// The form that connects to a bucket. Where `npm start` runs an S3 server it offers it, with keys of a session.

import type { S3Credentials } from "lakeshore";
import { type Bucket, inBrowser, inBucket, type Place } from "./database.js";
import { box, button, form, input, select } from "./elements.js";

/** What the development server says of the S3 server that it started (scripts/start.mjs). */
interface LocalServer {
  endpoint: string;
  region: string;
  bucket: string;
  credentials: S3Credentials;
}

/** Calls `enter` with a place that was chosen; it says whether that could be opened. */
export function offerPlaces(
  enter: (place: Place) => Promise<boolean>,
  onError: (error: unknown) => void,
): void {
  const connect = async () => {
    try {
      if (!(await enter(await inBucket(readForm())))) return;
      for (const id of ["s3-secret", "s3-token"]) input(id).value = "";
    } catch (error) {
      onError(error);
    }
  };
  form("connect-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void connect();
  });
  button("connect-opfs").addEventListener("click", () => void enter(inBrowser));
  if (import.meta.env.DEV) void offerLocal(() => form("connect-form").requestSubmit());
}

/** Says where the database is now. */
export function showPlace(place: Place | undefined): void {
  box("connect-status").textContent =
    place === undefined ? "No database is open." : `Open now: ${place.title}.`;
  button("connect-opfs").hidden = place?.kind !== "s3";
}

function readForm(): Bucket {
  const text = (id: string) => input(id).value.trim();
  const sessionToken = text("s3-token");
  return {
    endpoint: text("s3-endpoint").replace(/\/+$/, ""),
    region: text("s3-region") || "us-east-1",
    bucket: text("s3-bucket"),
    prefix: text("s3-prefix"),
    pathStyle: input("s3-path-style").checked,
    credentials: {
      accessKeyId: text("s3-key"),
      secretAccessKey: text("s3-secret"),
      ...(sessionToken && { sessionToken }),
    },
    wal: select("s3-wal").value === "opfs",
  };
}

/** Asks the development server for its S3 server: the answer comes when that has started. */
async function offerLocal(connect: () => void): Promise<void> {
  const answer = await fetch("./local-s3").catch(() => undefined);
  if (answer?.status !== 200) return;
  const { endpoint, region, bucket, credentials } = (await answer.json()) as LocalServer;
  const local = button("connect-local");
  local.hidden = false;
  local.addEventListener("click", () => {
    const values = {
      "s3-endpoint": endpoint,
      "s3-region": region,
      "s3-bucket": bucket,
      "s3-key": credentials.accessKeyId,
      "s3-secret": credentials.secretAccessKey,
      "s3-token": credentials.sessionToken ?? "",
    };
    for (const [id, value] of Object.entries(values)) input(id).value = value;
    input("s3-path-style").checked = true;
    connect();
  });
}
