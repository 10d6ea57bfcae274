// apache-arrow, and int64 columns of it.

import { Int64, tableFromArrays, tableFromIPC, tableToIPC, vectorFromArray } from "apache-arrow";

export const int64 = (numbers) => vectorFromArray(numbers.map(BigInt), new Int64());
export { tableFromArrays, tableFromIPC, tableToIPC };
