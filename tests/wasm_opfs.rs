//! OPFS for real, in a dedicated worker of a browser: the invariants of every store, the WAL, a
//! database, locks between workers, and what a dead worker leaves.
//! `wasm-pack test --headless --chrome` (or `--firefox`) runs it; `webdriver.json` names the browsers.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(unreachable_pub)]
#[path = "support/conformance.rs"]
mod conformance;

use conformance::Excused;
use js_sys::Math;
use lakeshore::{
    env::Storage,
    platform::{over_fusio::OverFusio, wasm::Opfs},
};
use std::sync::Arc;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// A directory that no other test has.
fn fresh() -> String {
    format!("tests/{:x}", (Math::random() * 1e15) as u64)
}

#[wasm_bindgen_test]
async fn opfs_conforms() {
    let make = || Opfs::new(&fresh(), false).unwrap() as Arc<dyn Storage>;
    conformance::run(make, Excused::default()).await;
}

#[wasm_bindgen_test]
async fn opfs_as_a_fusio_store_conforms() {
    let make =
        || OverFusio::new((*Opfs::new(&fresh(), false).unwrap()).clone()) as Arc<dyn Storage>;
    let excused = Excused {
        slow: true,
        ..Excused::default()
    };
    conformance::run(make, excused).await;
}
