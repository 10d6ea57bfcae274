// The module with a maximum in its memory section, so that memory can run out.

/** One memory, `00 min`, becomes `01 min max`. */
export function limited(bytes, mebibytes) {
  const mostPages = (mebibytes * 2 ** 20) / 65536;
  for (let at = 8; at < bytes.length;) {
    const [size, start] = number(bytes, at + 1);
    if (bytes[at] === 5) {
      const [least, end] = number(bytes, start + 2);
      if (bytes[start] !== 1 || bytes[start + 1] !== 0 || end !== start + size)
        throw new Error("another layout");
      const section = [1, 1, ...leb(least), ...leb(mostPages)];
      const head = Uint8Array.of(5, ...leb(section.length), ...section);
      return Buffer.concat([bytes.subarray(0, at), head, bytes.subarray(end)]);
    }
    at = start + size;
  }
  throw new Error("no memory section");
}

function number(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value |= (byte & 127) << shift;
    if (byte < 128) return [value, at];
  }
}

function leb(value) {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(value >> 7)];
}
