// The budget of bytes: what holds a build to it can fail, README tells its figures, and the module has no path of the
// machine that built it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { builtSizes } from "../../scripts/build.mjs";
import { compare, figure, figuresIn, holdBudget, readBudget } from "../../scripts/budget.mjs";
import { root } from "../../scripts/lib.mjs";

const budget = readBudget();
const scaled = (factor) =>
  Object.fromEntries(Object.entries(budget).map(([kind, bytes]) => [kind, Math.round(bytes * factor)]));

test("a wasm of more than one percent above its budget fails, and one far below asks for a lower number", () => {
  assert.throws(() => holdBudget(scaled(1.011)), /its budget is .* make it smaller/);
  assert.throws(() => holdBudget({ ...budget, brotli: NaN }), /budget/);
  for (const factor of [0.991, 1, 1.009])
    assert.deepEqual(compare(budget, scaled(factor)), { above: [], below: [] });
  const { above, below } = compare(budget, scaled(0.98));
  assert.deepEqual([above.length, below.length], [0, Object.keys(budget).length]);
  assert.match(below[0], /lower the budget/);
});

test("README tells the sizes of the budget", () => {
  assert.deepEqual(figuresIn(), [figure(budget)]);
});

test("the module names no path of the machine that built it", (t) => {
  if (builtSizes() === undefined) return t.skip("only a release build is without paths");
  const module = readFileSync(join(root, "js", "wasm", "lakeshore_bg.wasm"), "latin1");
  assert.ok(module.includes("src/"), "messages name their places");
  for (const path of [homedir(), root, "/.cargo/", "/.rustup/"]) {
    const at = module.indexOf(path);
    assert.equal(at, -1, module.slice(Math.max(0, at - 20), at + 100));
  }
});
