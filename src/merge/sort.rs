//! Turns the rows of one commit into sorted [`Rows`]: one row per key, the last wins (PROTOCOL T4). They
//! keep no more memory than about what they show.

use super::key_prefix;
use crate::{
    data::{
        key::{Keys, encode_keys},
        rows::{Rows, Stamps, Tombstones},
        schema::TableSchema,
    },
    error::{Error, Result},
};
use arrow_array::{
    Array, ArrayRef, NullArray, RecordBatch, RecordBatchOptions, UInt32Array, new_empty_array,
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema};
use arrow_select::{concat::concat, take::take};
use std::sync::Arc;

/// What the rows of a batch do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Insert or replace; batches have the table's storage columns.
    Upsert,
    /// Delete; batches have the key columns, in key order.
    Delete,
}

/// Sorts the batches of one commit to one table. They have the storage schema (`Upsert`) or the key
/// schema (`Delete`), as `data::intake` gives them. One column after the other is made, and what it was
/// made of let go, so that this takes little more than its result.
pub fn sorted_rows(
    schema: &TableSchema,
    kind: Kind,
    batches: Vec<RecordBatch>,
    stamp: i64,
) -> Result<Rows> {
    let (wanted, key) = match kind {
        Kind::Upsert => (schema.storage().clone(), schema.key().to_vec()),
        Kind::Delete => (schema.key_schema(), (0..schema.key().len()).collect()),
    };
    let mut parts: Vec<Vec<ArrayRef>> = vec![Vec::new(); wanted.fields().len()];
    for batch in batches {
        for (column, part) in parts.iter_mut().zip(batch.columns()) {
            column.push(part.clone());
        }
    }
    let mut key_columns = Vec::with_capacity(key.len());
    for &at in &key {
        let (Some(column), Some(field)) = (parts.get_mut(at), wanted.fields().get(at)) else {
            return Err(Error::internal("rows lack a column of their key"));
        };
        let one = joined(std::mem::take(column), field)?;
        column.push(one.clone());
        key_columns.push(one);
    }
    let mut keys = encode_keys(&key_columns)?;
    drop(key_columns);
    let order = sorted_order(&keys)?.map(UInt32Array::from);
    let mut columns = Vec::with_capacity(parts.len());
    for (part, field) in parts.into_iter().zip(wanted.fields()) {
        let column = joined(part, field)?;
        columns.push(match &order {
            None => column,
            Some(order) => take(&column, order, None).map_err(unsorted)?,
        });
    }
    if let Some(order) = &order {
        let key: Vec<ArrayRef> = key.iter().map(|&at| columns[at].clone()).collect();
        keys = encode_keys(&key)?;
        debug_assert_eq!(keys.len(), order.len());
    }
    let batch = RecordBatch::try_new(wanted, columns).map_err(unsorted)?;
    let (batch, tombstones) = match kind {
        Kind::Upsert => (batch, Tombstones::None),
        Kind::Delete => (bare(schema, &batch)?, Tombstones::All),
    };
    let rows = Rows {
        batch,
        keys,
        stamps: Stamps::All(stamp),
        tombstones,
    };
    Ok(rows.compacted())
}

/// The parts of one column as one.
fn joined(parts: Vec<ArrayRef>, field: &Field) -> Result<ArrayRef> {
    match parts.as_slice() {
        [] => Ok(new_empty_array(field.data_type())),
        [only] => Ok(only.clone()),
        many => {
            let many: Vec<&dyn Array> = many.iter().map(|part| part.as_ref()).collect();
            concat(&many)
                .map_err(|e| Error::unsupported(format!("the batches do not fit into one: {e}")))
        }
    }
}

fn unsorted(error: ArrowError) -> Error {
    Error::internal(format!("sorting failed: {error}"))
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

/// Key columns alone as bare rows: a delete costs its keys, not the widest null of each column.
fn bare(schema: &TableSchema, keys: &RecordBatch) -> Result<RecordBatch> {
    let rows = keys.num_rows();
    let nothing: ArrayRef = Arc::new(NullArray::new(rows));
    let unnamed: FieldRef = Arc::new(Field::new("", DataType::Null, true));
    let fields = schema.storage().fields().iter().enumerate();
    let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) = fields
        .map(
            |(i, field)| match schema.key().iter().position(|&k| k == i) {
                Some(position) => (field.clone(), keys.column(position).clone()),
                None => (unnamed.clone(), nothing.clone()),
            },
        )
        .unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|e| Error::internal(format!("tombstones could not be built: {e}")))
}
