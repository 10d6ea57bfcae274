// A worker script of a user's own, with a defect of its own beside the engine.

import "/pkg/js/dist/worker.js";

new BroadcastChannel("noisy").onmessage = () => {
  throw new Error("a defect of the user's own");
};
