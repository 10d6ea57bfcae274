//! Rows of a caller, made ready for a commit: validated, converted, sorted (DESIGN promise 11). Nothing is
//! written here.

use super::group::TableWrite;
use crate::{
    data::{
        held::{plain_bytes, shown_bytes},
        intake::{self, Limits, Mode},
        rows::Rows,
        schema::TableSchema,
    },
    error::{Error, Result},
    log::edit::TableId,
    merge::{Kind, sorted_rows},
    state::TableState,
};
use arrow_array::{Array, BooleanArray, RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use bytes::Bytes;
use std::sync::Arc;

/// About the bytes of one batch in an IPC stream of several.
const PART_BYTES: usize = 1 << 20;

/// Rows as callers give them.
pub(crate) enum Source {
    /// An Arrow IPC stream or file. It is kept as it came.
    Ipc(Bytes),
    /// Batches in memory.
    Batches(Vec<RecordBatch>),
}

/// Rows that a caller gave, while they are where the caller has them: outside of the engine's memory, if
/// that is JavaScript's.
pub(crate) trait Given: Send + Sync {
    /// How many bytes they have.
    fn bytes(&self) -> usize;

    /// They are going to be read later: from now on they must not change.
    fn keep(&mut self) -> Result<()>;

    /// Takes them into memory.
    fn read(self: Box<Self>) -> Result<Source>;
}

impl Given for Source {
    fn bytes(&self) -> usize {
        match self {
            Self::Ipc(ipc) => ipc.len(),
            Self::Batches(batches) => {
                let columns = batches.iter().flat_map(|b| b.columns());
                columns.map(plain_bytes).sum()
            }
        }
    }

    fn keep(&mut self) -> Result<()> {
        Ok(())
    }

    fn read(self: Box<Self>) -> Result<Source> {
        Ok(*self)
    }
}

/// What rows are validated against.
#[derive(Clone)]
pub(super) struct Place {
    table: TableId,
    schema: Arc<TableSchema>,
    schema_version: u32,
}

impl Place {
    pub(super) fn of(table: &TableState) -> Self {
        Self {
            table: table.id,
            schema: table.entry.schema.clone(),
            schema_version: table.entry.schema_version,
        }
    }

    /// Their table.
    pub(super) fn table(&self) -> TableId {
        self.table
    }
}

/// Memory that a commit of so many bytes may take until it is in the memtables: the bytes as they came,
/// the same sorted, their keys.
pub(super) fn cost(bytes: usize) -> usize {
    bytes
        .saturating_mul(2)
        .saturating_add(bytes / 4 + 64 * 1024)
}

/// Refuses what is larger than a commit may be.
pub(super) fn check_size(bytes: usize, most: usize) -> Result<()> {
    match bytes <= most {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "the commit has {bytes} bytes: option commit_bytes allows {most} (at most an eighth of \
             memory_bytes); split it",
        ))),
    }
}

/// Rows of one commit to `place`, of at most `most` bytes of IPC.
pub(super) fn rows(place: &Place, source: Source, kind: Kind, most: usize) -> Result<TableWrite> {
    let schema = &place.schema;
    let limits = Limits {
        commit_bytes: most,
        ..Limits::default()
    };
    check_size(source.bytes(), most)?;
    let (rows, bodies) = match source {
        Source::Ipc(ipc) => {
            let batches = intake::read_ipc(&ipc, schema, mode(kind), &limits)?;
            let rows = sorted_rows(schema, kind, batches, 0)?;
            (rows, vec![(kind, ipc)])
        }
        Source::Batches(batches) => {
            let batches: Vec<RecordBatch> = (batches.into_iter())
                .map(|b| intake::read_batch(&b, schema, mode(kind), &limits))
                .collect::<Result<_>>()?;
            let rows = sorted_rows(schema, kind, batches, 0)?;
            let bodies = bodies(schema, &rows)?;
            check_size(bodies.iter().map(|(_, ipc)| ipc.len()).sum(), most)?;
            (rows, bodies)
        }
    };
    Ok(TableWrite {
        table: place.table,
        schema_version: place.schema_version,
        rows,
        bodies,
    })
}

/// Sorted rows as IPC streams: those to be there, and the keys of those to be gone.
pub(super) fn bodies(schema: &TableSchema, rows: &Rows) -> Result<Vec<(Kind, Bytes)>> {
    let encoded = |(kind, batch)| Ok((kind, encode(schema, kind, &batch)?));
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

/// Sorted rows as one IPC stream. A large batch is written in parts: each is put together in memory
/// before it is written.
fn encode(schema: &TableSchema, kind: Kind, batch: &RecordBatch) -> Result<Bytes> {
    let columns = match kind {
        Kind::Upsert => schema.storage().clone(),
        Kind::Delete => schema.key_schema(),
    };
    let bytes: usize = (batch.columns().iter())
        .map(|c| shown_bytes(c, 0, c.len()))
        .sum();
    let rows = batch.num_rows();
    let step = match bytes > 2 * PART_BYTES {
        true => (rows / (bytes / PART_BYTES)).max(1),
        false => rows.max(1),
    };
    let parts: Vec<RecordBatch> = (0..rows)
        .step_by(step)
        .map(|from| batch.slice(from, step.min(rows - from)))
        .collect();
    let mut ipc = intake::write_ipc(&columns, &parts)?;
    ipc.shrink_to_fit();
    Ok(Bytes::from(ipc))
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
