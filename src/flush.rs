//! The flush job: writes sealed memtables as sstables and says which edits make them live. Pending
//! rows become fresh sstables with one row per key (PROTOCOL T4, T5); inline rows keep their
//! timestamps (L1). The objects are durable before any edit names them (DESIGN promise 4).

use crate::{
    data::{rows::Rows, schema::TableSchema},
    env::{Runtime, Storage},
    error::Result,
    log::edit::{Edit, TableId},
    memtable::Memtable,
    merge::{Keep, Merge, Step},
    options::Options,
    sstable::{meta::Ulid, write::SstableWriter},
    state::{Seal, State},
};
use std::sync::Arc;

/// What a flush of some seals wrote.
#[derive(Debug)]
pub struct Flushed {
    /// The seals up to this one.
    pub generation: u64,
    /// `AddSstable` and the floors.
    pub edits: Vec<Edit>,
    /// Rows written.
    pub rows: u64,
}

/// Where a flush writes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The data store.
    pub storage: &'a Arc<dyn Storage>,
    /// For names.
    pub runtime: &'a Arc<dyn Runtime>,
    /// Sizes.
    pub options: &'a Options,
}

/// Writes all seals of `state` as sstables; `None` if there are none.
pub async fn write_seals(target: Target<'_>, state: &State) -> Result<Option<Flushed>> {
    let Some(last) = state.seals.last() else {
        return Ok(None);
    };
    let mut flushed = Flushed {
        generation: last.generation,
        edits: Vec::new(),
        rows: 0,
    };
    for table in state.tables.values() {
        let pick = |pick: fn(&crate::state::Memory) -> &Memtable| {
            let runs = table
                .sealed
                .iter()
                .flat_map(move |(_, memory)| pick(memory).runs());
            runs.map(|rows| rows.as_ref().clone())
                .collect::<Vec<Rows>>()
        };
        let output = TableOutput {
            table: table.id,
            schema: &table.entry.schema,
            schema_version: table.entry.schema_version,
        };
        let inline = pick(|m| &m.inline);
        let keep_all = Keep::Versions {
            watermark: i64::MIN,
        };
        output
            .write(target, inline, keep_all, false, &mut flushed)
            .await?;
        let pending = pick(|m| &m.pending);
        output
            .write(target, pending, Keep::Newest, true, &mut flushed)
            .await?;
    }
    flushed.edits.extend(floors(state, last));
    Ok(Some(flushed))
}

/// The floors a flush of all seals up to `last` raises.
fn floors(state: &State, last: &Seal) -> Vec<Edit> {
    let mut edits = Vec::new();
    let inline = state.version.inline.iter().any(|r| r.seq <= last.inline_to);
    if inline {
        let from = state.version.inline_floor;
        edits.push(Edit::InlineFloor {
            from,
            to: last.inline_to,
        });
    }
    for (session, frame) in &last.wal_floors {
        if *frame > state.version.wal_floor(session) {
            edits.push(Edit::WalFloor {
                session: *session,
                frame: *frame,
            });
        }
    }
    edits
}

/// Writes the rows of one large commit as fresh sstables (PROTOCOL C5).
pub async fn write_commit(
    target: Target<'_>,
    table: TableId,
    schema: &Arc<TableSchema>,
    schema_version: u32,
    rows: Vec<Rows>,
) -> Result<Vec<Edit>> {
    let mut flushed = Flushed {
        generation: 0,
        edits: Vec::new(),
        rows: 0,
    };
    let output = TableOutput {
        table,
        schema,
        schema_version,
    };
    output
        .write(target, rows, Keep::Newest, true, &mut flushed)
        .await?;
    Ok(flushed.edits)
}

struct TableOutput<'a> {
    table: TableId,
    schema: &'a Arc<TableSchema>,
    schema_version: u32,
}

impl TableOutput<'_> {
    async fn write(
        &self,
        target: Target<'_>,
        runs: Vec<Rows>,
        keep: Keep,
        fresh: bool,
        flushed: &mut Flushed,
    ) -> Result<()> {
        let mut merge = Merge::new(runs.len(), keep, false, true);
        for (source, rows) in runs.into_iter().enumerate() {
            merge.feed(source, Some(rows));
            merge.feed(source, None);
        }
        let mut writer: Option<SstableWriter> = None;
        while let Step::Rows(rows) = merge.step(target.options.batch_rows)? {
            flushed.rows += rows.len() as u64;
            let open = match &mut writer {
                Some(open) => open,
                None => writer.insert(self.create(target, fresh).await?),
            };
            open.write(&rows).await?;
            if open.estimated_bytes() >= target.options.sstable_bytes
                && let Some(full) = writer.take()
            {
                flushed.edits.push(self.finish(full).await?);
            }
        }
        if let Some(last) = writer {
            flushed.edits.push(self.finish(last).await?);
        }
        Ok(())
    }

    async fn create(&self, target: Target<'_>, fresh: bool) -> Result<SstableWriter> {
        let id = new_ulid(target.runtime.as_ref());
        SstableWriter::create(
            target.storage,
            self.table,
            id,
            self.schema.clone(),
            target.options,
            fresh,
        )
        .await
    }

    async fn finish(&self, writer: SstableWriter) -> Result<Edit> {
        let meta = Arc::new(writer.finish().await?);
        Ok(Edit::AddSstable {
            table: self.table,
            schema_version: self.schema_version,
            meta,
        })
    }
}

/// A new name: the milliseconds of now, then 80 random bits.
pub fn new_ulid(runtime: &dyn Runtime) -> Ulid {
    let mut bytes = [0u8; 16];
    runtime.random(&mut bytes);
    let millis = (runtime.now_micros().max(0) / 1000) as u64;
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Ulid(bytes)
}
