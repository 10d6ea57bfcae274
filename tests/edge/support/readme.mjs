// README.md's code blocks, and what they need to run: a bucket in place of "my-bucket".

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../../../scripts/lib.mjs";

/** All fenced blocks by name: the heading they stand under and their language, "In S3: json", then "In S3: json 2". */
export function readBlocks(text = readFileSync(join(root, "README.md"), "utf8")) {
  const blocks = new Map();
  let heading = "";
  let block;
  for (const line of text.split("\n")) {
    const fence = line.match(/^\s*(```+|~~~+)(.*)$/);
    if (block === undefined) {
      heading = line.match(/^#+ (.*)$/)?.[1] ?? heading;
      if (fence) block = { language: fence[2].trim(), lines: [] };
    } else if (fence) {
      blocks.set(freeName(blocks, `${heading}: ${block.language}`), `${block.lines.join("\n")}\n`);
      block = undefined;
    } else {
      block.lines.push(line);
    }
  }
  assert.equal(block, undefined, "a block has no end");
  return blocks;
}

function freeName(blocks, name) {
  for (let n = 2, free = name; ; n++) {
    if (!blocks.has(free)) return free;
    free = `${name} ${n}`;
  }
}

/** Code with the bucket that README's stands for: the one thing that is not run as it is written. */
export function inBucket(code, { bucket, prefix, region, endpoint }) {
  const written = 'bucket: "my-bucket", prefix: "my-db", region: "eu-central-1"';
  assert.equal(code.split(written).length, 2, `code names its bucket once, as { ${written} }`);
  const fields = Object.entries({ bucket, prefix, region, endpoint });
  return code.replace(written, () => fields.map(([n, v]) => `${n}: ${JSON.stringify(v)}`).join(", "));
}

/** The commands of a shell block, without comments. */
export function commands(block) {
  const lines = block.split("\n").map((line) => line.replace(/\s+#.*$/, "").trim());
  return lines.flatMap((line) => line.split(" && ")).filter((line) => line !== "");
}

/** CORS rules as JSON, as AWS's console takes them, in the XML that the API takes. */
export function corsXml(rules) {
  const elements = {
    AllowedOrigins: "AllowedOrigin",
    AllowedMethods: "AllowedMethod",
    AllowedHeaders: "AllowedHeader",
    ExposeHeaders: "ExposeHeader",
    MaxAgeSeconds: "MaxAgeSeconds",
  };
  const rule = (rule) =>
    Object.entries(rule).flatMap(([name, values]) => {
      assert.ok(elements[name], `CORS has no ${name}`);
      return [values].flat().map((value) => `<${elements[name]}>${value}</${elements[name]}>`);
    });
  const all = rules.map((given) => `<CORSRule>${rule(given).join("")}</CORSRule>`);
  return `<CORSConfiguration>${all.join("")}</CORSConfiguration>`;
}
