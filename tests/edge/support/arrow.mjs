// apache-arrow, and columns of it that it does not make of plain arrays.

import {
  Int64,
  tableFromArrays,
  tableFromIPC,
  tableToIPC,
  TimestampMillisecond,
  vectorFromArray,
} from "apache-arrow";

export const int64 = (numbers) => vectorFromArray(numbers.map(BigInt), new Int64());
export const instants = (dates) => vectorFromArray(dates, new TimestampMillisecond("UTC"));
export { tableFromArrays, tableFromIPC, tableToIPC };
