//! Snapshots and time travel through the public door: a held snapshot never changes, and as of T is the
//! same for every handle, for ever (PROTOCOL T3, T5), against a plain list of versions.

use crate::support;

use lakeshore::{
    Alteration, AsOf, Db, Env, ErrorKind, Options, Snapshot,
    platform::{memory::Memory, native::TokioRuntime},
};
use std::sync::Arc;
use support::{
    engine::{self, Model},
    random::{Random, seconds, seed},
};

async fn open(data: &Arc<Memory>, wal: Option<&Arc<Memory>>, options: Options) -> Db {
    let env = Env {
        data: data.clone(),
        wal: wal.map(|w| w.clone() as _),
        runtime: TokioRuntime::current().unwrap(),
    };
    let db = Db::open(env, options).await.unwrap();
    for name in TABLES {
        engine::table(&db, name).await;
    }
    db
}

const TABLES: [&str; 2] = ["a", "b"];

type Both = [Model; 2];

async fn content(snapshot: &Snapshot) -> Both {
    let mut both = Both::default();
    for (name, model) in TABLES.iter().zip(&mut both) {
        let table = snapshot.table(name).unwrap();
        *model = engine::scanned(table.scan()).await.unwrap();
        assert_eq!(table.scan().count().await.unwrap(), model.len() as u64);
        let mut backwards = Model::new();
        let mut last = i64::MAX;
        for batch in table
            .scan()
            .reverse(true)
            .stream()
            .unwrap()
            .collect()
            .await
            .unwrap()
        {
            for (id, row) in engine::unpack(&batch) {
                assert!(id < last, "the reverse scan is not descending");
                last = id;
                backwards.insert(id, row);
            }
        }
        assert_eq!(&backwards, model);
        for id in 0..KEYS as i64 {
            let row = table.get(&engine::keys(&[id]), None).await.unwrap();
            let row = row.map(|batch| engine::unpack(&batch)[0].1.clone());
            assert_eq!(row.as_ref(), model.get(&id), "{name} {id}");
        }
    }
    both
}

const KEYS: usize = 12;

/// One random change of one table, in the model too.
async fn change(db: &Db, random: &mut Random, both: &mut Both, mark: i32) -> i64 {
    let which = random.below(2);
    let table = db.table(TABLES[which]).unwrap();
    let from = random.below(KEYS) as i64;
    let to = (from + 1 + random.below(5) as i64).min(KEYS as i64);
    if random.chance(0.3) {
        let keys: Vec<i64> = (from..to).collect();
        keys.iter().for_each(|key| _ = both[which].remove(key));
        return table.delete(&[engine::keys(&keys)]).await.unwrap().ts;
    }
    let rows = engine::rows(from, to, mark);
    both[which].extend(rows.iter().cloned());
    table.ingest(&[engine::batch(&rows)]).await.unwrap().ts
}

#[tokio::test]
async fn as_of_any_moment_is_the_same_for_ever() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let time = seconds(3);
    let (mut rounds, mut reads) = (0, 0);
    while rounds == 0 || time.left() {
        let data = Memory::new();
        let options = Options {
            inline_commit_bytes: *random.pick(&[64, 1 << 18]),
            ..engine::tiny()
        };
        let mut db = open(&data, None, options.clone()).await;
        let mut both = Both::default();
        let mut history = vec![(db.stats().last_timestamp, both.clone())];
        let mut held: Vec<(Snapshot, Both)> = Vec::new();
        for step in 0..30 {
            match random.below(12) {
                0 => db.flush().await.unwrap(),
                1 => db.checkpoint().await.unwrap(),
                2 => db = open(&data, None, options.clone()).await,
                3 => held.push((db.snapshot().unwrap(), both.clone())),
                _ => {
                    let ts = change(&db, &mut random, &mut both, step).await;
                    history.push((ts, both.clone()));
                }
            }
            let (ts, then) = random.pick(&history);
            let later = history.iter().map(|(t, _)| *t).find(|t| t > ts);
            let at = match (later, random.below(2)) {
                (Some(later), 0) => later - 1,
                _ => *ts,
            };
            let snapshot = db.snapshot_at(AsOf::Timestamp(at)).await.unwrap();
            assert_eq!(snapshot.timestamp(), at);
            assert_eq!(&content(&snapshot).await, then, "as of {at}");
            reads += 1;
        }
        for (snapshot, then) in &held {
            assert_eq!(&content(snapshot).await, then, "a held snapshot changed");
        }
        rounds += 1;
    }
    println!("{rounds} histories, {reads} reads as of");
}

#[tokio::test]
async fn a_time_beyond_the_head_is_the_head_and_says_which() {
    let data = Memory::new();
    let (ours, theirs) = (
        open(&data, None, Options::default()).await,
        open(&data, None, Options::default()).await,
    );
    let mut both = Both::default();
    let mut random = Random::new(1);
    let ts = change(&theirs, &mut random, &mut both, 1).await;
    let snapshot = ours.snapshot_at(AsOf::Timestamp(i64::MAX)).await.unwrap();
    assert_eq!(
        snapshot.timestamp(),
        ts,
        "what others wrote meanwhile is looked for"
    );
    assert_eq!(content(&snapshot).await, both);
    let then = both.clone();
    change(&theirs, &mut random, &mut both, 2).await;
    ours.refresh().await.unwrap();
    let again = ours.snapshot_at(AsOf::Timestamp(ts)).await.unwrap();
    assert_eq!(content(&again).await, then);
    let error = ours
        .snapshot_at(AsOf::Tag("nobody".into()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("nobody"), "{error}");
}

/// PROTOCOL T5, W2: with a WAL a snapshot of now has what is pending, as of a time it has the log alone;
/// and neither moves when foreign records push pending rows up.
#[tokio::test]
async fn over_a_wal_now_has_what_is_pending_and_as_of_has_the_log() {
    let (data, wal) = (Memory::new(), Memory::new());
    let ours = open(&data, Some(&wal), Options::default()).await;
    let theirs = open(&data, None, Options::default()).await;
    let put = async |db: &Db, id: i64, mark: i32| {
        let rows = engine::batch(&engine::rows(id, id + 1, mark));
        db.table("a").unwrap().ingest(&[rows]).await.unwrap()
    };
    put(&ours, 1, 1).await;
    ours.flush().await.unwrap();
    let log = ours.snapshot().unwrap().timestamp();
    let flushed = content(&ours.snapshot().unwrap()).await;
    put(&ours, 2, 2).await;
    put(&ours, 1, 2).await;
    let now = ours.snapshot().unwrap();
    let pending = content(&now).await;
    assert_eq!(pending[0].len(), 2);
    let past = ours.snapshot_at(AsOf::Timestamp(i64::MAX)).await.unwrap();
    assert_eq!(
        (content(&past).await, past.timestamp()),
        (flushed.clone(), log)
    );
    put(&theirs, 1, 7).await;
    put(&theirs, 3, 7).await;
    ours.refresh().await.unwrap();
    ours.flush().await.unwrap();
    put(&ours, 4, 4).await;
    assert_eq!(content(&now).await, pending);
    assert_eq!(content(&past).await, flushed);
    let again = theirs.snapshot_at(AsOf::Timestamp(log)).await.unwrap();
    assert_eq!(content(&again).await, flushed);
    let mine = content(&ours.snapshot().unwrap()).await;
    assert_eq!(mine[0].get(&1).unwrap().n, 2, "the last to upload wins");
    ours.close().await.unwrap();
    let closed = now.table("a").unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
}

/// DESIGN promise 18. Once the name was used again, the snapshot showed the new table, and no rows.
#[tokio::test]
async fn a_snapshot_shows_tables_under_the_names_that_they_had() {
    let data = Memory::new();
    let db = open(&data, None, Options::default()).await;
    let rows = |mark| engine::batch(&engine::rows(0, 5, mark));
    let put = async |name: &str, mark| {
        let table = db.table(name).unwrap();
        table.ingest(&[rows(mark)]).await.unwrap().ts
    };
    let names = |snapshot: &Snapshot| -> Vec<String> {
        let tables = snapshot.tables().into_iter();
        tables.map(|(name, _)| name).collect()
    };
    put("a", 1).await;
    let first = put("b", 2).await;
    let rename = |to: &str| [Alteration::RenameTable(to.into())];
    db.alter_table("a", &rename("c")).await.unwrap();
    db.alter_table("b", &rename("a")).await.unwrap();
    let second = put("a", 3).await;
    db.drop_table("c").await.unwrap();
    engine::table(&db, "c").await;
    let third = put("c", 4).await;
    let marks: [(i64, &[(&str, i32)]); 3] = [
        (first, &[("a", 1), ("b", 2)]),
        (second, &[("a", 3), ("c", 1)]),
        (third, &[("a", 3), ("c", 4)]),
    ];
    for step in ["as written", "flushed", "from a checkpoint"] {
        for (ts, tables) in marks {
            let snapshot = db.snapshot_at(AsOf::Timestamp(ts)).await.unwrap();
            let expected: Vec<&str> = tables.iter().map(|(name, _)| *name).collect();
            assert_eq!(names(&snapshot), expected, "{step}");
            for (name, mark) in tables {
                let found = engine::scanned(snapshot.table(name).unwrap().scan()).await;
                let wanted: Model = engine::rows(0, 5, *mark).into_iter().collect();
                assert_eq!(found.unwrap(), wanted, "{step}: {name} as of {ts}");
            }
            let missing = snapshot.table("d").unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::Invalid);
            assert!(missing.message().starts_with("as of 2"), "{missing}");
        }
        match step {
            "as written" => db.flush().await.unwrap(),
            _ => db.checkpoint().await.unwrap(),
        }
    }
    let before = db.snapshot_at(AsOf::Timestamp(1)).await.unwrap();
    assert_eq!(names(&before), Vec::<String>::new(), "before there was any");
}
