// How large the released wasm may be: scripts/budget.json, in bytes. A release build must be within 1 % of it: more is
// a failure, less asks for a lower number, so that what was won stays won. README's figures are made from it.
//   node scripts/budget.mjs           says how what is built compares
//   node scripts/budget.mjs --write   takes the sizes of what is built as the budget, and writes them into README

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { builtSizes } from "./build.mjs";
import { root } from "./lib.mjs";

const tolerance = 0.01;
const path = join(root, "scripts", "budget.json");
const readme = join(root, "README.md");
const inReadme = /[\d,]+ KB brotli \([\d,]+ KB gzip, [\d.]+ MB raw\)/g;

export const readBudget = () => JSON.parse(readFileSync(path, "utf8"));

/** What is above the budget, and what is so far below it that it should be lowered: a line for each. */
export function compare(budget, sizes) {
  const lines = (wrong, remedy) =>
    Object.keys(budget)
      .filter((kind) => wrong(sizes[kind] / budget[kind]))
      .map((kind) => `the wasm has ${sizes[kind]} bytes ${kind}, its budget is ${budget[kind]}: ${remedy}`);
  const raise = "make it smaller, or raise the budget and say why (node scripts/budget.mjs --write)";
  return {
    above: lines((ratio) => !(ratio <= 1 + tolerance), raise),
    below: lines((ratio) => ratio < 1 - tolerance, "lower the budget (node scripts/budget.mjs --write)"),
  };
}

/** Holds what is built to the budget; gives a line that says how it compares. */
export function holdBudget(sizes = builtSizes(), budget = readBudget()) {
  if (sizes === undefined) throw new Error("js/wasm has no release build: run `npm run build`");
  const { above, below } = compare(budget, sizes);
  if (above.length > 0) throw new Error(above.join("\n"));
  for (const line of below) console.log(line);
  const percent = (kind) => `${((sizes[kind] / budget[kind]) * 100).toFixed(1)} % of ${kind}`;
  return Object.keys(budget).map(percent).join(", ");
}

/** The sizes as README tells them. */
export function figure({ brotli, gzip, raw }) {
  const kb = (bytes) => Math.round(bytes / 1000).toLocaleString("en");
  return `${kb(brotli)} KB brotli (${kb(gzip)} KB gzip, ${(raw / 1e6).toFixed(1)} MB raw)`;
}

/** All that README says about sizes. */
export function figuresIn(text = readFileSync(readme, "utf8")) {
  return text.match(inReadme) ?? [];
}

function write(sizes) {
  writeFileSync(path, `${JSON.stringify(sizes, null, 2)}\n`);
  const text = readFileSync(readme, "utf8");
  writeFileSync(readme, text.replaceAll(inReadme, figure(sizes)));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (process.argv.includes("--write")) write(builtSizes());
  console.log(holdBudget());
}
