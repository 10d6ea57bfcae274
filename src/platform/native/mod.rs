//! Native targets: tokio for the runtime, a directory for the store.

mod directory;
mod files;
mod lock;
mod runtime;

pub use directory::{Directory, env};
pub use runtime::TokioRuntime;
