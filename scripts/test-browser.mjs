// The Rust tests that need a browser, page and dedicated-worker tests alike, by wasm-pack: real OPFS, real locks.
// `webdriver.json` names the browsers. `npm test` runs them in Chrome; this runs them in Firefox:
//   npm run test:firefox                     installs Firefox and geckodriver if they are missing
//   node scripts/test-browser.mjs chrome

import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { cache, run, step } from "./lib.mjs";
import { installCrate, installDebian, setup } from "./setup.mjs";

const geckodriverVersion = "0.37.1";
const geckodriver = join(cache, "tools", `geckodriver-${geckodriverVersion}`, "bin", "geckodriver");

/** Runs them; gives what they print. */
export function testBrowser(browser, env = {}) {
  const driver = browser === "firefox" ? ["--geckodriver", geckodriver] : [];
  const options = ["--headless", `--${browser}`, ...driver, "--mode", "no-install"];
  // With the features of `npm test`'s other steps, so that nothing is built twice.
  return run("wasm-pack", ["test", ...options, "--", "--features", "js", "--test", "wasm*"], { env });
}

async function installFirefox() {
  await installDebian(["firefox-esr"], ["firefox-esr"]);
  if (existsSync(geckodriver)) return "present";
  await installCrate("geckodriver", geckodriverVersion, join(geckodriver, "..", ".."));
  return "installed";
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const browser = process.argv[2] ?? "chrome";
  await setup();
  if (browser === "firefox") await step("set-up: Firefox", installFirefox);
  await step(`wasm-pack in ${browser}`, async () => void (await testBrowser(browser)));
}
