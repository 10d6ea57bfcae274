//! The engine on wasm32 under Node, without JavaScript in between: `wasm-bindgen-test`.
#![cfg(target_arch = "wasm32")]

use arrow_schema::{DataType, Field};
use lakeshore::{ErrorKind, data::schema::TableSchema};
use std::sync::Arc;
use wasm_bindgen_test::wasm_bindgen_test;

#[wasm_bindgen_test]
fn a_reserved_column_name_is_invalid() {
    let column = Arc::new(Field::new("_ts", DataType::Int64, false));
    let error = TableSchema::new(vec![column], &["_ts"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
