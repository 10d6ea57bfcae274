//! Transactions: read some rows of one snapshot, some of them twice, and write over several tables what
//! depends on them. The checker sees by the log whether anything it depends on was written meanwhile.

use super::{
    device::{self, Open},
    log::{self, TABLES, Writes},
    rows::{self, Content, KEYS, MARK},
    view::Ticket,
    work::{Outcome, answered, read_scans, ticket},
    world::{MINUTE, SECOND, Sim},
};
use futures_util::future::join_all;
use lakeshore::{Error, ErrorKind, Isolation, Transaction, TransactionOptions};
use std::collections::{BTreeMap, BTreeSet};

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
        ready.push((transaction, seen, keys));
    }
    let mut calls = Vec::new();
    for (transaction, seen, keys) in ready {
        match sim.chance(50) {
            true => transaction.rollback(),
            false => calls.extend(write(sim, open, transaction, seen, &keys)),
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

/// Writes one of the rows it read, or another, in one table or both, and commits; resolves with the answer.
fn write(
    sim: &Sim,
    open: &Open,
    transaction: Transaction,
    mut seen: log::Transaction,
    read: &BTreeSet<(usize, i64)>,
) -> Option<impl Future<Output = Outcome> + Send + use<>> {
    let mut world = sim.world();
    let id = world.log.commits.len() as i64;
    let mut writes: BTreeMap<usize, Writes> = BTreeMap::new();
    let reads: Vec<(usize, i64)> = read.iter().copied().collect();
    let first = match world.chance(600) {
        true => *world.random.pick(&reads),
        false => (
            world.random.below(2),
            world.random.below(KEYS as usize) as i64,
        ),
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
        sim.failed(open.pid, "transaction", &e);
        return None;
    }
    let call = transaction.commit();
    Some(async move { (number, call.await) })
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
