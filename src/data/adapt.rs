//! Rows of an older schema version in the layout of a newer one. Invariants: columns are matched by
//! id, never by name or place; one that the older schema lacks is null, a narrower one is widened,
//! one that the newer schema lacks is left out; keys, stamps and tombstones stay as they are. And
//! rows as they are held in the layout that their callers declared.

use super::{alter::widens, convert::convert, rows::Rows, schema::TableSchema};
use crate::error::{Error, Result};
use arrow_array::{Array, ArrayRef, NullArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use std::sync::Arc;

/// The way from one schema version to a later one.
#[derive(Clone, Debug)]
pub struct SchemaMap {
    /// Where each column comes from; `None`: it was added.
    columns: Vec<Option<usize>>,
    target: SchemaRef,
}

impl SchemaMap {
    /// The way from `from` to `to`; `Corrupt` if `to` does not follow it.
    pub fn new(from: &TableSchema, to: &TableSchema) -> Result<Self> {
        to.follows(from).map_err(|why| {
            Error::corrupt(format!("a schema does not follow an older one: {why}"))
        })?;
        let source = |id: &u32| from.column_ids().iter().position(|i| i == id);
        Ok(Self {
            columns: to.column_ids().iter().map(source).collect(),
            target: to.storage().clone(),
        })
    }

    /// A batch of all storage columns of the older schema, as the newer one has them.
    pub fn batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let columns = self.columns.iter().zip(self.target.fields());
        let columns = columns
            .map(
                |(source, field)| match source.map(|at| batch.columns().get(at)) {
                    None => Ok(new_null_array(field.data_type(), rows)),
                    Some(Some(array)) => widen(array, field),
                    Some(None) => Err(Error::internal("rows lack a column of their schema")),
                },
            )
            .collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.target.clone(), columns, &options)
            .map_err(|e| Error::internal(format!("rows do not fit the newer schema: {e}")))
    }

    /// The same for rows. Bare ones stay bare.
    pub fn rows(&self, rows: &Rows) -> Result<Rows> {
        let batch = match rows.is_bare() {
            true => self.bare(&rows.batch)?,
            false => self.batch(&rows.batch)?,
        };
        Ok(Rows {
            batch,
            ..rows.clone()
        })
    }

    fn bare(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let nothing: ArrayRef = Arc::new(NullArray::new(rows));
        let unnamed: FieldRef = Arc::new(Field::new("", DataType::Null, true));
        let columns = self.columns.iter().zip(self.target.fields());
        let columns = columns
            .map(|(source, field)| {
                let array = source.and_then(|at| batch.columns().get(at));
                match array.filter(|a| *a.data_type() != DataType::Null) {
                    None => Ok((unnamed.clone(), nothing.clone())),
                    Some(array) => Ok((field.clone(), widen(array, field)?)),
                }
            })
            .collect::<Result<Vec<(FieldRef, ArrayRef)>>>()?;
        let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|e| Error::internal(format!("tombstones do not fit the newer schema: {e}")))
    }
}

/// A batch of storage columns as their callers declared them: nested parts that are never null say so
/// again, dictionaries are dictionaries.
pub fn as_declared(declared: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(declared.fields());
    let unfit =
        |e: String| Error::corrupt(format!("stored rows do not fit the table's schema: {e}"));
    let columns = columns
        .map(|(array, field)| convert(array, field.data_type(), field.name()))
        .collect::<Result<Vec<ArrayRef>>>()
        .map_err(|e| unfit(e.to_string()))?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(declared.clone(), columns, &options)
        .map_err(|e| unfit(e.to_string()))
}

fn widen(array: &ArrayRef, field: &arrow_schema::Field) -> Result<ArrayRef> {
    let (from, to) = (array.data_type(), field.data_type());
    match from == to || widens(from, to) {
        true => convert(array, to, field.name()),
        false => Err(Error::internal(format!(
            "column {:?} is {from} where its schema says otherwise",
            field.name()
        ))),
    }
}
