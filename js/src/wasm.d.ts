// Where a bundler or runtime makes a module of a .wasm file (Workers do), its default export is the compiled module.
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}
