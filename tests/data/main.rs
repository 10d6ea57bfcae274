//! What batches, keys, predicates and merges do with Arrow data of every type.
#![cfg(not(target_arch = "wasm32"))]
#![allow(missing_docs, unreachable_pub)]
// Tests may, in their own functions, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod arrow_types;
mod convert;
mod intake;
mod key;
mod merge;
mod predicate;
#[path = "../support/mod.rs"]
mod support;
mod types;
