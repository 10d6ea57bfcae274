//! Snapshots, reads as of a time, tags: a snapshot never changes, and as of a time is the same prefix of the
//! log for everyone, for ever, as long as it is kept (PROTOCOL T3, T5, G1).

use super::{
    device::Open,
    log::TABLES,
    reading::read_scans,
    shape::Shape,
    view::Ticket,
    work::ticket,
    world::{GRACE, MINUTE, SECOND, START, Sim},
};
use lakeshore::{AsOf, Error, ErrorKind, ScanBuilder, Snapshot, log::edit::TableId};

/// Scans of all tables that there should be, and no others, with the columns of their time (DESIGN promise 18).
fn scans(
    sim: &Sim,
    ticket: &Ticket,
    snapshot: &Snapshot,
) -> Result<Vec<(TableId, ScanBuilder)>, Error> {
    let mut scans = Vec::new();
    for (at, name) in TABLES.iter().enumerate() {
        let expected = sim.world().table_of(ticket, at);
        let found = match snapshot.table(name) {
            Err(e) if e.kind() == ErrorKind::Invalid => None,
            found => Some(found?),
        };
        let same = match (&expected, &found) {
            (Some((_, shape)), Some(found)) => {
                Shape::of(&*found.schema()?).is_ok_and(|found| found.columns == shape.columns)
            }
            (expected, found) => expected.is_none() && found.is_none(),
        };
        if !same {
            let found = found.map(|table| table.schema().map(|schema| Shape::of(&schema)));
            sim.violation(format_args!(
                "as of record {} table {name} is {found:?}, not {expected:?}",
                ticket.seq
            ));
        } else if let (Some((id, _)), Some(found)) = (expected, found) {
            scans.push((id, found.scan()));
        }
    }
    Ok(scans)
}

/// All tables at one moment, read twice, the second time when others and this device went on.
pub async fn snapshot(sim: &Sim, open: &Open) {
    let ticket = ticket(sim, open);
    let snapshot = match open.db.snapshot() {
        Ok(snapshot) => snapshot,
        Err(e) => return sim.failed(open.pid, "snapshot", &e),
    };
    let most = *sim.world().random.pick(&[SECOND, MINUTE, GRACE, 3 * GRACE]);
    for hold in [0, sim.below(most)] {
        sim.pause(hold).await;
        read(sim, open, &ticket, &snapshot, hold / 2).await;
    }
}

async fn read(sim: &Sim, open: &Open, ticket: &Ticket, snapshot: &Snapshot, hold: u64) {
    match scans(sim, ticket, snapshot) {
        Ok(scans) => read_scans(sim, ticket.clone(), scans, hold).await,
        Err(e) => sim.failed(open.pid, "snapshot", &e),
    }
}

/// As of some time of the history, or a tag, or a time that is still to come.
pub async fn as_of(sim: &Sim, open: &Open) {
    let (at, head) = {
        let mut world = sim.world();
        let head = world.log.head;
        let n = world.random.below(head as usize + 1);
        let between = world.random.below(3) as i64 - 1;
        let tags: Vec<String> = world.log.tags.keys().cloned().collect();
        let at = match world.random.below(4) {
            0 if !tags.is_empty() => AsOf::Tag(world.random.pick(&tags).clone()),
            1 => AsOf::Timestamp(
                START + world.now as i64 + world.random.below(MINUTE as usize) as i64,
            ),
            _ => AsOf::Timestamp(world.log.ts.get(n).copied().unwrap_or_default() + between),
        };
        (at, head)
    };
    let snapshot = match open.db.snapshot_at(at.clone()).await {
        Ok(snapshot) => snapshot,
        Err(e) => return refused(sim, open, &at, &e),
    };
    let seq = {
        let mut world = sim.world();
        let ts = snapshot.timestamp();
        let (seq, first) = (world.log.at(ts), world.log.ts.get(head as usize).copied());
        let right = match &at {
            AsOf::Tag(name) => world.log.tags.get(name) == Some(&ts),
            // A time that is not there yet is the head, which this handle has seen (T3).
            AsOf::Timestamp(at) => {
                let known = Some(&ts) <= world.log.ts.last();
                let head = first <= Some(ts) && world.log.ts.contains(&ts);
                known && (ts == *at || (ts < *at && head))
            }
        };
        if !right {
            let name = world.name(open.pid);
            world.violation(format_args!(
                "{name} reads as of {at:?}, and gets {ts}, record {seq}"
            ));
        }
        world.report.past += 1;
        seq
    };
    let ticket = ticket(sim, open).of_log(seq);
    read(sim, open, &ticket, &snapshot, sim.below(SECOND)).await;
}

/// Only what is below the watermark is refused.
fn refused(sim: &Sim, open: &Open, at: &AsOf, error: &Error) {
    let kept = match at {
        AsOf::Tag(_) => true,
        AsOf::Timestamp(ts) => *ts >= sim.world().log.watermark,
    };
    if error.kind() != ErrorKind::Expired || kept {
        sim.failed(open.pid, "snapshot_at", error);
    }
}

/// Names the newest version.
pub async fn tag(sim: &Sim, open: &Open) {
    let name = format!("t{}", sim.world().id());
    match open.db.tag(&name, None).await {
        Err(e) => sim.failed(open.pid, "tag", &e),
        Ok(ts) => {
            let mut world = sim.world();
            if world.log.tags.get(&name) != Some(&ts) {
                world.violation(format_args!(
                    "tag {name} is said to stand for {ts}, and is not in the log"
                ));
            }
        }
    }
}
