// Hostile callers, in a Worker.

import * as lakeshore from "lakeshore";
import { answerAnything } from "./answers.mjs";
import { callEverything } from "./run.mjs";

const stores = () => ({ data: lakeshore.memory() });

export const call = (how) => callEverything({ lakeshore, stores, ...how });
export const answer = (how) => answerAnything({ lakeshore, local: false, ...how });
