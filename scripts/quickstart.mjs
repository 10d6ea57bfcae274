// `npm run quickstart`: set-up, build, then the example as a user would write it.

import { build } from "./build.mjs";
import { run } from "./lib.mjs";
import { setup } from "./setup.mjs";

await setup({ tests: false });
await build();
await run(process.execPath, ["examples/quickstart.mjs", ...process.argv.slice(2)]);
