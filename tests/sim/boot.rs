//! A device is switched on: a new process opens the database, and its user goes to work.

use super::{
    alter,
    client::SimStore,
    clock::{Clock, SimRuntime},
    device::{Open, restart},
    feed,
    log::TABLES,
    wal::SimWal,
    work,
    world::{Pid, Process, Sim},
};
use lakeshore::{Db, Env, Options};
use std::sync::Arc;

/// A new process of a device; it is there, and does nothing yet.
fn start(sim: &Sim, device: usize) -> (Pid, Env, Options) {
    let mut world = sim.world();
    let (pid, now) = (world.processes.len(), world.now);
    let here = &mut world.devices[device];
    let clock = Clock {
        origin: now,
        stood: 0,
        ..here.clock.clone()
    };
    here.running = Some(pid);
    here.overdue = false;
    here.sessions.insert(pid, None);
    let (options, wal) = (here.options.clone(), here.wal.clone());
    world.processes.push(Process {
        device,
        alive: true,
        suspended: None,
        parked: Vec::new(),
        clock,
        missing: 0,
    });
    let name = world.name(pid);
    world.note(format_args!(
        "{name} starts, {}",
        if wal.is_some() { "local" } else { "remote" }
    ));
    drop(world);
    let sim = sim.clone();
    let wal = wal.map(|inner| {
        Arc::new(SimWal {
            sim: sim.clone(),
            pid,
            inner,
        }) as _
    });
    let env = Env {
        data: Arc::new(SimStore::new(&sim, pid)),
        wal,
        runtime: Arc::new(SimRuntime {
            sim: sim.clone(),
            pid,
        }),
    };
    (pid, env, options)
}

/// Switches a device on: it opens the database and does what its user does.
pub fn boot(sim: &Sim, device: usize) {
    if sim.world().devices[device].running.is_some() {
        return;
    }
    let (pid, env, options) = start(sim, device);
    let here = sim.clone();
    let life = async move {
        let Some(open) = open(&here, pid, env, options).await else {
            return restart(&here, pid);
        };
        let lanes = {
            let mut world = here.world();
            world.devices[device].open = Some(open.clone());
            world.devices[device].lanes
        };
        for _ in 0..lanes {
            here.spawn(pid, Box::pin(work::lane(here.clone(), open.clone())));
        }
        if here.world().devices[device].feed.is_some() {
            here.spawn(pid, Box::pin(feed::lane(here.clone(), open.clone())));
        }
    };
    sim.spawn(pid, Box::pin(life));
}

/// Opens the database, with its tables, however often it takes.
pub async fn open(sim: &Sim, pid: Pid, env: Env, options: Options) -> Option<Open> {
    let local = env.wal.is_some();
    let mut db = None;
    for attempt in 0..40u64 {
        sim.pause(attempt * attempt * 20_000).await;
        let head = sim.world().log.head;
        match Db::open(env.clone(), options.clone()).await {
            Ok(open) => {
                if open.stats().online && open.stats().head < head {
                    let (name, at) = (sim.world().name(pid), open.stats().head);
                    sim.violation(format_args!("{name} opens at {at}, the log was at {head}"));
                }
                db = Some(open);
                break;
            }
            Err(e) => sim.failed(pid, "open", &e),
        }
    }
    let open = Open {
        pid,
        db: db?,
        local,
    };
    let mut missing: Vec<usize> = (0..TABLES.len()).collect();
    for attempt in 0..40u64 {
        sim.pause(attempt * attempt * 20_000).await;
        let mut left = Vec::new();
        for name in missing {
            if open.table(sim, name).is_none() && !alter::create(sim, &open, name).await {
                left.push(name);
            }
        }
        missing = left;
        if missing.is_empty() {
            return Some(open);
        }
    }
    None
}

/// Opens a device's database when all is calm, and does one thing with it.
pub fn spawn_calmly<F: Future<Output = ()> + Send + 'static>(
    sim: &Sim,
    device: usize,
    act: impl FnOnce(Open) -> F + Send + 'static,
) {
    let (pid, env, options) = start(sim, device);
    let here = sim.clone();
    let life = async move {
        if let Some(open) = open(&here, pid, env, options).await {
            act(open).await;
        }
    };
    sim.spawn(pid, Box::pin(life));
}
