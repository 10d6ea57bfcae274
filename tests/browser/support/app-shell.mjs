// A service worker, as an app has one that is to start without a network: it keeps what came from the app's own origin.
// Requests to a store are none of its business.

addEventListener("install", () => void globalThis.skipWaiting());
addEventListener("activate", (event) => event.waitUntil(globalThis.clients.claim()));
addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && new URL(url).origin === location.origin) event.respondWith(answer(event.request));
});

async function answer(request) {
  const shell = await caches.open("shell");
  const kept = await shell.match(request);
  if (kept !== undefined) return kept;
  const fetched = await fetch(request);
  if (fetched.ok) await shell.put(request, fetched.clone());
  return fetched;
}
