// Work on far more than fits, in a Worker.

import * as lakeshore from "lakeshore";
import { workWithin } from "./bounded.mjs";

export function work({ place, ...how }) {
  const stores = (name) => ({ data: lakeshore.s3({ ...place, prefix: `${place.prefix}/${name}` }) });
  return workWithin({ lakeshore, stores, ...how });
}
