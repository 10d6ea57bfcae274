//! Wide tables of many small files that overlap: what an array costs beside its values is most of what a merge
//! holds.

use super::{
    allocator::turn,
    reads::{run, within},
    world::{MIB, open, plenty, small},
};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use lakeshore::{data::schema::TableSchema, platform::memory::Memory};
use std::{collections::BTreeSet, sync::Arc};

const COLUMNS: usize = 200;
const FILES: i64 = 120;
const ROWS: i64 = 20;

fn id(file: i64, row: i64) -> i64 {
    (file * 7 + row * 131) % 2000
}

fn rows(file: i64) -> RecordBatch {
    let ids: BTreeSet<i64> = (0..ROWS).map(|row| id(file, row)).collect();
    let mut columns: Vec<(String, ArrayRef)> = vec![(
        "id".to_owned(),
        Arc::new(Int64Array::from_iter_values(ids.iter().copied())),
    )];
    for column in 0..COLUMNS {
        // A value in some rows, as documents have.
        let values = ids
            .iter()
            .map(|id| (*id as usize % 5 == column % 5).then_some("value"));
        let values: ArrayRef = Arc::new(StringArray::from_iter(values));
        columns.push((format!("c{column}"), values));
    }
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| {
        let nullable = name != "id";
        (name, array, nullable)
    }))
    .unwrap()
}

#[test]
fn a_wide_table_of_many_small_files_is_merged_within_the_bound() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let mut fields = vec![Arc::new(Field::new("id", DataType::Int64, false))];
        fields.extend(
            (0..COLUMNS).map(|at| Arc::new(Field::new(format!("c{at}"), DataType::Utf8, true))),
        );
        let db = open(&store, plenty()).await;
        let schema = TableSchema::new(fields, &["id"]).unwrap();
        let table = db.create_table("t", schema).await.unwrap();
        for file in 0..FILES {
            table.ingest(&[rows(file)]).await.unwrap();
            db.flush().await.unwrap();
        }
        db.close().await.unwrap();
        let all: BTreeSet<i64> = (0..FILES)
            .flat_map(|file| (0..ROWS).map(move |row| id(file, row)))
            .collect();
        for memory in [64 * MIB, 16 * MIB] {
            let what = "200 columns in 120 files";
            within(&turn, what, &store, small(memory), async |table, db| {
                let mut scan = table.scan().stream().unwrap();
                let (mut count, mut values) = (0, 0);
                while let Some(batch) = scan.next().await.unwrap() {
                    count += batch.num_rows();
                    values += batch.column(1).len() - batch.column(1).null_count();
                }
                assert_eq!(count, all.len());
                assert_eq!(values, all.iter().filter(|id| *id % 5 == 0).count());
                db
            })
            .await;
        }
    });
}
