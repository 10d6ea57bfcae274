// `wrangler dev` as a user runs it, in a project of a user.

import { execFile, spawn } from "node:child_process";
import { promisify } from "node:util";
import { tool } from "./project.mjs";

const environment = (dir) => ({ ...process.env, WRANGLER_SEND_METRICS: "false", CI: "1", HOME: dir });

/** Runs another command of wrangler to its end. */
export function wrangler(dir, ...args) {
  return promisify(execFile)(tool("wrangler"), args, { cwd: dir, env: environment(dir) });
}

/** Starts it and gives its address, once it says that it is ready; and what ends it, as the end of the test does. */
export async function wranglerDev(t, dir) {
  const options = [
    "dev",
    "--port",
    "0",
    "--inspector-port",
    "0",
    "--ip",
    "127.0.0.1",
    "--show-interactive-dev-session=false",
  ];
  const child = spawn(tool("wrangler"), options, { cwd: dir, env: environment(dir), detached: true });
  let over = false;
  const ended = new Promise((resolve) => child.on("close", resolve)).finally(() => (over = true));
  const stop = () => {
    // Asked to end, it may wait for the workerd that ended, too.
    if (!over) process.kill(-child.pid, "SIGKILL");
    return ended;
  };
  t.after(stop);
  const url = await new Promise((resolve, reject) => {
    let output = "";
    const take = (chunk) => {
      output += chunk;
      const found = output.match(/Ready on (http:\/\/[\d.:]+)/);
      if (found) resolve(found[1]);
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    ended.then((code) => reject(new Error(`wrangler dev ended with ${code}\n${output}`)));
  });
  return { url, stop };
}
