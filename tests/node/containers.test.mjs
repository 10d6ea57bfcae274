// One WAL, two containers on one volume (DESIGN promise 13): processes that do not see each other's pids, or that are on
// another machine altogether. Nothing acknowledged is lost, and who lost the WAL is told.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { directory, open } from "lakeshore";
import { openAt, using } from "./support/actions.mjs";
import { temporary } from "./support/process.mjs";

const runner = fileURLToPath(new URL("support/run.mjs", import.meta.url));
const container = ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child"];
const permitted = spawnSync(container[0], [...container.slice(1), "true"]).status === 0;
const options = { skip: permitted ? false : "unshare is not permitted here" };

/** A process that does to the database in `path` what it is told, a line at a time. */
function user(t, path, command) {
  const [file, ...args] = [...command, process.execPath, runner, "obey", JSON.stringify({ path })];
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const heard = [];
  let wake = () => undefined;
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    heard.push(...lines);
    wake();
  });
  return {
    child,
    async told() {
      while (heard.length === 0) await new Promise((resolve) => (wake = resolve));
      return heard.shift();
    },
    ask(line) {
      child.stdin.write(`${line}\n`);
      return this.told();
    },
    /** The process itself, as seen from out here. */
    get pid() {
      const { pid } = child;
      if (command.length === 0) return pid;
      const inside = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ")[0];
      return Number(inside);
    },
  };
}

async function rows(path) {
  return using(await openAt(path), async (db) => {
    const found = [];
    for await (const row of (await db.table("rows")).scan().rows()) found.push(Number(row.id));
    return found;
  });
}

test("of two containers on one volume the second is told that the first has the WAL", options, async (t) => {
  const path = temporary(t);
  const first = user(t, path, container);
  assert.equal(await first.ask("open"), "opened");
  for (let n = 0; n < 100; n++) assert.equal(await first.ask(`put ${n}`), `put ${n}`);
  const second = user(t, path, container);
  const refused = await second.ask("open");
  assert.match(refused, /^Busy .*in another container/);
  // Nor from outside of both.
  await assert.rejects(openAt(path), { code: "Busy" });
  // Stopped, it is not dead.
  process.kill(first.pid, "SIGSTOP");
  await sleep(11_000);
  assert.match(await second.ask("open"), /^Busy/);
  process.kill(first.pid, "SIGCONT");
  assert.equal(await first.ask("put 100"), "put 100");
  // Killed, it is, and at once.
  process.kill(first.pid, "SIGKILL");
  const since = performance.now();
  let opened = await second.ask("open");
  while (opened.startsWith("Busy") && performance.now() - since < 2_000) opened = await second.ask("open");
  assert.equal(opened, "opened");
  assert.equal(await second.ask("put 101"), "put 101");
  assert.equal(await second.ask("flush"), "flushed");
  assert.equal(await second.ask("close"), "closed");
  assert.deepEqual(
    await rows(path),
    Array.from({ length: 102 }, (_, n) => n),
  );
});

test(
  "a holder on another machine that slept is told who took the WAL, and acknowledges nothing more",
  options,
  async (t) => {
    const path = temporary(t);
    const boot = join(path, "boot_id");
    writeFileSync(boot, "00000000-0000-4000-8000-000000000000\n");
    // Another kernel, as far as a process can tell; and its sockets are not to be reached from here.
    const machine = ["unshare", "--mount", "--fork", "--kill-child", "sh", "-c"];
    machine.push(`mount --bind ${boot} /proc/sys/kernel/random/boot_id && exec "$0" "$@"`);
    const bound = spawnSync(machine[0], [...machine.slice(1), "true"]);
    if (bound.status !== 0) return t.skip("mount is not permitted here");
    const first = user(t, path, machine);
    assert.equal(await first.ask("open"), "opened");
    for (let n = 0; n < 10; n++) assert.equal(await first.ask(`put ${n}`), `put ${n}`);
    const sockets = readdirSync(join(path, "wal")).filter((name) => name.endsWith(".socket.lock"));
    assert.equal(sockets.length, 1);
    rmSync(join(path, "wal", sockets[0]));
    // It beats: it lives.
    await assert.rejects(openAt(path), { code: "Busy", message: /on another machine/ });
    process.kill(first.pid, "SIGSTOP");
    const second = user(t, path, []);
    assert.equal(await second.ask("open"), "opened");
    assert.equal(await second.ask("put 10"), "put 10");
    assert.equal(await second.ask("flush"), "flushed");
    assert.equal(await second.ask("put 11"), "put 11");
    process.kill(first.pid, "SIGCONT");
    const lost = await first.ask("put 1000");
    assert.match(lost, /^Closed .*process \d+ \(node\) on another machine took it over/);
    assert.match(await first.ask("put 1001"), /^Closed .*took it over/);
    assert.match(await first.ask("flush"), /^Closed .*took it over/);
    assert.equal(await second.ask("put 12"), "put 12");
    assert.equal(await second.ask("close"), "closed");
    assert.deepEqual(
      await rows(path),
      Array.from({ length: 13 }, (_, n) => n),
    );
  },
);

for (const [what, remove] of [
  ["its lock file", (wal) => rmSync(join(wal, "wal.lock"))],
  [
    "the segment",
    (wal) => readdirSync(wal).forEach((name) => name.endsWith(".wal") && rmSync(join(wal, name))),
  ],
  ["its directory", (wal) => rmSync(wal, { recursive: true })],
  ["the name of its directory", (wal) => renameSync(wal, `${wal}-moved`)],
]) {
  test(`a WAL that lost ${what} acknowledges nothing more, and says why`, async (t) => {
    const path = temporary(t);
    const db = await openAt(path);
    const table = await db.table("rows", { schema: { id: "int64" }, primaryKey: ["id"] });
    await table.ingest([{ id: 1 }]);
    remove(join(path, "wal"));
    await assert.rejects(table.ingest([{ id: 2 }]), { code: "Closed", message: /removed|not held/ });
    await assert.rejects(table.ingest([{ id: 3 }]), { code: "Closed", message: /removed|not held/ });
    await assert.rejects(table.get({ id: 1 }), { code: "Closed" });
    await assert.rejects(db.flush(), { code: "Closed" });
    await db.close().catch((error) => assert.equal(error.code, "Closed"));
    // Who comes next finds no trace of what was refused.
    const again = await openAt(path);
    await using(again, async () => assert.equal(await (await again.table("rows")).get({ id: 2 }), undefined));
  });
}

test("open right after close waits for it, and right after an open that is closed at once", async (t) => {
  const path = temporary(t);
  const stores = [
    { data: directory(join(path, "data")), wal: () => directory(join(path, "wal")) },
    ...(await import("lakeshore").then(({ memory }) => {
      const [data, wal] = [memory(), memory()];
      return [{ data, wal: () => wal }];
    })),
  ];
  for (const { data, wal } of stores) {
    let db = await open({ data, wal: wal() });
    await db.table("rows", { schema: { id: "int64" }, primaryKey: ["id"] });
    for (let n = 0; n < 5; n++) {
      const written = (await db.table("rows")).ingest([{ id: n }]);
      void db.close();
      db = await open({ data, wal: wal() });
      await written;
    }
    assert.equal(await (await db.table("rows")).scan().count(), 5);
    void db.close();
    // As a component that is mounted, unmounted and mounted again.
    const first = open({ data, wal: wal() });
    void first.then((opened) => opened.close());
    const second = await open({ data, wal: wal() });
    assert.equal(await (await second.table("rows")).scan().count(), 5);
    await assert.rejects(open({ data, wal: wal() }), { code: "Busy" });
    await second.close();
  }
});

test("a table that another handle made is found by its name", async (t) => {
  const path = temporary(t);
  const data = () => directory(join(path, "data"));
  const [one, other] = [await open({ data: data() }), await open({ data: data() })];
  await one.table("rows", { schema: { id: "int64" }, primaryKey: ["id"] });
  assert.equal((await other.table("rows")).name, "rows");
  await assert.rejects(other.table("none"), { code: "Invalid", message: /there are rows/ });
  await Promise.all([one.close(), other.close()]);
});
