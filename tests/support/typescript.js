// Loads a TypeScript module of the package and what it imports, without types and without a build: for Rust tests that
// run `js/src/host/node.ts`. An expression: `(home, file) => exports`, run where there are no modules.
(home, file) => {
  const require = process.getBuiltinModule("module").createRequire(home + "/");
  const path = require("path");
  const compilerOptions = { module: "commonjs", target: "es2022" };
  const loaded = new Map();
  const load = (file) => {
    if (loaded.has(file)) return loaded.get(file).exports;
    const module = { exports: {} };
    loaded.set(file, module);
    const source = require("fs").readFileSync(file, "utf8");
    const code = require("typescript").transpileModule(source, { compilerOptions }).outputText;
    const beside = (name) => path.join(path.dirname(file), name.replace(/\.js$/, ".ts"));
    const from = (name) => (name.startsWith(".") ? load(beside(name)) : require(name));
    new Function("require", "module", "exports", code)(from, module, module.exports);
    return module.exports;
  };
  return load(path.join(home, file));
};
