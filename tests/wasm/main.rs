//! The engine and the seam on wasm32 under Node, without the JavaScript door: `wasm-bindgen-test`.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(unreachable_pub)]
#[path = "../support/conformance.rs"]
mod conformance;
mod engine;
mod platform;
