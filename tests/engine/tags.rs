//! Tags, and the list of versions (PROTOCOL T3, T5, G1).

use crate::support;

use lakeshore::{
    AsOf, Db, Env, ErrorKind, GcOptions, LogVersion, Options,
    env::Storage,
    log::{history::check_as_of, record::record_key, version::Version},
    platform::memory::Memory,
};
use support::{
    aging::{Aging, HOUR, Told, ingest, model},
    engine,
    random::Random,
};

const MICROS: i64 = 3_600_000_000;

#[tokio::test]
async fn a_tag_names_the_newest_version_is_seen_by_all_and_goes() {
    let world = Aging::new(Told::Clock);
    let (_, db, table) = world.open(Options::default()).await;
    ingest(&table, 0, 10).await;
    let head = db.stats().last_timestamp;
    assert_eq!(db.tag("b", None).await.unwrap(), head);
    let second = db.tag("a", None).await.unwrap();
    assert!(second > head, "the tag before is a version, too");
    assert_eq!(
        db.tag("again", Some(AsOf::Tag("b".into()))).await.unwrap(),
        head
    );
    let expected = vec![
        ("a".into(), second),
        ("again".into(), head),
        ("b".into(), head),
    ];
    assert_eq!(db.tags().unwrap(), expected);
    // After a reopen, from the checkpoint, and in another handle.
    db.checkpoint().await.unwrap();
    let (_, other, _) = world.open(Options::default()).await;
    assert_eq!(other.tags().unwrap(), expected);
    assert!(other.untag("a").await.unwrap());
    let log = other.stats().head;
    assert!(!other.untag("a").await.unwrap());
    assert!(!other.untag("never").await.unwrap());
    assert_eq!(other.stats().head, log, "nothing to remove, no record");
    db.refresh().await.unwrap();
    assert_eq!(db.tags().unwrap(), expected[1..]);
    assert_eq!(world.content().await, model(0, 10));
}

#[tokio::test]
async fn a_tag_that_cannot_be_is_refused_and_writes_nothing() {
    let world = Aging::new(Told::Clock);
    let empty = Db::open(world.device().env(), Options::default())
        .await
        .unwrap();
    let error = empty.tag("x", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let (_, db, table) = world.open(Options::default()).await;
    ingest(&table, 0, 10).await;
    db.tag("taken", None).await.unwrap();
    let head = db.stats().head;
    let long = "x".repeat(129);
    for (name, at) in [
        ("taken", None),
        ("", None),
        ("a\nb", None),
        (long.as_str(), None),
        ("new", Some(AsOf::Tag("missing".into()))),
    ] {
        let error = db.tag(name, at).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?}: {error}");
    }
    let error = db.tag("new", Some(AsOf::Timestamp(-1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired, "{error}");
    assert_eq!(db.stats().head, head);
    let error = db.tag("taken", None).await.unwrap_err();
    assert!(error.message().contains("\"taken\""), "{error}");
    // Another handle took the name meanwhile: the log decides.
    let (_, other, _) = world.open(Options::default()).await;
    other.tag("race", None).await.unwrap();
    let error = db.tag("race", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    db.close().await.unwrap();
    assert_eq!(db.tags().unwrap_err().kind(), ErrorKind::Closed);
}

/// PROTOCOL T3.
#[tokio::test]
async fn a_timestamp_beyond_the_head_means_the_head_of_the_log() {
    let world = Aging::new(Told::Clock);
    let (_, db, table) = world.open(Options::default()).await;
    ingest(&table, 0, 10).await;
    let (_, other, theirs) = world.open(Options::default()).await;
    world.pass(HOUR / 4);
    ingest(&theirs, 10, 20).await;
    let newest = other.stats().last_timestamp;
    // This handle has not seen that commit.
    let far = db
        .tag("far", Some(AsOf::Timestamp(i64::MAX)))
        .await
        .unwrap();
    assert_eq!(far, newest);
    let between = newest - 1;
    assert_eq!(
        db.tag("x", Some(AsOf::Timestamp(between))).await.unwrap(),
        between
    );
}

/// PROTOCOL G1: below the watermark things may be gone.
#[tokio::test]
async fn below_the_watermark_a_tag_is_expired_naming_the_oldest_time() {
    let world = Aging::new(Told::Clock);
    let (_, db, table) = world.open(Options::default()).await;
    ingest(&table, 0, 10).await;
    world.pass(30 * HOUR);
    ingest(&table, 10, 20).await;
    let oldest = db.gc(GcOptions::default()).await.unwrap().watermark;
    assert!(oldest > 0);
    let error = db
        .tag("x", Some(AsOf::Timestamp(oldest - 1)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
    // START is 2023-11-14T22:13:20Z; 30 hours later, less 24.
    let text = format!("oldest available is {oldest} (2023-11-15T04:13:20.000000Z)");
    assert!(error.message().contains(&text), "{error}");
    assert_eq!(
        db.tag("x", Some(AsOf::Timestamp(oldest))).await.unwrap(),
        oldest
    );

    let version = Version {
        watermark: 7,
        ..Version::default()
    };
    assert!(check_as_of(&version, 7).is_ok() && check_as_of(&version, i64::MAX).is_ok());
    for ts in [6, 0, i64::MIN] {
        assert_eq!(
            check_as_of(&version, ts).unwrap_err().kind(),
            ErrorKind::Expired
        );
    }
}

/// PROTOCOL T5: with a WAL a tag without a time has what this device wrote.
#[tokio::test]
async fn a_tag_of_a_local_database_flushes_first() {
    let world = Aging::new(Told::Clock);
    let env = Env {
        wal: Some(Memory::new()),
        ..world.device().env()
    };
    let db = Db::open(env, Options::default()).await.unwrap();
    let table = engine::table(&db, "t").await;
    ingest(&table, 0, 10).await;
    assert_eq!(db.stats().backlog_rows, 10);
    let ts = db.tag("x", None).await.unwrap();
    assert_eq!(db.stats().backlog_rows, 0);
    assert_eq!(world.content().await, model(0, 10));
    let versions = db.versions(10).await.unwrap();
    let tagged = versions.iter().find(|v| v.tags == ["x"]).unwrap();
    assert_eq!(tagged.ts, ts);
    // With a time it does not.
    ingest(&table, 10, 20).await;
    db.tag("y", Some(AsOf::Timestamp(ts))).await.unwrap();
    assert_eq!(db.stats().backlog_rows, 10);
}

/// DESIGN promise 18. The table was gone from what the tag names, and once its name was used again the tag
/// had no rows.
#[tokio::test]
async fn a_tag_keeps_a_table_that_was_dropped_later() {
    for inline in [true, false] {
        let world = Aging::new(Told::Clock);
        let (_, db, table) = world.open(Options::default()).await;
        ingest(&table, 0, 10).await;
        if !inline {
            db.flush().await.unwrap();
        }
        db.tag("v1", None).await.unwrap();
        let check = async |what: &str| {
            let env = world.device().env();
            let other = Db::open(env, Options::default()).await.unwrap();
            for db in [&db, &other] {
                let snapshot = db.snapshot_at(AsOf::Tag("v1".into())).await.unwrap();
                let then = engine::scanned(snapshot.table("t").unwrap().scan()).await;
                assert_eq!(then.unwrap(), model(0, 10), "{what}, inline {inline}");
            }
        };
        world.pass(HOUR);
        assert!(db.drop_table("t").await.unwrap());
        check("dropped").await;
        let again = engine::table(&db, "t").await;
        ingest(&again, 50, 60).await;
        check("created again").await;
        db.flush().await.unwrap();
        check("flushed").await;
        db.checkpoint().await.unwrap();
        check("from a checkpoint").await;
        // Long after the retention, whatever gc does.
        for _ in 0..4 {
            world.pass(100 * HOUR);
            db.gc(GcOptions::default()).await.unwrap();
            check("after gc").await;
            db.checkpoint().await.unwrap();
        }
        assert!(!world.keys("data/1/").await.is_empty(), "inline {inline}");
        assert!(db.untag("v1").await.unwrap());
        for _ in 0..4 {
            world.pass(100 * HOUR);
            db.gc(GcOptions::default()).await.unwrap();
            db.checkpoint().await.unwrap();
        }
        assert_eq!(world.keys("data/1/").await.len(), 0, "inline {inline}");
        assert_eq!(world.content().await, model(50, 60));
    }
}

#[tokio::test]
async fn versions_are_listed_newest_first_with_their_tags() {
    let world = Aging::new(Told::Clock);
    let (_, db, table) = world.open(Options::default()).await;
    let mut stamps = vec![db.stats().last_timestamp];
    for i in 0..20 {
        world.pass(HOUR / 60);
        let rows = engine::batch(&engine::rows(i, i + 1, 0));
        stamps.push(table.ingest(&[rows]).await.unwrap().ts);
    }
    let at = |ts| Some(AsOf::Timestamp(ts));
    db.tag("exact", at(stamps[7])).await.unwrap();
    db.tag("between", at(stamps[7] + 5)).await.unwrap();
    db.tag("newest", None).await.unwrap();
    let all = db.versions(1000).await.unwrap();
    assert_eq!(all.len(), 24);
    let seqs: Vec<u64> = all.iter().map(|v| v.seq).collect();
    assert_eq!(seqs, (1..=24).rev().collect::<Vec<u64>>());
    for version in &all[3..] {
        assert_eq!(version.ts, stamps[version.seq as usize - 1]);
    }
    let of =
        |tags: &[&str]| -> Vec<&LogVersion> { all.iter().filter(|v| v.tags == tags).collect() };
    assert_eq!(of(&["between", "exact"])[0].ts, stamps[7]);
    assert_eq!(of(&["newest"])[0].seq, 23);
    assert_eq!(of(&[]).len(), 22);
    // Cheap: the newest is known, each other is one GET.
    let before = world.memory.counters();
    assert_eq!(db.versions(1).await.unwrap(), all[..1]);
    assert_eq!(db.versions(0).await.unwrap(), []);
    assert_eq!(world.memory.counters(), before);
    assert_eq!(db.versions(5).await.unwrap(), all[..5]);
    assert_eq!(world.memory.counters().get - before.get, 5);
    // A name that gc freed and a sleeper won: not of the log, and nothing below it is.
    let bytes = world.memory.get(&record_key(3)).await.unwrap().unwrap();
    world.memory.put(&record_key(5), bytes).await.unwrap();
    let error_or = db.versions(1000).await;
    assert!(
        error_or.map_or(true, |v| v == all[..19]),
        "down to record 6"
    );
    world.memory.delete(&record_key(5)).await.unwrap();
    assert_eq!(db.versions(1000).await.unwrap(), all[..19]);
}

#[tokio::test]
async fn versions_below_the_watermark_are_not_listed() {
    let world = Aging::new(Told::Clock);
    // No flush in between.
    let options = Options {
        seal_age: 1000 * HOUR,
        ..Options::default()
    };
    let (_, db, table) = world.open(options).await;
    for i in 0..10 {
        ingest(&table, i, i + 1).await;
        world.pass(6 * HOUR);
    }
    let oldest = db.gc(GcOptions::default()).await.unwrap().watermark;
    assert_eq!(oldest, world.now() - 24 * MICROS);
    let versions = db.versions(1000).await.unwrap();
    assert_eq!(
        versions.len(),
        5,
        "gc's own, and those of the last 24 hours"
    );
    assert!(versions.iter().all(|v| v.ts >= oldest));
}

/// Calls that a caller may move between threads.
#[test]
fn the_calls_can_be_spawned() {
    fn check<T: Send>(_: impl FnOnce(Db) -> T) {}
    check(|db| async move { db.tag("x", None).await });
    check(|db| async move { db.untag("x").await });
    check(|db| async move { db.versions(1).await });
    check(|db| async move { db.gc(GcOptions::default()).await });
    check(|db| async move { db.configure(Default::default()).await });
}

/// Keys of sstables: what is not exactly one of ours is none.
#[test]
fn names_of_sstables_are_read_back_and_nothing_else_is() {
    use lakeshore::sstable::meta::{Ulid, object_key, parse_object_key};
    let mut random = Random::new(1);
    for _ in 0..2000 {
        let mut id = [0u8; 16];
        id.fill_with(|| random.next() as u8);
        let key = object_key(random.next() as u32, Ulid(id));
        let (table, ulid) = parse_object_key(&key).unwrap();
        assert_eq!((object_key(table, ulid), ulid), (key.clone(), Ulid(id)));
        let mut other = key.into_bytes();
        let at = random.below(other.len());
        other[at] = random.next() as u8;
        if let Ok(other) = String::from_utf8(other)
            && let Some((table, id)) = parse_object_key(&other)
        {
            assert_eq!(object_key(table, id), other);
        }
    }
    assert_eq!(Ulid([0xff; 16]).millis(), (1 << 48) - 1);
    assert_eq!(Ulid::parse("zzzzzzzzzzzzzzzzzzzzzzzzzz"), None, "130 bits");
}
