//! A transaction's handle. Freed without `commit` it has no effect.

use super::{
    db::tables,
    error::to_js,
    table::{JsTable, Source, committed},
};
use crate::{db::Transaction, error::Result};
use js_sys::{Array, Promise};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

/// `RawTransaction` of js/src/raw.ts.
#[wasm_bindgen(js_name = RawTransaction)]
#[derive(Debug)]
pub struct JsTransaction {
    transaction: Transaction,
    most_bytes: usize,
}

#[wasm_bindgen(js_class = RawTransaction)]
impl JsTransaction {
    /// An array of `{ name, schema }`.
    pub fn tables(&self) -> Result<Array, JsValue> {
        self.transaction.tables().map(tables).map_err(to_js)
    }

    /// A table, as the transaction sees it.
    pub fn table(&self, name: &str) -> Result<JsTable, JsValue> {
        let table = self.transaction.table(name);
        let made =
            table.and_then(|table| JsTable::new(Source::Transaction(table), self.most_bytes));
        made.map_err(to_js)
    }

    /// Commits it.
    pub fn commit(&self) -> Promise {
        committed(self.transaction.clone().commit())
    }

    /// Ends it without effect.
    pub fn rollback(&self) {
        self.transaction.clone().rollback();
    }
}

impl JsTransaction {
    pub(super) fn new(transaction: Transaction, most_bytes: usize) -> Self {
        Self {
            transaction,
            most_bytes,
        }
    }
}
