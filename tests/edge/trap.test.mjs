// A trap in workerd: every call in flight, of whatever request, is rejected with `Internal` within a second, and the
// next open has a fresh instance and every acknowledged row.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { root } from "../../scripts/lib.mjs";
import { startProxy } from "../support/proxy.mjs";
import { limited } from "./support/limited.mjs";
import { lasting } from "./support/project.mjs";
import { place, server } from "./support/s3.mjs";
import { worker } from "./support/workerd.mjs";

const t = lasting();
let store;
let made;
before(async () => {
  store = await server(t);
  const module = readFileSync(join(root, "js", "wasm", "lakeshore_bg.wasm"));
  made = await worker("trap.mjs", { "small.wasm": limited(module, 24) });
});
after(() => t.end());

for (const way of ["panic", "out of memory"]) {
  test(`a trap by ${way} rejects every call in flight, and the next open has every acknowledged row`, async (t) => {
    const proxy = await startProxy({ target: store.endpoint });
    t.after(() => proxy.stop());
    const instance = made.start();
    t.after(() => instance.stop());
    const where = place(store);
    for (let round = 0; round < 3; round++) {
      await instance.call("prepare", { place: where, round });
      const other = place(store, proxy);
      proxy.fault({ method: "PUT", path: "/log/", times: 0, action: { hang: true } });
      const waiting = instance.call("wait", { place: other });
      while (!proxy.log().some(({ fault }) => fault)) await new Promise((resolve) => setTimeout(resolve, 10));
      const begin = performance.now();
      const { outcomes, after, ms } = await instance.call("trap", { way });
      assert.deepEqual(new Set([...outcomes, ...after]), new Set(["Internal"]), `${outcomes} ${after}`);
      // The other request's call, rejected from within this one.
      assert.equal(await waiting.catch((error) => error.code), "Internal");
      assert.ok(ms < 1000 && performance.now() - begin < 2000, `${ms} ms`);
      proxy.clear();
      proxy.reset();
      const found = await instance.call("ids", { place: where });
      for (let n = 0; n <= round; n++) assert.ok(found.includes(n) && found.includes(100 + n), `${found}`);
    }
  });
}
