//! Reads one key: memtables first, then the files that may hold it, newest first, until no file
//! left can hold a newer version.

use super::readers::Readers;
use crate::{
    data::rows::Rows, env::Reservation, error::Result, log::version::LiveFile, state::TableState,
};
use arrow_array::RecordBatch;

/// What a read takes beside the bytes it reads: plans, decoders, the row that is given out.
const LEAST: usize = 32 * 1024;
/// A block is fetched as a whole if it has no more than this part of what one read may use.
const PART_AT_ONCE: usize = 4;

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
        let (held, rows) = look_into(file, table, readers, key, columns, memory.take()).await?;
        memory = Some(held);
        let Some(rows) = rows else {
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

/// Looks for a key in a file, with as much memory as that takes. How much its pages take is known once the
/// footer is there; nothing is held while more is waited for.
async fn look_into(
    file: &LiveFile,
    table: &TableState,
    readers: &Readers,
    key: &[u8],
    columns: &[usize],
    held: Option<Reservation>,
) -> Result<(Reservation, Option<Rows>)> {
    let (room, entry) = (readers.room(), &table.entry);
    let mut pages = LEAST;
    let mut held = held;
    loop {
        let needed = footer_bytes(file, table, readers)
            .saturating_add(pages)
            .min(room.most());
        let memory = match held.take() {
            Some(memory) if memory.bytes() >= needed => memory,
            other => {
                drop(other);
                room.reserve("a row", needed).await?
            }
        };
        let open = readers.open(table.id, &entry.schema, entry.schema_version, file);
        let reader = memory.during(open).await?;
        let cost = reader.point_cost(key, columns)?;
        let at_once = cost.at_once <= room.most() / PART_AT_ONCE;
        let (takes, most) = match at_once {
            true => (cost.at_once, cost.span),
            false => (cost.keys_first, 0),
        };
        pages = takes.saturating_add(LEAST);
        let needed = footer_bytes(file, table, readers)
            .saturating_add(pages)
            .min(room.most());
        let mut memory = memory;
        if memory.bytes() < needed && !memory.try_grow(needed - memory.bytes()) {
            held = Some(memory);
            continue;
        }
        memory.shrink_to(needed);
        let rows = memory.during(reader.get_within(key, columns, most)).await?;
        return Ok((memory, rows));
    }
}

/// What a footer takes that is not open yet. Open ones are the cache's.
fn footer_bytes(file: &LiveFile, table: &TableState, readers: &Readers) -> usize {
    match readers.keeps(file, table.entry.schema_version) {
        true => 0,
        false => usize::try_from(file.meta.footer_bytes.saturating_mul(4)).unwrap_or(usize::MAX),
    }
}

/// Files whose key range holds `key`, those with the newest rows first.
fn candidates<'a>(table: &'a TableState, key: &[u8]) -> Vec<&'a LiveFile> {
    let mut files: Vec<&LiveFile> = (table.files.iter())
        .filter(|f| f.meta.min_key.as_slice() <= key && key <= f.meta.max_key.as_slice())
        .collect();
    files.sort_by_key(|f| std::cmp::Reverse(f.max_ts()));
    files
}
