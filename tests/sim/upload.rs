//! Uploads, all at once and in steps: what they say about commits is true of the log (PROTOCOL W3).

use super::{
    device::Open,
    log::{Commit, Status},
    work::note_parked,
    world::{Sim, World},
};
use lakeshore::UploadOptions;

/// Acknowledged commits of this device that have to go up, oldest first.
fn waiting(world: &World, open: &Open) -> Vec<usize> {
    let device = &world.devices[world.processes[open.pid].device];
    let own = |pid, id| {
        let until = device.sessions.get(&pid);
        until.is_some_and(|until| until.is_none_or(|u| id < u))
    };
    let commits = world.log.commits.iter().enumerate();
    let mut ids: Vec<usize> = commits
        .filter(|(id, c)| c.local && c.status == Status::Acked && own(c.pid, *id))
        .map(|(id, _)| id)
        .filter(|id| !device.maybe_lost.contains(id))
        .collect();
    ids.sort_by_key(|id| world.log.commits[*id].order);
    ids
}

/// Those of them that are not in the log, and should be.
fn left(world: &World, open: &Open, ids: &[usize]) -> Vec<usize> {
    let parked = &world.devices[world.processes[open.pid].device].maybe_lost;
    let left = ids.iter().copied().filter(|id| {
        let commit = &world.log.commits[*id];
        commit.seq.is_none() && !parked.contains(id) && !world.log.is_dead(commit)
    });
    left.collect()
}

/// When it returns, all that was acknowledged before is in the log.
pub async fn flush(sim: &Sim, open: &Open) {
    let before = waiting(&sim.world(), open);
    match open.db.flush().await {
        Err(e) => sim.failed(open.pid, "flush", &e),
        Ok(()) => all_up(sim, open, &before),
    }
}

/// A part of it, whole commits, oldest first; or all.
pub async fn upload(sim: &Sim, open: &Open) {
    let (options, before) = {
        let mut world = sim.world();
        let options = UploadOptions {
            max_bytes: *world.random.pick(&[None, Some(0), Some(0), Some(300)]),
            max_millis: *world.random.pick(&[None, None, Some(0), Some(200)]),
        };
        let all = waiting(&world, open);
        (options, left(&world, open, &all))
    };
    let first = before.first().copied();
    // A step may be of rows that are in the log already; but the oldest commit gets its turn.
    for _ in 0..8 {
        let done = match open.db.upload(options).await {
            Err(e) => return sim.failed(open.pid, "upload", &e),
            Ok(done) => done,
        };
        sim.world().report.uploads += u64::from(done.commits > 0);
        if options == UploadOptions::default() {
            return all_up(sim, open, &before);
        }
        note_parked(sim, open);
        dead_are_told(sim, open, &before);
        let left = left(&sim.world(), open, &before);
        if first.is_none_or(|first| !left.contains(&first)) {
            return;
        }
    }
    sim.violation(format_args!(
        "{first:?} was the oldest, and stays: {options:?}"
    ));
}

fn all_up(sim: &Sim, open: &Open, before: &[usize]) {
    note_parked(sim, open);
    dead_are_told(sim, open, before);
    let left = left(&sim.world(), open, before);
    if let Some(id) = left.first() {
        sim.violation(format_args!(
            "#{id} was acknowledged, and the flush left it behind"
        ));
    }
}

/// Rows of this process that died with their table are counted (PROTOCOL C6); and what the handle says of
/// its commits is so.
fn dead_are_told(sim: &Sim, open: &Open, before: &[usize]) {
    let stats = open.db.stats();
    let mut world = sim.world();
    let dead = |id: &&usize| {
        let commit = &world.log.commits[**id];
        let known = |table| {
            world.log.tables[table]
                .dropped
                .is_some_and(|at| at <= stats.head)
        };
        commit.pid == open.pid && commit.seq.is_none() && commit.writes.keys().all(known)
    };
    let dead = before.iter().find(dead).copied();
    if let Some(id) = dead.filter(|_| stats.dropped_rows == 0) {
        world.violation(format_args!(
            "#{id} died with its table, and nothing says so"
        ));
    }
    let own = |(_, c): &(usize, &Commit)| c.pid == open.pid && c.committed.is_some();
    let own = world.log.commits.iter().enumerate().filter(own);
    let said: Vec<_> = own.filter_map(|(id, c)| Some((id, c.committed?))).collect();
    let wrong = said.iter().rev().take(3).find(|(id, committed)| {
        let commit = &world.log.commits[*id];
        let lies = open.db.is_uploaded(committed) != commit.seq.is_some_and(|at| at <= stats.head);
        lies && !commit.writes.keys().any(|table| !world.log.lives(*table))
    });
    let wrong = wrong.map(|(id, _)| *id);
    if let Some(id) = wrong {
        world.violation(format_args!("is_uploaded is wrong about #{id}"));
    }
}
