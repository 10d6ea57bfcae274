// A real S3 server for tests and the demo: Ceph's radosgw on one node, all of its objects in memory, everything else
// in a temporary directory, on loopback and free ports only. Several may run at once.
//   node scripts/s3-server.mjs             prints one line of JSON, the environment to use it, and stays until SIGTERM
//   node scripts/s3-server.mjs --control   also starts what makes fault proxies (tests/support/proxy.mjs)
// Where LAKESHORE_S3_ENDPOINT is set already, that store is used instead (with AWS_* and LAKESHORE_S3_BUCKET).
//
// Invariants: every daemon dies with this process, however it ends (each watches a pipe of ours); a failed start
// leaves its logs and says where they are.

import { execFile, spawn } from "node:child_process";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { s3Must, s3Request } from "./s3-request.mjs";

const region = "us-east-1";
const bucket = "lakeshore";
const noCorsBucket = "lakeshore-no-cors";
const startSeconds = 180;
const prefix = "lakeshore-s3-";
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Starts a server, or takes the one that the environment names, unless it is to be `own`: one that can be stopped. */
export async function startS3({ port, own = false } = {}) {
  if (process.env.LAKESHORE_S3_ENDPOINT && !own) return named();
  sweep();
  try {
    return await startOnce(port);
  } catch (error) {
    // Somebody may have taken a port between our looking and the daemon's listening.
    if (port !== undefined || error.cause?.code === "ENOENT") throw error;
    return startOnce();
  }
}

async function startOnce(port) {
  const dir = mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
  const node = new CephNode(dir, port ?? (await freePort()));
  try {
    await node.start();
    return describe(node);
  } catch (error) {
    node.kill();
    throw new Error(`radosgw did not start (logs are in ${dir}): ${error.message}`, { cause: error });
  }
}

/** The environment by which tests and tools find a started server. */
export function s3Environment(server) {
  const { restricted, session } = server;
  return {
    LAKESHORE_S3_ENDPOINT: server.endpoint,
    LAKESHORE_S3_BUCKET: server.bucket,
    AWS_ACCESS_KEY_ID: server.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.secretAccessKey,
    AWS_REGION: server.region,
    ...(server.sessionToken ? { AWS_SESSION_TOKEN: server.sessionToken } : {}),
    ...(server.noCorsBucket ? { LAKESHORE_S3_NO_CORS_BUCKET: server.noCorsBucket } : {}),
    ...(restricted
      ? {
          LAKESHORE_S3_RESTRICTED_ACCESS_KEY_ID: restricted.accessKeyId,
          LAKESHORE_S3_RESTRICTED_SECRET_ACCESS_KEY: restricted.secretAccessKey,
        }
      : {}),
    ...(session
      ? {
          LAKESHORE_S3_SESSION_ACCESS_KEY_ID: session.accessKeyId,
          LAKESHORE_S3_SESSION_SECRET_ACCESS_KEY: session.secretAccessKey,
          LAKESHORE_S3_SESSION_TOKEN: session.sessionToken,
        }
      : {}),
  };
}

/** The store the environment names: nothing is set up in it, and it is never stopped. */
function named() {
  const { env } = process;
  const nothing = async () => {};
  return {
    endpoint: env.LAKESHORE_S3_ENDPOINT,
    region: env.AWS_REGION ?? region,
    bucket: env.LAKESHORE_S3_BUCKET ?? bucket,
    accessKeyId: env.AWS_ACCESS_KEY_ID,
    secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
    sessionToken: env.AWS_SESSION_TOKEN,
    noCorsBucket: env.LAKESHORE_S3_NO_CORS_BUCKET,
    restricted: accountOf(env, "LAKESHORE_S3_RESTRICTED"),
    session: accountOf(env, "LAKESHORE_S3_SESSION"),
    external: true,
    stop: nothing,
  };
}

/** An account that the environment names, or undefined. */
function accountOf(env, prefix) {
  const accessKeyId = env[`${prefix}_ACCESS_KEY_ID`];
  if (accessKeyId === undefined) return undefined;
  const sessionToken = env[`${prefix}_TOKEN`];
  return {
    accessKeyId,
    secretAccessKey: env[`${prefix}_SECRET_ACCESS_KEY`],
    ...(sessionToken && { sessionToken }),
  };
}

function describe(node) {
  return {
    endpoint: node.endpoint,
    region,
    bucket,
    /** Without CORS. */
    noCorsBucket,
    ...node.user,
    /** May read and write objects of `bucket`, but not list it: a missing object is a 403. */
    restricted: node.restricted,
    /** Temporary credentials of the same user, with a session token, good for 12 hours. */
    session: node.session,
    external: false,
    /** Ends everything and removes it. */
    stop: () => node.stop(),
    /** The gateway is gone, and back on the same port with the same objects. */
    down: () => node.stopGateway(),
    up: () => node.startGateway(),
    restart: async () => {
      await node.stopGateway();
      await node.startGateway();
    },
  };
}

/** Removes what killed servers left. */
function sweep() {
  for (const name of readdirSync(tmpdir()).filter((name) => name.startsWith(prefix))) {
    const pid = Number(name.slice(prefix.length).split("-")[0]);
    if (alive(pid)) continue;
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const account = (name) => ({
  accessKeyId: `LS${name.toUpperCase().slice(0, 6)}${randomBytes(6).toString("hex").toUpperCase()}`,
  secretAccessKey: randomBytes(30).toString("base64url"),
});

/** One monitor, one OSD in memory, one gateway. */
class CephNode {
  daemons = new Map();
  user = account("main");
  restricted = account("nolist");

  constructor(dir, port) {
    this.dir = dir;
    this.port = port;
    this.endpoint = `http://127.0.0.1:${port}`;
    this.conf = join(dir, "ceph.conf");
    this.onExit = () => this.kill();
    process.on("exit", this.onExit);
  }

  async start() {
    await this.startCluster();
    await this.startUsers();
    await this.startGateway();
    await this.setUpBuckets();
    await this.startSession();
  }

  async startCluster() {
    const { dir } = this;
    for (const name of ["run", "log", "mon", "osd", "rgw"]) mkdirSync(join(dir, name));
    const fsid = randomUUID();
    const mon = `127.0.0.1:${await freePort()}`;
    writeFileSync(this.conf, configuration(dir, fsid, mon, this.port));
    writeFileSync(join(dir, "keyring"), keyring(), { mode: 0o600 });
    await this.run("monmaptool", [
      "--create",
      "--fsid",
      fsid,
      "--addv",
      "a",
      `[v2:${mon}]`,
      join(dir, "monmap"),
    ]);
    await this.run("ceph-mon", [
      "-i",
      "a",
      "--mkfs",
      "--monmap",
      join(dir, "monmap"),
      "--keyring",
      join(dir, "keyring"),
    ]);
    this.launch("mon", "ceph-mon", ["-i", "a", "-f"]);
    const osd = randomUUID();
    await this.untilTrue("the monitor", ["mon"], () =>
      this.run("ceph", ["--connect-timeout", "5", "osd", "new", osd, "0"]),
    );
    await this.run("ceph-osd", ["-i", "0", "--mkfs", "--osd-uuid", osd]);
    this.launch("osd", "ceph-osd", ["-i", "0", "-f"]);
  }

  async startUsers() {
    await this.untilTrue("the OSD", ["mon", "osd"], async () => {
      const { stdout } = await this.run("ceph", ["--connect-timeout", "5", "osd", "stat", "-f", "json"]);
      if (JSON.parse(stdout).num_up_osds !== 1) throw new Error("the OSD is not up yet");
    });
    const caps = ["--caps", "user-policy=*"];
    for (const [uid, user] of [
      ["main", this.user],
      ["nolist", this.restricted],
    ]) {
      const keys = ["--access-key", user.accessKeyId, "--secret-key", user.secretAccessKey];
      await this.untilTrue("the users", ["mon", "osd"], () =>
        this.run("radosgw-admin", ["user", "create", "--uid", uid, "--display-name", uid, ...caps, ...keys]),
      );
    }
  }

  async startGateway() {
    this.launch("rgw", "radosgw", ["-n", "client.rgw.a", "-f"]);
    await this.untilTrue("the gateway", ["mon", "osd", "rgw"], async () => {
      const answer = await s3Request({ ...this.user, endpoint: this.endpoint, region }, "GET", "/");
      if (answer.status !== 200) throw new Error(`the gateway answers ${answer.status}`);
    });
  }

  async stopGateway() {
    const daemon = this.daemons.get("rgw");
    if (!daemon) return;
    this.daemons.delete("rgw");
    daemon.child.ref();
    daemon.child.kill("SIGKILL");
    await daemon.ended;
  }

  async setUpBuckets() {
    const user = { ...this.user, endpoint: this.endpoint, region };
    const md5 = (body) => createHash("md5").update(body).digest("base64");
    const put = (path, query, body) =>
      s3Must(user, "PUT", path, { query, body, headers: { "content-md5": md5(body) } });
    await put(`/${bucket}`, {}, "");
    await put(`/${noCorsBucket}`, {}, "");
    await put(`/${bucket}`, { cors: "" }, cors);
    await put(`/${bucket}`, { policy: "" }, policy);
  }

  async startSession() {
    const user = { ...this.user, endpoint: this.endpoint, region };
    const call = (service, form) => {
      const headers = { "content-type": "application/x-www-form-urlencoded" };
      return s3Must(user, "POST", "/", { service, headers, body: new URLSearchParams(form).toString() });
    };
    const may = { Effect: "Allow", Action: ["sts:*"], Resource: "*" };
    const document = JSON.stringify({ Version: "2012-10-17", Statement: [may] });
    await call("iam", {
      Action: "PutUserPolicy",
      UserName: "main",
      PolicyName: "sts",
      PolicyDocument: document,
    });
    const answer = await call("sts", { Action: "GetSessionToken", DurationSeconds: "43200" });
    const text = new TextDecoder().decode(answer.body);
    const field = (name) => text.match(new RegExp(`<${name}>([^<]+)</${name}>`))?.[1];
    this.session = {
      accessKeyId: field("AccessKeyId"),
      secretAccessKey: field("SecretAccessKey"),
      sessionToken: field("SessionToken"),
    };
  }

  /** Runs a program to its end. */
  async run(program, args) {
    const options = { env: cephEnvironment(this.conf), maxBuffer: 1 << 24, timeout: 60_000 };
    try {
      return await promisify(execFile)(program, args, options);
    } catch (error) {
      if (error.code === "ENOENT") error.message = `${program} is not installed: npm run setup does it`;
      throw error;
    }
  }

  /** Starts a daemon that ends when its standard input does, so also when this process is killed. */
  launch(name, program, args) {
    const log = openSync(join(this.dir, "log", `${name}.out`), "a");
    const script = 'exec 3<&0; (read line <&3; kill -9 $$) & exec "$@" </dev/null 3<&-';
    const child = spawn("sh", ["-c", script, name, program, ...args], {
      env: cephEnvironment(this.conf),
      stdio: ["pipe", log, log],
    });
    closeSync(log);
    const ended = new Promise((resolve) => {
      child.on("error", resolve);
      child.on("exit", resolve);
    }).then(() => {
      daemon.dead = true;
      child.stdin.destroy();
    });
    child.stdin.on("error", () => {});
    child.unref();
    child.stdin.unref?.();
    const daemon = { child, ended, dead: false };
    this.daemons.set(name, daemon);
  }

  /** Repeats `action` until it succeeds, the time is over or a daemon it needs has died. */
  async untilTrue(what, needed, action) {
    const end = Date.now() + startSeconds * 1000;
    for (;;) {
      try {
        return await action();
      } catch (error) {
        const dead = needed.find((name) => this.daemons.get(name)?.dead);
        if (dead) throw new Error(`${dead} died while waiting for ${what}`);
        if (error.code === "ENOENT") throw error;
        if (Date.now() > end) throw new Error(`${what}: not ready after ${startSeconds} s: ${error.message}`);
      }
      await sleep(200);
    }
  }

  kill() {
    process.off("exit", this.onExit);
    for (const { child } of this.daemons.values()) child.kill("SIGKILL");
  }

  async stop() {
    for (const { child } of this.daemons.values()) child.ref();
    this.kill();
    await Promise.all([...this.daemons.values()].map(({ ended }) => ended));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** So that no configuration of the machine's counts. */
const cephEnvironment = (conf) => ({ ...process.env, CEPH_CONF: conf, CEPH_ARGS: "" });

function configuration(dir, fsid, mon, port) {
  return `[global]
fsid = ${fsid}
mon initial members = a
mon host = [v2:${mon}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = ${dir}/keyring
run dir = ${dir}/run
admin socket = ${dir}/run/$name.asok
pid file = ${dir}/run/$name.pid
log file = ${dir}/log/$name.log
mon cluster log file = ${dir}/log/cluster.log
crash dir = ${dir}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
[mon]
mon data = ${dir}/mon
mon allow pool size one = true
mon data avail crit = 1
mon data avail warn = 2
paxos propose interval = 0.05
paxos min wait = 0.01
mon osd min in ratio = 0
[osd]
osd data = ${dir}/osd
osd objectstore = memstore
memstore device bytes = 8589934592
osd crush initial weight = 1
osd class update on start = false
[client.rgw.a]
rgw data = ${dir}/rgw
rgw frontends = beast endpoint=127.0.0.1:${port} tcp_nodelay=1
rgw dns name = localhost
rgw thread pool size = 64
rgw enable usage log = false
rgw enable gc threads = false
rgw enable lc threads = false
rgw enable quota threads = false
rgw run sync thread = false
rgw s3 auth use sts = true
rgw sts key = ${randomBytes(8).toString("hex")}
`;
}

/** Keys of all parts; the monitor takes them over with their rights when it is made. */
function keyring() {
  const key = () => {
    const bytes = Buffer.alloc(28);
    bytes.writeUInt16LE(1, 0);
    bytes.writeUInt32LE(Math.floor(Date.now() / 1000) - 60, 2);
    bytes.writeUInt16LE(16, 10);
    randomBytes(16).copy(bytes, 12);
    return bytes.toString("base64");
  };
  const all = { mon: "allow *", osd: "allow *", mgr: "allow *", mds: "allow *" };
  const rights = {
    "mon.": { mon: "allow *" },
    "client.admin": all,
    "osd.0": { mon: "allow profile osd", osd: "allow *" },
    "client.rgw.a": { mon: "allow rw", osd: "allow rwx" },
  };
  return Object.entries(rights)
    .map(([name, caps]) =>
      [
        `[${name}]`,
        `key = ${key()}`,
        ...Object.entries(caps).map(([part, cap]) => `caps ${part} = "${cap}"`),
        "",
      ].join("\n"),
    )
    .join("\n");
}

const cors = `<CORSConfiguration><CORSRule>
<AllowedOrigin>*</AllowedOrigin>
${["GET", "PUT", "POST", "DELETE", "HEAD"].map((m) => `<AllowedMethod>${m}</AllowedMethod>`).join("")}
<AllowedHeader>*</AllowedHeader>
${["ETag", "Date", "Content-Range", "Content-Length", "Last-Modified", "x-amz-request-id"].map((h) => `<ExposeHeader>${h}</ExposeHeader>`).join("")}
<MaxAgeSeconds>3600</MaxAgeSeconds>
</CORSRule></CORSConfiguration>`;

const policy = JSON.stringify({
  Version: "2012-10-17",
  Statement: [
    {
      Effect: "Allow",
      Principal: { AWS: ["arn:aws:iam:::user/nolist"] },
      Action: ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
      Resource: [`arn:aws:s3:::${bucket}/*`],
    },
  ],
});

/** A server and what makes fault proxies before it: all that tests need, as `environment`. */
export async function startTestServers() {
  const { startControl } = await import("../tests/support/proxy.mjs");
  const server = await startS3();
  const control = await startControl({ target: server.endpoint, server });
  const environment = { ...s3Environment(server), LAKESHORE_PROXY_CONTROL: control.url };
  const stop = async () => {
    await control.stop();
    await server.stop();
  };
  return { server, environment, stop };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const control = process.argv.includes("--control");
  const { environment, stop } = control ? await startTestServers() : await startAlone();
  console.log(JSON.stringify(environment));
  const end = () => stop().then(() => process.exit(0));
  process.on("SIGTERM", end).on("SIGINT", end);
  setInterval(() => {}, 1 << 30);
}

async function startAlone() {
  const server = await startS3({ port: process.env.PORT ? Number(process.env.PORT) : undefined });
  return { environment: s3Environment(server), stop: server.stop };
}
