//! The engine in a page of a browser, on the main thread: it works, but OPFS is refused there with
//! the remedy. `wasm-pack test --headless --chrome` (or `--firefox`) runs it.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field};
use lakeshore::{
    Db, Env, ErrorKind, Options,
    data::schema::TableSchema,
    platform::wasm::{Opfs, WasmRuntime},
};
use std::sync::Arc;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen_test]
fn opfs_on_the_main_thread_is_unsupported_and_names_the_remedy() {
    let error = Opfs::new("my-app", false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.message().contains("dedicated worker"), "{error}");
}

#[wasm_bindgen_test]
async fn a_database_in_memory_works_in_a_page() {
    let env = Env::memory(WasmRuntime::new().unwrap());
    let id = Arc::new(Field::new("id", DataType::Int64, false));
    let schema = TableSchema::new(vec![id], &["id"]).unwrap();
    let ids: Int64Array = (0..1000).collect();
    let batch = RecordBatch::try_new(schema.user().clone(), vec![Arc::new(ids)]).unwrap();
    let db = Db::open(env.clone(), Options::default()).await.unwrap();
    let table = db.create_table("ids", schema).await.unwrap();
    table.ingest(&[batch]).await.unwrap();
    db.flush().await.unwrap();
    db.close().await.unwrap();
    let db = Db::open(env, Options::default()).await.unwrap();
    let scan = db.table("ids").unwrap().scan().stream().unwrap();
    let rows: usize = scan
        .collect()
        .await
        .unwrap()
        .iter()
        .map(RecordBatch::num_rows)
        .sum();
    assert_eq!(rows, 1000);
    db.close().await.unwrap();
}
