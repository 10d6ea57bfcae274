// Vite's development server as a user runs it.

import { spawn } from "node:child_process";
import { tool } from "./project.mjs";

/** Starts it in a project and gives its address. */
export function viteDev(t, dir) {
  const options = ["--host", "127.0.0.1", "--port", "0", "--clearScreen", "false"];
  const child = spawn(tool("vite"), options, { cwd: dir, env: { ...process.env, NO_COLOR: "1" } });
  const ended = new Promise((resolve) => child.on("close", resolve));
  t.after(() => (child.kill(), ended));
  return new Promise((resolve, reject) => {
    let output = "";
    const take = (chunk) => {
      output += chunk;
      const found = output.match(/(http:\/\/127\.0\.0\.1:\d+\/)/);
      if (found) resolve(found[1]);
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    ended.then((code) => reject(new Error(`vite ended with ${code}\n${output}`)));
  });
}
