//! Reads of a handle as it is now: what comes is compared with what the log, and the device, had at that moment.

use super::{
    device::Open,
    log::TABLES,
    rows::{self, Content, KEYS},
    view::Ticket,
    work::ticket,
    world::Sim,
};
use lakeshore::{Scan, ScanBuilder, log::edit::TableId};

/// When it returns, the handle is at least where the log was before.
pub async fn refresh(sim: &Sim, open: &Open) {
    let head = sim.world().log.head;
    match open.db.refresh().await {
        Err(e) => sim.failed(open.pid, "refresh", &e),
        Ok(_) => {
            let at = open.db.stats().head;
            if at < head {
                let name = sim.world().name(open.pid);
                sim.violation(format_args!(
                    "{name} refreshed to {at}, the log was at {head}"
                ));
            }
            read(sim, open, 0).await;
        }
    }
}

/// Reads some tables, as they are now; the rest of it `hold` later.
pub async fn read(sim: &Sim, open: &Open, hold: u64) {
    let all = sim.chance(350);
    let only = sim.below(TABLES.len() as u64) as usize;
    let tables = (0..TABLES.len()).filter(|table| all || *table == only);
    read_tables(sim, open, &tables.collect::<Vec<_>>(), hold).await;
}

/// Reads all tables.
pub async fn read_all(sim: &Sim, open: &Open) {
    let tables: Vec<usize> = (0..TABLES.len()).collect();
    read_tables(sim, open, &tables, 0).await;
}

async fn read_tables(sim: &Sim, open: &Open, tables: &[usize], hold: u64) {
    let ticket = ticket(sim, open);
    let tables = tables.iter().filter_map(|name| open.table(sim, *name));
    let scans = tables.map(|known| (known.id, known.table.scan()));
    read_scans(sim, ticket, scans.collect(), hold).await;
}

/// Reads what the scans describe, as it is now; the rest of it `hold` later.
pub async fn read_scans(sim: &Sim, ticket: Ticket, from: Vec<(TableId, ScanBuilder)>, hold: u64) {
    let mut scans = Vec::new();
    for (table, scan) in &from {
        match scan.stream() {
            Ok(scan) => scans.push((*table, scan, Content::new())),
            Err(e) => return sim.world().read_failed(&ticket, &e),
        }
    }
    if let (true, Some((table, scan, rows))) = (hold > 0, scans.first_mut()) {
        if !step(sim, &ticket, *table, scan, rows).await.unwrap_or(true) {
            return;
        }
        sim.pause(hold).await;
    }
    let mut got = Vec::new();
    for (table, mut scan, mut rows) in scans {
        loop {
            match step(sim, &ticket, table, &mut scan, &mut rows).await {
                Some(true) => {}
                Some(false) => break,
                None => {
                    got.push((table, rows));
                    break;
                }
            }
        }
    }
    sim.world().check_view(&ticket, &got);
}

/// The next batch: whether it came; nothing at the end.
async fn step(
    sim: &Sim,
    ticket: &Ticket,
    table: TableId,
    scan: &mut Scan,
    rows: &mut Content,
) -> Option<bool> {
    match scan.next().await {
        Ok(None) => None,
        Ok(Some(batch)) => {
            rows.extend(sim.world().unpack(ticket, table, &batch)?);
            Some(true)
        }
        Err(e) => {
            sim.world().read_failed(ticket, &e);
            Some(false)
        }
    }
}

pub async fn get(sim: &Sim, open: &Open) {
    let ticket = ticket(sim, open);
    let (table, key) = (
        sim.below(TABLES.len() as u64) as usize,
        sim.below(KEYS as u64) as i64,
    );
    let Some(known) = open.table(sim, table) else {
        return;
    };
    match known
        .table
        .get(&rows::keys(&known.shape, &[key]), None)
        .await
    {
        Err(e) => sim.world().read_failed(&ticket, &e),
        Ok(found) => sim
            .world()
            .check_get(&ticket, known.id, key, found.as_ref()),
    }
}
