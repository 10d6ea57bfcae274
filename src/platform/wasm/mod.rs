//! wasm32: JavaScript for the runtime and the stores. Nothing here knows which of browser, worker,
//! Node, Deno or workerd it runs in; everything is looked up in `globalThis`.
//!
//! The `!Send` world of JS is bridged here: values and futures go into `SendWrapper`, which checks
//! that they stay on their thread. wasm32 without atomics has only one.

mod call;
mod host;
mod host_error;
mod opfs;
mod runtime;

pub use host::Host;
pub use opfs::Opfs;
pub use runtime::WasmRuntime;
