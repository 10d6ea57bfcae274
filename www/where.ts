// The panel that says where data and WAL are, what is pending, and what was spent: all of it from `db.stats()`.

import type { Requests, Stats } from "lakeshore";
import { box, element, make } from "./elements.js";
import { bytes, count, some } from "./format.js";

const kinds: [keyof Requests, string][] = [
  ["get", "GET"],
  ["put", "PUT"],
  ["putIfAbsent", "PUT if absent"],
  ["list", "LIST"],
  ["delete", "DELETE"],
  ["append", "append"],
  ["sync", "sync"],
  ["retries", "repeated"],
];
const sizes: [keyof Requests, string][] = [
  ["bytesRead", "read"],
  ["bytesWritten", "written"],
];

/** Shows it. */
export function showWhere(stats: Stats): void {
  box("where").replaceChildren(
    ...facts(stats).flatMap(([name, ...values]) => [
      make("dt", name),
      ...values.map((value) => make("dd", value)),
    ]),
  );
  const line = (name: string, key: keyof Requests, format: (value: number) => string) =>
    make("tr", [
      make("th", name, { scope: "row" }),
      make("td", format(stats.data[key]), { class: "number" }),
      make("td", stats.wal ? format(stats.wal[key]) : "–", { class: "number" }),
    ]);
  const requests = element("requests", HTMLTableElement);
  requests.hidden = false;
  requests.tBodies[0]!.replaceChildren(
    ...kinds.map(([key, name]) => line(name, key, count)),
    ...sizes.map(([key, name]) => line(name, key, bytes)),
  );
}

function facts(stats: Stats): string[][] {
  const { tables } = stats;
  const sum = (key: "files" | "fileRows" | "fileBytes" | "memtableRows") =>
    tables.reduce((total, table) => total + table[key], 0);
  const local = stats.durability === "local";
  return [
    ["Data", stats.dataPlace],
    ["WAL", stats.walPlace ?? "none"],
    [
      "Durability",
      local ? "local: acknowledged once on this device" : "remote: acknowledged once in the bucket",
    ],
    [
      "Pending",
      stats.backlogRows > 0
        ? `${some(stats.backlogRows, "row")}, ${bytes(stats.backlogBytes)}: not in data yet`
        : "nothing: all is in data",
    ],
    ["Parquet", `${some(sum("files"), "file")}, ${some(sum("fileRows"), "row")}, ${bytes(sum("fileBytes"))}`],
    ["In memory", `${some(sum("memtableRows"), "row")}, ${bytes(stats.memtableBytes)}`],
    ["WAL size", bytes(stats.walBytes)],
    ["Log", `${some(stats.head, "record")}, ${some(stats.checkpoints, "checkpoint")} written`],
    ["Commits", `${count(stats.commits)} since it was opened`],
    ["WebAssembly", bytes(stats.wasmMemoryBytes)],
    ...(stats.maintenanceError ? [["In the background", stats.maintenanceError]] : []),
  ];
}

/** What was spent on the data between two looks. */
export function spent(before: Stats, after: Stats): { requests: number; bytesRead: number } {
  const requests = ({ data }: Stats) => data.get + data.list + data.put + data.putIfAbsent + data.delete;
  return {
    requests: requests(after) - requests(before),
    bytesRead: after.data.bytesRead - before.data.bytesRead,
  };
}
