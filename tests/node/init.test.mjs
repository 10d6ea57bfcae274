// `init()`: what it takes, and when. Each case in a process of its own, for it is called once in one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inNewProcess } from "./support/process.mjs";

const rights = ["the module", "a promise of it", "the module once more"];
const wrongs = ["nothing", "null", "text", "bytes", "an object", "a revoked proxy"];
const late = ["a promise of bytes", "a promise that fails", "another module", "a proxy of a promise"];

for (const what of [...rights, ...wrongs, ...late])
  test(`init() with ${what} is told what is wrong, and goes on with what is right`, async () => {
    const { first, opened, after } = await inNewProcess("initWith", { what });
    if (rights.includes(what)) assert.deepEqual([first, opened], ["done", "done"]);
    if (wrongs.includes(what)) assert.deepEqual([first, opened], ["Invalid", "done"]);
    if (late.includes(what)) assert.deepEqual([first, opened], ["done", "Invalid"]);
    // Given rightly after that it opens.
    assert.equal(after, "done");
  });

test("init() after open() is refused, if it gives another module", async () => {
  const { same, other, opened } = await inNewProcess("initLate", {});
  assert.deepEqual([same, other, opened], ["done", "Invalid", "done"]);
});
