// Deno as a user runs it: the package from its tarball, the permissions it needs and no others. A new process is the
// restart.

import { spawn } from "node:child_process";
import { join } from "node:path";
import { decode, encode } from "../../support/codec.mjs";
import { project, tool } from "./project.mjs";

/** What is to be done comes by standard input. */
const script = (actions) => `
import * as actions from ${JSON.stringify(`./${actions}`)};
import { decode, encode, plainError } from "./codec.mjs";

const { action, args } = decode(await new Response(Deno.stdin.readable).text());
let answer;
try {
  answer = { result: await actions[action](args) };
} catch (error) {
  answer = { error: plainError(error) };
}
console.log(encode(answer));
`;

/** A Deno project of the functions in `actions` (a file's name); each call is a new process. */
export async function deno(actions) {
  const dir = await project({ "main.mjs": script(actions) }, [actions]);
  return {
    async call(action, args) {
      const output = await runDeno(dir, "main.mjs", { input: encode({ action, args }) });
      const { result, error } = decode(output.trim().split("\n").at(-1));
      if (error) throw Object.assign(new Error(`${action}: ${error.code}: ${error.message}`), error);
      return result;
    },
  };
}

/**
 * Runs a script of a project with network access, and read access to the package only, unless `permissions` are
 * others; `more` are further options, `args` and `variables` the script's.
 */
export function runDeno(dir, name, { input = "", permissions, more = [], args = [], variables = {} } = {}) {
  const own = { PATH: process.env.PATH, HOME: dir, DENO_DIR: join(dir, ".deno"), DENO_NO_UPDATE_CHECK: "1" };
  const read = `--allow-read=${join(dir, "node_modules", "lakeshore")}`;
  const may = permissions ?? ["--allow-net", read];
  const flags = ["--no-prompt", "--quiet", "--node-modules-dir=manual", ...may, ...more];
  return new Promise((resolve, reject) => {
    const env = { ...own, ...variables };
    const child = spawn(tool("deno"), ["run", ...flags, name, ...args], { cwd: dir, env });
    let output = "";
    let errors = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (errors += chunk));
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) return resolve(output);
      reject(new Error(`deno ended with ${code}\n${output}\n${errors}`));
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
  });
}
