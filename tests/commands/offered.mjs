// Every command that README.md, CONTRIBUTING.md and package.json offer.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../../scripts/lib.mjs";

const program = /^(?:[A-Z0-9_]+=\S+ )*(?:npm|npx|node|cargo|deno|wasm-pack) /;
const text = (name) => readFileSync(join(root, name), "utf8");

/** Commands in a text: lines of its shell blocks, and what stands between backticks. */
export function commandsIn(markdown) {
  const blocks = [...markdown.matchAll(/^```sh\n(.*?)^```/gms)].flatMap(([, block]) => block.split("\n"));
  const inline = [...markdown.replace(/^```.*?^```/gms, "").matchAll(/`([^`\n]+)`/g)].map(([, code]) => code);
  return [...blocks, ...inline]
    .flatMap((line) => line.replace(/\s+#.*$/, "").split(" && "))
    .map((command) => command.trim())
    .filter((command) => program.test(`${command} `));
}

/** Scripts of package.json, as one runs them. */
export function scripts(description = JSON.parse(text("package.json"))) {
  return Object.keys(description.scripts).map((name) => (name === "test" ? "npm test" : `npm run ${name}`));
}

export function offered() {
  const short = (command) => (command === "npm start" ? "npm run start" : command);
  const all = [...scripts(), ...["README.md", "CONTRIBUTING.md"].flatMap((name) => commandsIn(text(name)))];
  return [...new Set(all.map(short))].sort();
}
