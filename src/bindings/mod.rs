//! The JavaScript door: wasm-bindgen exports over the Rust one, without logic of their own. Tables cross
//! as Arrow IPC bytes or as Arrow buffers (`columns`), options through serde, errors as plain
//! `{ kind, message }` objects. js/src/raw.ts is the other side. Invariants: no call borrows an
//! exported object across an await (each clones what it needs), so that calls may overlap; bytes are
//! copied in before a call returns, so that the caller may reuse them.

mod alter;
mod cancel;
mod changes;
mod columns;
mod db;
mod error;
mod given;
mod history;
mod options;
mod predicate;
mod s3;
mod scan;
mod snapshot;
mod store;
mod table;
mod transaction;
mod types;
mod upload;

pub use cancel::JsCancel;
pub use changes::JsChanges;
pub use db::{JsDb, open_db, probe_store};
pub use scan::JsScan;
pub use snapshot::JsSnapshot;
pub use table::JsTable;
pub use transaction::JsTransaction;
pub use upload::JsKeepUploaded;

use wasm_bindgen::prelude::wasm_bindgen;

/// Makes a panic carry its message to JavaScript: the exception passes through the dead instance to
/// the guard that the build puts around it (scripts/glue.mjs).
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| {
        wasm_bindgen::throw_str(&info.to_string());
    }));
}
