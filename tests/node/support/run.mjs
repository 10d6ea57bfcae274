// node run.mjs ACTION ARGS: the process that ./process.mjs starts.

import * as actions from "./actions.mjs";
import { decode, encode } from "./process.mjs";

const [, , action, args] = process.argv;
const result = await actions[action](decode(args));
console.log(encode(result));
