//! Random alterations between random commits, flushes, checkpoints and restarts, by handles that may
//! be behind: what a scan gives is what a plain model gives, and what a table gives that was created
//! with the last schema. `SEED=` replays, `TEST_SECONDS=` makes a long run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support;

use lakeshore::{
    Alteration, Db, Env, Error, ErrorKind, Options, Scan, SyncPolicy, Table,
    data::{intake::write_ipc, predicate::Predicate, schema::TableSchema},
    env::Runtime,
    platform::memory::Memory,
};
use std::sync::Arc;
use support::{
    altering::{self, Model, Shape, Values},
    cells::{self, Cell},
    late::Late,
    query::{self, Key},
    random::{Random, seconds, seed},
};

type Row = Vec<Cell>;

fn options(random: &mut Random) -> Options {
    let seal_bytes = 1 << (6 + random.below(12));
    Options {
        sync: SyncPolicy::Never,
        wal_segment_bytes: 512 << random.below(6),
        seal_bytes,
        seal_rows: 1 + random.below(300),
        seal_batches: 1 + random.below(40),
        memtable_limit_bytes: seal_bytes * (1 + random.below(8)),
        inline_commit_bytes: *random.pick(&[0, 2000, 1 << 16]),
        checkpoint_records: 1 + random.below(6) as u64,
        sstable_bytes: *random.pick(&[4096, 1 << 20]),
        row_group_rows: 1 + random.below(40),
        page_rows: 1 + random.below(16),
        bloom_fpp: *random.pick(&[0.0, 0.01]),
        batch_rows: 1 + random.below(40),
        batch_bytes: *random.pick(&[1024, 1 << 20]),
        ..Options::default()
    }
}

struct Handle {
    db: Db,
    table: Table,
    wal: Option<Arc<Memory>>,
    options: Options,
}

impl Handle {
    fn shape(&self) -> Shape {
        Shape::of(&self.table.schema().unwrap())
    }
}

struct World {
    data: Arc<Memory>,
    runtime: Arc<dyn Runtime>,
    /// Without WALs, all write rows; else the first has one and is the only one that does.
    handles: Vec<Handle>,
    /// The newest schema, and all before it.
    shape: Shape,
    shapes: Vec<Shape>,
    name: String,
    tables: usize,
    model: Model,
    pool: Vec<Key>,
    story: Vec<String>,
}

impl World {
    async fn new(random: &mut Random) -> Self {
        let schema = altering::schema(random);
        let shape = Shape::of(&schema);
        let local = random.chance(0.5);
        let mut world = Self {
            data: Memory::new(),
            runtime: Late::new(random.next(), *random.pick(&[0, 3, 20])),
            handles: Vec::new(),
            pool: altering::keys(&shape, random),
            shapes: vec![shape.clone()],
            shape,
            name: "t0".into(),
            tables: 1,
            model: Model::new(),
            story: vec![format!("{:?} local {local}", schema.user().fields())],
        };
        for i in 0..2 + usize::from(!local) {
            let wal = (local && i == 0).then(Memory::new);
            let options = options(random);
            let db = world.open(&wal, &options).await;
            let table = db.create_table("t0", schema.clone()).await.unwrap();
            world.handles.push(Handle {
                db,
                table,
                wal,
                options,
            });
        }
        world
    }

    async fn open(&self, wal: &Option<Arc<Memory>>, options: &Options) -> Db {
        let env = Env {
            data: self.data.clone(),
            wal: wal.clone().map(|w| w as _),
            runtime: self.runtime.clone(),
        };
        Db::open(env, options.clone()).await.unwrap()
    }

    fn local(&self) -> bool {
        self.handles[0].wal.is_some()
    }

    fn told(&self) -> String {
        self.story.join("; ")
    }

    /// A handle that writes rows.
    fn writer(&self, random: &mut Random) -> usize {
        match self.local() {
            true => 0,
            false => random.below(self.handles.len()),
        }
    }

    async fn ingest(&mut self, random: &mut Random, at: usize) {
        let shape = self.handles[at].shape();
        let most = *random.pick(&[3, 12, 90]);
        let rows: Vec<(Key, Row)> = (0..1 + random.below(most))
            .map(|_| altering::row(&shape, &self.pool, random))
            .collect();
        let plain: Vec<Row> = rows.iter().map(|r| r.1.clone()).collect();
        let batch = cells::batch(&shape.fields(), &plain);
        let table = &self.handles[at].table;
        let done = match random.chance(0.5) {
            true => table.ingest(&[batch]).await,
            false => {
                let ipc = write_ipc(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
                table.ingest_ipc(ipc.into()).await
            }
        };
        if let Err(e) = done {
            assert!(
                self.met_alteration(at, &shape, &e),
                "{e} after {}",
                self.told()
            );
            return;
        }
        for (key, row) in rows {
            self.model.remove(&key);
            self.model.insert(key, shape.written(&row));
        }
    }

    async fn delete(&mut self, random: &mut Random, at: usize) {
        let keys: Vec<Key> = (0..1 + random.below(12))
            .map(|_| random.pick(&self.pool).clone())
            .collect();
        let shape = self.handles[at].shape();
        let batch = key_batch(&shape, &keys);
        if let Err(e) = self.handles[at].table.delete(&[batch]).await {
            assert!(
                self.met_alteration(at, &shape, &e),
                "{e} after {}",
                self.told()
            );
            return;
        }
        for key in keys {
            self.model.remove(&key);
        }
    }

    /// A flush in the background may meet an alteration, or a drop, between the moment a batch is made
    /// and the moment it is validated: then it is refused by the schema of that moment.
    fn met_alteration(&self, at: usize, seen: &Shape, error: &Error) -> bool {
        let now = self.handles[at].table.schema();
        let moved = now.is_ok_and(|schema| Shape::of(&schema) != *seen);
        error.kind() == ErrorKind::Invalid && (moved || error.message().contains("dropped"))
    }

    async fn reopen(&mut self, at: usize) {
        let handle = &self.handles[at];
        handle.db.close().await.unwrap();
        let db = self.open(&handle.wal, &handle.options).await;
        let table = db.table(&self.name).unwrap();
        let handle = &mut self.handles[at];
        (handle.db, handle.table) = (db, table);
    }

    async fn alter(&mut self, random: &mut Random, at: usize) {
        if random.chance(0.6) {
            self.handles[at].db.refresh().await.unwrap();
        }
        let handle = &self.handles[at];
        let seen = handle.shape();
        let name = handle.table.name().unwrap();
        let fresh = seen == self.shape && name == self.name;
        let mut changes = seen.random_changes(random);
        if random.chance(0.1) {
            changes.push(Alteration::RenameTable(format!("r{}", random.below(50))));
        }
        self.story.push(format!("alter by {at}: {changes:?}"));
        let done = handle.db.alter_table(&name, &changes).await;
        handle.db.refresh().await.unwrap();
        let schema = handle.table.schema().unwrap();
        let now = Shape::of(&schema);
        let made = |on: &Shape| {
            let next = on.altered(&changes);
            match next.columns == on.columns {
                true => on.clone(),
                false => next,
            }
        };
        match done {
            Err(e) => {
                assert!(!fresh, "{e} after {}", self.told());
                assert_eq!(e.kind(), ErrorKind::Invalid, "{e} after {}", self.told());
                let renamed = e.message().contains("no table");
                assert!(
                    renamed || schema.altered(&changes).is_err(),
                    "{e} after {}",
                    self.told()
                );
                assert_eq!(now, self.shape, "{}", self.told());
            }
            Ok(_) if fresh => {
                assert_eq!(now, made(&self.shape), "{}", self.told());
            }
            // A handle that was behind: made before by another, or made on top.
            Ok(_) if now == self.shape => {
                let mut steps = self.shapes.windows(2);
                let known = steps.any(|s| s[0].try_altered(&changes).as_ref() == Some(&s[1]));
                let nothing = || schema.altered(&changes).unwrap().same_columns(&schema);
                assert!(known || nothing(), "{}", self.told());
            }
            Ok(_) => assert_eq!(now, made(&self.shape), "{}", self.told()),
        }
        if now != self.shape {
            self.shapes.push(now.clone());
        }
        self.shape = now;
        self.name = self.handles[at].table.name().unwrap();
    }

    /// Drops the table and creates another; rows of a handle that has not heard of it are refused, or
    /// die.
    async fn anew(&mut self, random: &mut Random) {
        let by = random.below(self.handles.len());
        self.handles[by].db.refresh().await.unwrap();
        let db = self.handles[by].db.clone();
        assert!(db.drop_table(&self.name).await.unwrap());
        assert!(!db.drop_table(&self.name).await.unwrap());
        let at = self.writer(random);
        if at != by {
            let shape = self.handles[at].shape();
            let (_, row) = altering::row(&shape, &self.pool, random);
            let batch = cells::batch(&shape.fields(), &[row]);
            let done = self.handles[at].table.ingest(&[batch]).await;
            match (self.local(), done) {
                (true, Ok(_)) => {}
                // With a WAL, too, if a flush in the background has met the drop.
                (_, Err(e)) => {
                    let gone = self.handles[at].table.schema().is_err();
                    let met = self.local() && gone || self.met_alteration(at, &shape, &e);
                    assert!(met, "{e} after {}", self.told());
                }
                other => panic!("{other:?} after {}", self.told()),
            }
        }
        let schema = altering::schema(random);
        self.shape = Shape::of(&schema);
        self.shapes = vec![self.shape.clone()];
        self.pool = altering::keys(&self.shape, random);
        self.model.clear();
        if random.chance(0.5) {
            self.name = format!("t{}", self.tables);
        }
        self.tables += 1;
        db.create_table(&self.name, schema).await.unwrap();
        self.story.push(format!("anew: {:?}", self.shape));
        for handle in &mut self.handles {
            handle.db.refresh().await.unwrap();
            let gone = handle.table.scan().stream().map(drop).unwrap_err();
            assert!(gone.message().contains("dropped"), "{gone}");
            handle.table = handle.db.table(&self.name).unwrap();
        }
    }

    async fn act(&mut self, random: &mut Random) {
        let at = self.writer(random);
        let any = random.below(self.handles.len());
        let what = random.below(24);
        match what {
            0..=8 => {
                self.story.push(format!("ingest by {at}"));
                self.ingest(random, at).await;
            }
            9 | 10 => {
                self.story.push(format!("delete by {at}"));
                self.delete(random, at).await;
            }
            11..=15 => self.alter(random, any).await,
            16 => {
                self.story.push(format!("checkpoint by {any}"));
                self.handles[any].db.checkpoint().await.unwrap();
            }
            17 => {
                self.story.push(format!("reopen {any}"));
                self.reopen(any).await;
            }
            18 => {
                let db = &self.handles[any].db;
                self.story.push(format!("refresh {any}"));
                db.refresh().await.unwrap();
            }
            19 if random.chance(0.3) => self.anew(random).await,
            20 => {
                self.story
                    .push(format!("flush beside alter, {at} and {any}"));
                let db = self.handles[at].db.clone();
                let flush = tokio::spawn(async move { db.flush().await });
                self.alter(random, any).await;
                flush.await.unwrap().unwrap();
            }
            _ => {
                self.story.push(format!("flush by {any}"));
                self.handles[any].db.flush().await.unwrap();
            }
        }
        for handle in &self.handles {
            let error = handle.db.stats().maintenance_error;
            assert_eq!(error, None, "{}", self.told());
        }
    }

    async fn check(&self, random: &mut Random) {
        let at = random.below(self.handles.len());
        // The only writer's own rows are right also while it is behind.
        let behind = self.local() && at == 0 && random.chance(0.5);
        if self.local() && at != 0 {
            return;
        }
        let handle = &self.handles[at];
        if !behind {
            handle.db.refresh().await.unwrap();
            let (shape, name) = (handle.shape(), handle.table.name().unwrap());
            assert_eq!(
                (shape, name),
                (self.shape.clone(), self.name.clone()),
                "{}",
                self.told()
            );
        }
        let query = Query::random(&handle.shape(), &self.model, random);
        if behind {
            // A flush of its own in the background may meet an alteration at any moment.
            let started = query.builder(&handle.table).stream();
            if handle.shape() == query.shape {
                let found = drain(started.unwrap()).await;
                assert_eq!(
                    query.expected(&self.model),
                    found,
                    "{query:?} {}",
                    self.told()
                );
            }
            return;
        }
        self.compare(&handle.table, &query).await;
        let key = random.pick(&self.pool).clone();
        let shape = handle.shape();
        let one = key_batch(&shape, std::slice::from_ref(&key));
        let found = handle
            .table
            .get(&one, None)
            .await
            .unwrap()
            .map(|b| cells::rows(&b).remove(0));
        let expected = self.model.get(&key).map(|row| shape.view(row));
        assert_eq!(found, expected, "get {key:?} after {}", self.told());
    }

    async fn compare(&self, table: &Table, query: &Query) {
        let expected = query.expected(&self.model);
        let found = drain(query.start(table)).await;
        assert!(
            expected == found,
            "{query:?}\nexpected {expected:?}\nfound    {found:?}\nafter {}",
            self.told()
        );
        let count = query.builder(table).count().await.unwrap();
        assert_eq!(
            count,
            expected.len() as u64,
            "{query:?} after {}",
            self.told()
        );
    }

    /// A scan that is held open while the table is altered, even dropped, sees what was there.
    async fn hold(&mut self, random: &mut Random) {
        let at = self.writer(random);
        self.handles[at].db.refresh().await.unwrap();
        let query = Query::random(&self.handles[at].shape(), &self.model, random);
        let expected = query.expected(&self.model);
        let mut scan = query.start(&self.handles[at].table);
        let mut found: Vec<Row> = Vec::new();
        if random.chance(0.5)
            && let Some(batch) = scan.next().await.unwrap()
        {
            found.extend(cells::rows(&batch));
        }
        self.story.push(format!("hold by {at}"));
        self.alter(random, at).await;
        self.ingest(random, at).await;
        self.handles[at].db.flush().await.unwrap();
        if random.chance(0.3) {
            self.anew(random).await;
        }
        found.extend(drain(scan).await);
        assert!(
            expected == found,
            "held: {query:?}\nexpected {expected:?}\nfound    {found:?}\nafter {}",
            self.told()
        );
    }

    /// A table that was created as this one has become, with the same rows.
    async fn twin(&self) -> Table {
        let fields = self.shape.columns.iter().map(|(_, f)| f.clone()).collect();
        let key = self.shape.key_fields();
        let names: Vec<&str> = key.iter().map(|f| f.name().as_str()).collect();
        let schema = TableSchema::new(fields, &names).unwrap();
        let env = Env {
            data: Memory::new(),
            wal: None,
            runtime: self.runtime.clone(),
        };
        let db = Db::open(env, self.handles[0].options.clone())
            .await
            .unwrap();
        let table = db.create_table("twin", schema).await.unwrap();
        let rows: Vec<Row> = self.model.values().map(|r| self.shape.view(r)).collect();
        let batch = cells::batch(&self.shape.fields(), &rows);
        table.ingest(&[batch]).await.unwrap();
        db.flush().await.unwrap();
        table
    }
}

fn key_batch(shape: &Shape, keys: &[Key]) -> arrow_array::RecordBatch {
    let rows: Vec<Row> = keys.iter().map(|k| k.0.clone()).collect();
    cells::batch(&shape.key_fields(), &rows)
}

async fn drain(mut scan: Scan) -> Vec<Row> {
    let mut rows = Vec::new();
    while let Some(batch) = scan.next().await.unwrap() {
        assert_eq!(batch.schema(), *scan.schema());
        rows.extend(cells::rows(&batch));
    }
    rows
}

#[derive(Debug)]
struct Query {
    shape: Shape,
    filter: Option<Predicate>,
    select: Vec<usize>,
    reverse: bool,
    limit: Option<u64>,
}

impl Query {
    fn random(shape: &Shape, model: &Model, random: &mut Random) -> Self {
        let fields = shape.fields();
        let rows: Vec<&Values> = model.values().collect();
        let mut near = |random: &mut Random, column: usize| match rows.len() {
            n if n > 0 && random.chance(0.7) => shape.view(rows[random.below(n)])[column].clone(),
            _ => cells::value(fields[column].data_type(), random, 0),
        };
        let filter = random
            .chance(0.8)
            .then(|| query::predicate(&fields, random, &mut near, 0));
        let mut select: Vec<usize> = (0..fields.len()).collect();
        if random.chance(0.5) {
            select.retain(|_| random.chance(0.6));
        }
        Self {
            shape: shape.clone(),
            filter,
            select,
            reverse: random.chance(0.3),
            limit: random.chance(0.2).then(|| random.below(20) as u64),
        }
    }

    fn expected(&self, model: &Model) -> Vec<Row> {
        let fields = self.shape.fields();
        let kept = |row: &Row| {
            let filter = self.filter.as_ref();
            filter.is_none_or(|f| query::truth(f, &fields, row) == Some(true))
        };
        let rows = model.values().map(|row| self.shape.view(row)).filter(kept);
        let project = |row: Row| self.select.iter().map(|&c| row[c].clone()).collect();
        let mut rows: Vec<Row> = rows.map(project).collect();
        if self.reverse {
            rows.reverse();
        }
        rows.truncate(self.limit.map_or(usize::MAX, |l| l as usize));
        rows
    }

    fn builder(&self, table: &Table) -> lakeshore::ScanBuilder {
        let names = self.select.iter().map(|&c| self.shape.columns[c].1.name());
        let names: Vec<&str> = names.map(String::as_str).collect();
        let mut scan = table.scan().reverse(self.reverse).select(&names);
        if let Some(filter) = &self.filter {
            scan = scan.filter(filter.clone());
        }
        match self.limit {
            Some(limit) => scan.limit(limit),
            None => scan,
        }
    }

    fn start(&self, table: &Table) -> Scan {
        let started = self.builder(table).stream();
        started.unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

async fn round(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let random = &mut random;
    let mut world = World::new(random).await;
    let mut scans = 0;
    for _ in 0..8 + random.below(25) {
        world.act(random).await;
        for _ in 0..random.below(4) {
            world.check(random).await;
            scans += 1;
        }
        if random.chance(0.06) {
            world.hold(random).await;
        }
    }
    let state = random.below(usize::MAX) as u64;
    let twin = world.twin().await;
    for step in ["as it is", "flush", "reopen"] {
        world.story.push(format!("at the end: {step}"));
        for at in 0..world.handles.len() {
            match step {
                "flush" => world.handles[at].db.flush().await.unwrap(),
                "reopen" => world.reopen(at).await,
                _ => {}
            }
        }
        let handle = &world.handles[0];
        handle.db.refresh().await.unwrap();
        let mut same = Random::new(state);
        for _ in 0..6 {
            let query = Query::random(&world.shape, &world.model, &mut same);
            world.compare(&handle.table, &query).await;
            world.compare(&twin, &query).await;
            scans += 2;
        }
    }
    for handle in &world.handles {
        handle.db.close().await.unwrap();
    }
    scans
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_of_an_altered_table_agree_with_a_naive_model_and_with_one_created_so() {
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
