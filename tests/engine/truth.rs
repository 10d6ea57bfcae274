//! Random scans tell the truth: whatever the schema, the history and the state of memtables, WAL and
//! sstables, a scan gives what a plain map and a row-by-row evaluation give. `SEED=` replays,
//! `TEST_SECONDS=` makes a long run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support;

use arrow_schema::{DataType, Field, FieldRef, Fields, TimeUnit};
use lakeshore::{
    Db, Env, Options, Scan, SyncPolicy, Table,
    data::{intake::write_ipc, predicate::Predicate, schema::TableSchema},
    env::Runtime,
    platform::memory::Memory,
};
use std::{collections::BTreeMap, ops::Bound, sync::Arc};
use support::{
    cells::{self, Cell},
    late::Late,
    query::{self, Key},
    random::{Random, seconds, seed},
};

type Row = Vec<Cell>;
type Model = BTreeMap<Key, Row>;

fn key_types() -> Vec<DataType> {
    use DataType::*;
    vec![
        Int64,
        Int32,
        Int8,
        UInt64,
        UInt16,
        Utf8,
        LargeUtf8,
        Boolean,
        Binary,
        FixedSizeBinary(2),
        Date32,
        Float64,
        Float32,
        Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Timestamp(TimeUnit::Millisecond, None),
        Decimal128(9, 2),
    ]
}

fn value_types() -> Vec<DataType> {
    use DataType::*;
    let item = |t| Arc::new(Field::new("item", t, true));
    let mut types = key_types();
    types.extend([
        Float64,
        Float64,
        Int16,
        UInt32,
        Decimal64(12, 3),
        Dictionary(Box::new(Int32), Box::new(Utf8)),
        Dictionary(Box::new(Int8), Box::new(Utf8)),
        List(item(Int32)),
        Struct(vec![Field::new("a", Int32, true), Field::new("b", Utf8, false)].into()),
    ]);
    types
}

fn schema(random: &mut Random) -> TableSchema {
    let (key_types, value_types) = (key_types(), value_types());
    let keys = 1 + random.below(3) * random.below(2);
    let values = random.below(5);
    let mut fields: Vec<FieldRef> = Vec::new();
    for i in 0..keys {
        let data_type = random.pick(&key_types).clone();
        fields.push(Arc::new(Field::new(format!("k{i}"), data_type, false)));
    }
    for i in 0..values {
        let (data_type, nullable) = (random.pick(&value_types).clone(), random.chance(0.7));
        let at = random.below(fields.len() + 1);
        fields.insert(
            at,
            Arc::new(Field::new(format!("v{i}"), data_type, nullable)),
        );
    }
    let names: Vec<String> = (0..keys).rev().map(|i| format!("k{i}")).collect();
    TableSchema::new(fields, &names).unwrap()
}

fn options(random: &mut Random) -> Options {
    let seal_bytes = 1 << (6 + random.below(12));
    Options {
        sync: SyncPolicy::Never,
        wal_segment_bytes: 512 << random.below(6),
        seal_bytes,
        seal_rows: 1 + random.below(300),
        seal_batches: 1 + random.below(40),
        memtable_limit_bytes: seal_bytes * (1 + random.below(8)),
        inline_commit_bytes: *random.pick(&[0, 700, 2000, 1 << 16]),
        checkpoint_records: 1 + random.below(6) as u64,
        sstable_bytes: *random.pick(&[4096, 1 << 20]),
        row_group_rows: 1 + random.below(40),
        page_rows: 1 + random.below(16),
        bloom_fpp: *random.pick(&[0.0, 0.01]),
        batch_rows: 1 + random.below(40),
        coalesce_gap: *random.pick(&[0, 1 << 18]),
        read_bytes: *random.pick(&[4096, 1 << 20]),
        ..Options::default()
    }
}

struct World {
    data: Arc<Memory>,
    wal: Option<Arc<Memory>>,
    runtime: Arc<dyn Runtime>,
    options: Options,
    schema: Arc<TableSchema>,
    fields: Fields,
    db: Db,
    table: Table,
    model: Model,
    /// Keys that rows are given, so that they meet.
    pool: Vec<Key>,
    story: Vec<String>,
}

impl World {
    async fn new(random: &mut Random) -> Self {
        let schema = schema(random);
        let fields = schema.user().fields().clone();
        let data = Memory::new();
        let wal = random.chance(0.5).then(Memory::new);
        let runtime = Late::new(random.next(), *random.pick(&[0, 3, 20]));
        let options = options(random);
        let env = Env {
            data: data.clone(),
            wal: wal.clone().map(|w| w as _),
            runtime: runtime.clone(),
        };
        let db = Db::open(env, options.clone()).await.unwrap();
        let table = db.create_table("t", schema.clone()).await.unwrap();
        let pool = (0..1 + random.below(120))
            .map(|_| {
                let key = schema.key().iter();
                Key(key.map(|&i| cells::of_field(&fields[i], random)).collect())
            })
            .collect();
        let story = vec![format!("{fields:?} {options:?} wal {}", wal.is_some())];
        Self {
            data,
            wal,
            runtime,
            options,
            schema: Arc::new(schema),
            fields,
            db,
            table,
            model: Model::new(),
            pool,
            story,
        }
    }

    fn row(&self, random: &mut Random) -> (Key, Row) {
        let key = random.pick(&self.pool).clone();
        let row = (0..self.fields.len()).map(|i| match self.key_at(i) {
            Some(at) => key.0[at].clone(),
            None => cells::of_field(&self.fields[i], random),
        });
        let row = row.collect();
        (key, row)
    }

    fn key_at(&self, column: usize) -> Option<usize> {
        self.schema.key().iter().position(|&k| k == column)
    }

    fn key_fields(&self) -> Fields {
        let key = self.schema.key().iter();
        key.map(|&i| self.fields[i].clone()).collect()
    }

    fn key_batch(&self, keys: &[Key]) -> arrow_array::RecordBatch {
        let rows: Vec<Row> = keys.iter().map(|k| k.0.clone()).collect();
        cells::batch(&self.key_fields(), &rows)
    }

    async fn ingest(&mut self, random: &mut Random) {
        let batches = 1 + random.below(2);
        let most = *random.pick(&[3, 12, 90]);
        let mut sent = Vec::new();
        for _ in 0..batches {
            let rows: Vec<(Key, Row)> = (0..random.below(most)).map(|_| self.row(random)).collect();
            let plain: Vec<Row> = rows.iter().map(|r| r.1.clone()).collect();
            sent.push(cells::batch(&self.fields, &plain));
            for (key, row) in rows {
                // A map keeps the first of equal keys; -0 and 0 are equal and differ.
                self.model.remove(&key);
                self.model.insert(key, row);
            }
        }
        match random.chance(0.5) {
            true => self.table.ingest(&sent).await.unwrap(),
            false => {
                let ipc = write_ipc(self.schema.user(), &sent).unwrap();
                self.table.ingest_ipc(ipc.into()).await.unwrap()
            }
        };
    }

    async fn delete(&mut self, random: &mut Random) {
        let keys: Vec<Key> = (0..random.below(20))
            .map(|_| random.pick(&self.pool).clone())
            .collect();
        self.table.delete(&[self.key_batch(&keys)]).await.unwrap();
        for key in keys {
            self.model.remove(&key);
        }
    }

    async fn reopen(&mut self) {
        self.db.close().await.unwrap();
        let env = Env {
            data: self.data.clone(),
            wal: self.wal.clone().map(|w| w as _),
            runtime: self.runtime.clone(),
        };
        self.db = Db::open(env, self.options.clone()).await.unwrap();
        self.table = self.db.table("t").unwrap();
    }

    async fn act(&mut self, random: &mut Random) {
        let what = random.below(20);
        let name = match what {
            0..=9 => "ingest",
            10..=12 => "delete",
            13 | 14 => "flush",
            15 => "checkpoint",
            16 => "reopen",
            17 => "options",
            _ => "flush beside",
        };
        self.story.push(name.to_owned());
        match name {
            "ingest" => self.ingest(random).await,
            "delete" => self.delete(random).await,
            "flush" => self.db.flush().await.unwrap(),
            "checkpoint" => self.db.checkpoint().await.unwrap(),
            "reopen" => self.reopen().await,
            "options" => {
                self.options = options(random);
                self.reopen().await;
            }
            _ => {
                let db = self.db.clone();
                let flush = tokio::spawn(async move { db.flush().await });
                self.ingest(random).await;
                self.check(random).await;
                flush.await.unwrap().unwrap();
            }
        }
        let error = self.db.stats().maintenance_error;
        assert_eq!(error, None, "{}", self.story.join("; "));
    }

    async fn check(&self, random: &mut Random) {
        let query = Query::random(self, random);
        let told = || format!("{query:?}\nafter {}", self.story.join("; "));
        let expected = query.expected(self);
        let scan = query.start(&self.table);
        let found = drain(scan, query.batch_rows.unwrap_or(self.options.batch_rows)).await;
        if expected != found {
            let again = drain(query.start(&self.table), usize::MAX).await;
            let all: Vec<Row> = drain(self.table.scan().stream().unwrap(), usize::MAX).await;
            let model: Vec<Row> = self.model.values().cloned().collect();
            panic!(
                "{}\nexpected {expected:?}\nfound    {found:?}\nagain right: {}; all right: {}; {:?}",
                told(),
                again == expected,
                all == model,
                self.db.stats()
            );
        }
        if random.chance(0.3) {
            let count = query.builder(&self.table).count().await.unwrap();
            assert_eq!(count, expected.len() as u64, "count: {}", told());
        }
        for _ in 0..3 {
            let key = random.pick(&self.pool);
            let names = query.names(self);
            let names: Option<Vec<&str>> = names
                .as_ref()
                .map(|n| n.iter().map(String::as_str).collect());
            let one = self.key_batch(std::slice::from_ref(key));
            let found = self.table.get(&one, names.as_deref()).await.unwrap();
            let expected = self.model.get(key).map(|row| query.project(row));
            let found = found.map(|b| cells::rows(&b).remove(0));
            assert!(
                expected == found,
                "get {key:?}: expected {expected:?}, found {found:?}\nafter {}",
                self.story.join("; ")
            );
        }
    }

    /// A scan that is held open while the world goes on sees what was there when it was called.
    async fn hold(&mut self, random: &mut Random) {
        let query = Query::random(self, random);
        let expected = query.expected(self);
        let mut scan = query.start(&self.table);
        let mut found: Vec<Row> = Vec::new();
        if random.chance(0.5)
            && let Some(batch) = scan.next().await.unwrap()
        {
            found.extend(cells::rows(&batch));
        }
        self.story.push("hold".to_owned());
        self.ingest(random).await;
        self.db.flush().await.unwrap();
        self.delete(random).await;
        self.db.flush().await.unwrap();
        found.extend(drain(scan, usize::MAX).await);
        assert!(
            expected == found,
            "held: {query:?}\nafter {}\nexpected {expected:?}\nfound    {found:?}",
            self.story.join("; ")
        );
    }
}

async fn drain(mut scan: Scan, batch_rows: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    while let Some(batch) = scan.next().await.unwrap() {
        assert!(batch.num_rows() > 0, "an empty batch");
        assert!(
            batch.num_rows() <= batch_rows,
            "{} rows at once",
            batch.num_rows()
        );
        assert_eq!(batch.schema(), *scan.schema());
        rows.extend(cells::rows(&batch));
    }
    rows
}

#[derive(Debug)]
struct Query {
    filter: Option<Predicate>,
    select: Option<Vec<usize>>,
    fields: Fields,
    key_fields: Fields,
    from: Bound<Key>,
    to: Bound<Key>,
    limit: Option<u64>,
    reverse: bool,
    batch_rows: Option<usize>,
}

impl Query {
    fn random(world: &World, random: &mut Random) -> Self {
        let fields = world.fields.clone();
        let rows: Vec<&Row> = world.model.values().collect();
        let mut near = |random: &mut Random, column: usize| match rows.len() {
            n if n > 0 && random.chance(0.7) => rows[random.below(n)][column].clone(),
            _ => cells::value(fields[column].data_type(), random, 0),
        };
        let mut filter = random
            .chance(0.75)
            .then(|| query::predicate(&fields, random, &mut near, 0));
        if random.chance(0.2) {
            let all = query::predicate(&fields, random, &mut near, 3);
            filter = Some(match filter {
                None => all,
                Some(one) => Predicate::And(vec![one, all]),
            });
        }
        let select = random.chance(0.6).then(|| {
            let mut columns: Vec<usize> = (0..fields.len()).collect();
            for i in (1..columns.len()).rev() {
                columns.swap(i, random.below(i + 1));
            }
            columns.truncate(random.below(columns.len() + 1));
            columns
        });
        let bound = |random: &mut Random| {
            let key = random.pick(&world.pool).clone();
            match random.below(6) {
                0 => Bound::Included(key),
                1 => Bound::Excluded(key),
                _ => Bound::Unbounded,
            }
        };
        Self {
            filter,
            select,
            from: bound(random),
            to: bound(random),
            limit: random.chance(0.25).then(|| random.below(30) as u64),
            reverse: random.chance(0.4),
            batch_rows: random.chance(0.5).then(|| 1 + random.below(50)),
            key_fields: world.key_fields(),
            fields,
        }
    }

    fn names(&self, world: &World) -> Option<Vec<String>> {
        let name = |&i: &usize| world.fields[i].name().clone();
        self.select.as_ref().map(|s| s.iter().map(name).collect())
    }

    fn project(&self, row: &Row) -> Row {
        match &self.select {
            None => row.clone(),
            Some(columns) => columns.iter().map(|&c| row[c].clone()).collect(),
        }
    }

    fn expected(&self, world: &World) -> Vec<Row> {
        let inside = |key: &Key| {
            (match &self.from {
                Bound::Unbounded => true,
                Bound::Included(from) => key >= from,
                Bound::Excluded(from) => key > from,
            }) && match &self.to {
                Bound::Unbounded => true,
                Bound::Included(to) => key <= to,
                Bound::Excluded(to) => key < to,
            }
        };
        let kept = |row: &Row| {
            let filter = self.filter.as_ref();
            filter.is_none_or(|f| query::truth(f, &self.fields, row) == Some(true))
        };
        let rows = world
            .model
            .iter()
            .filter(|(key, row)| inside(key) && kept(row));
        let mut rows: Vec<Row> = rows.map(|(_, row)| self.project(row)).collect();
        if self.reverse {
            rows.reverse();
        }
        rows.truncate(
            self.limit
                .unwrap_or(u64::MAX)
                .try_into()
                .unwrap_or(usize::MAX),
        );
        rows
    }

    fn builder(&self, table: &Table) -> lakeshore::ScanBuilder {
        let key = |bound: &Bound<Key>| {
            bound
                .as_ref()
                .map(|k| cells::batch(&self.key_fields, std::slice::from_ref(&k.0)))
        };
        let mut scan = table
            .scan()
            .reverse(self.reverse)
            .from(key(&self.from))
            .to(key(&self.to));
        if let Some(filter) = &self.filter {
            scan = scan.filter(filter.clone());
        }
        if let Some(columns) = &self.select {
            let names: Vec<&str> = columns
                .iter()
                .map(|&c| self.fields[c].name().as_str())
                .collect();
            scan = scan.select(&names);
        }
        if let Some(limit) = self.limit {
            scan = scan.limit(limit);
        }
        if let Some(rows) = self.batch_rows {
            scan = scan.batch_rows(rows);
        }
        scan
    }

    fn start(&self, table: &Table) -> Scan {
        self.builder(table).stream().unwrap()
    }
}

async fn round(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let random = &mut random;
    let mut world = World::new(random).await;
    let mut scans = 0;
    for _ in 0..6 + random.below(25) {
        world.act(random).await;
        let checks = random.below(4);
        for _ in 0..checks {
            world.check(random).await;
        }
        scans += checks;
        if random.chance(0.05) {
            world.hold(random).await;
        }
    }
    // The same before and after a flush and after a restart.
    let state = random.below(usize::MAX) as u64;
    for step in ["as it is", "flush", "reopen"] {
        world.story.push(format!("at the end: {step}"));
        match step {
            "flush" => world.db.flush().await.unwrap(),
            "reopen" => world.reopen().await,
            _ => {}
        }
        let mut same = Random::new(state);
        for _ in 0..6 {
            world.check(&mut same).await;
        }
        scans += 6;
    }
    world.db.close().await.unwrap();
    scans
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_agree_with_a_naive_model_before_and_after_flush_and_restart() {
    let replay = std::env::var("SEED").is_ok();
    let (mut seed, clock) = (seed(), seconds(10));
    let (mut rounds, mut scans) = (0, 0);
    while rounds == 0 || (clock.left() && !replay) {
        println!("SEED={seed}");
        scans += round(seed).await;
        rounds += 1;
        seed = seed.wrapping_add(1);
    }
    println!("{rounds} rounds, {scans} scans");
}
