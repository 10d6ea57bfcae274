//! The past: snapshots that are held, as of a time, tags, and gc.

use crate::{
    history::Rows,
    ops::TABLES,
    read::{key_batch, read},
    support::{altering::Shape, cells},
    world::World,
};
use lakeshore::{AsOf, Db, ErrorKind, GcOptions, Snapshot};
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

const HOUR: i64 = 3_600_000_000;
/// Retention and grace time of the options.
const RETENTION: i64 = 24 * HOUR;

/// A snapshot that is held, and what it has to show for ever.
pub struct Held {
    snapshot: Snapshot,
    /// Of each name; none where it stood for nothing then.
    tables: Vec<Option<(Shape, Rows)>>,
    /// When it was taken.
    at: i64,
    /// gc freed files after the grace time: PROTOCOL G4.
    may_expire: bool,
}

impl World {
    fn clock(&self) -> i64 {
        self.stage.wall.load(SeqCst)
    }

    /// Holds what this handle sees.
    pub async fn hold(&mut self) {
        self.settle().await;
        let snapshot = self.db.snapshot().unwrap();
        let tables = [0, 1].map(|t| Some((self.shape(t).clone(), self.current(t))));
        self.keep(snapshot, tables);
        self.count("snapshots of now");
    }

    /// What the log had at `ts`, by name: rows, under the columns and of the table of that time (DESIGN
    /// promise 18). Nothing where the model cannot tell.
    fn past(&self, ts: i64) -> Option<[Option<(Shape, Rows)>; 2]> {
        let number = self.history.at(ts);
        let mut tables = [None, None];
        for (name, table) in tables.iter_mut().enumerate() {
            *table = self.then(name, ts).ok()?.map(|(place, shape)| {
                let rows = self.history.rows(place, number, &shape);
                (shape, rows)
            });
        }
        Some(tables)
    }

    /// Holds a snapshot as of its time.
    async fn keep_past(&mut self, snapshot: Snapshot) {
        let Some(tables) = self.past(snapshot.timestamp()) else {
            return self.count("as of a time beside others' records");
        };
        if tables.iter().any(Option::is_none) {
            self.count("as of a time without a table");
        }
        self.keep(snapshot, tables);
        self.check_held(self.held.len() - 1).await;
    }

    fn keep(&mut self, snapshot: Snapshot, tables: [Option<(Shape, Rows)>; 2]) {
        self.held.push(Held {
            snapshot,
            tables: tables.into(),
            at: self.clock(),
            may_expire: false,
        });
    }

    pub async fn check_held(&mut self, at: usize) {
        match self.look(&self.held[at], at % 2 == 1).await {
            true => self.count("looks at held snapshots"),
            false => self.count("expired"),
        }
    }

    /// False if it has expired, as it may.
    async fn look(&self, held: &Held, reverse: bool) -> bool {
        let ts = held.snapshot.timestamp();
        let names = TABLES.iter().zip(&held.tables);
        let there: Vec<&str> = (names.clone())
            .filter_map(|(name, table)| table.as_ref().map(|_| *name))
            .collect();
        let tables = held.snapshot.tables();
        let found: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, there, "as of {ts}, held, after {}", self.now);
        for (name, table) in names {
            let Some((shape, rows)) = table else {
                let none = held.snapshot.table(name).unwrap_err();
                assert_eq!(none.kind(), ErrorKind::Invalid, "{none}: {}", self.now);
                continue;
            };
            let table = held.snapshot.table(name).unwrap();
            assert_eq!(&Shape::of(&table.schema().unwrap()), shape, "{}", self.now);
            let expired = |e: &lakeshore::Error| {
                let may = e.kind() == ErrorKind::Expired && held.may_expire;
                assert!(may, "{e} as of {ts}, held, after {}", self.now);
            };
            let Ok(found) = read(&table.scan(), reverse).await.inspect_err(expired) else {
                return false;
            };
            assert_eq!(&found, rows, "{name} as of {ts}, held, after {}", self.now);
            for key in [0, 3] {
                let got = table.get(&key_batch(shape, &[key]), None).await;
                let Ok(got) = got.inspect_err(expired) else {
                    return false;
                };
                let got = got.map(|batch| cells::rows(&batch).remove(0));
                assert_eq!(got.as_ref(), rows.get(&key), "get {key} after {}", self.now);
            }
        }
        true
    }

    /// Takes a snapshot as of a time of the log, which must be just what the model has of then.
    pub async fn as_of(&mut self, back: usize, beside: i64) {
        let Some(at) = self.moment(back) else { return };
        self.at(AsOf::Timestamp(at + beside), at + beside).await;
    }

    /// The timestamp of a record so many back.
    fn moment(&self, back: usize) -> Option<i64> {
        let log = &self.history.log;
        (!log.is_empty()).then(|| log[log.len() - 1 - back % log.len()].0)
    }

    async fn at(&mut self, as_of: AsOf, ts: i64) {
        let taken = self.db.snapshot_at(as_of).await;
        if ts < self.watermark {
            assert_eq!(
                taken.unwrap_err().kind(),
                ErrorKind::Expired,
                "{}",
                self.now
            );
            self.count("as of an expired time");
            return;
        }
        let snapshot = taken.unwrap();
        let head = self.history.head().unwrap_or(0);
        let got = snapshot.timestamp();
        let right = got == ts || got < ts && got >= head;
        assert!(right, "{got} for {ts}, head {head}, after {}", self.now);
        // A flush in the background may have been quicker than the look at the log.
        self.observe().await;
        self.keep_past(snapshot).await;
        self.count("as of a time");
    }

    /// A time beyond the head means the head, of the log alone (PROTOCOL T3, T5).
    pub async fn beyond(&mut self) {
        let end = AsOf::Timestamp(i64::MAX);
        let snapshot = self.db.snapshot_at(end.clone()).await.unwrap();
        let got = snapshot.timestamp();
        assert!(
            got >= self.history.head().unwrap_or(0) && got < i64::MAX,
            "{got} after {}",
            self.now
        );
        self.observe().await;
        self.keep_past(snapshot).await;
        self.count("beyond the head");
    }

    pub async fn tag(&mut self, tag: usize, back: Option<usize>) {
        let at = match back {
            None => None,
            Some(back) => match self.moment(back) {
                None => return,
                at => at,
            },
        };
        let done = self.db.tag(&name(tag), at.map(AsOf::Timestamp)).await;
        self.observe().await;
        if self.tags.contains_key(&tag) {
            assert_eq!(done.unwrap_err().kind(), ErrorKind::Invalid, "{}", self.now);
            return;
        }
        if at.is_some_and(|at| at < self.watermark) {
            assert_eq!(done.unwrap_err().kind(), ErrorKind::Expired, "{}", self.now);
            return;
        }
        let got = done.unwrap();
        match at {
            Some(at) => assert_eq!(got, at, "{}", self.now),
            // It has all that there is, also what others wrote and what was pending.
            None => (0..TABLES.len()).for_each(|t| {
                let then = self.rows(t, self.history.at(got));
                assert_eq!(then, self.current(t), "{}", self.now);
            }),
        }
        self.tags.insert(tag, got);
        self.count("tags");
    }

    pub async fn as_of_tag(&mut self, tag: usize) {
        let as_of = AsOf::Tag(name(tag));
        match self.tags.get(&tag) {
            Some(ts) => {
                self.at(as_of, *ts).await;
                self.count("as of a tag");
            }
            None => {
                let error = self.db.snapshot_at(as_of).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid, "{}", self.now);
            }
        }
    }

    pub async fn untag(&mut self, tag: usize) {
        let there = self.db.untag(&name(tag)).await.unwrap();
        assert_eq!(there, self.tags.remove(&tag).is_some(), "{}", self.now);
    }

    pub fn age(&mut self, hours: u64) {
        if !self.local() {
            self.stage.pass(Duration::from_secs(3600 * hours));
        }
    }

    pub async fn gc(&mut self) {
        let report = self.db.gc(GcOptions::default()).await.unwrap();
        let tags = self.tags.values().copied().min().unwrap_or(i64::MAX);
        let most = tags.min(self.clock() - RETENTION).max(self.watermark);
        assert!(
            (self.watermark..=most.max(0)).contains(&report.watermark),
            "{report:?} after {}: it was {}, and may be {most}",
            self.now,
            self.watermark
        );
        self.watermark = report.watermark;
        if report.files > 0 {
            let old = self.clock() - HOUR;
            let held = self.held.iter_mut().filter(|held| held.at <= old);
            held.for_each(|held| held.may_expire = true);
            let open = self.open.iter_mut().flatten();
            open.for_each(|open| open.may_expire = true);
            self.count("files freed");
        }
        if report.records > 0 {
            self.count("records freed");
        }
    }

    /// All that is held, and all of the past: for this handle and for one that has just come.
    pub async fn check_past(&mut self) {
        for at in 0..self.held.len() {
            self.check_held(at).await;
        }
        let reader = self.reader().await;
        let moments: Vec<(i64, u64)> = self.history.log.clone();
        let few = moments.iter().rev().step_by(1 + moments.len() / 8);
        for (ts, _) in few.filter(|(ts, _)| *ts >= self.watermark) {
            for db in [&reader, &self.db] {
                self.compare(db, *ts).await;
            }
        }
    }

    async fn compare(&self, db: &Db, ts: i64) {
        let Some(tables) = self.past(ts) else { return };
        let snapshot = db.snapshot_at(AsOf::Timestamp(ts)).await.unwrap();
        for (name, table) in TABLES.iter().zip(tables) {
            let Some((shape, rows)) = table else {
                let none = snapshot.table(name).unwrap_err();
                assert_eq!(none.kind(), ErrorKind::Invalid, "{name} as of {ts}: {none}");
                continue;
            };
            let found = snapshot.table(name).unwrap();
            assert_eq!(
                Shape::of(&found.schema().unwrap()),
                shape,
                "{name} as of {ts}"
            );
            let found = read(&found.scan(), false).await.unwrap();
            assert_eq!(found, rows, "{name} as of {ts}, at the end");
        }
    }
}

fn name(tag: usize) -> String {
    format!("tag {tag}")
}
