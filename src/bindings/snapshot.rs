//! A snapshot's handle.

use super::{
    db::tables,
    error::to_js,
    table::{JsTable, Source},
};
use crate::{
    AsOf,
    db::Snapshot,
    error::{Error, Result},
};
use js_sys::Array;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

/// `RawSnapshot` of js/src/raw.ts.
#[wasm_bindgen(js_name = RawSnapshot)]
#[derive(Debug)]
pub struct JsSnapshot {
    snapshot: Snapshot,
    most_bytes: usize,
}

#[wasm_bindgen(js_class = RawSnapshot)]
impl JsSnapshot {
    /// The greatest timestamp it may see.
    pub fn timestamp(&self) -> i64 {
        self.snapshot.timestamp()
    }

    /// An array of `{ name, schema }`.
    pub fn tables(&self) -> Array {
        tables(self.snapshot.tables())
    }

    /// A table as it was.
    pub fn table(&self, name: &str) -> Result<JsTable, JsValue> {
        let table = self.snapshot.table(name);
        let made = table.and_then(|table| JsTable::new(Source::Snapshot(table), self.most_bytes));
        made.map_err(to_js)
    }
}

impl JsSnapshot {
    pub(super) fn new(snapshot: Snapshot, most_bytes: usize) -> Self {
        Self {
            snapshot,
            most_bytes,
        }
    }
}

/// Microseconds, or a tag.
pub(super) fn as_of(at: JsValue) -> Result<AsOf> {
    match at.as_string() {
        Some(tag) => Ok(AsOf::Tag(tag)),
        None => i64::try_from(at)
            .map(AsOf::Timestamp)
            .map_err(|_| Error::invalid("asOf takes microseconds of 64 bits, or a tag")),
    }
}
