// Arrays within the tables of a caller's Arrow library, copied: by index, bounded in length, and without holes, for
// `every` and `map` pass over holes, and may be the caller's own.

import { show } from "../door/show.js";
import { invalid } from "../errors.js";

/** Most items of any of them: columns, members of a struct, batches. */
const most = 1_000_000;

/** A copy of the array, whose items are objects. */
export function listOf(value: unknown, what: string): object[] {
  if (!Array.isArray(value)) throw invalid(`${what} should be an array, and not ${show(value)}`);
  const { length } = value;
  if (length > most) throw invalid(`${what} are ${length}: at most ${most} are taken at once`);
  const copy: object[] = [];
  for (let i = 0; i < length; i++) {
    const item: unknown = value[i];
    if (typeof item !== "object" || item === null) throw invalid(`${what}: the one at ${i} is ${show(item)}`);
    copy.push(item);
  }
  return copy;
}
