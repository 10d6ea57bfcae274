// `npm run quickstart`: set-up, build, then the example as a user would write it. The last line says so where the engine
// is a quick build, which is larger than the one to ship.

import { build } from "./build.mjs";
import { run } from "./lib.mjs";
import { setup } from "./setup.mjs";

await setup({ tests: false });
const built = await build({ quick: true });
await run(process.execPath, ["examples/quickstart.mjs", ...process.argv.slice(2)]);
if (built === "quick")
  console.log(
    "The engine here was built in a hurry; `npm run build` makes the one to ship, smaller and linked as a whole.",
  );
