// Makes a factory of wasm-bindgen's glue, with a guard around each instance.
//
// As it comes, the glue has one instance a realm. Here `instantiate()` gives a new one each time, all of the same
// compiled module: each open database has its own, so that a trap ends one database alone, and memory goes back when
// it is closed.
//
// wasm-bindgen calls exports from functions, microtasks and timers alike; when one traps, the exception goes wherever
// that call came from, often nowhere. The guard sees every call: the first exception that comes out of an export marks
// the instance dead and is told to `onTrap`; from then on no call enters it. An exception is thrown on only to a caller
// inside `enter` (the package's own calls): in a microtask or a timer it would end the process.
// Each edit must apply exactly once: another wasm-bindgen fails the build rather than lose the guard.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Part of the build's inputs. */
export const guardVersion = "guard 2";

const finalize = ["    wasm = instance.exports;\n", "    wasm = guarded(instance.exports);\n"];

const guard = `
let dead = false;
let depth = 0;
let entered = false;

/** What js/src/engine.ts needs of the instance. */
const __lakeshore = {
    onTrap: (_error) => {},
    memoryBytes: () => wasm.memory.buffer.byteLength,
    enter: (action) => {
        const before = entered;
        entered = true;
        try {
            return action();
        } finally {
            entered = before;
        }
    },
};

function guarded(exports) {
    const guarded = { __proto__: null };
    for (const [name, value] of Object.entries(exports)) {
        guarded[name] = typeof value === 'function' ? watched(value) : value;
    }
    return guarded;
}

function watched(call) {
    return (...args) => {
        if (depth === 0 && dead) {
            if (entered) throw new Error('the instance is dead');
            return [0, 0];
        }
        depth++;
        let thrown;
        try {
            return call(...args);
        } catch (error) {
            thrown = error;
            if (!dead) {
                dead = true;
                __lakeshore.onTrap(error);
            }
        } finally {
            depth--;
        }
        if (depth > 0 || entered) throw thrown;
        return [0, 0];
    };
}
`;

const types = `
/** One instance: what the glue would export. */
export interface Glue {
    initSync(options: { module: WebAssembly.Module }): unknown;
    readonly __lakeshore: {
        onTrap: (error: unknown) => void;
        memoryBytes(): number;
        enter<T>(action: () => T): T;
    };
}

/** A new instance, of no module yet. */
export function instantiate(): Glue;
`;

/** Edits the glue in `folder`. */
export function guardGlue(folder) {
  const script = join(folder, "lakeshore.js");
  writeFileSync(script, factory(readFileSync(script, "utf8")));
  const declarations = join(folder, "lakeshore.d.ts");
  writeFileSync(declarations, readFileSync(declarations, "utf8") + types);
}

function factory(text) {
  let body = replaceOnce(text, ...finalize);
  // The module is always there: nothing is fetched here.
  body = cut(body, "async function __wbg_load(", "function initSync(");
  body = cut(body, "let __wbg_init_promise;", undefined);
  const names = [...body.matchAll(/^export (?:class|function) (\w+)/gm)].map(([, name]) => name);
  body = body.replaceAll(/^export (?=class|function)/gm, "");
  if (names.length === 0 || /^(?:export|import)\b/m.test(body)) throw new Error("glue: it is not as it was");
  const given = ["initSync", "__lakeshore", ...names].join(", ");
  return `export function instantiate() {\n${body}${guard}\nreturn { ${given} };\n}\n`;
}

/** Without what is from `from` on, to before `to` or the end. */
function cut(text, from, to) {
  const [before, after, ...more] = text.split(from);
  const at = to === undefined ? after?.length : after?.indexOf(to);
  if (after === undefined || more.length > 0 || at === -1) throw new Error(`glue: ${from} is not there once`);
  return before + after.slice(at);
}

function replaceOnce(text, from, to) {
  const parts = text.split(from);
  if (parts.length !== 2) throw new Error(`glue: ${JSON.stringify(from)} is there ${parts.length - 1} times`);
  return parts.join(to);
}
