//! Point reads of a large file, at once.

use crate::support::{
    engine::keys,
    stage::{self, Stage},
};
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field};
use lakeshore::{Db, Options, data::schema::TableSchema};
use std::sync::Arc;

/// Each takes what its pages take, not what a file might.
#[test]
fn ten_gets_on_a_large_file_are_under_way_at_once() {
    let stage = Stage::new(1);
    let options = Options {
        memory_bytes: 64 << 20,
        ..Options::default()
    };
    let fields = vec![
        Arc::new(Field::new("id", DataType::Int64, false)),
        Arc::new(Field::new("value", DataType::Binary, true)),
    ];
    let schema = TableSchema::new(fields, &["id"]).unwrap();
    let mut state = 1u64;
    let mut value = |_| -> Vec<u8> {
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..100).map(next).collect()
    };
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..50_000));
    let values = (0..50_000).map(&mut value);
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(values));
    let rows = RecordBatch::try_from_iter([("id", ids), ("value", values)]).unwrap();
    let (db, table) = stage::run(&stage, async {
        let db = Db::open(stage.env(), options).await.unwrap();
        let table = db.create_table("t", schema).await.unwrap();
        table.ingest(&[rows]).await.unwrap();
        db.flush().await.unwrap();
        // From here on the footer is there.
        table.get(&keys(&[7]), None).await.unwrap().unwrap();
        (db, table)
    });
    assert!(db.stats().tables[0].file_bytes > 4 << 20);
    let before = db.stats().data.get;
    stage.gate.close("data/");
    let mut gets: Vec<_> = (0..10)
        .map(|get| {
            let table = table.clone();
            Box::pin(async move { table.get(&keys(&[get * 5000]), None).await })
        })
        .collect();
    for get in &mut gets {
        for _ in 0..20 {
            assert!(stage::poll(get).is_pending());
        }
    }
    let under_way = db.stats().data.get - before;
    assert!(under_way >= 10, "{under_way} requests are under way");
    stage.gate.open();
    for get in gets {
        assert_eq!(stage::run(&stage, get).unwrap().unwrap().num_rows(), 1);
    }
    // One for each, whether it is alone or not.
    assert_eq!(db.stats().data.get - before, 10);
}
