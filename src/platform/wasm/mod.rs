//! wasm32: JavaScript for the runtime and the stores. Nothing here knows which of browser, worker,
//! Node, Deno or workerd it runs in; everything is looked up in `globalThis`.
//!
//! The `!Send` world of JS is bridged here: values and futures go into `SendWrapper`, which checks
//! that they stay on their thread. wasm32 without atomics has only one.

mod call;
mod fetch;
mod host;
mod host_error;
mod opfs;
mod runtime;
mod s3_access;

pub use fetch::{Fetch, s3};
pub use host::Host;
pub use opfs::Opfs;
pub use runtime::WasmRuntime;
pub use s3_access::s3_access;
