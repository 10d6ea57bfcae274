// A host in memory, as a user might write one: half of its methods return promises, half values. An expression that
// is a function of which optional methods to leave out.
(...without) => {
  const objects = new Map();
  const locks = new Set();
  const fail = (code, message) => Object.assign(new Error(message), { code });
  const host = {
    describe: () => "memory of the test",
    get: async (key) => objects.get(key) ?? null,
    getRange: (key, start, end) => objects.get(key)?.slice(start, end) ?? null,
    getSuffix: async (key, length) => {
      const bytes = objects.get(key);
      return bytes ? { bytes: bytes.slice(Math.max(0, bytes.length - length)), size: bytes.length } : undefined;
    },
    put: (key, bytes) => void objects.set(key, bytes),
    putIfAbsent: async (key, bytes) => !objects.has(key) && !!objects.set(key, bytes),
    list: (prefix) =>
      [...objects].filter(([key]) => key.startsWith(prefix)).map(([key, bytes]) => ({ key, size: bytes.length })),
    delete: async (key) => void objects.delete(key),
    create: (key) => {
      const pieces = [];
      return {
        write: async (bytes) => void pieces.push(bytes),
        finish: () => void objects.set(key, Buffer.concat(pieces)),
        abort: () => {},
      };
    },
    append: async (key) => {
      const size = (objects.get(key) ?? objects.set(key, new Uint8Array(0)).get(key)).length;
      const write = (bytes) => void objects.set(key, new Uint8Array(Buffer.concat([objects.get(key), bytes])));
      return { size, write, sync: async () => {}, close: () => {} };
    },
    lock: (name) => {
      if (locks.has(name)) throw fail("Busy", `lock ${name} is held by this process`);
      locks.add(name);
      return { release: () => void locks.delete(name) };
    },
  };
  for (const name of without) delete host[name];
  return host;
};
