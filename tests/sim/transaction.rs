//! Transactions: read some rows of one snapshot, some of them twice, and write over several tables what
//! depends on them. The checker sees by the log whether anything it depends on was written meanwhile.

use super::{
    device::{self, Open},
    log::{self, TABLES, Writes},
    rows::{self, Content, KEYS, MARK},
    view::Ticket,
    work::{answered, read_scans},
    world::{MINUTE, SECOND, Sim},
};
use lakeshore::{Error, ErrorKind, Isolation, Transaction, TransactionOptions};
use std::collections::{BTreeMap, BTreeSet};

pub async fn run(sim: &Sim, open: &Open) {
    let serializable = sim.chance(500);
    let options = TransactionOptions {
        isolation: match serializable {
            true => Isolation::Serializable,
            false => Isolation::Snapshot,
        },
        ..TransactionOptions::default()
    };
    let ticket = sim.world().ticket(open.pid, open.db.stats().head);
    let commits = sim.world().log.commits.len();
    let transaction = match open.db.begin(options) {
        Ok(transaction) => transaction,
        Err(e) => return sim.failed(open.pid, "begin", &e),
    };
    let mut seen = log::Transaction {
        since: ticket.seq,
        commits,
        ..log::Transaction::default()
    };
    let reads = read(sim, &ticket, &transaction).await;
    let (keys, tables) = match reads {
        Ok(reads) => reads,
        Err(e) => return sim.world().read_failed(&ticket, &e),
    };
    if serializable {
        seen.keys = keys.clone();
        seen.tables = tables;
    }
    if sim.chance(50) {
        return transaction.rollback();
    }
    // What was committed while the caller thought: in the log, or in flight.
    write(sim, open, transaction, seen, &keys).await;
}

type Reads = (BTreeSet<(usize, i64)>, BTreeSet<usize>);

/// Reads keys, and maybe a whole table; with a pause, and some again after it.
async fn read(sim: &Sim, ticket: &Ticket, transaction: &Transaction) -> Result<Reads, Error> {
    let (mut keys, mut tables) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..1 + sim.below(2) {
        keys.insert((
            sim.below(TABLES.len() as u64) as usize,
            sim.below(KEYS as u64) as i64,
        ));
    }
    if sim.chance(150) {
        let table = sim.below(TABLES.len() as u64) as usize;
        tables.insert(table);
        let scan = transaction.table(TABLES[table])?.scan();
        read_scans(sim, ticket.clone(), vec![(table, scan)], 0).await;
    }
    let twice = sim.chance(300);
    for again in 0..1 + u64::from(twice) {
        for (table, key) in &keys {
            let found = transaction
                .table(TABLES[*table])?
                .get(&rows::keys(&[*key]), None)
                .await?;
            let found = found.map(|batch| rows::unpack(&batch)[0].1);
            sim.world().check_get(ticket, *table, *key, found);
        }
        if again == 0 {
            let most = *sim
                .world()
                .random
                .pick(&[20_000, SECOND, SECOND, 10 * MINUTE]);
            sim.pause(sim.below(most)).await;
        }
    }
    Ok((keys, tables))
}

/// Writes one of the rows it read, or another, in one table or both, and commits.
async fn write(
    sim: &Sim,
    open: &Open,
    transaction: Transaction,
    mut seen: log::Transaction,
    read: &BTreeSet<(usize, i64)>,
) {
    let (id, call) = {
        let mut world = sim.world();
        let id = world.log.commits.len() as i64;
        let mut writes: BTreeMap<usize, Writes> = BTreeMap::new();
        let (reads, other) = (
            read.iter().copied().collect::<Vec<_>>(),
            world.random.below(2),
        );
        let first = match world.chance(600) {
            true => *world.random.pick(&reads),
            false => (other, world.random.below(KEYS as usize) as i64),
        };
        let mut targets = vec![first];
        if world.chance(500) {
            targets.push((1 - first.0, world.random.below(KEYS as usize) as i64));
        }
        for (table, key) in targets {
            let value = (!world.chance(200)).then_some(id);
            writes.insert(table, vec![(key, value), (MARK + id, Some(id))]);
            seen.keys.insert((table, key));
        }
        let number = world.register(open.pid, open.local, writes.clone());
        world.log.commits[number].transaction = Some(seen);
        drop(world);
        if let Err(e) = put(&transaction, &writes) {
            sim.world().refused(number);
            return sim.failed(open.pid, "transaction", &e);
        }
        (number, transaction.commit())
    };
    let outcome = call.await;
    let conflict = outcome
        .as_ref()
        .is_err_and(|e| e.kind() == ErrorKind::Conflict);
    sim.world().report.conflicts += u64::from(conflict);
    sim.world().report.transactions += u64::from(outcome.is_ok());
    if answered(sim, open, id, outcome) {
        device::restart(sim, open.pid);
    }
}

fn put(transaction: &Transaction, writes: &BTreeMap<usize, Writes>) -> Result<(), Error> {
    for (table, writes) in writes {
        let table = transaction.table(TABLES[*table])?;
        let kept: Content = writes
            .iter()
            .filter_map(|(k, v)| Some((*k, (*v)?)))
            .collect();
        let gone: Vec<i64> = writes
            .iter()
            .filter(|(_, v)| v.is_none())
            .map(|(k, _)| *k)
            .collect();
        table.ingest(&[rows::batch(&kept.into_iter().collect::<Vec<_>>())])?;
        if !gone.is_empty() {
            table.delete(&[rows::keys(&gone)])?;
        }
    }
    Ok(())
}
