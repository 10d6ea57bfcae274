//! Changes of the catalog (PROTOCOL C6): table `b` is altered, dropped and created again while others write.
//! What an acknowledged change made is in the log, by this request or by another that asked for the same;
//! one is refused only if there was a moment since the handle's position at which it could not be made.

use super::{
    device::{Known, Open},
    log::{ALTERED, Ask, Asked, TABLES, first_shape},
    shape::Change,
    world::{Sim, World},
};
use lakeshore::{Error, ErrorKind};

pub async fn run(sim: &Sim, open: &Open) {
    match open.table(sim, ALTERED) {
        None => _ = create(sim, open, ALTERED).await,
        Some(_) if sim.chance(120) => drop_table(sim, open).await,
        Some(known) => alter(sim, open, &known).await,
    }
}

async fn alter(sim: &Sim, open: &Open, known: &Known) {
    let changes = known.shape.changes(&mut sim.world().random);
    let asked = sim.world().ask(open, Ask::Alter(changes.clone()));
    let alterations: Vec<_> = changes.iter().map(Change::alteration).collect();
    let outcome = open.db.alter_table(TABLES[ALTERED], &alterations).await;
    match outcome {
        Ok(_) => {
            let mut world = sim.world();
            world.report.alterations += 1;
            if !world.is_made(asked, &changes) {
                world.violation(format_args!(
                    "{changes:?} is said to be made, and not in the log"
                ));
            }
        }
        Err(e) if e.kind() == ErrorKind::Invalid => {
            let mut world = sim.world();
            let known = known.id;
            let may = world
                .moments(asked)
                .any(|seq| match world.log.table(ALTERED, seq) {
                    Some((id, shape)) => id != known || shape.altered(&changes).is_none(),
                    None => true,
                });
            // It may have been made, and the table dropped, before the handle heard of either.
            match world.log.lives(known) {
                true => world.not_done(asked, may, &e),
                false => world.note(format_args!("the alteration came too late: {e}")),
            }
        }
        Err(e) => sim.failed(open.pid, "alter", &e),
    }
}

async fn drop_table(sim: &Sim, open: &Open) {
    let asked = sim.world().ask(open, Ask::Drop);
    match open.db.drop_table(TABLES[ALTERED]).await {
        Ok(was_there) => {
            let mut world = sim.world();
            let since = world.log.asked[asked].since;
            let mut tables = world.log.tables.values().filter(|t| t.name == ALTERED);
            let right = match was_there {
                true => tables.any(|t| t.dropped.is_some_and(|at| at > since)),
                false => world
                    .moments(asked)
                    .any(|seq| world.log.table(ALTERED, seq).is_none()),
            };
            world.report.drops += u64::from(was_there);
            if !right {
                world.violation(format_args!("drop_table says {was_there}"));
            }
        }
        Err(e) => sim.failed(open.pid, "drop", &e),
    }
}

/// Whether the table is there, with whatever columns.
pub async fn create(sim: &Sim, open: &Open, name: usize) -> bool {
    let since = open.db.stats().head;
    let first = first_shape(name);
    let outcome = open.db.create_table(TABLES[name], first.schema()).await;
    let mut moments = since..=sim.world().log.head;
    let world = sim.world();
    let there = |seq| world.log.table(name, seq);
    let explained = match &outcome {
        Ok(_) => moments.any(|seq| there(seq).is_some()),
        Err(e) if e.kind() == ErrorKind::Invalid => {
            moments.any(|seq| there(seq).is_some_and(|(_, shape)| shape.columns != first.columns))
        }
        Err(e) => {
            drop(world);
            sim.failed(open.pid, "create_table", e);
            return false;
        }
    };
    drop(world);
    if !explained {
        let outcome = outcome.map(drop);
        sim.violation(format_args!("create_table {name} gives {outcome:?}"));
    }
    true
}

/// Whether a commit was refused because a table of it was dropped.
pub fn met_drop(sim: &Sim, id: usize, error: &Error) -> bool {
    let mut world = sim.world();
    let mut tables = world.log.commits[id].writes.keys();
    let dropped = tables.any(|table| !world.log.lives(*table));
    let met = dropped && error.kind() == ErrorKind::Invalid;
    if met {
        world.note(format_args!("#{id}: {error}"));
        world.report.met_drop += 1;
        world.refused(id);
    }
    met
}

impl World {
    fn ask(&mut self, open: &Open, what: Ask) -> usize {
        let since = open.db.stats().head;
        let name = self.name(open.pid);
        self.note(format_args!("{name} at {since} asks for {what:?}"));
        self.log.asked.push(Asked {
            what,
            since,
            refused: false,
            seq: None,
        });
        self.log.asked.len() - 1
    }

    /// The positions from that of the handle when it asked to the log's head.
    fn moments(&self, asked: usize) -> std::ops::RangeInclusive<u64> {
        self.log.asked[asked].since..=self.log.head
    }

    /// Whether the changes lead from some version of the table to the next, or to no other.
    fn is_made(&self, asked: usize, changes: &[Change]) -> bool {
        let since = self.log.asked[asked].since;
        let tables = self.log.tables.values();
        let mut tables =
            tables.filter(|t| t.name == ALTERED && t.dropped.is_none_or(|at| at > since));
        tables.any(|table| {
            let made = table.shapes.windows(2).any(|pair| {
                let ((_, before), (at, after)) = (&pair[0], &pair[1]);
                *at > since && before.altered(changes).as_ref() == Some(after)
            });
            let nothing = |(n, (_, shape)): (usize, &(u64, _))| {
                let shape: &std::sync::Arc<super::shape::Shape> = shape;
                let over = table.shapes.get(n + 1).is_some_and(|(at, _)| *at <= since);
                let same = |after: super::shape::Shape| after.columns == shape.columns;
                !over && shape.altered(changes).is_some_and(same)
            };
            made || table.shapes.iter().enumerate().any(nothing)
        })
    }

    /// A request was refused as `Invalid`; if a record was taken for its, another has to explain that.
    fn not_done(&mut self, asked: usize, may: bool, error: &Error) {
        let refused = &mut self.log.asked[asked];
        refused.refused = true;
        let (what, seq) = (refused.what.clone(), refused.seq.take());
        let open = |a: &&mut Asked| a.seq.is_none() && !a.refused && a.what == what;
        let other = seq.and_then(|_| self.log.asked.iter_mut().find(open));
        let explained = other.is_some() || seq.is_none();
        if let Some(other) = other {
            other.seq = seq;
        }
        if !may || !explained {
            self.violation(format_args!("{what:?} is refused: {error}"));
        }
    }
}
