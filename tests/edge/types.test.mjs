// The types of the package from its tarball, for a consumer who compiles with `skipLibCheck: false`: what a bundler and
// what Node resolves, with the types of a page alone and with Node's alone.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { files, root } from "../../scripts/lib.mjs";
import { project, tool } from "./support/project.mjs";

const execute = promisify(execFile);
const consumer = readFileSync(join(root, "tests", "edge", "support", "consumer.ts"), "utf8");
const resolutions = {
  bundler: { module: "esnext", moduleResolution: "bundler" },
  node16: { module: "node16", moduleResolution: "node16" },
};
const surroundings = {
  dom: { lib: ["es2022", "dom", "dom.asynciterable"], types: [] },
  node: { lib: ["es2022"], types: ["node"], typeRoots: [join(root, "node_modules", "@types")] },
};
const strict = {
  ...{ noEmit: true, strict: true, skipLibCheck: false, target: "es2022" },
  ...{ exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
};

for (const [resolution, how] of Object.entries(resolutions)) {
  for (const [surrounding, has] of Object.entries(surroundings)) {
    test(`types, as resolved by ${resolution}, with ${surrounding} alone`, async () => {
      const config = { compilerOptions: { ...strict, ...how, ...has }, files: ["consumer.ts"] };
      const dir = await project({ "consumer.ts": consumer, "tsconfig.json": JSON.stringify(config) });
      await execute(tool("tsc"), ["-p", dir], { cwd: dir }).catch((error) => assert.fail(error.stdout));
    });
  }
}

test("the package's source maps are there, with their sources", async () => {
  const dir = join(await project(), "node_modules", "lakeshore", "js", "dist");
  const scripts = files(dir).filter((path) => path.endsWith(".js"));
  assert.ok(scripts.length > 20);
  for (const path of scripts) {
    assert.match(readFileSync(path, "utf8"), /\n\/\/# sourceMappingURL=\S+\.js\.map\s*$/, path);
    const { sources, sourcesContent } = JSON.parse(readFileSync(`${path}.map`, "utf8"));
    assert.equal(sourcesContent.length, sources.length, path);
    assert.ok(sourcesContent[0].length > 0, path);
  }
});
