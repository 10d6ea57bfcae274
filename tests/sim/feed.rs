//! Followers of the change feed: each record with rows once, whole, in log order, none left out, across
//! restarts; what only the device has before that, as previews (PROTOCOL T5). `Expired` is for whom gc has
//! taken what follows. And one who comes back with a cursor of long ago: a name there may be a ghost's.

use super::{
    device::Open,
    log::Fresh,
    world::{SECOND, Sim, World},
};
use futures_util::future::{Either, select};
use lakeshore::{Change, Changes, ChangesOptions, Error, ErrorKind};
use std::time::Duration;

/// What a device keeps of its feed.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// Table `a` alone.
    pub narrow: bool,
    /// Where it goes on; nothing before it began.
    pub cursor: Option<String>,
    /// Records up to this one were given.
    pub at: u64,
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
pub struct Reading {
    changes: Changes,
    pub feed: Feed,
    /// The record whose parts are coming, and what they said.
    pub part: Option<(u64, Fresh)>,
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

pub fn seq_of(cursor: &str) -> u64 {
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
