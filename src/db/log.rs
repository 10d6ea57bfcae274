//! Commits edits to the log: plan on the newest version, take the next slot, and if another writer
//! won it, apply its record and plan anew (PROTOCOL C2, C3).

use super::{Inner, LogHandle};
use crate::{
    data::{intake, rows::Rows, schema::TableSchema},
    error::{Error, Result},
    log::{
        edit::{Edit, Settings, TableId},
        record::{Record, digest, record_key},
        store::Slot,
        version::{InlineRows, Version},
    },
    merge::{Kind, sorted_rows},
    state::State,
};
use bytes::Bytes;
use std::sync::Arc;

/// How many foreign records a commit goes past before it gives up as `Conflict`-free `Unavailable`.
const MAX_LOST_RACES: usize = 64;

impl Inner {
    /// Commits what `plan` makes of the newest version; nothing if it makes no edits.
    pub(super) async fn commit_record(
        &self,
        plan: impl FnMut(&Version) -> Result<Vec<Edit>> + Send,
    ) -> Result<Arc<State>> {
        self.commit_record_with(plan, |state, version, inline| {
            state.with_record(version, inline)
        })
        .await
    }

    /// The same, with the state's transition for the moment the record is ours.
    pub(super) async fn commit_record_with(
        &self,
        mut plan: impl FnMut(&Version) -> Result<Vec<Edit>> + Send,
        on_won: impl FnOnce(&State, Arc<Version>, Vec<(TableId, Rows)>) -> Result<State> + Send,
    ) -> Result<Arc<State>> {
        let mut log = self.log.lock().await;
        for _ in 0..MAX_LOST_RACES {
            let version = self.state().version.clone();
            let edits = plan(&version)?;
            if edits.is_empty() {
                return Ok(self.state());
            }
            let record = self.next_record(&version, edits);
            let bytes = Bytes::from(record.encode());
            // Decode what readers will decode, before anybody can: a record that cannot be applied
            // must never get a slot.
            let next = Arc::new(version.apply(&record, digest(&bytes))?);
            let inline = inline_rows(&next, record.seq)?;
            match log.store.put_record(record.seq, &bytes).await? {
                Slot::Won => {
                    log.note(&bytes);
                    return self.change_state(|state| on_won(state, next, inline));
                }
                Slot::Lost(foreign) => self.apply_foreign(&mut log, record.seq, &foreign)?,
            }
        }
        Err(Error::new(
            crate::ErrorKind::Unavailable,
            format!("other writers won the next slot {MAX_LOST_RACES} times in a row: retry later"),
        ))
    }

    fn next_record(&self, version: &Version, mut edits: Vec<Edit>) -> Record {
        let first = version.database.is_none();
        if first {
            edits.push(Edit::Settings(self.settings()));
        }
        Record {
            database: version.database.unwrap_or_else(|| self.random()),
            seq: version.head.seq + 1,
            prev: version.head.digest,
            ts: self.runtime.now_micros().max(version.head.ts + 1),
            writer: self.writer,
            nonce: u64::from_le_bytes(self.random()),
            edits,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            grace: self.options.grace.as_micros() as u64,
            retention: self.options.retention.as_micros() as u64,
            inline_commit_bytes: self.options.inline_commit_bytes as u64,
            checkpoint_records: self.options.checkpoint_records,
            checkpoint_bytes: self.options.checkpoint_bytes,
        }
    }

    fn apply_foreign(&self, log: &mut LogHandle, seq: u64, bytes: &Bytes) -> Result<()> {
        let record = Record::decode(&record_key(seq), bytes)?;
        let version = Arc::new(self.state().version.apply(&record, digest(bytes))?);
        let inline = inline_rows(&version, seq)?;
        log.note(bytes);
        self.change_state(|state| state.with_record(version, inline))?;
        Ok(())
    }
}

impl LogHandle {
    fn note(&mut self, record: &Bytes) {
        self.tail.records += 1;
        self.tail.bytes += record.len() as u64;
    }
}

/// The rows that record `seq` carries inline, sorted: one row per key and table (PROTOCOL T4).
pub(super) fn inline_rows(version: &Version, seq: u64) -> Result<Vec<(TableId, Rows)>> {
    let mut out: Vec<(TableId, Rows)> = Vec::new();
    let of_record = version.inline.iter().filter(|r| r.seq == seq);
    for rows in of_record {
        let Some(entry) = version.tables.get(&rows.table) else {
            continue;
        };
        let sorted = decode_inline(&entry.schema, rows)?;
        match out.iter_mut().find(|(table, _)| *table == rows.table) {
            None => out.push((rows.table, sorted)),
            Some((_, earlier)) => *earlier = later_wins(earlier, sorted)?,
        }
    }
    Ok(out)
}

fn decode_inline(schema: &TableSchema, rows: &InlineRows) -> Result<Rows> {
    let batches = decode_rows(schema, rows.kind, &rows.ipc)
        .map_err(|e| Error::corrupt(format!("{}: {e}", record_key(rows.seq))))?;
    sorted_rows(schema, rows.kind, &batches, rows.ts)
}

/// IPC bytes that were validated when they were written; they are validated again.
pub(super) fn decode_rows(
    schema: &TableSchema,
    kind: Kind,
    ipc: &Bytes,
) -> Result<Vec<arrow_array::RecordBatch>> {
    let mode = match kind {
        Kind::Upsert => intake::Mode::Upsert,
        Kind::Delete => intake::Mode::Delete,
    };
    let limits = intake::Limits {
        commit_bytes: usize::MAX,
        ..intake::Limits::default()
    };
    intake::read_ipc(ipc, schema, mode, &limits)
}

/// Two sets of rows of one record: of equal keys the later wins, and all carry the record's stamp.
fn later_wins(earlier: &Rows, later: Rows) -> Result<Rows> {
    let stamp = later.stamps.get(0);
    let newer = Rows {
        stamps: crate::data::rows::Stamps::All(stamp + 1),
        ..later
    };
    let merged = crate::memtable::merge_all([earlier.clone(), newer], crate::merge::Keep::Newest)?;
    let Some(rows) = merged else {
        return Ok(earlier.clone());
    };
    Ok(Rows {
        stamps: crate::data::rows::Stamps::All(stamp),
        ..rows
    })
}
