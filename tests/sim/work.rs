//! What the user of a device does, and what has to be true of every answer.

use super::{
    alter,
    device::{self, Open},
    feed, gc,
    log::{TABLES, Writes},
    past, reading,
    rows::{self, KEYS, MARK, Row},
    shape::Shape,
    transaction, upload,
    view::Ticket,
    world::{Event, GRACE, MINUTE, SECOND, Sim, World},
};
use futures_channel::oneshot;
use futures_util::future::{Either, join_all, select};
use lakeshore::{Committed, Error, ErrorKind};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Commit,
    Group,
    Flush,
    Upload,
    Alter,
    Changes,
    Checkpoint,
    Refresh,
    Read,
    Hold,
    Get,
    Gc,
    Reopen,
    Transaction,
    Transactions,
    Snapshot,
    AsOf,
    Tag,
}

/// One thing after the other, until there is nothing left to do.
pub async fn lane(sim: Sim, open: Open) {
    while let Some(act) = next(&sim, &open) {
        let overdue = {
            let world = sim.world();
            world.devices[world.processes[open.pid].device].overdue
        };
        if overdue {
            return device::restart(&sim, open.pid);
        }
        trouble(&sim, &open);
        if sim.chance(60) {
            vanishing(&sim, &open, act).await;
        } else {
            perform(&sim, &open, act).await;
        }
        let pause = {
            let mut world = sim.world();
            let most = match world.random.below(5) {
                0..3 => 300_000,
                _ => world.devices[world.processes[open.pid].device].pause,
            };
            world.random.below(most as usize) as u64
        };
        sim.pause(pause).await;
    }
}

fn next(sim: &Sim, open: &Open) -> Option<Act> {
    let mut world = sim.world();
    let device = world.processes[open.pid].device;
    let quota = &mut world.devices[device].quota;
    *quota = quota.checked_sub(1)?;
    let rate = world.weather.alter;
    if world.devices[device].reader {
        return Some(*world.random.pick(&[
            Act::Refresh,
            Act::Read,
            Act::Hold,
            Act::Get,
            Act::Changes,
            Act::Reopen,
        ]));
    }
    if world.chance(rate) {
        return Some(Act::Alter);
    }
    Some(match world.random.below(100) {
        0..28 => Act::Commit,
        28..36 => Act::Group,
        36..47 => Act::Transaction,
        47..52 => Act::Transactions,
        52..60 if open.local && world.chance(500) => Act::Upload,
        52..60 => Act::Flush,
        60..65 => Act::Checkpoint,
        65..73 => Act::Refresh,
        73..76 => Act::Read,
        76..79 => Act::Hold,
        79..81 => Act::Get,
        81..83 => Act::Changes,
        83..86 => Act::Snapshot,
        86..90 => Act::AsOf,
        90..92 => Act::Tag,
        92..97 => Act::Gc,
        _ => Act::Reopen,
    })
}

/// What some device does at a certain moment, so that rare things meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    Commit,
    Checkpoint,
    Gc,
    LookBack,
}

/// Sends a device that runs.
pub fn errand(sim: &Sim, errand: Errand) {
    let open = {
        let mut world = sim.world();
        let able = |d: &&device::Device| match errand {
            Errand::Commit => !d.reader && d.wal.is_none(),
            _ => !d.reader,
        };
        let devices = world.devices.iter().filter(able);
        let able: Vec<Open> = devices.filter_map(|d| d.open.clone()).collect();
        match able.is_empty() || world.draining {
            true => return,
            false => world.random.pick(&able).clone(),
        }
    };
    let (here, pid) = (sim.clone(), open.pid);
    let task = async move {
        match errand {
            Errand::Commit => commits(&here, &open, 1).await,
            Errand::Checkpoint => report(&here, &open, "checkpoint", open.db.checkpoint().await),
            Errand::Gc => gc::early(&here, &open).await,
            Errand::LookBack => feed::look_back(&here, &open).await,
        }
    };
    sim.spawn(pid, Box::pin(task));
}

/// What may go wrong for a device while it does something.
fn trouble(sim: &Sim, open: &Open) {
    let mut world = sim.world();
    let (weather, pid) = (world.weather, open.pid);
    let device = world.processes[pid].device;
    let soon = world.random.below(400_000) as u64;
    if world.chance(weather.crash) {
        world.after(soon, Event::Crash(pid));
    } else if world.chance(weather.suspend) {
        let most = *world.random.pick(&[GRACE / 2, GRACE, 2 * GRACE, 5 * GRACE]);
        let micros = most / 2 + world.random.below(most as usize) as u64;
        world.after(soon, Event::Suspend(pid, micros));
    } else if world.chance(weather.clock) {
        let minute = MINUTE as i64;
        let by = *world
            .random
            .pick(&[-2 * minute, 3 * minute, -60 * minute, 60 * minute]);
        world.after(soon, Event::SetClock(pid, by));
    } else if open.local && world.chance(weather.copy) && world.devices.len() < 10 {
        world.after(soon, Event::CopyWal(device));
    }
}

/// The caller may stop waiting; in a Worker the call then vanishes.
async fn vanishing(sim: &Sim, open: &Open, act: Act) {
    let (sender, receiver) = oneshot::channel::<()>();
    let (here, own) = (sim.clone(), open.clone());
    let task = sim.spawn(
        open.pid,
        Box::pin(async move {
            perform(&here, &own, act).await;
            let _ = sender.send(());
        }),
    );
    let most = *sim.world().random.pick(&[30_000, 300_000, 20 * SECOND]);
    let patience = sim.below(most);
    if let Either::Right(_) = select(receiver, Box::pin(sim.pause(patience))).await {
        let name = sim.world().name(open.pid);
        sim.note(format_args!("{name} waits no longer for {act:?}"));
        let detached = {
            let world = sim.world();
            world.devices[world.processes[open.pid].device]
                .options
                .detached_tasks
        };
        match detached || sim.chance(300) {
            true => sim.abandon(task),
            false => sim.vanish(task),
        }
    }
}

async fn perform(sim: &Sim, open: &Open, act: Act) {
    let name = sim.world().name(open.pid);
    if act != Act::Commit {
        sim.note(format_args!("{name} does {act:?}"));
    }
    match act {
        Act::Commit => commits(sim, open, 1).await,
        Act::Group => commits(sim, open, 2 + sim.below(3)).await,
        Act::Flush => upload::flush(sim, open).await,
        Act::Upload => upload::upload(sim, open).await,
        Act::Alter => alter::run(sim, open).await,
        Act::Changes => feed::look_back(sim, open).await,
        Act::Checkpoint => report(sim, open, "checkpoint", open.db.checkpoint().await),
        Act::Refresh => reading::refresh(sim, open).await,
        Act::Read => reading::read(sim, open, 0).await,
        Act::Hold => {
            let most = *sim.world().random.pick(&[SECOND, MINUTE, GRACE, 3 * GRACE]);
            reading::read(sim, open, sim.below(most)).await;
        }
        Act::Get => reading::get(sim, open).await,
        Act::Gc => gc::run(sim, open).await,
        Act::Transaction => transaction::run(sim, open, 1).await,
        Act::Transactions => transaction::run(sim, open, 2 + sim.below(2)).await,
        Act::Snapshot => past::snapshot(sim, open).await,
        Act::AsOf => past::as_of(sim, open).await,
        Act::Tag => past::tag(sim, open).await,
        Act::Reopen => {
            report(sim, open, "close", open.db.close().await);
            device::restart(sim, open.pid);
        }
    }
}

fn report<T>(sim: &Sim, open: &Open, call: &str, outcome: Result<T, Error>) {
    if let Err(e) = outcome {
        sim.failed(open.pid, call, &e);
    }
}

/// What the handle parks is not there, and not lost: it says which (PROTOCOL W4).
pub fn note_parked(sim: &Sim, open: &Open) {
    let parked = open.db.parked();
    let keys = parked
        .iter()
        .flat_map(|entry| rows::keys_of_ipc(&entry.ipc).unwrap_or_default());
    let ids: Vec<usize> = keys
        .filter(|key| *key >= MARK)
        .map(|key| (key - MARK) as usize)
        .collect();
    if !ids.is_empty() {
        let mut world = sim.world();
        let device = world.processes[open.pid].device;
        world.report.parked += ids.len() as u64;
        world.devices[device].maybe_lost.extend(ids);
    }
}

/// This moment of the handle.
pub fn ticket(sim: &Sim, open: &Open) -> Ticket {
    note_parked(sim, open);
    let head = open.db.stats().head;
    sim.world().ticket(open.pid, head)
}

/// Some commits, all called before any is waited for.
async fn commits(sim: &Sim, open: &Open, n: u64) {
    let calls: Vec<_> = (0..n).filter_map(|_| commit(sim, open)).collect();
    let mut reopen = false;
    for (id, outcome) in join_all(calls).await {
        reopen |= answered(sim, open, id, outcome);
    }
    if reopen {
        device::restart(sim, open.pid);
    }
}

pub type Outcome = (usize, Result<Committed, Error>);

/// A row of a commit, with some of the added columns.
pub fn some_row(world: &mut World, shape: &Shape, commit: i64) -> Row {
    let columns = match shape.mask() {
        0 => 0,
        mask => mask & world.random.next(),
    };
    Row { commit, columns }
}

/// Calls now; resolves with the answer.
fn commit(sim: &Sim, open: &Open) -> Option<impl Future<Output = Outcome> + Send + use<>> {
    let table = sim.below(TABLES.len() as u64) as usize;
    let table = open.table(sim, table).or_else(|| open.table(sim, 0))?;
    let mut world = sim.world();
    let id = world.log.commits.len() as i64;
    let mut keys: Vec<i64> = (0..1 + world.random.below(3))
        .map(|_| world.random.below(KEYS as usize) as i64)
        .collect();
    keys.push(MARK + id);
    keys.sort_unstable();
    keys.dedup();
    let delete = world.chance(220);
    let writes: Writes = keys
        .iter()
        .map(|key| {
            let row = some_row(&mut world, &table.shape, id);
            (*key, (!delete).then_some(row))
        })
        .collect();
    let rows: Vec<(i64, Row)> = writes
        .iter()
        .filter_map(|(k, r)| Some((*k, (*r)?)))
        .collect();
    let id = world.register(open.pid, open.local, BTreeMap::from([(table.id, writes)]));
    drop(world);
    let call = match delete {
        true => Either::Left(table.table.delete(&[rows::keys(&table.shape, &keys)])),
        false => Either::Right(table.table.ingest(&[rows::batch(&table.shape, &rows)])),
    };
    Some(async move { (id, call.await) })
}

/// Whether the device has to be opened anew.
pub fn answered(sim: &Sim, open: &Open, id: usize, outcome: Result<Committed, Error>) -> bool {
    let error = match outcome {
        Ok(committed) => {
            let mut world = sim.world();
            if committed.uploaded == open.local {
                world.violation(format_args!("#{id} is said to be uploaded: {committed:?}"));
            }
            world.acked(id, &committed);
            return false;
        }
        Err(error) => error,
    };
    if alter::met_drop(sim, id, &error) {
        return false;
    }
    sim.failed(open.pid, "commit", &error);
    let conflict = error.kind() == ErrorKind::Conflict;
    if conflict || (!open.local && error.kind() != ErrorKind::Unknown) {
        sim.world().refused(id);
    }
    // A WAL whose sync failed takes no more.
    open.local && !conflict && (error.kind() == ErrorKind::Unknown || sim.chance(300))
}
