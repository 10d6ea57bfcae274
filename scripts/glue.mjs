// Puts a guard around the instance in wasm-bindgen's glue.
//
// wasm-bindgen calls exports from functions, microtasks and timers alike; when one traps, the exception goes
// wherever that call came from, often nowhere. The guard sees every call: the first exception that comes out of an
// export marks the instance dead and is told to `onTrap`; from then on no call enters it. An exception is thrown on
// only to a caller inside `enter` (the package's own calls): in a microtask or a timer it would end the process.
// Each edit must apply exactly once: another wasm-bindgen fails the build rather than lose the guard.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Part of the build's inputs. */
export const guardVersion = "guard 1";

const edits = [
  ["    wasm = instance.exports;\n", "    wasm = __lakeshore_guard(instance.exports);\n"],
  ["    wasm = wasmInstance.exports;\n", "    wasm = __lakeshore_guard(wasmInstance.exports);\n"],
];

/** Callbacks of a former instance, called late: nothing to do. */
const stale = "throw new Error('Cannot invoke closure from previous WASM instance');";

const guard = `
let __lakeshore_dead = false;
let __lakeshore_depth = 0;
let __lakeshore_entered = false;

/** What js/src/engine.ts needs of the instance. */
export const __lakeshore = {
    onTrap: (_error) => {},
    memoryBytes: () => wasm.memory.buffer.byteLength,
    enter: (action) => {
        const before = __lakeshore_entered;
        __lakeshore_entered = true;
        try {
            return action();
        } finally {
            __lakeshore_entered = before;
        }
    },
};

function __lakeshore_guard(exports) {
    const guarded = { __proto__: null };
    __lakeshore_dead = false;
    for (const [name, value] of Object.entries(exports)) {
        guarded[name] = typeof value === 'function' ? __lakeshore_wrap(value) : value;
    }
    return guarded;
}

function __lakeshore_wrap(call) {
    return (...args) => {
        if (__lakeshore_depth === 0 && __lakeshore_dead) {
            if (__lakeshore_entered) throw new Error('the instance is dead');
            return [0, 0];
        }
        __lakeshore_depth++;
        let thrown;
        try {
            return call(...args);
        } catch (error) {
            thrown = error;
            if (!__lakeshore_dead) {
                __lakeshore_dead = true;
                __lakeshore.onTrap(error);
            }
        } finally {
            __lakeshore_depth--;
        }
        if (__lakeshore_depth > 0 || __lakeshore_entered) throw thrown;
        return [0, 0];
    };
}
`;

const types = `
export const __lakeshore: {
    onTrap: (error: unknown) => void;
    memoryBytes(): number;
    enter<T>(action: () => T): T;
};
`;

/** Edits the glue in `folder`. */
export function guardGlue(folder) {
  const script = join(folder, "lakeshore.js");
  let text = readFileSync(script, "utf8");
  for (const [from, to] of edits) text = replaceOnce(text, from, to);
  if (!text.includes(stale)) throw new Error(`glue: ${stale} is not there`);
  text = text.replaceAll(stale, "return;");
  writeFileSync(script, text + guard);
  const declarations = join(folder, "lakeshore.d.ts");
  writeFileSync(declarations, readFileSync(declarations, "utf8") + types);
}

function replaceOnce(text, from, to) {
  const parts = text.split(from);
  if (parts.length !== 2) throw new Error(`glue: ${JSON.stringify(from)} is there ${parts.length - 1} times`);
  return parts.join(to);
}
