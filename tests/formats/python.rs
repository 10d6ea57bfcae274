//! Against pyarrow and polars (in the venv that `npm run setup` makes): what they send goes in, and
//! what we write is Parquet that they read.

use crate::support;

use arrow_array::{
    Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, TimeUnit};
use bytes::Bytes;
use lakeshore::{
    Db, Env, ErrorKind, Options,
    data::{
        intake::{schema_of_ipc, write_ipc},
        schema::TableSchema,
    },
    platform::native::{self, TokioRuntime},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};
use support::engine;

fn python(script: &str, argument: &Path) -> String {
    python_with(script, &[], argument)
}

fn python_with(script: &str, more: &[&str], argument: &Path) -> String {
    let cache = std::env::var("LAKESHORE_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|_| {
            PathBuf::from(std::env::var("HOME").unwrap())
                .join(".cache")
                .join("lakeshore")
        });
    let python = cache.join("venv").join("bin").join("python");
    assert!(
        python.exists(),
        "{} is missing: npm run setup makes it",
        python.display()
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(script);
    let output = Command::new(python)
        .arg(script)
        .args(more)
        .arg(argument)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn sstables(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sstables(&path));
        } else if path.extension().is_some_and(|e| e == "parquet") {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn pyarrow_opens_an_sstable_and_sees_columns_order_and_rows() {
    let directory = tempfile::tempdir().unwrap();
    let env = native::env(directory.path(), None).unwrap();
    let options = Options {
        row_group_rows: 40,
        page_rows: 16,
        ..Options::default()
    };
    let db = Db::open(env, options).await.unwrap();
    let table = engine::table(&db, "t").await;
    let mut rows = engine::rows(0, 100, 7);
    rows.reverse();
    table.ingest(&[engine::batch(&rows)]).await.unwrap();
    table.delete(&[engine::keys(&[5])]).await.unwrap();
    db.flush().await.unwrap();
    let files = sstables(directory.path());
    assert_eq!(files.len(), 1);
    let seen = python("read_sstable.py", &files[0]);
    assert!(
        seen.contains(r#""columns": ["id", "name", "n", "#),
        "user columns come first: {seen}"
    );
    assert!(
        seen.contains(r#""types": ["int64", "string", "int32", "#),
        "{seen}"
    );
    // A flush of inline rows keeps history: 100 rows and the tombstone of 5 above its old version.
    assert!(seen.contains(r#""rows": 101"#), "{seen}");
    assert!(seen.contains(r#""row_groups": 3"#), "{seen}");
    assert!(seen.contains(r#""field_ids": [1, 2, 3, "#), "{seen}");
    assert!(
        seen.contains(r#""id": ["0", "1", "2", "3", "4", "5", "5", "6", "7""#),
        "{seen}"
    );
    assert!(
        seen.contains(r#""name": ["row 0 of 7", "row 1 of 7""#),
        "{seen}"
    );
}

fn schema() -> TableSchema {
    let at = DataType::Timestamp(TimeUnit::Microsecond, None);
    TableSchema::new(
        vec![
            Arc::new(Field::new("id", DataType::Int64, false)),
            Arc::new(Field::new("name", DataType::Utf8, true)),
            Arc::new(Field::new("at", at, true)),
            Arc::new(Field::new("x", DataType::Float64, true)),
        ],
        &["id"],
    )
    .unwrap()
}

fn check(batch: &RecordBatch) {
    let column = |i: usize| batch.column(i).as_any();
    let ids = column(0).downcast_ref::<Int64Array>().unwrap();
    let names = column(1).downcast_ref::<StringArray>().unwrap();
    let ats = column(2)
        .downcast_ref::<TimestampMicrosecondArray>()
        .unwrap();
    let xs = column(3).downcast_ref::<Float64Array>().unwrap();
    assert_eq!(batch.num_rows(), 100);
    for i in 0..100usize {
        assert_eq!(ids.value(i), i as i64);
        let name = names.is_valid(i).then(|| names.value(i).to_owned());
        assert_eq!(name, (i % 7 != 0).then(|| format!("name {i}")));
        assert_eq!(ats.value(i), (1_577_836_800 + i as i64) * 1_000_000);
        assert_eq!(xs.value(i), i as f64 / 4.0);
    }
}

#[tokio::test]
async fn what_pyarrow_and_polars_send_goes_in_and_comes_out() {
    let directory = tempfile::tempdir().unwrap();
    python("make_ipc.py", directory.path());
    let db = Db::open(
        Env::memory(TokioRuntime::current().unwrap()),
        Options::default(),
    )
    .await
    .unwrap();
    for name in [
        "pyarrow-lz4",
        "pyarrow-stream",
        "polars",
        "polars-lz4",
        "polars-stream",
        "polars-categorical",
    ] {
        let table = db.create_table(name, schema()).await.unwrap();
        let ipc = std::fs::read(directory.path().join(format!("{name}.arrow"))).unwrap();
        table
            .ingest_ipc(Bytes::from(ipc))
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        check(&table.scan().stream().unwrap().collect().await.unwrap()[0]);
        db.flush().await.unwrap();
        check(&table.scan().stream().unwrap().collect().await.unwrap()[0]);
    }
    let zstd = std::fs::read(directory.path().join("pyarrow-zstd.arrow")).unwrap();
    let error = db
        .table("polars")
        .unwrap()
        .ingest_ipc(Bytes::from(zstd))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("lz4"), "{error}");
}

#[tokio::test]
async fn every_type_of_pyarrow_comes_back_and_is_valid_with_values_under_its_nulls() {
    let directory = tempfile::tempdir().unwrap();
    python_with("all_types.py", &["make"], directory.path());
    let env = Env::memory(TokioRuntime::current().unwrap());
    let db = Db::open(env, Options::default()).await.unwrap();
    let mut count = 0;
    while let Ok(ipc) = std::fs::read(directory.path().join(format!("{count}.arrow"))) {
        let fields = schema_of_ipc(&ipc).unwrap();
        let shown = fields[1].to_string();
        let schema = TableSchema::new(fields, &["id"]).unwrap_or_else(|e| panic!("{shown}: {e}"));
        let name = format!("t{count}");
        let table = db.create_table(&name, schema).await.unwrap();
        let ingested = table.ingest_ipc(Bytes::from(ipc)).await;
        ingested.unwrap_or_else(|e| panic!("{shown}: {e}"));
        count += 1;
    }
    db.flush().await.unwrap();
    for at in 0..count {
        let table = db.table(&format!("t{at}")).unwrap();
        let stream = table.scan().stream().unwrap();
        let schema = stream.schema().clone();
        let batches = stream.collect().await.unwrap();
        let ipc = write_ipc(&schema, &batches).unwrap();
        std::fs::write(directory.path().join(format!("{at}.out")), ipc).unwrap();
    }
    let compared = python_with("all_types.py", &["compare"], directory.path());
    assert_eq!(compared.trim(), count.to_string());
    assert!(count > 400, "{count} types");
    println!("{count} types through pyarrow");
}
