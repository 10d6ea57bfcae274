// The floor: append some bytes to an OPFS file through a sync access handle held open, and flush. Timed in the worker,
// so no message is counted; with a count of one the page can time the message, too.

let handle;
let at = 0;

onmessage = async ({ data: { count, bytes } }) => {
  if (handle === undefined) {
    const directory = await navigator.storage.getDirectory();
    const file = await directory.getFileHandle("raw-bench", { create: true });
    handle = await file.createSyncAccessHandle();
  }
  const payload = new Uint8Array(bytes).fill(7);
  const times = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    at += handle.write(payload, { at });
    handle.flush();
    times.push(performance.now() - start);
  }
  postMessage(times);
};
