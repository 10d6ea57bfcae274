//! Native targets: tokio for the runtime, a directory for the store.

mod runtime;

pub use runtime::TokioRuntime;
