//! The flush job: writes sealed memtables as sstables and says which edits make them live. Pending
//! rows become fresh sstables with one row per key (PROTOCOL T4, T5); inline rows keep their
//! timestamps (L1). The objects are durable before any edit names them (DESIGN promise 4).

use crate::{
    data::{bound::Bound, convert::null_bytes, rows::Rows, schema::TableSchema},
    env::{Runtime, Storage},
    error::Result,
    log::{
        catalog::TableEntry,
        edit::{Edit, TableId},
        inline,
        version::Version,
    },
    memtable::Memtable,
    merge::{Keep, Merge, Step},
    options::Options,
    sstable::{meta::Ulid, write::SstableWriter},
    state::{Seal, State},
    wal::SessionId,
};
use std::sync::Arc;

/// Of rows that are only moved every version stays (PROTOCOL L1).
const KEEP_ALL: Keep = Keep::Versions {
    watermark: i64::MIN,
};

/// What a flush of some seals wrote, and from where on.
#[derive(Debug, Default)]
pub struct Flushed {
    inline: Files,
    pending: Files,
    /// The inline floor then, and the one these sstables allow.
    inline_floor: Option<(u64, u64)>,
    /// The same of each WAL session.
    wal_floors: Vec<(SessionId, u64, u64)>,
    jumps: u64,
}

/// `AddSstable` edits, and the rows behind them.
#[derive(Debug, Default)]
struct Files {
    added: Vec<Edit>,
    rows: u64,
}

/// What is to be committed of a [`Flushed`].
#[derive(Debug)]
pub enum Publish {
    /// These edits; nothing is left to do if there are none.
    Edits(Vec<Edit>),
    /// The log moved so that the sstables do not fit: write them again, these are orphans.
    Rewrite,
}

impl Flushed {
    /// Rows written.
    pub fn rows(&self) -> u64 {
        self.inline.rows + self.pending.rows
    }

    /// Bytes of the sstables that hold pending rows, and their rows.
    pub fn uploaded(&self) -> (u64, u64) {
        let size = |edit: &Edit| match edit {
            Edit::AddSstable { meta, .. } => meta.bytes,
            _ => 0,
        };
        (self.pending.added.iter().map(size).sum(), self.pending.rows)
    }

    /// The last frame of each session that it uploads.
    pub fn wal_floors(&self) -> Vec<(SessionId, u64)> {
        let floors = self.wal_floors.iter();
        floors.map(|(session, _, to)| (*session, *to)).collect()
    }

    /// Plans the record on the newest state (PROTOCOL C3, L1, W3): what another flush, or a late record
    /// of an earlier attempt, moved already is not moved again.
    pub fn publish(&self, state: &State) -> Publish {
        let version = &state.version;
        if state.jumps != self.jumps {
            return Publish::Rewrite;
        }
        let mut edits: Vec<Edit> = Vec::new();
        match self.inline_floor {
            Some((from, to)) if version.inline_floor == from => {
                edits.extend(self.inline.added.iter().cloned());
                edits.push(Edit::InlineFloor { from, to });
            }
            Some((_, to)) if version.inline_floor < to => return Publish::Rewrite,
            _ => {}
        }
        let floors = || self.wal_floors.iter();
        if floors().any(|(session, _, to)| version.wal_floor(session) < *to) {
            if floors().any(|(session, from, _)| version.wal_floor(session) != *from) {
                return Publish::Rewrite;
            }
            edits.extend(self.pending.added.iter().cloned());
            edits.extend(floors().map(|(session, _, to)| Edit::WalFloor {
                session: *session,
                frame: *to,
            }));
        }
        // Pending rows of a table that was dropped meanwhile die with it (C6); below the orphan floor gc may
        // have taken the file (G3).
        edits.retain(|edit| version.takes(edit));
        match edits
            .iter()
            .any(|edit| is_orphan(edit, version.orphan_floor))
        {
            true => Publish::Rewrite,
            false => Publish::Edits(edits),
        }
    }
}

/// Whether gc may take the sstable that `edit` adds (PROTOCOL G3).
pub fn is_orphan(edit: &Edit, floor: Ulid) -> bool {
    matches!(edit, Edit::AddSstable { meta, .. } if meta.id <= floor)
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
    /// The orphan floor: names are made above it, or a slow clock's would be refused for ever (G3).
    pub floor: Ulid,
}

/// The last of the oldest seals, none after generation `until`, that together hold at most `most` bytes;
/// but at least one seal. With their bytes.
pub fn oldest_seals(state: &State, until: u64, most: usize) -> Option<(&Seal, usize)> {
    let mut picked: Option<(&Seal, usize)> = None;
    for seal in state.seals.iter().take_while(|s| s.generation <= until) {
        let bytes = state.sealed_bytes(seal.generation);
        picked = match picked {
            None => Some((seal, bytes)),
            Some((_, before)) if before.saturating_add(bytes) <= most => {
                Some((seal, before + bytes))
            }
            Some(_) => break,
        };
    }
    picked
}

/// Writes the seals of `state` up to `last` as sstables. Rows never go up before older ones of their key:
/// it takes all seals before it, too.
pub async fn write_seals(target: Target<'_>, state: &State, last: &Seal) -> Result<Flushed> {
    let version = &state.version;
    let mut flushed = Flushed {
        jumps: state.jumps,
        ..floors(state, last)
    };
    for table in state.tables.values() {
        let pick = |pick: fn(&crate::state::Memory) -> &Memtable| {
            let sealed = table.sealed.iter();
            let runs = sealed
                .take_while(|(generation, _)| *generation <= last.generation)
                .flat_map(move |(_, memory)| pick(memory).runs());
            runs.map(|rows| rows.as_ref().clone())
                .collect::<Vec<Rows>>()
        };
        let output = TableOutput {
            table: table.id,
            schema: &table.entry.schema,
            schema_version: table.entry.schema_version,
        };
        if inline::has_older(version, table.id, &table.entry, last.inline_to) {
            let (id, entry) = (table.id, &table.entry);
            write_older(target, version, id, entry, last, &mut flushed.inline).await?;
        } else {
            let inline = pick(|m| &m.inline);
            output
                .write(target, inline, KEEP_ALL, false, &mut flushed.inline)
                .await?;
        }
        let pending = pick(|m| &m.pending);
        output
            .write(target, pending, Keep::Newest, true, &mut flushed.pending)
            .await?;
    }
    for (id, table) in &version.dropped {
        let entry = &table.entry;
        write_older(target, version, *id, entry, last, &mut flushed.inline).await?;
    }
    Ok(flushed)
}

/// Writes the inline rows of a table that was altered or dropped since as what it was at their time, for
/// reads as of then. Memory has them as the table is now.
async fn write_older(
    target: Target<'_>,
    version: &Version,
    table: TableId,
    entry: &TableEntry,
    last: &Seal,
    files: &mut Files,
) -> Result<()> {
    for (schema_version, runs) in inline::by_version(version, table, entry, last.inline_to)? {
        let output = TableOutput {
            table,
            schema: &entry.schema_at(schema_version)?,
            schema_version,
        };
        output.write(target, runs, KEEP_ALL, false, files).await?;
    }
    Ok(())
}

/// The floors that a flush of all seals up to `last` raises.
fn floors(state: &State, last: &Seal) -> Flushed {
    let version = &state.version;
    let inline = version.inline.iter().any(|r| r.seq <= last.inline_to);
    let raised = |(session, to): (&SessionId, &u64)| {
        let from = version.wal_floor(session);
        (*to > from).then_some((*session, from, *to))
    };
    Flushed {
        inline_floor: inline.then_some((version.inline_floor, last.inline_to)),
        wal_floors: last.wal_floors.iter().filter_map(raised).collect(),
        ..Flushed::default()
    }
}

/// Writes the rows of one large commit as fresh sstables (PROTOCOL C5).
pub async fn write_commit(
    target: Target<'_>,
    table: TableId,
    schema: &Arc<TableSchema>,
    schema_version: u32,
    rows: Vec<Rows>,
) -> Result<Vec<Edit>> {
    let mut files = Files::default();
    let output = TableOutput {
        table,
        schema,
        schema_version,
    };
    output
        .write(target, rows, Keep::Newest, true, &mut files)
        .await?;
    Ok(files.added)
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
        files: &mut Files,
    ) -> Result<()> {
        let bound = step_bound(&runs, self.schema, target.options);
        let mut merge = Merge::new(runs.len(), keep, false, true);
        for (source, rows) in runs.into_iter().enumerate() {
            merge.feed(source, Some(rows));
            merge.feed(source, None);
        }
        let mut writer: Option<SstableWriter> = None;
        while let Step::Rows(rows) = merge.step(bound)? {
            files.rows += rows.len() as u64;
            let open = match &mut writer {
                Some(open) => open,
                None => writer.insert(self.create(target, fresh).await?),
            };
            open.write(&rows).await?;
            if open.is_full()
                && let Some(full) = writer.take()
            {
                files.added.push(self.finish(full).await?);
            }
        }
        if let Some(last) = writer {
            files.added.push(self.finish(last).await?);
        }
        Ok(())
    }

    async fn create(&self, target: Target<'_>, fresh: bool) -> Result<SstableWriter> {
        let id = new_ulid(target.runtime.as_ref(), target.floor);
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

/// What is merged at once: an eighth of what a writer may take. Beside rows with all columns a delete takes
/// as much as a null of each: all of it, then, if every row were one.
fn step_bound(runs: &[Rows], schema: &TableSchema, options: &Options) -> Bound {
    let bytes = options.writer_bytes() / 8;
    let mixed = runs.iter().any(Rows::is_bare) && !runs.iter().all(Rows::is_bare);
    let fields = schema.storage().fields().iter();
    let null = fields.map(|f| null_bytes(f.data_type(), 1)).sum::<u64>();
    let most = match mixed {
        true => options.writer_bytes() / (null as usize).max(1),
        false => usize::MAX,
    };
    Bound::new(options.batch_rows.min(most), bytes)
}

/// A new name above `floor`: the milliseconds of now, then 80 random bits.
pub fn new_ulid(runtime: &dyn Runtime, floor: Ulid) -> Ulid {
    let mut bytes = [0u8; 16];
    runtime.random(&mut bytes);
    let millis = (runtime.now_micros() / 1000).max(floor.millis() + 1);
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Ulid(bytes)
}
