//! Native targets: tokio for the runtime, a directory for the store, an HTTP client for S3.

mod directory;
mod files;
mod http;
mod lock;
mod machine;
mod presence;
mod runtime;

pub use directory::{Directory, env};
pub use http::{HttpClient, s3};
pub(crate) use machine::memory;
pub use runtime::TokioRuntime;
