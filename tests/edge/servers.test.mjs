// The S3 server and the fault proxy that other tests rely on do what they say.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startS3 } from "../../scripts/s3-server.mjs";
import { remoteProxy, startControl } from "../support/proxy.mjs";
import { lasting } from "./support/project.mjs";
import { place, s3Request, server } from "./support/s3.mjs";

const t = lasting();
let store;
let control;
before(async () => {
  store = await server(t);
  control = await startControl({ target: store.endpoint, server: store });
  t.after(() => control.stop());
});
after(() => t.end());

const absent = { "if-none-match": "*" };

/** Requests below a fresh prefix: their status, or the error's code. */
function requests(account = store) {
  const { prefix, bucket } = place(account);
  return async (method, name, options) => {
    try {
      return (await s3Request(account, method, `/${bucket}/${prefix}/${name}`, options)).status;
    } catch (error) {
      return error.cause?.code ?? error.message;
    }
  };
}

test("the server checks signatures", async () => {
  assert.equal(await requests()("PUT", "a b+c", { body: "1" }), 200);
  assert.equal(await requests({ ...store, secretAccessKey: "wrong" })("PUT", "a", { body: "1" }), 403);
  const token = await requests({ ...store, sessionToken: "d3Jvbmc=" })("PUT", "a", { body: "1" });
  assert.ok([400, 403].includes(token), `${token}`);
});

test("of many that put the same name if it is absent, one wins", async () => {
  const request = requests();
  const put = (_, n) => request("PUT", "log", { body: `writer ${n}`, headers: absent });
  const outcomes = await Promise.all(Array.from({ length: 20 }, put));
  assert.equal(outcomes.filter((status) => status === 200).length, 1);
  assert.ok(
    outcomes.every((status) => [200, 409, 412].includes(status)),
    `${outcomes}`,
  );
});

test("a user who may not list is told 403 for what is missing", async (t) => {
  if (store.restricted === undefined) return t.skip("the store has no such user");
  const request = requests({ ...store, ...store.restricted });
  assert.equal(await request("PUT", "there", { body: "1" }), 200);
  assert.equal(await request("GET", "there"), 200);
  assert.equal(await request("GET", "missing"), 403);
});

test("the proxy passes signed requests on, makes the faults it is told to, and counts", async () => {
  const proxy = await remoteProxy(control.url);
  const request = requests({ ...store, endpoint: proxy.endpoint });
  await proxy.fault({ kind: "putIfAbsent", path: "/log/", nth: 2, action: { lost: true } });
  await proxy.fault({ method: "GET", path: "/log/2", times: 2, action: { status: 503 } });
  const body = "1";
  assert.equal(await request("PUT", "log/1", { body, headers: absent }), 200);
  assert.equal(await request("PUT", "log/2", { body, headers: absent }), "ECONNRESET");
  assert.equal(await request("PUT", "log/2", { body, headers: absent }), 412);
  const gets = ["log/2", "log/2", "log/2"];
  for (const [n, name] of gets.entries()) assert.equal(await request("GET", name), n < 2 ? 503 : 200);
  await proxy.down();
  assert.equal(await request("GET", "log/1"), "ECONNREFUSED");
  await proxy.up();
  assert.equal(await request("GET", "log/1"), 200);
  const { get, putIfAbsent, total } = await proxy.counts();
  assert.deepEqual({ get, putIfAbsent, total }, { get: 4, putIfAbsent: 3, total: 7 });
  await proxy.stop();
});

test("the server comes back with its objects", async (t) => {
  const own = await startS3({ own: true });
  t.after(() => own.stop());
  const request = requests(own);
  assert.equal(await request("PUT", "kept", { body: "1" }), 200);
  await own.down();
  assert.equal(await request("GET", "kept"), "ECONNREFUSED");
  await own.up();
  assert.equal(await request("GET", "kept"), 200);
});
