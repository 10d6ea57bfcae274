//! Transactions: read some rows of one snapshot, some of them twice, and write over several tables what
//! depends on them. The checker sees by the log whether anything it depends on was written meanwhile.

use super::{
    device::{self, Open},
    log::{self, TABLES, Writes},
    reading::read_scans,
    rows::{self, KEYS, MARK, Row},
    shape::Shape,
    view::Ticket,
    work::{Outcome, answered, some_row, ticket},
    world::{MINUTE, SECOND, Sim, World},
};
use futures_util::future::join_all;
use lakeshore::{Error, ErrorKind, Isolation, Transaction, TransactionOptions, log::edit::TableId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Some transactions that run beside each other and are committed together.
pub async fn run(sim: &Sim, open: &Open, n: u64) {
    let mut running = Vec::new();
    for _ in 0..n {
        running.extend(begin(sim, open));
    }
    let mut ready = Vec::new();
    for (transaction, ticket, mut seen, serializable) in running {
        let (keys, tables) = match read(sim, &ticket, &transaction).await {
            Ok(reads) => reads,
            Err(e) => return sim.world().read_failed(&ticket, &e),
        };
        if serializable {
            seen.keys = keys.clone();
            seen.tables = tables;
        }
        ready.push((transaction, ticket, seen, keys));
    }
    let mut calls = Vec::new();
    for (transaction, ticket, seen, keys) in ready {
        match sim.chance(50) {
            true => transaction.rollback(),
            false => calls.extend(write(sim, open, transaction, &ticket, seen, &keys)),
        }
    }
    let mut reopen = false;
    for (id, outcome) in join_all(calls).await {
        let conflict = (outcome.as_ref()).is_err_and(|e| e.kind() == ErrorKind::Conflict);
        sim.world().report.conflicts += u64::from(conflict);
        sim.world().report.transactions += u64::from(outcome.is_ok());
        reopen |= answered(sim, open, id, outcome);
    }
    if reopen {
        device::restart(sim, open.pid);
    }
}

type Running = (Transaction, Ticket, log::Transaction, bool);

fn begin(sim: &Sim, open: &Open) -> Option<Running> {
    let serializable = sim.chance(500);
    let options = TransactionOptions {
        isolation: match serializable {
            true => Isolation::Serializable,
            false => Isolation::Snapshot,
        },
        ..TransactionOptions::default()
    };
    let ticket = ticket(sim, open);
    let seen = log::Transaction {
        since: ticket.seq,
        commits: sim.world().log.commits.len(),
        ..log::Transaction::default()
    };
    match open.db.begin(options) {
        Ok(transaction) => Some((transaction, ticket, seen, serializable)),
        Err(e) => {
            sim.failed(open.pid, "begin", &e);
            None
        }
    }
}

type Reads = (BTreeSet<(TableId, i64)>, BTreeSet<TableId>);

/// A table of the transaction's snapshot: its name, number and columns.
type Seen = (&'static str, TableId, Arc<Shape>);

/// One of the tables that the snapshot has.
fn some_table(world: &mut World, ticket: &Ticket) -> Seen {
    let name = world.random.below(TABLES.len());
    let (name, found) = match world.table_of(ticket, name) {
        Some(found) => (name, Some(found)),
        None => (0, world.table_of(ticket, 0)),
    };
    let (id, shape) = found.expect("table a is never dropped");
    (TABLES[name], id, shape)
}

/// Reads keys, and maybe a whole table; with a pause, and some again after it.
async fn read(sim: &Sim, ticket: &Ticket, transaction: &Transaction) -> Result<Reads, Error> {
    let (mut keys, mut tables) = (BTreeMap::new(), BTreeSet::new());
    for _ in 0..1 + sim.below(2) {
        let mut world = sim.world();
        let (name, table, shape) = some_table(&mut world, ticket);
        let key = world.random.below(KEYS as usize) as i64;
        keys.insert((table, key), (name, shape));
    }
    if sim.chance(150) {
        let (name, table, _) = some_table(&mut sim.world(), ticket);
        tables.insert(table);
        let scan = transaction.table(name)?.scan();
        read_scans(sim, ticket.clone(), vec![(table, scan)], 0).await;
    }
    let twice = sim.chance(300);
    for again in 0..1 + u64::from(twice) {
        for ((table, key), (name, shape)) in &keys {
            let table_of = transaction.table(name)?;
            let found = table_of.get(&rows::keys(shape, &[*key]), None).await?;
            sim.world().check_get(ticket, *table, *key, found.as_ref());
        }
        if again == 0 {
            let most = *sim
                .world()
                .random
                .pick(&[20_000, SECOND, SECOND, 10 * MINUTE]);
            sim.pause(sim.below(most)).await;
        }
    }
    Ok((keys.into_keys().collect(), tables))
}

/// Writes one of the rows it read, or another, in one table or both, and commits; resolves with the answer.
fn write(
    sim: &Sim,
    open: &Open,
    transaction: Transaction,
    ticket: &Ticket,
    mut seen: log::Transaction,
    read: &BTreeSet<(TableId, i64)>,
) -> Option<impl Future<Output = Outcome> + Send + use<>> {
    let mut world = sim.world();
    let id = world.log.commits.len() as i64;
    let tables: Vec<Seen> = (0..TABLES.len())
        .filter_map(|name| {
            let (id, shape) = world.table_of(ticket, name)?;
            Some((TABLES[name], id, shape))
        })
        .collect();
    let reads: Vec<(TableId, i64)> = read.iter().copied().collect();
    let some_key = |world: &mut World| world.random.below(KEYS as usize) as i64;
    let first = match world.chance(600) {
        true => *world.random.pick(&reads),
        false => {
            let table = world.random.pick(&tables).1;
            (table, some_key(&mut world))
        }
    };
    let mut targets = vec![first];
    if world.chance(500)
        && let Some((_, other, _)) = tables.iter().find(|(_, table, _)| *table != first.0)
    {
        targets.push((*other, some_key(&mut world)));
    }
    let (mut writes, mut parts) = (BTreeMap::new(), Vec::new());
    for (table, key) in targets {
        let (name, _, shape) = tables.iter().find(|t| t.1 == table)?;
        let row = some_row(&mut world, shape, id);
        let value = (!world.chance(200)).then_some(row);
        let rows: Writes = vec![(key, value), (MARK + id, Some(row))];
        parts.push((*name, shape.clone(), rows.clone()));
        writes.insert(table, rows);
        seen.keys.insert((table, key));
    }
    let number = world.register(open.pid, open.local, writes);
    world.log.commits[number].transaction = Some(seen);
    drop(world);
    if let Err(e) = put(&transaction, &parts) {
        sim.world().refused(number);
        sim.failed(open.pid, "transaction", &e);
        return None;
    }
    let call = transaction.commit();
    Some(async move { (number, call.await) })
}

fn put(transaction: &Transaction, parts: &[(&str, Arc<Shape>, Writes)]) -> Result<(), Error> {
    for (name, shape, writes) in parts {
        let table = transaction.table(name)?;
        let kept: Vec<(i64, Row)> = (writes.iter())
            .filter_map(|(k, row)| Some((*k, (*row)?)))
            .collect();
        let gone: Vec<i64> = (writes.iter())
            .filter(|(_, row)| row.is_none())
            .map(|(k, _)| *k)
            .collect();
        table.ingest(&[rows::batch(shape, &kept)])?;
        if !gone.is_empty() {
            table.delete(&[rows::keys(shape, &gone)])?;
        }
    }
    Ok(())
}
