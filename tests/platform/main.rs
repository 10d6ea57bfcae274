//! Stores and the seam to the platform, and the house itself.
#![cfg(not(target_arch = "wasm32"))]
#![allow(missing_docs, unreachable_pub)]
// Tests may, in their own functions, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod conformance;
mod crash_storage;
mod directory;
mod house;
#[path = "../support/mod.rs"]
mod support;
