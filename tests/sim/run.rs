//! One seed: a world of devices, some hours of bad weather, then calm; at the end everything that was
//! acknowledged is in the log, and every reader sees the same rows as a plain replay of it.

use super::{
    boot,
    device::{self, Device, Open},
    feed,
    log::{Status, TABLES},
    reading, upload,
    world::{Event, GRACE, MINUTE, SECOND, Sim, Weather},
};
use futures_channel::oneshot;
use std::fmt;

/// What a run did; equal for equal seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub seeds: u64,
    pub hash: u64,
    pub events: u64,
    pub polls: u64,
    pub commits: u64,
    pub acked: u64,
    pub records: u64,
    pub views: u64,
    pub skipped: u64,
    pub faults: u64,
    pub crashes: u64,
    pub sleeps: u64,
    pub copies: u64,
    pub transactions: u64,
    pub conflicts: u64,
    pub past: u64,
    pub parked: u64,
    pub freed: u64,
    pub ghosts: u64,
    pub alterations: u64,
    pub drops: u64,
    pub met_drop: u64,
    pub uploads: u64,
    pub changes: u64,
    pub expired: u64,
    pub violation: Option<String>,
}

impl Report {
    pub fn add(&mut self, other: &Self) {
        self.seeds += 1;
        self.events += other.events;
        self.polls += other.polls;
        self.commits += other.commits;
        self.acked += other.acked;
        self.records += other.records;
        self.views += other.views;
        self.skipped += other.skipped;
        self.faults += other.faults;
        self.crashes += other.crashes;
        self.sleeps += other.sleeps;
        self.copies += other.copies;
        self.transactions += other.transactions;
        self.conflicts += other.conflicts;
        self.past += other.past;
        self.parked += other.parked;
        self.freed += other.freed;
        self.ghosts += other.ghosts;
        self.alterations += other.alterations;
        self.drops += other.drops;
        self.met_drop += other.met_drop;
        self.uploads += other.uploads;
        self.changes += other.changes;
        self.expired += other.expired;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds, {} commits ({} acknowledged) in {} records, {} views checked ({} skipped, {} of the \
             past), {} transactions committed ({} conflicts), {} storage faults, {} crashes, {} sleeps, {} copied WALs, {} records freed by gc, {} ghosts, {} alterations, \
             {} dropped tables ({} commits met that), {} uploads in steps, {} changes followed ({} feeds \
             expired), {} polls",
            self.seeds,
            self.commits,
            self.acked,
            self.records,
            self.views,
            self.skipped,
            self.past,
            self.transactions,
            self.conflicts,
            self.faults,
            self.crashes,
            self.sleeps,
            self.copies,
            self.freed,
            self.ghosts,
            self.alterations,
            self.drops,
            self.met_drop,
            self.uploads,
            self.changes,
            self.expired,
            self.polls
        )
    }
}

/// Runs one seed.
pub fn run(seed: u64, trace: bool) -> Report {
    let sim = Sim::new(seed, trace);
    people(&sim);
    let work_left = |sim: &Sim| {
        let world = sim.world();
        world.devices.iter().all(|d| d.quota == 0) || world.now > 60 * 24 * 60 * MINUTE
    };
    sim.run_until(work_left);
    calm(&sim);
    let end = sim.world().now + 16 * GRACE;
    sim.run_until(|sim| sim.world().now > end);
    settle(&sim);
    // Handles refer to the world, and the world to them.
    let report = {
        let mut world = sim.world();
        world.report.records = world.log.head;
        world.report.clone()
    };
    take_down(&sim);
    report
}

/// Who there is, and how bad the weather gets.
fn people(sim: &Sim) {
    let (devices, pause, quota) = {
        let mut world = sim.world();
        let random = &mut world.random;
        let rate = |random: &mut crate::support::random::Random, most: &[usize]| *random.pick(most);
        let mut weather = Weather {
            lost: rate(random, &[0, 20, 60, 60, 150]),
            wal: rate(random, &[0, 5, 20, 40]),
            crash: rate(random, &[0, 20, 50]),
            suspend: rate(random, &[0, 20, 60, 100]),
            clock: rate(random, &[0, 20]),
            copy: rate(random, &[0, 0, 20]),
            alter: rate(random, &[0, 0, 40, 100]),
        };
        // In a storm what is rare meets: two faults within one call, a sleep right after a fault.
        if random.chance(0.3) {
            weather = weather.storm();
        }
        // Where days go by, the engine's own gc frees records.
        let pauses = [
            2 * SECOND,
            MINUTE,
            6 * MINUTE,
            20 * MINUTE,
            10 * 60 * MINUTE,
        ];
        let pause = *random.pick(&pauses);
        let most = 2 + random.below(7);
        let quota = 8 + random.below(120) / most;
        world.weather = weather;
        world.store.untold = world.chance(150);
        (most, pause, quota)
    };
    for n in 0..devices {
        let seed = sim.world().random.next();
        let mut device = Device::new(sim, seed);
        device.pause = pause;
        device.quota = quota;
        let mut world = sim.world();
        world.devices.push(device);
        let late = world.random.below(pause as usize) as u64;
        world.after(late, Event::Boot(n));
    }
}

fn calm(sim: &Sim) {
    let mut world = sim.world();
    world.note(format_args!("calm weather"));
    world.weather = Weather::default();
    world.draining = true;
    // Who sleeps wakes up when its time comes; who is off stays off.
    for device in &mut world.devices {
        device.quota = 0;
    }
}

/// Runs a future as a task of a new process of `device`, to its end.
fn calmly<F: Future<Output = ()> + Send + 'static>(
    sim: &Sim,
    device: usize,
    act: impl FnOnce(Sim, Open) -> F + Send + 'static,
) {
    let (sender, mut done) = oneshot::channel::<()>();
    let here = sim.clone();
    // The task belongs to the process that it starts: it is spawned when that is there.
    boot::spawn_calmly(sim, device, move |open| async move {
        act(here, open).await;
        let _ = sender.send(());
    });
    let end = sim.world().now + 24 * 60 * MINUTE;
    let mut finished = false;
    sim.run_until(|sim| {
        finished = finished || !matches!(done.try_recv(), Ok(None));
        finished || sim.world().now > end
    });
    if !finished {
        sim.violation(format_args!("d{device} does not get done in calm weather"));
    }
}

/// Everybody comes back and uploads what he has; then all must be there, the same for everyone.
fn settle(sim: &Sim) {
    sim.world().calm = true;
    let devices = sim.world().devices.len();
    // What a copy uploads may end another's doubt about its own rows (PROTOCOL W4).
    let rounds = 1 + usize::from(sim.world().report.copies > 0);
    for device in (0..devices).cycle().take(rounds * devices) {
        if sim.world().report.violation.is_some() {
            return;
        }
        // Once more, if rows of it can only be parked.
        for _ in 0..2 {
            let running = sim.world().devices[device].running;
            if let Some(pid) = running {
                device::stop(sim, pid, false);
            }
            calmly(sim, device, |sim, open| async move {
                upload::flush(&sim, &open).await;
                reading::refresh(&sim, &open).await;
            });
            if !sim.world().devices[device].overdue {
                break;
            }
        }
    }
    let lost = {
        let world = sim.world();
        let lost = world.log.commits.iter().enumerate().find(|(id, c)| {
            let device = world.processes[c.pid].device;
            let certain = !world.devices[device].maybe_lost.contains(id);
            let due = c.local && c.status == Status::Acked && c.seq.is_none();
            due && certain && !world.log.is_dead(c)
        });
        lost.map(|(id, _)| id)
    };
    if let Some(id) = lost {
        sim.violation(format_args!(
            "#{id} was acknowledged, and never came into the log"
        ));
    }
    sim.world().check_local_transactions();
    everyone_agrees(sim, devices);
}

fn everyone_agrees(sim: &Sim, devices: usize) {
    for device in 0..devices {
        if sim.world().report.violation.is_some() {
            return;
        }
        let head = sim.world().log.head;
        let running = sim.world().devices[device].running;
        if let Some(pid) = running {
            device::stop(sim, pid, false);
        }
        calmly(sim, device, move |sim, open| async move {
            // Over a slow line it was opened with what the device had by the deadline.
            if open.db.stats().head < head
                && let Err(error) = open.db.refresh().await
            {
                sim.note(format_args!("d{device} does not hear of the log: {error}"));
            }
            let at = open.db.stats().head;
            let backlog = open.db.stats().backlog_rows;
            if at != head || backlog > 0 {
                sim.violation(format_args!(
                    "d{device} is at {at} with {backlog} pending rows, the log is at {head}"
                ));
            }
            match device < 2 {
                true => reading::read_all(&sim, &open).await,
                false => reading::read(&sim, &open, 0).await,
            }
            let follows = sim.world().devices[device].feed.is_some();
            if follows {
                feed::drain(&sim, &open).await;
            }
        });
    }
    let world = sim.world();
    let tables = (0..TABLES.len()).filter_map(|name| world.log.table(name, world.log.head));
    let rows: usize = tables
        .map(|(table, _)| world.log.content(table, world.log.head).len())
        .sum();
    drop(world);
    sim.note(format_args!("{rows} rows at the end"));
}

fn take_down(sim: &Sim) {
    let gone = {
        let mut world = sim.world();
        let open: Vec<_> = world.devices.iter_mut().map(|d| d.open.take()).collect();
        let tasks = std::mem::take(&mut world.tasks);
        let vanished = std::mem::take(&mut world.vanished);
        let events = std::mem::take(&mut world.events);
        world.processes.iter_mut().for_each(|p| p.alive = false);
        (tasks, vanished, open, events)
    };
    drop(gone);
}
