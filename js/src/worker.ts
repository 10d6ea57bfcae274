// The worker that a page's engine runs in: its script imports this, or is this. It has no exports: pages talk to it.

import { setModuleLoader } from "./engine.js";
import { serve } from "./remote/serve.js";
import { fetchModule } from "./wasm-module.js";

setModuleLoader(fetchModule);
serve();
