// In the page: the package and what tests do with it, for `page.evaluate`.

import * as lakeshore from "/pkg/js/dist/browser.js";
import * as actions from "/tests/browser/support/actions.mjs";

Object.assign(globalThis, { lakeshore, actions });
