//! A device: what outlives its processes (its WAL, its clock's error), and how it crashes, starts again, and
//! is copied.

use super::{
    clock::Clock,
    feed::Feed,
    log::{Commit, Status, TABLES},
    shape::Shape,
    world::{Event, GRACE, MINUTE, Pid, SECOND, Sim, World},
};
use crate::support::crash::CrashStorage;
use lakeshore::{Db, Error, ErrorKind, Options, SyncPolicy, Table, log::edit::TableId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// A day, less what a clock may be wrong.
const FLOORS_LIVE: u64 = 24 * 60 * MINUTE - 6 * MINUTE;

pub struct Device {
    pub options: Options,
    pub clock: Clock,
    /// Its WAL, if it is `local`.
    pub wal: Option<Arc<CrashStorage>>,
    /// It only reads.
    pub reader: bool,
    /// How much its user still does.
    pub quota: usize,
    /// How many things its user does at once.
    pub lanes: usize,
    /// The longest pause between two things.
    pub pause: u64,
    /// The process that runs, and its database once it is open.
    pub running: Option<Pid>,
    pub open: Option<Open>,
    /// The processes whose WAL frames it has; of one copied, only its commits before that number.
    pub sessions: BTreeMap<Pid, Option<usize>>,
    /// It has to be opened anew: rows wait for so long that they can only be parked (PROTOCOL W4).
    pub overdue: bool,
    /// Commits that a power cut may have taken, for the sync policy had not made them durable (those in the
    /// log are not lost, but an offline open may not show them); and those that are parked.
    pub maybe_lost: BTreeSet<usize>,
    /// It follows the changes.
    pub feed: Option<Feed>,
}

/// An open database.
#[derive(Clone)]
pub struct Open {
    pub pid: Pid,
    pub db: Db,
    pub local: bool,
}

/// A table as a handle knows it now.
pub struct Known {
    pub id: TableId,
    pub shape: Arc<Shape>,
    pub table: Table,
}

impl Open {
    /// The table of that name, if there is one; the log says which it is.
    pub fn table(&self, sim: &Sim, name: usize) -> Option<Known> {
        let (found, head) = (self.db.table(TABLES[name]), self.db.stats().head);
        let known = sim.world().log.table(name, head);
        match (found, known) {
            (Ok(table), Some((id, shape))) => Some(Known { id, shape, table }),
            (Err(e), None) if e.kind() == ErrorKind::Invalid => None,
            (Err(e), _) if e.kind() == ErrorKind::Closed => None,
            (found, known) => {
                let name = sim.world().name(self.pid);
                let found = found.map(drop);
                sim.violation(format_args!(
                    "{name} at {head} finds {found:?}, and the log has {known:?}"
                ));
                None
            }
        }
    }
}

impl Device {
    /// One of many kinds.
    pub fn new(sim: &Sim, seed: u64) -> Self {
        let mut world = sim.world();
        let random = &mut world.random;
        let local = random.chance(0.45);
        let reader = !local && random.chance(0.15);
        let sync = match random.below(10) {
            0 => SyncPolicy::Never,
            1 => SyncPolicy::Interval(Duration::from_secs(5)),
            2 => SyncPolicy::Bytes(1500),
            _ => SyncPolicy::Always,
        };
        let options = Options {
            sync,
            wal_segment_bytes: *random.pick(&[512, 2048, 8192]),
            seal_batches: 2 + random.below(8),
            inline_commit_bytes: *random.pick(&[64, 1100, 256 * 1024, 256 * 1024]),
            checkpoint_records: 2 + random.below(7) as u64,
            grace: Duration::from_micros(GRACE),
            retention: Duration::from_micros(*random.pick(&[GRACE / 2, 4 * GRACE, 96 * GRACE])),
            batch_rows: 2 + random.below(20),
            concurrency: 1 + random.below(4),
            retries: 3 + random.below(6) as u32,
            bloom_fpp: *random.pick(&[0.0, 0.01]),
            detached_tasks: local || random.chance(0.6),
            ..Options::default()
        };
        let feed = random.chance(0.3).then(|| Feed::new(random.chance(0.2)));
        let minute = MINUTE as i64;
        let skew = match random.below(6) {
            0 => 0,
            1 => 3 * SECOND as i64,
            2 => -40 * SECOND as i64,
            3 => 20 * minute,
            4 => -20 * minute,
            _ => *random.pick(&[525_600 * minute, -525_600 * minute]),
        };
        let clock = Clock {
            skew,
            drift: random.below(400) as i64 - 200,
            stops: random.chance(0.3),
            ..Clock::default()
        };
        Self {
            options,
            clock,
            wal: local.then(|| CrashStorage::new(seed).at("wal")),
            reader,
            quota: 0,
            lanes: 1 + random.below(2),
            pause: 0,
            running: None,
            open: None,
            sessions: BTreeMap::new(),
            overdue: false,
            maybe_lost: BTreeSet::new(),
            feed,
        }
    }
}

impl Sim {
    /// A call failed. There are errors that no weather explains.
    pub fn failed(&self, pid: Pid, call: &str, error: &Error) {
        let mut world = self.world();
        let name = world.name(pid);
        world.note(format_args!("{name}  {call}: {error}"));
        if error.kind() == ErrorKind::Expired && world.has_waited(pid) {
            let device = world.processes[pid].device;
            world.devices[device].overdue = true;
            return;
        }
        let explained = matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Closed | ErrorKind::Conflict
        );
        if !explained {
            world.violation(format_args!("{name}  {call}: {error}"));
        } else if world.calm {
            world.violation(format_args!("{name}  {call}, in calm weather: {error}"));
        }
    }
}

impl World {
    /// Whether a device has rows that wait for longer than floors live, or may think so: when a frame was sent
    /// it may not know, for a fault, and a clock that was ahead does not say when it was made (PROTOCOL W4).
    fn has_waited(&self, pid: Pid) -> bool {
        let device = &self.devices[self.processes[pid].device];
        let own = |pid: &Pid| device.sessions.contains_key(pid);
        let mut commits = self.log.commits.iter();
        let waits = |c: &Commit| c.ahead || c.at + FLOORS_LIVE < self.now;
        commits.any(|c| c.local && own(&c.pid) && c.seq.is_none() && waits(c))
    }
}

/// The process ends by itself, and the device opens the database anew.
pub fn restart(sim: &Sim, pid: Pid) {
    stop(sim, pid, false);
    let mut world = sim.world();
    let device = world.processes[pid].device;
    world.after(SECOND, Event::Boot(device));
}

/// Power cut or SIGKILL; the device comes back, sooner or later.
pub fn crash(sim: &Sim, pid: Pid) {
    let mut world = sim.world();
    if !world.is_alive(pid) || world.draining {
        return;
    }
    let power = world.chance(600);
    let name = world.name(pid);
    world.note(format_args!(
        "{name} {}",
        if power { "loses power" } else { "is killed" }
    ));
    world.report.crashes += 1;
    let most = *world.random.pick(&[SECOND, MINUTE, GRACE, 4 * GRACE]);
    let away = world.random.below(most as usize) as u64;
    let device = world.processes[pid].device;
    drop(world);
    stop(sim, pid, power);
    sim.world().after(away, Event::Boot(device));
}

/// Ends a process, and says what is left of its WAL.
pub fn stop(sim: &Sim, pid: Pid, power: bool) {
    let open = {
        let mut world = sim.world();
        let device = world.processes[pid].device;
        world.devices[device].running = None;
        world.devices[device].open.take()
    };
    sim.end(pid);
    drop(open);
    let mut world = sim.world();
    let device = world.processes[pid].device;
    let seed = world.random.next();
    let here = &mut world.devices[device];
    here.wal = here
        .wal
        .take()
        .map(|wal| if power { wal.crash(seed) } else { wal.kill() });
    if power && here.options.sync != SyncPolicy::Always {
        let sessions = here.sessions.clone();
        let at_risk = world
            .log
            .commits
            .iter()
            .enumerate()
            .filter_map(|(id, commit)| {
                let here = sessions.contains_key(&commit.pid) && commit.local;
                (here && commit.status == Status::Acked).then_some(id)
            });
        let at_risk: Vec<usize> = at_risk.collect();
        world.devices[device].maybe_lost.extend(at_risk);
    }
}

/// A copy of the WAL of a device is opened elsewhere.
pub fn copy_wal(sim: &Sim, device: usize) {
    let seed = sim.world().random.next();
    let fresh = Device::new(sim, seed);
    let mut world = sim.world();
    let commits = world.log.commits.len();
    let from = &world.devices[device];
    let Some(wal) = &from.wal else { return };
    let before = |(pid, until): (&Pid, &Option<usize>)| (*pid, Some(until.unwrap_or(commits)));
    // What is under way just now may be in the copy or not.
    let own = |pid: &Pid| from.sessions.contains_key(pid);
    let open = world.log.commits.iter().enumerate();
    let open = open.filter(|(_, c)| c.local && own(&c.pid) && c.status == Status::Open);
    let mut maybe_lost = from.maybe_lost.clone();
    maybe_lost.extend(open.map(|(id, _)| id));
    let options = Options {
        detached_tasks: true,
        sync: from.options.sync,
        ..fresh.options.clone()
    };
    let copy = Device {
        options,
        wal: Some(wal.kill()),
        reader: false,
        quota: from.quota.min(8),
        pause: from.pause,
        sessions: from.sessions.iter().map(before).collect(),
        maybe_lost,
        ..fresh
    };
    let new = world.devices.len();
    world.devices.push(copy);
    world.note(format_args!("d{new} is a copy of the WAL of d{device}"));
    world.report.copies += 1;
    world.after(SECOND, Event::Boot(new));
}
