// A page of a user in Chromium.

import { launch } from "../../browser/support/chromium.mjs";

/** Opens an address in a browser of its own. `until` waits for what it is given to be true in the page. */
export async function visit(t, url) {
  const context = await launch(t);
  const page = await context.newPage();
  const said = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(error.stack));
  await page.goto(url);
  const until = (condition, argument) =>
    page.waitForFunction(condition, argument).catch((error) => {
      throw new Error(`${error.message}\n${said.join("\n")}`);
    });
  return { page, until };
}
