// The demo page's flights, as files a page can stream: Arrow IPC, each one commit, and a manifest that says how many.
// Made from npm's vega-datasets (examples/flights.mjs) into the cache, once.

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cache, digest } from "./lib.mjs";

const defaults = { rows: 1_000_000, batchRows: 20_000 };
const sources = ["scripts/www-flights.mjs", "examples/flights.mjs", "package-lock.json"];

/** Where the page's flights are by default: what is in this folder is served at the page's root. */
export const flightsFolder = join(cache, "www");

/**
 * Fills `folder` unless it has the same already: `flights/manifest.json`, and `flights/0000.arrow`, …, each with
 * `batchRows` rows, numbered from 0.
 */
export async function prepareFlights(folder = flightsFolder, options = {}) {
  const { rows, batchRows } = { ...defaults, ...options };
  const out = join(folder, "flights");
  const stamp = join(out, ".inputs");
  const wanted = digest(sources, String(rows), String(batchRows));
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return "present";
  // Not before `npm ci`.
  const { flights } = await import("../examples/flights.mjs");
  const fresh = join(folder, `making-${process.pid}`);
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  const origins = new Set();
  const days = [];
  let batches = 0;
  let bytes = 0;
  for await (const ipc of packed(flights({ to: rows }), batchRows, origins, days)) {
    writeFileSync(join(fresh, `${String(batches).padStart(4, "0")}.arrow`), ipc);
    batches += 1;
    bytes += ipc.byteLength;
  }
  const [first, last] = days;
  const manifest = { rows, batchRows, batches, bytes, first, last, origins: places(origins) };
  writeFileSync(join(fresh, "manifest.json"), JSON.stringify(manifest));
  writeFileSync(join(fresh, ".inputs"), wanted);
  rmSync(out, { recursive: true, force: true });
  renameSync(fresh, out);
  return `${rows.toLocaleString("en")} rows, ${Math.round(bytes / 1e6)} MB`;
}

/**
 * Arrow IPC streams of `batchRows` rows each (the last may have fewer). They travel small: times in whole seconds,
 * 16-bit minutes and miles, dictionaries of airports; the database makes of them what its table's columns are. Notes the
 * airports, and the first and the last day.
 */
async function* packed(tables, batchRows, origins, days) {
  const arrow = await import("apache-arrow");
  const airports = () => ({ codes: new Int16Array(batchRows), names: new Map() });
  const start = () => ({
    rows: 0,
    id: new BigInt64Array(batchRows),
    date: new BigInt64Array(batchRows),
    delay: new Int16Array(batchRows),
    distance: new Int16Array(batchRows),
    origin: airports(),
    destination: airports(),
  });
  const vector = (type, data, length) =>
    arrow.makeVector(arrow.makeData({ type, length, data: data.subarray(0, length) }));
  const dictionary = ({ codes, names }, length) => {
    const type = new arrow.Dictionary(new arrow.Utf8(), new arrow.Int16());
    const values = arrow.vectorFromArray([...names.keys()], new arrow.Utf8());
    return arrow.makeVector(
      arrow.makeData({ type, length, data: codes.subarray(0, length), dictionary: values }),
    );
  };
  const finish = (batch) =>
    arrow.tableToIPC(
      new arrow.Table({
        id: vector(new arrow.Int64(), batch.id, batch.rows),
        date: vector(new arrow.TimestampSecond(), batch.date, batch.rows),
        delay: vector(new arrow.Int16(), batch.delay, batch.rows),
        distance: vector(new arrow.Int16(), batch.distance, batch.rows),
        origin: dictionary(batch.origin, batch.rows),
        destination: dictionary(batch.destination, batch.rows),
      }),
      "stream",
    );
  const note = ({ date, rows }) => {
    const day = (seconds) => new Date(Number(seconds) * 1000).toISOString().slice(0, 10);
    days[0] ??= day(date[0]);
    days[1] = day(date[rows - 1]);
  };
  let batch = start();
  for (const table of tables) {
    const values = (name) => table.getChild(name).data[0].values;
    const [ids, dates, delays, distances] = ["id", "date", "delay", "distance"].map(values);
    const [from, to] = ["origin", "destination"].map((name) => table.getChild(name));
    for (let i = 0; i < table.numRows; i++) {
      const n = batch.rows++;
      batch.id[n] = ids[i];
      batch.date[n] = dates[i] / 1_000_000n;
      batch.delay[n] = small(delays[i]);
      batch.distance[n] = small(distances[i]);
      const origin = from.get(i);
      origins.add(origin);
      batch.origin.codes[n] = code(batch.origin.names, origin);
      batch.destination.codes[n] = code(batch.destination.names, to.get(i));
      if (batch.rows < batchRows) continue;
      note(batch);
      yield finish(batch);
      batch = start();
    }
  }
  if (batch.rows === 0) return;
  note(batch);
  yield finish(batch);
}

function small(value) {
  const number = Number(value);
  if (number < -32768 || number > 32767) throw new Error(`${value} does not fit into 16 bits`);
  return number;
}

function code(names, name) {
  let found = names.get(name);
  if (found === undefined) names.set(name, (found = names.size));
  return found;
}

/** Airports by code, with their cities where vega-datasets knows them. */
function places(codes) {
  const file = fileURLToPath(new URL("../data/airports.csv", import.meta.resolve("vega-datasets")));
  const cities = new Map();
  for (const line of readFileSync(file, "utf8").split("\n")) {
    // No field before the city has a comma in it; lines where one has are left out.
    const [iata, , city, state] = line.includes('"') ? [] : line.split(",");
    if (codes.has(iata)) cities.set(iata, `${city}, ${state}`);
  }
  return [...codes].sort().map((iata) => ({ code: iata, city: cities.get(iata) ?? "" }));
}
