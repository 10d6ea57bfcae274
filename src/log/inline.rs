//! Inline rows, decoded: as what they were validated against, then brought into a layout that their table
//! has, or had, no earlier than their record (PROTOCOL C6). Pure.

use super::{
    catalog::TableEntry,
    edit::TableId,
    record::record_key,
    version::{InlineRows, Version},
};
use crate::{
    data::{
        adapt::SchemaMap,
        intake,
        rows::{Rows, Stamps},
        schema::TableSchema,
    },
    error::{Error, Result},
    memtable::merge_all,
    merge::{Keep, Kind, sorted_rows},
};
use arrow_array::RecordBatch;
use bytes::Bytes;
use std::collections::BTreeMap;

/// All inline rows of a version, oldest record first.
pub fn all_inline_rows(version: &Version) -> Result<Vec<(TableId, Rows)>> {
    let mut all = Vec::new();
    for of_record in version.inline.chunk_by(|a, b| a.seq == b.seq) {
        all.extend(rows_of(version, of_record)?);
    }
    Ok(all)
}

/// The rows that record `seq` carries inline.
pub fn inline_rows(version: &Version, seq: u64) -> Result<Vec<(TableId, Rows)>> {
    rows_of(version, version.inline.iter().filter(|r| r.seq == seq))
}

/// Inline rows of one record, sorted: one row per key and table (PROTOCOL T4), deletes
/// apart. Without those of tables that are not there any more.
pub fn rows_of<'a>(
    version: &Version,
    of_record: impl IntoIterator<Item = &'a InlineRows>,
) -> Result<Vec<(TableId, Rows)>> {
    let mut tables: Vec<(TableId, Vec<Rows>)> = Vec::new();
    for rows in of_record {
        let Some(entry) = version.tables.get(&rows.table) else {
            continue;
        };
        let sorted = decode(entry, rows)?;
        match tables.iter_mut().find(|(table, _)| *table == rows.table) {
            None => tables.push((rows.table, vec![sorted])),
            Some((_, earlier)) => earlier.push(sorted),
        }
    }
    let mut out = Vec::with_capacity(tables.len());
    for (table, parts) in tables {
        out.extend(later_wins(parts)?.into_iter().map(|rows| (table, rows)));
    }
    Ok(out)
}

/// Whether some inline rows of a table, of records up to `to`, are from before its schema version of now.
pub fn has_older(version: &Version, table: TableId, entry: &TableEntry, to: u64) -> bool {
    let mut own = (version.inline.iter()).filter(|r| r.table == table && r.seq <= to);
    own.any(|rows| entry.version_at(rows.ts) != entry.schema_version)
}

/// The inline rows of a table, of records up to `to`, by the schema version that it had at their record:
/// so they go into sstables, or a read as of then would miss what was dropped since. `entry` is the table,
/// or what it was when it was dropped.
pub fn by_version(
    version: &Version,
    table: TableId,
    entry: &TableEntry,
    to: u64,
) -> Result<BTreeMap<u32, Vec<Rows>>> {
    let mut found: BTreeMap<u32, Vec<Rows>> = BTreeMap::new();
    let mut then = entry.clone();
    for of_record in version.inline.chunk_by(|a, b| a.seq == b.seq) {
        let own = (of_record.iter()).filter(|r| r.table == table && r.seq <= to);
        let mut sorted: Vec<Rows> = Vec::new();
        for rows in own {
            let at = entry.version_at(rows.ts);
            if then.schema_version != at {
                then = entry.at_version(at)?;
            }
            sorted.push(decode(&then, rows)?);
        }
        let rows = later_wins(sorted)?;
        if !rows.is_empty() {
            found.entry(then.schema_version).or_default().extend(rows);
        }
    }
    Ok(found)
}

/// Rows decoded as what they were validated against, in the layout of `entry`.
fn decode(entry: &TableEntry, rows: &InlineRows) -> Result<Rows> {
    let place = |e: Error| Error::corrupt(format!("{}: {e}", record_key(rows.seq)));
    let schema = entry.schema_at(rows.schema_version).map_err(place)?;
    let batches = decode_rows(&schema, rows.kind, &rows.ipc).map_err(place)?;
    let sorted = sorted_rows(&schema, rows.kind, batches, rows.ts)?;
    match rows.schema_version == entry.schema_version {
        true => Ok(sorted),
        false => SchemaMap::new(&schema, &entry.schema)?.rows(&sorted),
    }
}

/// IPC bytes that were validated when they were written; they are validated again.
pub fn decode_rows(schema: &TableSchema, kind: Kind, ipc: &Bytes) -> Result<Vec<RecordBatch>> {
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

/// The rows of one record to one table: of equal keys the later wins, and all carry the record's stamp.
fn later_wins(parts: Vec<Rows>) -> Result<Vec<Rows>> {
    if parts.len() < 2 {
        return Ok(parts);
    }
    let stamp = parts.first().map_or(0, |rows| rows.stamps.get(0));
    let ordered = parts.into_iter().enumerate();
    let ordered = ordered.map(|(order, rows)| stamped(rows, order as i64));
    let newest = merge_all(ordered, Keep::Newest)?;
    Ok(newest
        .into_iter()
        .map(|rows| stamped(rows, stamp))
        .collect())
}

fn stamped(rows: Rows, stamp: i64) -> Rows {
    Rows {
        stamps: Stamps::All(stamp),
        ..rows
    }
}
