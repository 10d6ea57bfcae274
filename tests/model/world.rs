//! A device, what it holds open, and the model beside it. After each operation all that a reader can see has
//! to be what the model says.

use crate::{
    history::{self, History, Rows, Write},
    ops::{Case, KEYS, Op, TABLES},
    past::Held,
    read::{gather, key_batch, of_batches},
    support::{
        altering::Shape,
        cells::{self, Cell},
        crash::CrashStorage,
        engine,
        stage::Stage,
    },
    transaction::Open,
};
use arrow_array::RecordBatch;
use lakeshore::{Committed, Db, Env, ErrorKind, Options, Scan, Snapshot, Table};
use std::{collections::BTreeMap, sync::Arc};

/// From some record on, a name stands for a table with these columns, or for none.
pub struct Era {
    /// The record came after this time, …
    after: i64,
    /// … and at the latest at this.
    by: i64,
    was: Option<(usize, Shape)>,
}

impl Era {
    pub fn new(after: i64, by: i64, was: Option<(usize, Shape)>) -> Self {
        Self { after, by, was }
    }
}

/// How often things happened that a test is there for.
pub type Counts = BTreeMap<&'static str, u64>;

pub struct World {
    pub stage: Arc<Stage>,
    wal: Option<Arc<CrashStorage>>,
    options: Options,
    pub db: Db,
    /// Another handle on the same store, without a WAL.
    other: Option<Db>,
    pub history: History,
    /// The table of each name, by place in the history.
    pub names: [usize; 2],
    /// What each name stood for when, oldest first.
    pub eras: [Vec<Era>; 2],
    /// Over a WAL, all commits of the device, and what each wrote: table and key.
    pub acknowledged: Vec<Committed>,
    pub own: Vec<Vec<(usize, i64)>>,
    /// Those that were not in the log yet when it was last looked at: the last so many.
    pub pending: Vec<Vec<Write>>,
    /// Over a WAL, records of the other handle that the device may not know, by timestamp.
    pub foreign: BTreeMap<i64, Vec<Write>>,
    /// Over a WAL, the log's head when it was last looked at.
    pub observed: u64,
    pub held: Vec<Held>,
    stream: Option<(Scan, Rows)>,
    pub open: [Option<Open>; 2],
    pub tags: BTreeMap<usize, i64>,
    /// Below it nothing can be read.
    pub watermark: i64,
    pub counts: Counts,
    /// The operation under way.
    pub now: String,
    mark: i64,
}

/// Does all operations; panics where engine and model differ.
pub async fn perform(case: &Case, stage: Arc<Stage>) -> Counts {
    let mut world = World::open(case, stage).await;
    for (place, op) in case.ops.iter().enumerate() {
        world.now = format!("{place}: {op:?}");
        world.mark = place as i64;
        let streaming = world.stream.take();
        world.act(op).await;
        if let Some((scan, expected)) = streaming {
            world.end_stream(scan, &expected).await;
        }
        world.check(place).await;
    }
    world.now = "at the end".into();
    world.check_past().await;
    world.counts
}

impl World {
    async fn open(case: &Case, stage: Arc<Stage>) -> Self {
        stage
            .stall
            .store(case.stall, std::sync::atomic::Ordering::SeqCst);
        let wal = case.local.then(|| CrashStorage::new(7).at("wal"));
        let options = Options {
            inline_commit_bytes: case.inline_commit_bytes,
            detached_tasks: case.detached,
            ..engine::tiny()
        };
        let db = open(&stage, wal.as_ref(), &options).await;
        let mut history = History::default();
        let names = [history.create(), history.create()];
        let mut eras = names.map(|_| vec![Era::new(i64::MIN, i64::MIN, None)]);
        let newest = async || db.versions(1).await.unwrap().first().map_or(0, |v| v.ts);
        for (name, table) in names.into_iter().enumerate() {
            let before = newest().await;
            engine::table(&db, TABLES[name]).await;
            let was = Some((table, history.tables[table].shape.clone()));
            eras[name].push(Era::new(before, newest().await, was));
        }
        Self {
            stage,
            wal,
            options,
            db,
            other: None,
            names,
            eras,
            history,
            acknowledged: Vec::new(),
            own: Vec::new(),
            pending: Vec::new(),
            foreign: BTreeMap::new(),
            observed: 0,
            held: Vec::new(),
            stream: None,
            open: [None, None],
            tags: BTreeMap::new(),
            watermark: 0,
            counts: Counts::new(),
            now: String::new(),
            mark: 0,
        }
    }

    pub fn local(&self) -> bool {
        self.wal.is_some()
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_insert(0) += 1;
    }

    pub fn table(&self, table: usize) -> Table {
        self.db.table(TABLES[table]).unwrap()
    }

    pub fn shape(&self, table: usize) -> &Shape {
        &self.history.tables[self.names[table]].shape
    }

    /// The last commit of the log that the device sees.
    pub fn sees(&self) -> u64 {
        match self.local() {
            true => self.history.last(),
            false => self.history.at(self.db.stats().last_timestamp),
        }
    }

    /// What a table of the device should show now: over a WAL, the log and then what is pending (W2).
    pub fn current(&self, table: usize) -> Rows {
        self.with_pending(table, self.sees(), self.pending.len())
    }

    /// The same after commit `number` and so many of those that are pending.
    pub fn with_pending(&self, table: usize, number: u64, pending: usize) -> Rows {
        let writes = self.pending[..pending].iter().flatten();
        let (place, shape) = (self.names[table], self.shape(table));
        History::over(self.rows(table, number), writes, place, shape)
    }

    /// The timestamp of the newest record that the handle knows.
    pub async fn newest(&self) -> i64 {
        self.db.versions(1).await.unwrap()[0].ts
    }

    /// From the record on that is the newest now, and was made after `before`, a name stands for this.
    pub async fn era(&mut self, name: usize, before: i64, was: Option<(usize, Shape)>) {
        let by = self.newest().await;
        self.eras[name].push(Era::new(before, by, was));
    }

    /// What a name stood for as of `ts`: nothing, or a table and its columns. `Err` where records of others
    /// came beside the change, so that the model cannot tell.
    pub fn then(&self, name: usize, ts: i64) -> Result<Option<(usize, Shape)>, ()> {
        let eras = &self.eras[name];
        let began = eras.iter().rposition(|era| era.after < ts).unwrap_or(0);
        match eras[began].by <= ts {
            true => Ok(eras[began].was.clone()),
            false => Err(()),
        }
    }

    /// The same as a snapshot of that time shows it: where the model cannot tell, it was before the change or
    /// after it.
    pub fn met(&self, name: usize, ts: i64, snapshot: &Snapshot) -> Option<(usize, Shape)> {
        let found = snapshot.table(TABLES[name]).ok();
        let found = found.map(|table| Shape::of(&table.schema().unwrap()));
        let eras = &self.eras[name];
        let began = eras.iter().rposition(|era| era.after < ts).unwrap_or(0);
        let least = match eras[began].by <= ts {
            true => began,
            false => began.saturating_sub(1),
        };
        let mut possible = eras[least..=began].iter().map(|era| &era.was);
        let met = possible.find(|was| was.as_ref().map(|(_, shape)| shape) == found.as_ref());
        let what = || {
            format!(
                "{} is {found:?} as of {ts}, after {}",
                TABLES[name], self.now
            )
        };
        met.unwrap_or_else(|| panic!("{}", what())).clone()
    }

    /// What a table should show as of then.
    pub fn rows(&self, table: usize, number: u64) -> Rows {
        self.history
            .rows(self.names[table], number, self.shape(table))
    }

    /// A row of a table's newest schema, as the caller gives it and as the model keeps it.
    fn row(&self, table: usize, key: i64, mark: i64) -> (Vec<Cell>, Write) {
        let shape = self.shape(table);
        let row = history::row(shape, key, mark);
        let values = Some(shape.written(&row));
        let table = self.names[table];
        (row, Write { table, key, values })
    }

    /// Rows as a batch, and as the model keeps them.
    fn batch(
        &self,
        table: usize,
        rows: impl Iterator<Item = (i64, i64)>,
    ) -> (RecordBatch, Vec<Write>) {
        let rows = rows.map(|(key, mark)| self.row(table, key, mark));
        let (rows, writes): (Vec<_>, Vec<_>) = rows.unzip();
        (cells::batch(&self.shape(table).fields(), &rows), writes)
    }

    /// After an acknowledged commit.
    pub fn acknowledge(&mut self, committed: Committed, writes: Vec<Write>) {
        assert_eq!(committed.uploaded, !self.local(), "{}", self.now);
        if self.local() {
            self.acknowledged.push(committed);
            let touched = writes.iter().map(|write| (write.table, write.key));
            self.own.push(touched.collect());
            self.pending.push(writes);
            return;
        }
        let number = self.history.commit(writes);
        self.history.logged(committed.ts, number);
    }

    async fn ingest(&mut self, table: usize, rows: Vec<(i64, i64)>) {
        let (batch, writes) = self.batch(table, rows.into_iter());
        let committed = self.table(table).ingest(&[batch]).await.unwrap();
        self.acknowledge(committed, writes);
    }

    async fn act(&mut self, op: &Op) {
        let mark = self.mark;
        match op {
            Op::Ingest(table, from, n) => {
                let rows = (*from..from + n).map(|key| (key, mark)).collect();
                self.ingest(*table, rows).await;
            }
            Op::Twice(table, key) => self.ingest(*table, vec![(*key, -1), (*key, mark)]).await,
            Op::Delete(table, keys) => {
                let batch = key_batch(self.shape(*table), keys);
                let committed = self.table(*table).delete(&[batch]).await.unwrap();
                let gone = |key: &i64| Write {
                    table: self.names[*table],
                    key: *key,
                    values: None,
                };
                let writes = keys.iter().map(gone).collect();
                self.acknowledge(committed, writes);
            }
            Op::Group(table, keys, transactions) => {
                self.group(*table, keys, *transactions).await;
            }
            Op::Foreign(table, from, n) => self.foreign(*table, *from, *n).await,
            Op::Alter(table, change) => self.alter(*table, change).await,
            Op::Anew(table) => self.anew(*table).await,
            Op::Flush => self.flush().await,
            Op::Upload => self.upload().await,
            Op::Checkpoint => self.db.checkpoint().await.unwrap(),
            Op::Refresh => drop(self.db.refresh().await.unwrap()),
            Op::Age(hours) => self.age(*hours),
            Op::Gc => self.gc().await,
            Op::Hold => self.hold().await,
            Op::AsOf(back, beside) => self.as_of(*back, *beside).await,
            Op::Beyond => self.beyond().await,
            Op::Tag(tag, back) => self.tag(*tag, *back).await,
            Op::AsOfTag(tag) => self.as_of_tag(*tag).await,
            Op::Untag(tag) => self.untag(*tag).await,
            Op::Stream(table) => {
                self.settle().await;
                let scan = self.table(*table).scan().stream().unwrap();
                self.stream = Some((scan, self.current(*table)));
            }
            Op::Begin(slot, serializable) => self.begin(*slot, *serializable).await,
            Op::Within(slot, step) => self.within(*slot, step, mark).await,
            Op::Commit(slot) => self.commit(*slot).await,
            Op::Rollback(slot) => self.rollback(*slot),
            Op::Close => {
                self.db.close().await.unwrap();
                self.reopen(|wal| wal).await;
            }
            Op::Kill => {
                self.stage.spawned.lock().unwrap().clear();
                self.reopen(|wal| wal.kill()).await;
            }
            Op::PowerCut => {
                self.stage.spawned.lock().unwrap().clear();
                self.reopen(|wal| wal.crash(mark as u64)).await;
            }
        }
    }

    /// Another process on what this one leaves.
    async fn reopen(&mut self, wal: impl FnOnce(Arc<CrashStorage>) -> Arc<CrashStorage>) {
        self.wal = self.wal.take().map(wal);
        self.held.clear();
        self.stream = None;
        self.open = [None, None];
        self.db = open(&self.stage, self.wal.as_ref(), &self.options).await;
        self.count("reopened");
    }

    /// Commits that are under way at once, in call order.
    async fn group(&mut self, table: usize, keys: &[i64], transactions: bool) {
        let mark = self.mark;
        let mut calls = Vec::new();
        let mut writes = Vec::new();
        for (n, key) in (0..).zip(keys) {
            let (batch, rows) = self.batch(table, [(*key, mark + 1000 * n)].into_iter());
            calls.push(self.table(table).ingest(&[batch]));
            writes.push(rows);
        }
        let ended: Vec<Open> = match transactions {
            true => self.open.iter_mut().filter_map(Option::take).collect(),
            false => Vec::new(),
        };
        let (ended, commits): (Vec<_>, Vec<_>) = ended.into_iter().map(Open::ended).unzip();
        let outcomes = futures_util::future::join(
            futures_util::future::join_all(calls),
            futures_util::future::join_all(commits),
        );
        let (plain, transactions) = outcomes.await;
        for (outcome, rows) in plain.into_iter().zip(writes) {
            self.acknowledge(outcome.unwrap(), rows);
        }
        for (outcome, ended) in transactions.into_iter().zip(ended) {
            self.ended(outcome, ended);
            self.count("transactions in a group");
        }
    }

    async fn foreign(&mut self, table: usize, from: i64, n: i64) {
        if self.other.is_none() {
            let options = Options {
                detached_tasks: false,
                ..self.options.clone()
            };
            self.other = Some(open(&self.stage, None, &options).await);
        }
        let other = self.other.clone().unwrap();
        other.refresh().await.unwrap();
        let rows = (from..from + n).map(|key| (key, self.mark));
        let (batch, writes) = self.batch(table, rows);
        let table = other.table(TABLES[table]).unwrap();
        let committed = table.ingest(&[batch]).await.unwrap();
        match self.local() {
            true => drop(self.foreign.insert(committed.ts, writes)),
            false => self.acknowledge(committed, writes),
        }
        self.count("foreign commits");
    }

    async fn end_stream(&mut self, scan: Scan, expected: &Rows) {
        match scan.collect().await {
            Ok(batches) => assert_eq!(&of_batches(&batches, false), expected, "{}", self.now),
            Err(e) => assert_eq!(e.kind(), ErrorKind::Closed, "{e} after {}", self.now),
        }
        self.count("scans across an operation");
    }

    async fn check(&mut self, place: usize) {
        for table in 0..TABLES.len() {
            while !self.check_table(table, place).await {}
        }
        let error = self.db.stats().maintenance_error;
        assert_eq!(error, None, "{}", self.now);
        if !self.held.is_empty() {
            self.check_held(place % self.held.len()).await;
        }
    }

    /// False if a flush in the background met another's record meanwhile.
    async fn check_table(&mut self, table: usize, place: usize) -> bool {
        self.settle().await;
        let (number, expected) = (self.sees(), self.current(table));
        let scan = self.table(table).scan();
        let found = gather(&scan, place % 3 == 2).await;
        let count = scan.count().await.unwrap();
        let key = (place as i64 + 7 * table as i64) % KEYS;
        let batch = key_batch(self.shape(table), &[key]);
        let got = self.table(table).get(&batch, None).await.unwrap();
        let got = got.map(|batch| cells::rows(&batch).remove(0));
        let unseen = self.local() && self.db.stats().head != self.observed;
        if unseen || self.sees() != number {
            return false;
        }
        assert_eq!(found.unwrap(), expected, "table {table} after {}", self.now);
        assert_eq!(count, expected.len() as u64, "after {}", self.now);
        assert_eq!(
            got.as_ref(),
            expected.get(&key),
            "get {key} of {table} after {}",
            self.now
        );
        true
    }

    /// A handle that was not there before: another reader.
    pub async fn reader(&self) -> Db {
        open(&self.stage, None, &self.options).await
    }
}

async fn open(stage: &Arc<Stage>, wal: Option<&Arc<CrashStorage>>, options: &Options) -> Db {
    let env = Env {
        wal: wal.map(|wal| wal.clone() as _),
        ..stage.env()
    };
    Db::open(env, options.clone()).await.unwrap()
}
