// A worker script of a user's own: the package's, on a device whose clock is wrong.

import "/tests/browser/support/wrong-clock.mjs";
import "/pkg/js/dist/worker.js";
