//! Exact byte counts that a release must keep.

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use lakeshore::{Db, Options, data::schema::TableSchema, platform::native::env};
use std::sync::Arc;

#[tokio::test]
async fn an_sstable_of_1000_rows_takes_at_most_60_kb() {
    let place = tempfile::tempdir().unwrap();
    let wal = place.path().join("wal");
    let env = env(place.path().join("data"), Some(&wal)).unwrap();
    let db = Db::open(env, Options::default()).await.unwrap();
    let table = db.create_table("rows", schema()).await.unwrap();
    table.ingest(&[thousand_rows()]).await.unwrap();
    db.flush().await.unwrap();

    let stats = db.stats().tables.remove(0);
    assert_eq!((stats.files, stats.file_rows), (1, 1000));
    assert!(stats.file_bytes <= 60_000, "{} bytes", stats.file_bytes);
    let on_disk = bytes_of_sstables(place.path());
    assert_eq!(
        on_disk, stats.file_bytes,
        "what the statistics say is there"
    );
    db.close().await.unwrap();
}

fn schema() -> TableSchema {
    let field = |name, ty| Arc::new(Field::new(name, ty, false));
    let fields = vec![
        field("key", DataType::Utf8),
        field("i", DataType::Int64),
        field("f", DataType::Float64),
        field("text", DataType::Utf8),
    ];
    TableSchema::new(fields, &["key"]).unwrap()
}

/// Rows as in the benchmark: 16 + 8 + 8 + 32 bytes each, the text hardly compressible.
fn thousand_rows() -> RecordBatch {
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed
    };
    let text: Vec<String> = (0..1000)
        .map(|_| format!("{:016x}{:016x}", random(), random()))
        .collect();
    let columns: [(&str, ArrayRef); 4] = [
        (
            "key",
            Arc::new(StringArray::from_iter_values(
                (0..1000).map(|i| format!("key-{:012}", i * 7919 % 1000)),
            )),
        ),
        ("i", Arc::new(Int64Array::from_iter_values(0..1000))),
        (
            "f",
            Arc::new(Float64Array::from_iter_values(
                (0..1000).map(|i| f64::from(i) / 7.0),
            )),
        ),
        ("text", Arc::new(StringArray::from(text))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn bytes_of_sstables(folder: &std::path::Path) -> u64 {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| match path.is_dir() {
            true => bytes_of_sstables(&path),
            false if path.extension().is_some_and(|e| e == "parquet") => {
                path.metadata().unwrap().len()
            }
            false => 0,
        })
        .sum()
}
