//! Rows of a caller, made ready for a commit: validated, converted, sorted (DESIGN promise 11). Nothing is
//! written here.

use super::group::TableWrite;
use crate::{
    data::{
        intake::{self, Limits, Mode},
        rows::Rows,
        schema::TableSchema,
    },
    error::{Error, Result},
    merge::{Kind, sorted_rows},
    state::TableState,
};
use arrow_array::{BooleanArray, RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use bytes::Bytes;

/// Rows as callers give them.
pub(super) enum Source<'a> {
    /// An Arrow IPC stream or file. It is kept as it came.
    Ipc(Bytes),
    /// Batches in memory.
    Batches(&'a [RecordBatch]),
}

/// Rows of one commit to `table`, of at most `most` bytes of IPC.
pub(super) fn rows(
    table: &TableState,
    source: Source<'_>,
    kind: Kind,
    most: usize,
) -> Result<TableWrite> {
    let schema = &table.entry.schema;
    let limits = Limits {
        commit_bytes: most,
        ..Limits::default()
    };
    let (batches, ipc) = match source {
        Source::Ipc(ipc) => {
            let batches = intake::read_ipc(&ipc, schema, mode(kind), &limits)?;
            (batches, ipc)
        }
        Source::Batches(batches) => {
            let batches: Vec<RecordBatch> = (batches.iter())
                .map(|b| intake::read_batch(b, schema, mode(kind), &limits))
                .collect::<Result<_>>()?;
            let ipc = encode(schema, kind, &batches)?;
            if ipc.len() > most {
                return Err(Error::invalid(format!(
                    "the commit has {} bytes: option commit_bytes allows {most}; split it",
                    ipc.len(),
                )));
            }
            (batches, ipc)
        }
    };
    Ok(TableWrite {
        table: table.id,
        schema_version: table.entry.schema_version,
        rows: sorted_rows(schema, kind, &batches, 0)?,
        bodies: vec![(kind, ipc)],
    })
}

/// Sorted rows as IPC streams: those to be there, and the keys of those to be gone.
pub(super) fn bodies(schema: &TableSchema, rows: &Rows) -> Result<Vec<(Kind, Bytes)>> {
    let encoded = |(kind, batch)| Ok((kind, encode(schema, kind, &[batch])?));
    split(schema, rows)?.into_iter().map(encoded).collect()
}

/// Sorted rows as batches in storage types: those to be there, and the keys of those to be gone.
pub(super) fn split(schema: &TableSchema, rows: &Rows) -> Result<Vec<(Kind, RecordBatch)>> {
    let gone: BooleanArray = rows.tombstones.to_array(rows.len());
    let mut batches = Vec::new();
    for kind in [Kind::Upsert, Kind::Delete] {
        let wanted = |row: &u32| gone.value(*row as usize) == (kind == Kind::Delete);
        let picked: Vec<u32> = (0..rows.len() as u32).filter(wanted).collect();
        if picked.is_empty() {
            continue;
        }
        let batch = match kind {
            Kind::Upsert => rows.batch.clone(),
            Kind::Delete => rows.batch.project(schema.key()).map_err(unfit)?,
        };
        let all = picked.len() == rows.len();
        batches.push((
            kind,
            match all {
                true => batch,
                false => take_record_batch(&batch, &UInt32Array::from(picked)).map_err(unfit)?,
            },
        ));
    }
    Ok(batches)
}

fn encode(schema: &TableSchema, kind: Kind, batches: &[RecordBatch]) -> Result<Bytes> {
    let columns = match kind {
        Kind::Upsert => schema.storage().clone(),
        Kind::Delete => schema.key_schema(),
    };
    Ok(Bytes::from(intake::write_ipc(&columns, batches)?))
}

fn unfit(error: arrow_schema::ArrowError) -> Error {
    Error::internal(format!("sorted rows cannot be taken apart: {error}"))
}

fn mode(kind: Kind) -> Mode {
    match kind {
        Kind::Upsert => Mode::Upsert,
        Kind::Delete => Mode::Delete,
    }
}
