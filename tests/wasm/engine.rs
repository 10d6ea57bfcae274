//! The engine on wasm32 under Node, without the JavaScript door: `wasm-bindgen-test`.

use arrow_array::{Array, Int64Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use arrow_schema::{DataType, Field};
use lakeshore::{
    Db, Env, ErrorKind, Options,
    data::{
        predicate::{CompareOp, Predicate, Value},
        schema::TableSchema,
    },
    platform::{memory::Memory, wasm::WasmRuntime},
};
use std::sync::Arc;
use wasm_bindgen_test::wasm_bindgen_test;

fn schema() -> TableSchema {
    let id = Arc::new(Field::new("id", DataType::Int64, false));
    let name = Arc::new(Field::new("name", DataType::Utf8, true));
    TableSchema::new(vec![id, name], &["id"]).unwrap()
}

fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let names: StringArray = ids.clone().map(|id| Some(format!("row {id}"))).collect();
    let ids: Int64Array = ids.collect();
    RecordBatch::try_new(
        schema().user().clone(),
        vec![Arc::new(ids), Arc::new(names)],
    )
    .unwrap()
}

fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    let column = |b: &RecordBatch| b.column(0).as_primitive::<Int64Type>().values().to_vec();
    batches.iter().flat_map(column).collect()
}

#[wasm_bindgen_test]
fn a_reserved_column_name_is_invalid() {
    let column = Arc::new(Field::new("_ts", DataType::Int64, false));
    let error = TableSchema::new(vec![column], &["_ts"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[wasm_bindgen_test]
async fn rows_survive_flush_and_reopen_in_either_durability() {
    for wal in [false, true] {
        let env = Env {
            data: Memory::new(),
            wal: wal.then(|| Memory::new() as _),
            runtime: WasmRuntime::new().unwrap(),
        };
        let db = Db::open(env.clone(), Options::default()).await.unwrap();
        let table = db.create_table("rows", schema()).await.unwrap();
        table.ingest(&[rows(0..100)]).await.unwrap();
        db.flush().await.unwrap();
        table.ingest(&[rows(90..120)]).await.unwrap();
        let key = rows(5..6).project(&[0]).unwrap();
        table.delete(&[key]).await.unwrap();
        db.close().await.unwrap();

        let db = Db::open(env, Options::default()).await.unwrap();
        let table = db.table("rows").unwrap();
        let all = table.scan().stream().unwrap().collect().await.unwrap();
        let expected: Vec<i64> = (0..120).filter(|id| *id != 5).collect();
        assert_eq!(ids(&all), expected);
        let late = Predicate::Compare("id".into(), CompareOp::GreaterOrEqual, Value::Int(118));
        let late = table.scan().filter(late).reverse(true).stream().unwrap();
        assert_eq!(ids(&late.collect().await.unwrap()), [119, 118]);
        let found = table
            .get(&rows(7..8).project(&[0]).unwrap(), Some(&["name"]))
            .await;
        let found = found.unwrap().unwrap();
        assert_eq!(found.column(0).as_string::<i32>().value(0), "row 7");
        assert!(found.column(0).null_count() == 0);
        db.close().await.unwrap();
    }
}
