//! What the engine gives, as the model has it.

use crate::{
    history::Rows,
    support::{
        altering::Shape,
        cells::{self, Cell},
    },
};
use arrow_array::RecordBatch;
use lakeshore::ScanBuilder;

pub fn key_batch(shape: &Shape, keys: &[i64]) -> RecordBatch {
    let rows: Vec<_> = keys
        .iter()
        .map(|key| vec![Cell::Int((*key).into())])
        .collect();
    cells::batch(&shape.key_fields(), &rows)
}

/// All that a scan gives, which must be in order, and as many as it counts: of what does not change.
pub async fn read(scan: &ScanBuilder, reverse: bool) -> lakeshore::Result<Rows> {
    let rows = gather(scan, reverse).await?;
    assert_eq!(scan.count().await?, rows.len() as u64);
    Ok(rows)
}

/// All that a scan gives, which must be in order.
pub async fn gather(scan: &ScanBuilder, reverse: bool) -> lakeshore::Result<Rows> {
    let batches = scan.clone().reverse(reverse).stream()?.collect().await?;
    Ok(of_batches(&batches, reverse))
}

/// Rows by key, which is the first column of every schema here.
pub fn of_batches(batches: &[RecordBatch], reverse: bool) -> Rows {
    let mut rows = Rows::new();
    let mut last = None;
    for row in batches.iter().flat_map(cells::rows) {
        let Cell::Int(key) = row[0] else {
            panic!("no key: {row:?}")
        };
        let key = key as i64;
        let ordered = last.is_none_or(|last| if reverse { key < last } else { key > last });
        assert!(ordered, "{key} follows {last:?}");
        last = Some(key);
        rows.insert(key, row);
    }
    rows
}
