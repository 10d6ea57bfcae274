//! A small table and its naive model, for tests that go through the engine's public door.

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use lakeshore::{Db, Options, ScanBuilder, Table, data::schema::TableSchema};
use std::{collections::BTreeMap, sync::Arc};

/// `(id int64, name utf8, n int32)` by `id`.
pub fn schema() -> TableSchema {
    TableSchema::new(
        vec![
            Arc::new(Field::new("id", DataType::Int64, false)),
            Arc::new(Field::new("name", DataType::Utf8, true)),
            Arc::new(Field::new("n", DataType::Int32, true)),
        ],
        &["id"],
    )
    .unwrap()
}

/// What a row should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub n: i32,
}

/// What a table should hold.
pub type Model = BTreeMap<i64, Row>;

/// Rows as a batch of the table.
pub fn batch(rows: &[(i64, Row)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(
        rows.iter().map(|r| r.1.name.as_str()),
    ));
    let ns: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.1.n)));
    RecordBatch::try_from_iter([("id", ids), ("name", names), ("n", ns)]).unwrap()
}

/// Keys as a batch for `delete` and `get`.
pub fn keys(ids: &[i64]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.iter().copied()));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

/// Rows `from..to`, all carrying `mark`.
pub fn rows(from: i64, to: i64, mark: i32) -> Vec<(i64, Row)> {
    (from..to)
        .map(|id| {
            (
                id,
                Row {
                    name: format!("row {id} of {mark}"),
                    n: mark,
                },
            )
        })
        .collect()
}

/// Everything a scan of the whole table gives.
pub async fn content(table: &Table) -> lakeshore::Result<Model> {
    scanned(table.scan()).await
}

/// Everything a scan gives.
pub async fn scanned(scan: ScanBuilder) -> lakeshore::Result<Model> {
    let mut model = Model::new();
    let mut last = i64::MIN;
    for batch in scan.stream()?.collect().await? {
        add(&batch, &mut |id, row| {
            assert!(id > last, "the scan is not ascending: {id} after {last}");
            last = id;
            model.insert(id, row);
        });
    }
    Ok(model)
}

/// The row of a key, by `get`.
pub async fn get(table: &Table, id: i64) -> lakeshore::Result<Option<Row>> {
    let mut found = None;
    if let Some(batch) = table.get(&keys(&[id]), None).await? {
        add(&batch, &mut |_, row| found = Some(row));
    }
    Ok(found)
}

/// The keys of a batch of key columns.
pub fn ids(batch: &RecordBatch) -> Vec<i64> {
    let ids = batch.column(0).as_any().downcast_ref::<Int64Array>();
    ids.unwrap().values().to_vec()
}

/// The rows of a batch of all columns.
pub fn unpack(batch: &RecordBatch) -> Vec<(i64, Row)> {
    let mut rows = Vec::new();
    add(batch, &mut |id, row| rows.push((id, row)));
    rows
}

fn add(batch: &RecordBatch, each: &mut dyn FnMut(i64, Row)) {
    let ids = batch
        .column(0)
        .as_any()
        .downcast_ref::<Int64Array>()
        .unwrap();
    let names = batch
        .column(1)
        .as_any()
        .downcast_ref::<StringArray>()
        .unwrap();
    let ns = batch
        .column(2)
        .as_any()
        .downcast_ref::<Int32Array>()
        .unwrap();
    for i in 0..batch.num_rows() {
        each(
            ids.value(i),
            Row {
                name: names.value(i).to_owned(),
                n: ns.value(i),
            },
        );
    }
}

/// The table `name`, created if need be.
pub async fn table(db: &Db, name: &str) -> Table {
    db.create_table(name, schema()).await.unwrap()
}

/// Bounds so small that a short run meets every kind of maintenance.
pub fn tiny() -> Options {
    Options {
        wal_segment_bytes: 4096,
        seal_bytes: 16 * 1024,
        seal_batches: 8,
        memtable_limit_bytes: 64 * 1024,
        backlog_bytes: 64 * 1024,
        checkpoint_records: 3,
        row_group_rows: 64,
        page_rows: 16,
        batch_rows: 32,
        ..Options::default()
    }
}
