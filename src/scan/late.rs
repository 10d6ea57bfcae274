//! Merges files whose rows are too large to hold one of each: by their keys alone, and fetches each row that
//! is to be given out by itself. Slow, and in little memory: of no source more is held than some keys.

use super::merged::{Merged, Merging};
use crate::{
    data::{bound::Bound, rows::Rows},
    error::{Error, Result},
};
use arrow_array::{RecordBatch, cast::AsArray, types::UInt32Type};

/// So many rows are looked for before they are fetched.
const AT_ONCE: usize = 64;

pub(super) struct Late {
    keys: Merged,
    /// Rows in memory, in the order of the sources after the files, with the columns that are read.
    rows: Vec<Rows>,
    /// Keys, timestamps and sources of the rows to fetch next, from row `at` on.
    found: Option<(Rows, usize)>,
    columns: Vec<usize>,
    /// Most bytes that are fetched at once for one row, if it is smaller.
    span: u64,
}

/// What came of asking for the next row.
pub(super) enum Next {
    /// A row and its key.
    Row(RecordBatch, Vec<u8>),
    Done,
    TooMuch(usize),
}

impl Late {
    /// `keys` has files without columns and then `rows`, all of them told apart.
    pub(super) fn new(keys: Merged, rows: Vec<Rows>, columns: Vec<usize>, span: u64) -> Self {
        Self {
            keys,
            rows,
            found: None,
            columns,
            span,
        }
    }

    /// The next row. A call that fails, or is dropped, may be made again.
    pub(super) async fn next(&mut self) -> Result<Next> {
        loop {
            if let Some((found, at)) = &mut self.found
                && *at < found.len()
            {
                let (key, ts) = (found.keys.get(*at), found.stamps.get(*at));
                let sources = found.batch.column(0).as_primitive_opt::<UInt32Type>();
                let source = sources.map_or(u32::MAX, |s| s.value(*at)) as usize;
                let row = match source.checked_sub(self.keys.files()) {
                    Some(memory) => self
                        .rows
                        .get(memory)
                        .and_then(|rows| in_memory(rows, key, ts)),
                    None => (self.keys)
                        .row(source, key, &self.columns, self.span)
                        .await?
                        .and_then(|rows| in_memory(&rows, key, ts)),
                };
                let row =
                    row.ok_or_else(|| Error::corrupt("a row is gone that its keys tell of"))?;
                let key = key.to_vec();
                *at += 1;
                return Ok(Next::Row(row, key));
            }
            match self.keys.next(Bound::rows(AT_ONCE)).await? {
                Merging::Rows(rows) => self.found = Some((rows, 0)),
                Merging::Done => return Ok(Next::Done),
                Merging::TooMuch(bytes) => return Ok(Next::TooMuch(bytes)),
            }
        }
    }
}

/// The version of a key with that timestamp.
fn in_memory(rows: &Rows, key: &[u8], ts: i64) -> Option<RecordBatch> {
    let mut row = rows.keys.search(key);
    while row < rows.len() && rows.keys.get(row) == key {
        if rows.stamps.get(row) == ts {
            return Some(rows.batch.slice(row, 1));
        }
        row += 1;
    }
    None
}
