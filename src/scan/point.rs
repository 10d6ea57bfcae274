//! Reads one key: memtables first, then the files that may hold it, newest first, until no file
//! left can hold a newer version.

use super::readers::Readers;
use crate::{env::Reservation, error::Result, log::version::LiveFile, state::TableState};
use arrow_array::RecordBatch;

/// What is fetched at once for one row: a footer apart.
const BLOCK_BYTES: u64 = 2 * 1024 * 1024;

/// The newest version of `key` at or below `as_of`, as one row of `columns`; `None` if there is none
/// or it is deleted.
pub async fn get(
    table: &TableState,
    readers: &Readers,
    key: &[u8],
    columns: &[usize],
    as_of: i64,
) -> Result<Option<RecordBatch>> {
    let mut best: Option<(i64, Option<RecordBatch>)> = None;
    for memory in table.memories() {
        for (rows, row) in [
            memory.pending.get(key, as_of),
            memory.inline.get(key, as_of),
        ]
        .into_iter()
        .flatten()
        {
            let ts = rows.stamps.get(row);
            if best.as_ref().is_none_or(|(b, _)| ts > *b) {
                let live = !rows.tombstones.get(row);
                let batch = live
                    .then(|| super::plan::project(&rows.batch.slice(row, 1), columns))
                    .transpose()?;
                best = Some((ts, batch));
            }
        }
    }
    let mut memory: Option<Reservation> = None;
    for file in candidates(table, key) {
        if best.as_ref().is_some_and(|(ts, _)| *ts >= file.max_ts()) {
            break;
        }
        // Nothing is held while it waits for more.
        let needed = needed(file).min(readers.room().most());
        if memory.as_ref().is_none_or(|held| held.bytes() < needed) {
            drop(memory.take());
            memory = Some(readers.room().reserve("a row", needed).await?);
        }
        let reader = readers
            .open(
                table.id,
                &table.entry.schema,
                table.entry.schema_version,
                file,
            )
            .await?;
        let most = needed as u64 / 4;
        let Some(rows) = reader.get_within(key, columns, most).await? else {
            continue;
        };
        for row in 0..rows.len() {
            let ts = rows.stamps.get(row);
            if ts <= as_of && best.as_ref().is_none_or(|(b, _)| ts > *b) {
                let live = !rows.tombstones.get(row);
                best = Some((ts, live.then(|| rows.batch.slice(row, 1))));
            }
        }
    }
    Ok(best.and_then(|(_, batch)| batch))
}

/// What it takes to look for one row of a file: its footer, and some pages as they are and decoded.
fn needed(file: &LiveFile) -> usize {
    let meta = &file.meta;
    let row = meta.bytes / meta.rows.max(1);
    let pages = meta.bytes.min(BLOCK_BYTES).max(row).saturating_mul(4);
    let footer = meta.footer_bytes.saturating_mul(4);
    usize::try_from(pages.saturating_add(footer)).unwrap_or(usize::MAX)
}

/// Files whose key range holds `key`, those with the newest rows first.
fn candidates<'a>(table: &'a TableState, key: &[u8]) -> Vec<&'a LiveFile> {
    let mut files: Vec<&LiveFile> = (table.files.iter())
        .filter(|f| f.meta.min_key.as_slice() <= key && key <= f.meta.max_key.as_slice())
        .collect();
    files.sort_by_key(|f| std::cmp::Reverse(f.max_ts()));
    files
}
