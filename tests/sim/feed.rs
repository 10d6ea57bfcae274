//! Followers of the change feed: each record with rows once, whole, in log order, none left out, across
//! restarts; what only the device has before that, as previews (PROTOCOL T5). `Expired` is for whom gc has
//! taken what follows. And one who comes back with a cursor of long ago: a name there may be a ghost's.

use super::{
    device::Open,
    log::Fresh,
    rows::{self, Row},
    world::{SECOND, Sim, World},
};
use futures_util::future::{Either, select};
use lakeshore::{
    Change, Changes, ChangesOptions, Error, ErrorKind, TableChange, log::edit::TableId, merge::Kind,
};
use std::time::Duration;

/// What a device keeps of its feed.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// Table `a` alone.
    narrow: bool,
    /// Where it goes on; nothing before it began.
    cursor: Option<String>,
    /// Records up to this one were given.
    at: u64,
}

impl Feed {
    pub fn new(narrow: bool) -> Self {
        Self {
            narrow,
            ..Self::default()
        }
    }

    /// After a record.
    fn after(world: &World, seq: u64) -> Self {
        Self {
            narrow: false,
            cursor: Some(world.cursor(seq)),
            at: seq,
        }
    }
}

/// A feed that is open.
struct Reading {
    changes: Changes,
    feed: Feed,
    /// The record whose parts are coming, and what they said.
    part: Option<(u64, Fresh)>,
    /// Whether the device goes on where this ends.
    kept: bool,
}

/// Follows the changes for as long as the process lives.
pub async fn lane(sim: Sim, open: Open) {
    let (poll, detached) = {
        let world = sim.world();
        let device = &world.devices[world.processes[open.pid].device];
        (device.pause.max(SECOND), device.options.detached_tasks)
    };
    let options = ChangesOptions {
        // Others' records come by other calls, or by looking for them.
        poll: (!detached || sim.chance(300)).then(|| Duration::from_micros(poll)),
        ..ChangesOptions::default()
    };
    while let Some(mut reading) = begin(&sim, &open, &options) {
        loop {
            if sim.world().draining {
                return;
            }
            let next = reading.changes.next();
            let outcome = match sim.chance(30) {
                false => next.await,
                // A caller that stops waiting, and asks again.
                true => match select(Box::pin(next), Box::pin(sim.pause(SECOND / 5))).await {
                    Either::Left((outcome, _)) => outcome,
                    Either::Right(_) => continue,
                },
            };
            match took(&sim, &open, &mut reading, outcome) {
                Next::More => {}
                Next::Wait => sim.pause(5 * SECOND).await,
                Next::Anew => break,
                Next::End => return,
            }
        }
    }
}

/// All that is there, when all is calm.
pub async fn drain(sim: &Sim, open: &Open) {
    let options = ChangesOptions {
        end_at_head: true,
        ..ChangesOptions::default()
    };
    let Some(mut reading) = begin(sim, open, &options) else {
        return;
    };
    loop {
        let outcome = reading.changes.next().await;
        match took(sim, open, &mut reading, outcome) {
            Next::More => {}
            Next::Anew => return drop(begin(sim, open, &options)),
            Next::Wait | Next::End => break,
        }
    }
    let (mut world, head) = (sim.world(), open.db.stats().head);
    if let Some(seq) = world.left_out(&reading.feed, head + 1) {
        world.violation(format_args!("a feed ends, and record {seq} did not come"));
    }
}

/// Some changes after a record of long ago.
pub async fn look_back(sim: &Sim, open: &Open) {
    let feed = {
        let mut world = sim.world();
        let head = open.db.stats().head;
        if head == 0 {
            return;
        }
        // A feed reads up to 17 records by one name.
        let ghosts: Vec<u64> = (world.log.ghosts.iter())
            .flat_map(|ghost| [ghost.saturating_sub(1), ghost.saturating_sub(17)])
            .collect();
        let seq = match ghosts.is_empty() || world.chance(300) {
            true => world.random.below(head as usize) as u64,
            false => *world.random.pick(&ghosts),
        };
        Feed::after(&world, seq.min(head))
    };
    let options = ChangesOptions {
        since: feed.cursor.as_ref().and_then(|c| c.parse().ok()),
        end_at_head: true,
        ..ChangesOptions::default()
    };
    let changes = match open.db.changes(options) {
        Ok(changes) => changes,
        Err(e) => return sim.failed(open.pid, "changes", &e),
    };
    let mut reading = Reading {
        changes,
        feed,
        part: None,
        kept: false,
    };
    for _ in 0..1 + sim.below(6) {
        let outcome = reading.changes.next().await;
        match took(sim, open, &mut reading, outcome) {
            Next::More => {}
            _ => return,
        }
    }
}

/// Goes on where the device was.
fn begin(sim: &Sim, open: &Open, options: &ChangesOptions) -> Option<Reading> {
    let mut feed = sim.feed(open)?;
    let options = ChangesOptions {
        since: feed.cursor.as_ref().and_then(|text| text.parse().ok()),
        tables: feed.narrow.then(|| vec!["a".to_owned()]),
        ..options.clone()
    };
    let head = open.db.stats().head;
    match open.db.changes(options) {
        Err(e) => {
            sim.failed(open.pid, "changes", &e);
            None
        }
        Ok(changes) => {
            if feed.cursor.is_none() {
                feed.cursor = Some(changes.cursor().to_string());
                feed.at = head;
                sim.keep_feed(open, &feed);
            }
            Some(Reading {
                changes,
                feed,
                part: None,
                kept: true,
            })
        }
    }
}

enum Next {
    More,
    /// The same call again, later.
    Wait,
    /// A new feed: what followed is not kept any more.
    Anew,
    End,
}

fn took(
    sim: &Sim,
    open: &Open,
    reading: &mut Reading,
    outcome: Result<Option<Change>, Error>,
) -> Next {
    let head = open.db.stats().head;
    let mut world = sim.world();
    let name = world.name(open.pid);
    match outcome {
        Ok(None) => Next::End,
        Ok(Some(change)) => {
            world.report.changes += 1;
            match world.changed(open, reading, head, &change) {
                Ok(()) => {
                    if reading.kept {
                        let device = world.processes[open.pid].device;
                        world.devices[device].feed = Some(reading.feed.clone());
                    }
                    Next::More
                }
                Err(what) => {
                    let at = reading.feed.at;
                    world.violation(format_args!("{name}, a feed at {at}: {what}"));
                    Next::End
                }
            }
        }
        Err(e) if e.kind() == ErrorKind::Closed => Next::End,
        Err(e) if e.kind() == ErrorKind::Expired => {
            let at = seq_of(&reading.changes.cursor().to_string());
            world.note(format_args!("{name}, a feed at {at}: {e}"));
            world.report.expired += 1;
            if world.log.freed <= at && !world.has_dead_rows(at) {
                world.violation(format_args!(
                    "{name}, a feed at {at}, nothing is freed: {e}"
                ));
            }
            if reading.kept {
                let device = world.processes[open.pid].device;
                let narrow = reading.feed.narrow;
                world.devices[device].feed = Some(Feed::new(narrow));
            }
            Next::Anew
        }
        Err(e) => {
            drop(world);
            sim.failed(open.pid, "changes", &e);
            Next::Wait
        }
    }
}

fn seq_of(cursor: &str) -> u64 {
    let seq = cursor.split_once('-').and_then(|(seq, _)| seq.parse().ok());
    seq.unwrap_or(u64::MAX)
}

impl Sim {
    fn world_device(&self, open: &Open) -> usize {
        self.world().processes[open.pid].device
    }

    fn feed(&self, open: &Open) -> Option<Feed> {
        let device = self.world_device(open);
        self.world().devices[device].feed.clone()
    }

    fn keep_feed(&self, open: &Open, feed: &Feed) {
        let device = self.world_device(open);
        self.world().devices[device].feed = Some(feed.clone());
    }
}

impl World {
    /// A cursor as the engine writes it.
    fn cursor(&self, seq: u64) -> String {
        let digest = self.log.digests[seq as usize];
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{seq}-{hex}")
    }

    /// Whether a feed gives rows of a table: of one that was dropped it may or may not.
    fn gives(&self, feed: &Feed, table: TableId) -> bool {
        let name = self.log.tables[&table].name;
        self.log.lives(table) && (!feed.narrow || name == 0)
    }

    /// A record after the feed's position and before `seq` that it should have given.
    fn left_out(&self, feed: &Feed, seq: u64) -> Option<u64> {
        let gives = |seq: &u64| {
            let mut rows = self.log.fresh[*seq as usize].keys();
            rows.any(|(table, _)| self.gives(feed, *table))
        };
        (feed.at + 1..seq).find(gives)
    }

    /// Whether a record after `seq` has rows of a table that was dropped: gc may have taken its files.
    fn has_dead_rows(&self, seq: u64) -> bool {
        let later = self.log.fresh.iter().skip(seq as usize + 1);
        later
            .flat_map(|fresh| fresh.keys())
            .any(|(table, _)| !self.log.lives(*table))
    }

    fn changed(
        &self,
        open: &Open,
        reading: &mut Reading,
        head: u64,
        change: &Change,
    ) -> Result<(), String> {
        if !change.uploaded {
            return self.previewed(open, head, change);
        }
        let seq = self.log.ts.binary_search(&change.ts);
        let seq = seq.map_err(|_| format!("no record has timestamp {}", change.ts))? as u64;
        match &reading.part {
            Some((open, _)) if *open != seq => {
                return Err(format!("after a part of {open} comes {seq}"));
            }
            None if seq <= reading.feed.at => return Err(format!("{seq} comes again")),
            _ => {}
        }
        if let Some(left) = self.left_out(&reading.feed, seq) {
            return Err(format!("{left} is left out, {seq} comes"));
        }
        let (_, said) = reading.part.get_or_insert_with(|| (seq, Fresh::new()));
        for part in &change.tables {
            let (table, rows) = self.rows_of(head, part)?;
            for (key, row) in rows {
                if said.insert((table, key), row).is_some() {
                    return Err(format!("{seq} has row {key} twice"));
                }
            }
        }
        let cursor = change.cursor.to_string();
        let at = seq_of(&cursor);
        reading.feed.cursor = Some(cursor.clone());
        if change.more {
            let before = reading.feed.at <= at && at < seq;
            return before
                .then_some(())
                .ok_or_else(|| format!("a part of {seq} says {cursor}"));
        }
        if cursor != self.cursor(seq) {
            return Err(format!("the end of {seq} says {cursor}"));
        }
        let said = reading
            .part
            .take()
            .map(|(_, said)| said)
            .unwrap_or_default();
        reading.feed.at = seq;
        self.compare(&reading.feed, head, seq, &said)
    }

    /// All rows of a record, but perhaps those of tables that were dropped; and no others.
    fn compare(&self, feed: &Feed, head: u64, seq: u64, said: &Fresh) -> Result<(), String> {
        let cut = |(at, row): (&(TableId, i64), &Option<Row>)| {
            let mask = self.log.tables[&at.0].shape(head).mask();
            (*at, row.map(|row| row.only(mask)))
        };
        let said: Fresh = said.iter().map(cut).collect();
        let expected: Fresh = self.log.fresh[seq as usize].iter().map(cut).collect();
        let missing = expected.iter().find(|(at, row)| {
            said.get(at) != Some(row) && (self.gives(feed, at.0) || said.contains_key(at))
        });
        let other = said.keys().find(|at| {
            let narrow = feed.narrow && self.log.tables[&at.0].name != 0;
            narrow || !expected.contains_key(at)
        });
        match (missing, other) {
            (None, None) => Ok(()),
            _ => Err(format!("{seq} comes as {said:?}, it has {expected:?}")),
        }
    }

    /// The table as the handle knows it, and what is said of it.
    fn rows_of(
        &self,
        head: u64,
        part: &TableChange,
    ) -> Result<(TableId, Vec<(i64, Option<Row>)>), String> {
        let name = super::log::TABLES.iter().position(|t| *t == part.table);
        let known = name.and_then(|name| self.log.table(name, head));
        let (id, shape) = known.ok_or_else(|| format!("it names table {:?}", part.table))?;
        let rows = match part.kind {
            Kind::Upsert => {
                let rows = rows::unpack(&shape, &part.batch)?.into_iter();
                rows.map(|(key, row)| (key, Some(row))).collect()
            }
            Kind::Delete => {
                let keys = rows::unpack_keys(&part.batch)?.into_iter();
                keys.map(|key| (key, None)).collect()
            }
        };
        Ok((id, rows))
    }

    /// What only this device has is what it committed.
    fn previewed(&self, open: &Open, head: u64, change: &Change) -> Result<(), String> {
        let device = &self.devices[self.processes[open.pid].device];
        let own = |id: usize| {
            let commit = &self.log.commits[id];
            let here = device.sessions.get(&commit.pid);
            commit.local && here.is_some_and(|until| until.is_none_or(|until| id < until))
        };
        for part in &change.tables {
            let (table, rows) = self.rows_of(head, part)?;
            let mask = self.log.tables[&table].shape(head).mask();
            for (key, row) in rows {
                let wrote = |id: usize| {
                    let writes = self.log.commits[id].writes.get(&table);
                    let row_of = |w: &(i64, Option<Row>)| (w.0, w.1.map(|r| r.only(mask)));
                    own(id) && writes.is_some_and(|w| w.iter().any(|w| row_of(w) == (key, row)))
                };
                let known = match row {
                    Some(row) => wrote(row.commit as usize),
                    None => (0..self.log.commits.len()).any(wrote),
                };
                if !known {
                    return Err(format!(
                        "it shows {key} {row:?} of table {table} as its own"
                    ));
                }
            }
        }
        Ok(())
    }
}
