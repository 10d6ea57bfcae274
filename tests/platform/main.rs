//! Stores and the seam to the platform, and the house itself.
#![cfg(not(target_arch = "wasm32"))]

mod conformance;
mod crash_storage;
mod directory;
mod house;
#[path = "../support/mod.rs"]
mod support;
