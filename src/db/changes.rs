//! The change feed: what was committed, in the order in which this handle came to see it. Log records come
//! once each, in log order, whoever wrote them; a feed resumes after any of them. Rows that only this
//! device has come at once, too, as previews (`uploaded: false`), and again with their record.
//!
//! A record below the head is read from its slot, whose name gc may have freed and a ghost have won
//! (PROTOCOL F1): it counts once the record after it, or the head, is seen to follow it.

use super::{
    Db, Inner,
    feeds::Previews,
    no_such_table,
    parts::{Part, Parts},
    prepare::split,
    table::to_user,
};
use crate::{
    data::{bound::Bound, rows::Rows},
    error::{Error, ErrorKind, Result},
    log::{
        chain::{Found, unpack},
        edit::{Edit, TableId},
        inline::rows_of,
        record::Digest,
        version::{InlineRows, LiveFile},
    },
    merge::Kind,
    scan::file::FileScan,
    sstable::read::is_missing,
    state::{State, TableRows},
};
use arrow_array::RecordBatch;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

/// A place in the log: after a record. As text it can be kept and resumed from, by any handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    seq: u64,
    digest: Digest,
}

impl Cursor {
    /// Before the first record. Records are kept for a time (`Expired` says when they are gone).
    pub const START: Self = Self {
        seq: 0,
        digest: [0; 32],
    };
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.seq)?;
        self.digest
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (seq, hex) = text.split_once('-')?;
            let mut digest = [0; 32];
            if hex.len() != 64 || !hex.is_ascii() {
                return None;
            }
            for (at, byte) in digest.iter_mut().enumerate() {
                *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
            }
            Some(Self {
                seq: seq.parse().ok()?,
                digest,
            })
        };
        parse().ok_or_else(|| {
            Error::invalid(
                "since is no cursor: it takes the `cursor` of an earlier change, as it was",
            )
        })
    }
}

/// What a feed gives.
#[derive(Clone, Debug, Default)]
pub struct ChangesOptions {
    /// Everything after this; what comes from now on if `None`.
    pub since: Option<Cursor>,
    /// Only the tables of these names, now or later, and those that have them when the feed begins, whatever
    /// they are called then; all if `None`.
    pub tables: Option<Vec<String>>,
    /// How often to look for records of others; if `None`, they come when [`Db::refresh`] or a commit finds
    /// them.
    pub poll: Option<Duration>,
    /// Whether the feed ends at the log's head, after a look at where that is, instead of waiting.
    pub end_at_head: bool,
}

/// What one commit changed, or a part of it: all parts but the last have `more`.
#[derive(Clone, Debug)]
pub struct Change {
    /// Resuming here goes on after it: for a part, at the record's beginning; for a preview, where the feed
    /// was.
    pub cursor: Cursor,
    /// Its timestamp in microseconds since the Unix epoch; provisional in a preview.
    pub ts: i64,
    /// Whether it is a log record. Else it is a preview of what only this device has: it comes again.
    pub uploaded: bool,
    /// Whether more of the same commit, or of what is pending, follows.
    pub more: bool,
    /// By table: rows that are there now, and keys of rows that are gone.
    pub tables: Vec<TableChange>,
}

/// Rows of one table that one commit wrote.
#[derive(Clone, Debug)]
pub struct TableChange {
    /// The table's name.
    pub table: String,
    /// Upserted rows, all columns; or the key columns of deleted ones.
    pub kind: Kind,
    /// Never empty.
    pub batch: RecordBatch,
}

/// A feed of changes. Dropping it ends it.
pub struct Changes {
    inner: Arc<Inner>,
    options: ChangesOptions,
    /// The tables that `options` named when the feed began.
    chosen: BTreeSet<TableId>,
    cursor: Cursor,
    previews: Option<Arc<Previews>>,
    /// What is left of everything pending; whether a part of it was given out.
    pending: Option<(Parts, bool)>,
    /// The record that is being given out.
    open: Option<OpenRecord>,
    /// Records that were read already: a chain from the cursor on.
    ahead: VecDeque<Found>,
}

struct OpenRecord {
    after: Cursor,
    ts: i64,
    inline: Part,
    files: VecDeque<(TableId, LiveFile)>,
    scan: Option<(TableId, u32, FileScan)>,
    /// A part of it was given out.
    given: bool,
}

/// So many records are read by one request, if they are small enough for their copies.
const STRIDE: u64 = crate::log::chain::MAX_COPIES as u64;
/// How often a feed that may not wait for other calls looks for news, unless told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Db {
    /// The commits after a moment, in order. Costs a GET for up to 17 records that this handle does not
    /// have in memory, and one for each fresh sstable and each of its reads.
    ///
    /// # Errors
    /// `Invalid` for an unknown table; those of [`Changes::next`].
    pub fn changes(&self, options: ChangesOptions) -> Result<Changes> {
        self.inner.check_open()?;
        let state = self.inner.state();
        let mut chosen = BTreeSet::new();
        for name in options.tables.iter().flatten() {
            match state.version.table(name) {
                Some((id, _)) => chosen.insert(id),
                None => return Err(no_such_table(&state, name)),
            };
        }
        let head = state.version.head;
        // What is pending already is news to who resumes.
        let resumed = options.since.is_some();
        let local = self.inner.wal.is_some();
        Ok(Changes {
            previews: local.then(|| {
                self.inner
                    .feeds
                    .subscribe(resumed, &self.inner.memory.reads)
            }),
            pending: None,
            inner: self.inner.clone(),
            cursor: options.since.unwrap_or(Cursor {
                seq: head.seq,
                digest: head.digest,
            }),
            options,
            chosen,
            open: None,
            ahead: VecDeque::new(),
        })
    }
}

impl Changes {
    /// Everything up to here was given out.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The next change; waits for one, or gives `None` at the head if `end_at_head`.
    ///
    /// # Errors
    /// `Expired` if what comes after the cursor is not kept any more: read the tables, and begin a new
    /// feed. `Closed` once the database is. After another error the same call may be made again.
    pub async fn next(&mut self) -> Result<Option<Change>> {
        let mut looked = false;
        loop {
            self.inner.check_open()?;
            let news = self.inner.watch.next();
            if self.open.is_some() {
                if let Some(change) = self.next_part().await? {
                    return Ok(Some(change));
                }
                continue;
            }
            let head = self.inner.state().version.head.seq;
            if self.pending.is_some() {
                if let Some(change) = self.pending_part()? {
                    return Ok(Some(change));
                }
            } else if self.cursor.seq < head {
                self.begin_record().await?;
            } else if let Some(change) = self.preview()? {
                return Ok(Some(change));
            } else if self.options.end_at_head && looked {
                return Ok(None);
            } else if self.options.end_at_head || self.cursor.seq > head {
                self.look().await?;
                looked = true;
            } else {
                self.wait(news).await?;
            }
        }
    }

    /// Looks for records of others. A cursor beyond the head is none of this log.
    async fn look(&mut self) -> Result<()> {
        self.inner.refresh().await?;
        match self.cursor.seq > self.inner.state().version.head.seq {
            true => Err(Error::invalid(
                "since is beyond the log's head: it is a cursor of another database",
            )),
            false => Ok(()),
        }
    }

    /// Until there is news here, or it is time to look for some elsewhere.
    async fn wait(&mut self, news: oneshot::Receiver<()>) -> Result<()> {
        let runtime = self.inner.runtime.clone();
        if !self.inner.options.detached_tasks {
            // News would come from another request, which must not be awaited.
            let every = self.options.poll.unwrap_or(LOOK_EVERY);
            runtime.sleep(every).await;
            return self.look().await;
        }
        let Some(poll) = self.options.poll else {
            let _ = news.await;
            return Ok(());
        };
        match select(news, runtime.sleep(poll)).await {
            Either::Left(_) => Ok(()),
            Either::Right(_) => self.look().await,
        }
    }

    /// Takes the record after the cursor, once it is seen to be in the log (PROTOCOL F1).
    async fn begin_record(&mut self) -> Result<()> {
        let seq = self.cursor.seq + 1;
        if self.ahead.front().is_none_or(|f| f.record.seq != seq) {
            self.ahead = self.inner.chain_from(seq).await?.into();
        }
        let head = self.inner.state().version.head;
        if self.ahead.len() == 1 && seq < head.seq {
            let next = self.inner.read_chain(seq + 1, seq + 1).await?;
            self.ahead.extend(next);
        }
        let chained = match (self.ahead.front(), self.ahead.get(1)) {
            (Some(first), Some(next)) => next.record.prev == first.digest,
            (Some(first), None) => seq == head.seq && head.digest == first.digest,
            (None, _) => false,
        };
        match self.ahead.pop_front() {
            Some(found) if chained && found.record.prev == self.cursor.digest => {
                self.open = Some(OpenRecord::new(&found, &self.inner.state())?);
                Ok(())
            }
            _ => {
                self.ahead.clear();
                Err(expired())
            }
        }
    }

    /// The next part of the open record; `None` at its end.
    async fn next_part(&mut self) -> Result<Option<Change>> {
        let Some(open) = &mut self.open else {
            return Ok(None);
        };
        let choice = (&self.options, &self.chosen);
        let pulled = open.pull(&self.inner, &choice).await?;
        let (part, more) = pulled.unwrap_or_default();
        let (ts, given) = (open.ts, open.given);
        open.given = true;
        if !more {
            self.cursor = open.after;
            self.open = None;
        }
        let tables = self.tables(part)?;
        if tables.is_empty() && !given {
            // None for this feed, or dropped just now. Who had a part of it must hear of its end.
            if let Some(open) = &mut self.open {
                open.given = false;
            }
            return Ok(None);
        }
        Ok(Some(Change {
            cursor: self.cursor,
            ts,
            uploaded: true,
            more,
            tables,
        }))
    }

    /// What only this device has and this feed has not shown yet.
    fn preview(&mut self) -> Result<Option<Change>> {
        let Some(previews) = self.previews.clone() else {
            return Ok(None);
        };
        let state = self.inner.state();
        while let Some(commit) = previews.next() {
            let Some((ts, mut part)) = commit else {
                let choice = (&self.options, &self.chosen);
                let most = self.inner.memory.reads.total() / 16;
                let options = &self.inner.options;
                let bound = Bound::new(options.batch_rows, options.batch_bytes.min(most));
                let wanted = |table| wanted(table, &state, &choice);
                self.pending = Some((Parts::new(&state, bound, &wanted), false));
                match self.pending_part()? {
                    Some(change) => return Ok(Some(change)),
                    None => continue,
                }
            };
            part.retain(|of| {
                !of.rows.is_empty() && wanted(of.table, &state, &(&self.options, &self.chosen))
            });
            let tables = self.tables(part)?;
            if !tables.is_empty() {
                return Ok(Some(Change {
                    cursor: self.cursor,
                    ts,
                    uploaded: false,
                    more: false,
                    tables,
                }));
            }
        }
        Ok(None)
    }

    /// The next part of everything pending; `None` at its end.
    fn pending_part(&mut self) -> Result<Option<Change>> {
        let Some((parts, given)) = &mut self.pending else {
            return Ok(None);
        };
        let (ts, begun) = (parts.ts, std::mem::replace(given, true));
        let Some((part, more)) = parts.next()? else {
            self.pending = None;
            return Ok(None);
        };
        if !more {
            self.pending = None;
        }
        let tables = self.tables(part)?;
        // Who had a part of it must hear of its end, even if its tables were dropped.
        let heard = !tables.is_empty() || begun;
        Ok(heard.then_some(Change {
            cursor: self.cursor,
            ts,
            uploaded: false,
            more,
            tables,
        }))
    }

    /// The rows as their tables are now (PROTOCOL C6); none of those that were dropped.
    fn tables(&self, part: Part) -> Result<Vec<TableChange>> {
        let state = self.inner.state();
        let mut tables = Vec::new();
        for of in part {
            let Some((table, rows)) = state.in_layout(of) else {
                continue;
            };
            let Some(entry) = state.version.tables.get(&table) else {
                continue;
            };
            for (kind, batch) in split(&entry.schema, &rows)? {
                let batch = match kind {
                    Kind::Upsert => {
                        let all: Vec<usize> = (0..batch.num_columns()).collect();
                        to_user(&entry.schema, &all, &batch)?
                    }
                    Kind::Delete => batch,
                };
                tables.push(TableChange {
                    table: entry.name.clone(),
                    kind,
                    batch,
                });
            }
        }
        Ok(tables)
    }
}

impl OpenRecord {
    fn new(found: &Found, state: &State) -> Result<Self> {
        let record = &found.record;
        let (mut inline, mut files) = (Vec::new(), VecDeque::new());
        for edit in &record.edits {
            match edit {
                Edit::Rows {
                    table,
                    schema_version,
                    kind,
                    ipc,
                } => inline.push(InlineRows {
                    seq: record.seq,
                    ts: record.ts,
                    table: *table,
                    schema_version: *schema_version,
                    kind: *kind,
                    ipc: ipc.clone(),
                }),
                Edit::AddSstable {
                    table,
                    schema_version,
                    meta,
                } => {
                    let file = LiveFile {
                        meta: meta.clone(),
                        added_ts: record.ts,
                        schema_version: *schema_version,
                    };
                    // Others have rows that were moved.
                    if file.inherited().is_some() {
                        files.push_back((*table, file));
                    }
                }
                _ => {}
            }
        }
        Ok(Self {
            after: Cursor {
                seq: record.seq,
                digest: found.digest,
            },
            ts: record.ts,
            inline: as_of_now(state, rows_of(&state.version, &inline)?),
            files,
            scan: None,
            given: false,
        })
    }

    /// The next rows of it, and whether more follow: those that are inline together, then sstables batch by
    /// batch. What is to follow stays where it is: whoever waits for memory may have that of a file.
    async fn pull(&mut self, inner: &Inner, choice: &Choice<'_>) -> Result<Option<(Part, bool)>> {
        let state = inner.state();
        let mut inline = std::mem::take(&mut self.inline);
        inline.retain(|of| wanted(of.table, &state, choice));
        if !inline.is_empty() {
            return Ok(Some((inline, self.has_files(&state, choice))));
        }
        loop {
            if let Some((table, schema_version, scan)) = &mut self.scan {
                if let Some((rows, more)) = scan.next().await.map_err(gone_is_expired)? {
                    let part = vec![TableRows {
                        table: *table,
                        schema_version: *schema_version,
                        rows,
                    }];
                    return Ok(Some((part, more || self.has_files(&state, choice))));
                }
                self.scan = None;
            }
            let Some((id, file)) = self.files.front().cloned() else {
                return Ok(None);
            };
            let table = (state.tables.get(&id)).filter(|_| wanted(id, &state, choice));
            if let Some(table) = table {
                let scan = FileScan::new(table, inner.readers.clone(), file);
                self.scan = Some((id, table.entry.schema_version, scan));
            }
            self.files.pop_front();
        }
    }

    /// Whether rows of files are still to come. None is empty.
    fn has_files(&self, state: &State, choice: &Choice<'_>) -> bool {
        self.files.iter().any(|(id, _)| wanted(*id, state, choice))
    }
}

impl Inner {
    /// Records from `seq` on, a chain: all up to the head if this handle has them in memory, else as
    /// many as one request gives, else that one. `Expired` if it is gone.
    async fn chain_from(&self, seq: u64) -> Result<Vec<Found>> {
        let current = self.current();
        if let Some(found) = current.recent.from(seq)? {
            return Ok(found);
        }
        let to = (seq + STRIDE).min(current.state.version.head.seq);
        let found = self.read_chain(to, seq).await?;
        match found.first().is_some_and(|f| f.record.seq == seq) {
            true => Ok(found),
            // What lies between is too large for copies.
            false => self.read_chain(seq, seq).await,
        }
    }

    async fn read_chain(&self, seq: u64, from: u64) -> Result<Vec<Found>> {
        match self.log.read_record(seq).await? {
            Some(bytes) => unpack(seq, &bytes, from),
            None => Err(expired()),
        }
    }
}

/// What a feed was asked for, and the tables that this named when it began.
type Choice<'a> = (&'a ChangesOptions, &'a BTreeSet<TableId>);

/// Whether it gives rows of a table: also of one that was given another name since, or it would fall silent.
fn wanted(table: TableId, state: &State, (options, chosen): &Choice<'_>) -> bool {
    let named = |name: &String| options.tables.as_ref().is_none_or(|t| t.contains(name));
    let now = state.version.tables.get(&table);
    now.is_some_and(|entry| chosen.contains(&table) || named(&entry.name))
}

/// Rows in the layout that their tables have in `state`.
fn as_of_now(state: &State, rows: Vec<(TableId, Rows)>) -> Part {
    let of = |(table, rows): (TableId, Rows)| {
        let entry = state.version.tables.get(&table)?;
        Some(TableRows {
            table,
            schema_version: entry.schema_version,
            rows,
        })
    };
    rows.into_iter().filter_map(of).collect()
}

fn expired() -> Error {
    Error::new(
        ErrorKind::Expired,
        "what was committed after the cursor is not kept any more: read the tables, and begin a new feed",
    )
}

fn gone_is_expired(error: Error) -> Error {
    match is_missing(&error) {
        true => expired(),
        false => error,
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("cursor", &self.cursor.seq)
            .finish_non_exhaustive()
    }
}
