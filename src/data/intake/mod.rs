//! The door for Arrow data from outside. Invariants: whatever the bytes are, nothing panics and no
//! allocation exceeds what [`Limits`] allow; what comes out is exactly the table's storage schema
//! (or the key columns, for deletes), every value validated; all or nothing.
//!
//! `frame` finds messages and verifies their flatbuffers, `decode` builds arrays from them, `check`
//! holds the result against the table.

mod check;
mod decode;
mod frame;
mod write;

use super::{
    convert::Converter,
    schema::{OP_COLUMN, TS_COLUMN, TableSchema},
    spec::type_name,
};
use crate::error::{Error, Result};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use bytes::Bytes;
use std::{collections::HashMap, sync::Arc};

pub use write::write_ipc;

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Rows to insert or replace: all columns; missing nullable ones are null.
    Upsert,
    /// Keys to delete: the key columns, in key order; others are ignored.
    Delete,
}

/// Bounds on what comes in. What exceeds one is `Invalid`, naming it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most bytes of Arrow data in one commit, as it comes and decoded.
    pub commit_bytes: usize,
    /// Most bytes of one value.
    pub value_bytes: usize,
    /// Most rows of one commit.
    pub rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            commit_bytes: 512 << 20,
            value_bytes: 16 << 20,
            rows: 1 << 27,
        }
    }
}

/// Reads an Arrow IPC stream or file (lz4 or uncompressed) as rows of a table.
///
/// The batches have `schema.storage()` ([`Mode::Upsert`]) or `schema.key_schema()`
/// ([`Mode::Delete`]); buffers are shared with `bytes` where nothing had to be converted.
pub fn read_ipc(
    bytes: &Bytes,
    schema: &TableSchema,
    mode: Mode,
    limits: &Limits,
) -> Result<Vec<RecordBatch>> {
    if bytes.len() > limits.commit_bytes {
        return Err(Error::invalid(format!(
            "a commit of {} bytes of Arrow IPC is too large: split it or raise commit_bytes ({})",
            bytes.len(),
            limits.commit_bytes
        )));
    }
    let messages = frame::scan(bytes)?;
    let plan = Plan::new(messages.schema.fields(), schema, mode)?;
    let mut budget = Budget::new(limits);
    let mut wanted = vec![false; messages.schema.fields().len()];
    for source in plan.columns.iter().filter_map(|c| c.source) {
        wanted[source] = true;
    }
    let batches = decode::batches(&messages, &wanted, limits, &mut budget)?;
    batches
        .into_iter()
        .map(|(columns, rows)| plan.assemble(&columns, rows, limits, &mut budget))
        .collect()
}

/// The same for a batch at hand.
pub fn read_batch(
    batch: &RecordBatch,
    schema: &TableSchema,
    mode: Mode,
    limits: &Limits,
) -> Result<RecordBatch> {
    let plan = Plan::new(batch.schema().fields(), schema, mode)?;
    let mut budget = Budget::new(limits);
    budget.rows(batch.num_rows())?;
    let columns: Vec<Option<ArrayRef>> = batch.columns().iter().cloned().map(Some).collect();
    plan.assemble(&columns, batch.num_rows(), limits, &mut budget)
}

/// How many rows an Arrow IPC stream or file holds, by what its messages say.
pub fn count_rows(bytes: &Bytes) -> Result<u64> {
    let messages = frame::scan(bytes)?;
    let rows = messages.parts.iter().map(|part| match part {
        frame::Part::Batch(batch, _) => batch.length().max(0) as u64,
        frame::Part::Dictionary(..) => 0,
    });
    Ok(rows.fold(0, u64::saturating_add))
}

/// The fields of an Arrow IPC stream, file or lone schema message.
pub fn schema_of_ipc(bytes: &[u8]) -> Result<Vec<FieldRef>> {
    let schema = frame::schema(bytes)?;
    Ok(schema.fields().iter().map(plain_field).collect())
}

/// The field without what belongs to the wire: dictionary ids, and map keys declared nullable.
fn plain_field(field: &FieldRef) -> FieldRef {
    use DataType::*;
    let data_type = match field.data_type() {
        List(f) => List(plain_field(f)),
        LargeList(f) => LargeList(plain_field(f)),
        ListView(f) => ListView(plain_field(f)),
        LargeListView(f) => LargeListView(plain_field(f)),
        FixedSizeList(f, n) => FixedSizeList(plain_field(f), *n),
        Struct(fields) => Struct(fields.iter().map(plain_field).collect()),
        Map(entries, sorted) => {
            let entries = plain_field(entries).as_ref().clone().with_nullable(false);
            let entries = match entries.data_type() {
                Struct(parts) if parts.len() == 2 => {
                    let key = Arc::new(parts[0].as_ref().clone().with_nullable(false));
                    let parts = Struct(vec![key, parts[1].clone()].into());
                    entries.with_data_type(parts)
                }
                _ => entries,
            };
            Map(Arc::new(entries), *sorted)
        }
        other => other.clone(),
    };
    let made = Field::new(field.name(), data_type, field.is_nullable());
    Arc::new(made.with_metadata(field.metadata().clone()))
}

/// What an array costs beside its values: many small batches of a wide table are not free.
const ARRAY_BYTES: usize = 256;

/// What the smallest commit may take once it is decoded, beside twice the bound of a commit.
const DECODE_BYTES: u64 = 1 << 20;

/// What one commit may still take.
struct Budget {
    bytes: u64,
    rows: usize,
}

impl Budget {
    fn new(limits: &Limits) -> Self {
        Self {
            // Dictionaries and views grow when they become plain.
            bytes: (limits.commit_bytes as u64)
                .saturating_mul(2)
                .saturating_add(DECODE_BYTES),
            rows: limits.rows,
        }
    }

    fn rows(&mut self, rows: usize) -> Result<()> {
        self.rows = self.rows.checked_sub(rows).ok_or_else(|| {
            Error::invalid("the commit has more rows than a commit may: split it or raise rows")
        })?;
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.checked_sub(bytes as u64).ok_or_else(|| {
            Error::invalid(
                "the commit takes more memory than it may once it is decoded: \
                 split it or raise commit_bytes",
            )
        })?;
        Ok(())
    }
}

/// A column of the result.
struct Column {
    /// Where it comes from; `None` if it was not sent and is null.
    source: Option<usize>,
    /// As the table's owner declared it.
    declared: FieldRef,
}

/// How what was sent becomes what the table holds.
struct Plan {
    target: SchemaRef,
    columns: Vec<Column>,
    /// The key columns in the result, in key order.
    key: Vec<usize>,
}

impl Plan {
    fn new(fields: &Fields, table: &TableSchema, mode: Mode) -> Result<Self> {
        let target = match mode {
            Mode::Upsert => table.storage().clone(),
            Mode::Delete => table.key_schema(),
        };
        let sent = check_names(fields, table, mode)?;
        let key = match mode {
            Mode::Upsert => table.key().to_vec(),
            Mode::Delete => (0..table.key().len()).collect(),
        };
        let index_in_table = |i: usize| match mode {
            Mode::Upsert => i,
            Mode::Delete => table.key()[i],
        };
        let columns = (0..target.fields().len())
            .map(|i| {
                let declared = table.user().fields()[index_in_table(i)].clone();
                let source = match sent.get(declared.name().as_str()) {
                    Some(at) => Some(*at),
                    None if declared.is_nullable() => None,
                    None => return Err(missing(&declared, target.field(i))),
                };
                Ok(Column { source, declared })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            target,
            columns,
            key,
        })
    }

    fn assemble(
        &self,
        sent: &[Option<ArrayRef>],
        rows: usize,
        limits: &Limits,
        budget: &mut Budget,
    ) -> Result<RecordBatch> {
        let mut out: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (field, column) in self.target.fields().iter().zip(&self.columns) {
            budget.spend(ARRAY_BYTES)?;
            let mut converter = Converter::new(field.name(), budget.bytes);
            let array = match column.source.map(|i| sent.get(i)) {
                Some(Some(Some(array))) => converter.convert(array, field.data_type())?,
                Some(_) => return Err(Error::internal("a wanted column was not decoded")),
                None => converter.nulls(field.data_type(), rows)?,
            };
            budget.bytes = converter.budget();
            check::values(&array, field.name(), limits)?;
            if !column.declared.is_nullable() {
                check::no_nulls(&array, field.name(), !field.is_nullable())?;
            }
            check::parts(&array, &column.declared)?;
            out.push(array);
        }
        let key: Vec<ArrayRef> = self.key.iter().map(|&i| out[i].clone()).collect();
        check::keys(&key)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.target.clone(), out, &options)
            .map_err(|e| Error::invalid(format!("the batch is not valid Arrow: {e}")))
    }
}

/// Where each column that was sent stands, by name.
fn check_names<'a>(
    fields: &'a Fields,
    table: &TableSchema,
    mode: Mode,
) -> Result<HashMap<&'a str, usize>> {
    let mut sent = HashMap::with_capacity(fields.len());
    for (at, field) in fields.iter().enumerate() {
        let name = field.name();
        if sent.insert(name.as_str(), at).is_some() {
            return Err(Error::invalid(format!(
                "column {} appears twice: send it once",
                shown(name)
            )));
        }
        if name == TS_COLUMN || name == OP_COLUMN {
            return Err(Error::invalid(format!(
                "column {name:?} is reserved: leave it out"
            )));
        }
        if mode == Mode::Upsert && table.place(name).is_none() {
            let known: Vec<&str> = (table.user().fields().iter())
                .map(|f| f.name().as_str())
                .collect();
            return Err(Error::invalid(format!(
                "column {} is not in the table: leave it out or add it to the table ({})",
                shown(name),
                known.join(", ")
            )));
        }
    }
    Ok(sent)
}

fn missing(declared: &Field, held: &Field) -> Error {
    // In storage only key columns are not nullable.
    let what = match held.is_nullable() {
        true => "column",
        false => "key column",
    };
    Error::invalid(format!(
        "{what} {:?} of type {} is missing and may not be null: send it",
        declared.name(),
        type_name(declared.data_type())
    ))
}

/// A name from outside, fit for a message.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(64).collect();
    format!("{short:?}")
}

/// A schema without the table's bounds on names: what a writer declared.
type WireSchema = Schema;
