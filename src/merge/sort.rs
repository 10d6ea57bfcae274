//! Turns the rows of one commit into sorted [`Rows`]: one row per key, the last wins (PROTOCOL T4).

use super::key_prefix;
use crate::{
    data::{
        key::{Keys, encode_keys},
        rows::{Rows, Stamps, Tombstones},
        schema::TableSchema,
    },
    error::{Error, Result},
};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow_select::{concat::concat_batches, take::take};

/// What the rows of a batch do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Insert or replace; batches have the table's storage columns.
    Upsert,
    /// Delete; batches have the key columns, in key order.
    Delete,
}

/// Sorts the batches of one commit to one table. They have the storage schema (`Upsert`) or the key
/// schema (`Delete`), as `data::intake` gives them.
pub fn sorted_rows(
    schema: &TableSchema,
    kind: Kind,
    batches: &[RecordBatch],
    stamp: i64,
) -> Result<Rows> {
    let wanted = match kind {
        Kind::Upsert => schema.storage().clone(),
        Kind::Delete => schema.key_schema(),
    };
    let batch = match batches {
        [only] => only.clone(),
        many => concat_batches(&wanted, many)
            .map_err(|e| Error::unsupported(format!("the batches do not fit into one: {e}")))?,
    };
    let key_columns: Vec<ArrayRef> = match kind {
        Kind::Upsert => schema
            .key()
            .iter()
            .map(|&i| batch.column(i).clone())
            .collect(),
        Kind::Delete => batch.columns().to_vec(),
    };
    let keys = encode_keys(&key_columns)?;
    let (batch, keys) = match sorted_order(&keys)? {
        None => (batch, keys),
        Some(order) => reorder(&batch, &key_columns, kind, schema, order)?,
    };
    let batch = match kind {
        Kind::Upsert => batch,
        Kind::Delete => widen(schema, &batch)?,
    };
    let tombstones = match kind {
        Kind::Upsert => Tombstones::None,
        Kind::Delete => Tombstones::All,
    };
    Ok(Rows {
        batch,
        keys,
        stamps: Stamps::All(stamp),
        tombstones,
    })
}

/// The rows in key order, of equal keys only the last; `None` if they strictly ascend as they are.
fn sorted_order(keys: &Keys) -> Result<Option<Vec<u32>>> {
    let len = keys.len();
    if (1..len).all(|i| keys.get(i - 1) < keys.get(i)) {
        return Ok(None);
    }
    if u32::try_from(len).is_err() {
        return Err(Error::invalid(format!(
            "{len} rows in one commit: split it"
        )));
    }
    let mut order: Vec<(u128, u32)> = (0..len)
        .map(|i| (key_prefix(keys.get(i)), i as u32))
        .collect();
    order.sort_unstable_by(|a, b| {
        a.0.cmp(&b.0)
            .then_with(|| keys.get(a.1 as usize).cmp(keys.get(b.1 as usize)))
            .then_with(|| b.1.cmp(&a.1))
    });
    order.dedup_by(|b, a| a.0 == b.0 && keys.get(a.1 as usize) == keys.get(b.1 as usize));
    Ok(Some(order.into_iter().map(|(_, row)| row).collect()))
}

fn reorder(
    batch: &RecordBatch,
    key_columns: &[ArrayRef],
    kind: Kind,
    schema: &TableSchema,
    order: Vec<u32>,
) -> Result<(RecordBatch, Keys)> {
    let order = UInt32Array::from(order);
    let wrong = |e: arrow_schema::ArrowError| Error::internal(format!("sorting failed: {e}"));
    let columns: Vec<ArrayRef> = (batch.columns().iter())
        .map(|c| take(c, &order, None))
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    let sorted = RecordBatch::try_new(batch.schema(), columns).map_err(wrong)?;
    let keys: Vec<ArrayRef> = match kind {
        Kind::Upsert => schema
            .key()
            .iter()
            .map(|&i| sorted.column(i).clone())
            .collect(),
        Kind::Delete => sorted.columns()[..key_columns.len()].to_vec(),
    };
    let keys = encode_keys(&keys)?;
    Ok((sorted, keys))
}

/// Key columns alone, widened to all storage columns: the others are null.
fn widen(schema: &TableSchema, keys: &RecordBatch) -> Result<RecordBatch> {
    let rows = keys.num_rows();
    let columns = (schema.storage().fields().iter().enumerate())
        .map(
            |(i, field)| match schema.key().iter().position(|&k| k == i) {
                Some(position) => keys.column(position).clone(),
                None => new_null_array(field.data_type(), rows),
            },
        )
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.storage().clone(), columns, &options)
        .map_err(|e| Error::internal(format!("tombstones could not be built: {e}")))
}
