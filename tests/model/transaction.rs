//! Transactions, open across other operations. The model knows what each saw, wrote and read, and so whether
//! it has to conflict: with any commit since it began that wrote one of its keys or, if it is serializable,
//! what it read (PROTOCOL C1, C4, W5).

use crate::{
    history::{self, History, Rows, Write},
    ops::{Step, TABLES},
    read::{key_batch, read},
    support::{
        altering::Shape,
        cells::{self, Cell},
    },
    world::World,
};
use lakeshore::{Committed, ErrorKind, Isolation, Result, Transaction, TransactionOptions};
use std::{collections::BTreeSet, ops::Bound};

pub struct Open {
    transaction: Transaction,
    serializable: bool,
    /// The last commit that it sees: over a WAL, of the device.
    since: u64,
    /// Its tables, their schemas when it began, and what they had.
    tables: [(usize, Shape, Rows); 2],
    writes: Vec<Write>,
    /// What it read: table and keys, from, up to but not.
    reads: BTreeSet<(usize, i64, i64)>,
    pub may_expire: bool,
}

/// What counts once its commit is under way.
pub struct Ended {
    serializable: bool,
    since: u64,
    writes: Vec<Write>,
    reads: BTreeSet<(usize, i64, i64)>,
}

impl Open {
    /// Calls commit.
    pub fn ended(self) -> (Ended, impl Future<Output = Result<Committed>>) {
        let ended = Ended {
            serializable: self.serializable,
            since: self.since,
            writes: self.writes,
            reads: self.reads,
        };
        (ended, self.transaction.commit())
    }

    /// Its snapshot with its own writes, as the schema shows it that it began with.
    fn seen(&self, table: usize) -> Rows {
        let (place, shape, rows) = &self.tables[table];
        History::over(rows.clone(), &self.writes, *place, shape)
    }

    fn own(&self, table: usize) -> impl Iterator<Item = &Write> {
        let place = self.tables[table].0;
        self.writes.iter().filter(move |w| w.table == place)
    }
}

impl Ended {
    /// Whether what it read counts, and is not of these tables alone.
    fn read_other_than(&self, tables: [usize; 2]) -> bool {
        self.serializable && self.reads.iter().any(|(table, ..)| !tables.contains(table))
    }

    fn depends_on(&self, (table, key): (usize, i64)) -> bool {
        let wrote = self.writes.iter().any(|w| (w.table, w.key) == (table, key));
        let read = |(of, from, to): &(usize, i64, i64)| *of == table && (*from..*to).contains(&key);
        wrote || self.serializable && self.reads.iter().any(read)
    }
}

impl World {
    pub async fn begin(&mut self, slot: usize, serializable: bool) {
        let isolation = match serializable {
            true => Isolation::Serializable,
            false => Isolation::Snapshot,
        };
        let options = TransactionOptions {
            isolation,
            ..TransactionOptions::default()
        };
        self.settle().await;
        let tables = [0, 1].map(|t| (self.names[t], self.shape(t).clone(), self.current(t)));
        self.open[slot] = Some(Open {
            transaction: self.db.begin(options).unwrap(),
            serializable,
            since: match self.local() {
                true => self.own.len() as u64,
                false => self.sees(),
            },
            tables,
            writes: Vec::new(),
            reads: BTreeSet::new(),
            may_expire: false,
        });
    }

    pub async fn within(&mut self, slot: usize, step: &Step, mark: i64) {
        let Some(mut open) = self.open[slot].take() else {
            return;
        };
        let (Step::Put(t, _)
        | Step::Remove(t, _)
        | Step::Get(t, _)
        | Step::Range(t, ..)
        | Step::All(t)) = *step;
        let (place, shape, _) = open.tables[t].clone();
        let table = open.transaction.table(TABLES[t]).unwrap();
        let range = match *step {
            Step::Put(_, key) => {
                let row = history::row(&shape, key, mark);
                let values = Some(shape.written(&row));
                table
                    .ingest(&[cells::batch(&shape.fields(), &[row])])
                    .unwrap();
                open.writes.push(Write {
                    table: place,
                    key,
                    values,
                });
                None
            }
            Step::Remove(_, key) => {
                table.delete(&[key_batch(&shape, &[key])]).unwrap();
                let values = None;
                open.writes.push(Write {
                    table: place,
                    key,
                    values,
                });
                None
            }
            Step::Get(_, key) => Some((key, key + 1)),
            Step::Range(_, from, to) => Some((from, to)),
            Step::All(_) => Some((i64::MIN, i64::MAX)),
        };
        let Some((from, to)) = range else {
            self.open[slot] = Some(open);
            return;
        };
        let found = match *step {
            Step::Get(_, key) => {
                let got = table.get(&key_batch(&shape, &[key]), None).await;
                got.map(|batch| (batch.iter().map(|b| (key, first(b)))).collect())
            }
            Step::All(_) => read(&table.scan(), mark % 2 == 0).await,
            _ => {
                let from = Bound::Included(key_batch(&shape, &[from]));
                let to = Bound::Excluded(key_batch(&shape, &[to]));
                read(&table.scan().from(from).to(to), mark % 2 == 0).await
            }
        };
        let found: Rows = match found {
            // It reads a dropped table whose files gc took (PROTOCOL G4).
            Err(e) if open.may_expire => {
                assert_eq!(e.kind(), ErrorKind::Expired, "{}", self.now);
                return;
            }
            found => found.unwrap(),
        };
        let mut expected = open.seen(t);
        expected.retain(|key, _| (from..to).contains(key));
        assert_eq!(found, expected, "within {slot}: {}", self.now);
        if open.own(t).next().is_some() {
            self.count("reads beside own writes");
        }
        open.reads.insert((place, from, to));
        self.open[slot] = Some(open);
    }

    pub fn rollback(&mut self, slot: usize) {
        if let Some(open) = self.open[slot].take() {
            open.transaction.rollback();
            self.count("rollbacks");
        }
    }

    pub async fn commit(&mut self, slot: usize) {
        if let Some(open) = self.open[slot].take() {
            let (ended, commit) = open.ended();
            let outcome = commit.await;
            self.ended(outcome, ended);
        }
    }

    /// What had to become of a transaction, all commits before it being in the history.
    pub fn ended(&mut self, outcome: Result<Committed>, ended: Ended) {
        if ended.writes.is_empty() {
            assert_eq!(outcome.unwrap().rows, 0, "{}", self.now);
            return;
        }
        let lives = |w: &Write| self.names.contains(&w.table);
        if !ended.writes.iter().all(lives) {
            let error = outcome.unwrap_err();
            assert!(error.message().contains("dropped"), "{error}: {}", self.now);
            self.count("transactions of a dropped table");
            return;
        }
        let depends = |touched: &(usize, i64)| ended.depends_on(*touched);
        let conflict = match self.local() {
            // Against others the last to upload wins (PROTOCOL W5).
            true => (self.own[ended.since as usize..].iter().flatten().copied()).find(depends),
            false => self.history.touched_after(ended.since).find(depends),
        };
        let by_reads = conflict.is_some_and(|(table, key)| {
            ended
                .writes
                .iter()
                .all(|w| (w.table, w.key) != (table, key))
        });
        match (outcome, conflict) {
            (Err(e), Some(_)) => {
                assert_eq!(e.kind(), ErrorKind::Conflict, "{e}: {}", self.now);
                self.count(if by_reads {
                    "conflicts by what was read"
                } else {
                    "conflicts by what was written"
                });
            }
            (Ok(committed), None)
                if ended.writes.is_empty() || !ended.read_other_than(self.names) =>
            {
                let tables: BTreeSet<usize> = ended.writes.iter().map(|w| w.table).collect();
                self.count(if tables.len() > 1 {
                    "transactions of two tables"
                } else {
                    "transactions of one table"
                });
                self.acknowledge(committed, ended.writes);
            }
            // It read a table that was dropped since.
            (Err(e), None)
                if e.kind() == ErrorKind::Conflict && ended.read_other_than(self.names) =>
            {
                self.count("conflicts about a dropped table");
            }
            (outcome, conflict) => panic!(
                "{outcome:?}, but the conflict is {conflict:?} (table, key), after {}",
                self.now
            ),
        }
    }
}

fn first(batch: &arrow_array::RecordBatch) -> Vec<Cell> {
    cells::rows(batch).remove(0)
}
