//! Drives the merge of one group: feeds it from files, several at once, and from memory. Invariants: a file
//! is opened when the merge reaches its first key, or when others that overlap it are read anyway and there
//! is room; what its sources hold is counted, and more than is allowed is not held on to.

use super::source::FileSource;
use crate::{
    data::{bound::Bound, rows::Rows},
    error::Result,
    merge::{Keep, Merge, Step},
};
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::sync::Arc;

/// A group being merged.
pub(super) struct Merged {
    merge: Merge,
    sources: Vec<Source>,
    /// Most files that are opened before they are needed.
    ahead: usize,
    concurrency: usize,
    /// Most bytes of rows that wait in all sources.
    most: usize,
    /// Whether rows come without their columns, with the number of their source.
    told_apart: bool,
}

struct Source {
    file: FileSource,
    state: State,
    /// Bytes of its rows that wait.
    held: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Announced,
    Open,
    Ended,
}

/// What a merge came to.
pub(super) enum Merging {
    Rows(Rows),
    Done,
    /// Its sources hold this many bytes, more than they may.
    TooMuch(usize),
}

/// How much, and how much at once.
pub(super) struct Limits {
    /// Most files open at once, about.
    pub(super) files: usize,
    /// Most requests at once.
    pub(super) concurrency: usize,
    /// Most bytes of rows that wait.
    pub(super) bytes: usize,
    /// Whether rows come without their columns, with the number of their source.
    pub(super) told_apart: bool,
}

impl Merged {
    pub(super) fn new(
        keep: Keep,
        reverse: bool,
        files: Vec<FileSource>,
        rows: Vec<Rows>,
        limits: &Limits,
    ) -> Self {
        let told_apart = limits.told_apart;
        let mut merge = Merge::new(files.len() + rows.len(), keep, reverse, told_apart);
        for (source, file) in files.iter().enumerate() {
            merge.announce(source, file.first_key().to_vec());
        }
        for (source, rows) in (files.len()..).zip(rows) {
            merge.feed(
                source,
                Some(if told_apart {
                    marked(&rows, source)
                } else {
                    rows
                }),
            );
            merge.feed(source, None);
        }
        let source = |file| Source {
            file,
            state: State::Announced,
            held: 0,
        };
        Self {
            merge,
            sources: files.into_iter().map(source).collect(),
            ahead: limits.files,
            concurrency: limits.concurrency,
            most: limits.bytes,
            told_apart,
        }
    }

    /// Sources from here on are rows in memory.
    pub(super) fn files(&self) -> usize {
        self.sources.len()
    }

    /// All versions of a key in a file, without regard to what was read of it.
    pub(super) async fn row(
        &mut self,
        source: usize,
        key: &[u8],
        columns: &[usize],
        span: u64,
    ) -> Result<Option<Rows>> {
        match self.sources.get_mut(source) {
            Some(source) => source.file.row(key, columns, span).await,
            None => Ok(None),
        }
    }

    /// The next rows, within `bound`. A call that fails, or is dropped, may be made again.
    pub(super) async fn next(&mut self, bound: Bound) -> Result<Merging> {
        loop {
            match self.merge.step(bound)? {
                Step::Rows(rows) => return Ok(Merging::Rows(rows)),
                Step::Done => return Ok(Merging::Done),
                Step::Need(source) => {
                    self.feed(source).await?;
                    let held = self.sources.iter().map(|s| s.held).sum();
                    if held > self.most {
                        return Ok(Merging::TooMuch(held));
                    }
                }
            }
        }
    }

    /// The key of the last row that was given out.
    pub(super) fn last_key(&self) -> &[u8] {
        self.merge.last_key()
    }

    /// Reads what `needed` needs, and with it what others need, too.
    async fn feed(&mut self, needed: usize) -> Result<()> {
        let (wanted, told_apart) = (self.wanted(needed), self.told_apart);
        let sources = self.sources.iter_mut().enumerate();
        let mut waiting = sources.filter(|(i, _)| wanted.contains(i));
        let mut reading = FuturesUnordered::new();
        loop {
            while reading.len() < self.concurrency
                && let Some((i, source)) = waiting.next()
            {
                source.state = State::Open;
                source.held = 0;
                reading.push(async move {
                    let rows = source.file.next().await;
                    if let Ok(rows) = &rows {
                        source.held = rows.as_ref().map_or(0, bytes_of);
                        if rows.is_none() {
                            source.state = State::Ended;
                        }
                    }
                    (i, rows)
                });
            }
            // Each goes to the merge at once: what was read is not lost if another fails.
            match reading.next().await {
                Some((i, rows)) => {
                    let rows = rows?;
                    let rows = rows.map(|rows| if told_apart { marked(&rows, i) } else { rows });
                    self.merge.feed(i, rows);
                }
                None => return Ok(()),
            }
        }
    }

    /// The sources to read now.
    fn wanted(&self, needed: usize) -> Vec<usize> {
        let mut wanted: Vec<usize> = self.merge.unfed().collect();
        if !wanted.contains(&needed) {
            wanted.push(needed);
        }
        let Some(Source { file, .. }) = self.sources.get(needed) else {
            return wanted;
        };
        let open = self
            .sources
            .iter()
            .filter(|s| s.state == State::Open)
            .count();
        let mut room = self.ahead.saturating_sub(open.max(wanted.len()));
        let reach = file.last_key();
        for (i, source) in self.sources.iter().enumerate() {
            let soon = source.state == State::Announced && source.file.begins_by(reach);
            if room > 0 && soon && i != needed {
                wanted.push(i);
                room -= 1;
            }
        }
        wanted
    }
}

fn bytes_of(rows: &Rows) -> usize {
    rows.memory_bytes()
}

/// Keys, timestamps and tombstones, and the number of the source.
fn marked(rows: &Rows, source: usize) -> Rows {
    let numbers = UInt32Array::from_value(source as u32, rows.len());
    let batch = RecordBatch::try_from_iter([("source", Arc::new(numbers) as ArrayRef)]);
    Rows {
        batch: batch.unwrap_or_else(|_| rows.batch.clone()),
        ..rows.clone()
    }
}
