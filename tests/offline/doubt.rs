//! Commits that may be in a log that has forgotten the floors of their time (PROTOCOL W4).

use super::{
    HOUR, YEAR, kind, prepared, settle,
    support::{
        devices::{Device, World, copy, ingest, model},
        engine::{self, Model},
    },
};
use arrow_schema::{DataType, Field};
use lakeshore::{
    Alteration, Db, ErrorKind, Options, Table, TransactionOptions,
    env::Storage,
    log::{
        checkpoint::{decode_checkpoint, encode_checkpoint},
        record::record_key,
    },
};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

/// A record was sent, nothing heard of it, and the log has forgotten the floors of that time.
pub(super) async fn forgotten(world: &mut World, landed: bool) -> Device {
    let after = sent(world, landed, 0).await;
    forget(world).await;
    after
}

/// A record with two commits was sent, and the process died before anything was heard of it. With a clock
/// that is wrong by `ahead` they are made offline, where nothing says so.
async fn sent(world: &mut World, landed: bool, ahead: i64) -> Device {
    let two = async |_: &Db, table: &Table| {
        ingest(table, 0, 3, 1).await;
        ingest(table, 1, 2, 2).await;
    };
    sent_of(world, landed, ahead, two).await
}

/// The same with the commits that `write` makes.
async fn sent_of(
    world: &mut World,
    landed: bool,
    ahead: i64,
    write: impl AsyncFn(&Db, &Table),
) -> Device {
    let device = world.device();
    let (db, table) = if ahead == 0 {
        device.open().await
    } else {
        device.open().await.0.close().await.unwrap();
        device.stage.store.lock().unwrap().take();
        device.stage.wall.fetch_add(ahead, SeqCst);
        device.cut(true);
        device.open().await
    };
    write(&db, &table).await;
    device.cut(false);
    db.refresh().await.unwrap();
    device.stage.hold.close("log/");
    let call = tokio::spawn({
        let db = db.clone();
        async move { db.flush().await }
    });
    settle().await;
    if !landed {
        world
            .data
            .delete(&record_key(db.stats().head + 1))
            .await
            .unwrap();
    }
    call.abort();
    let after = world.device_on(copy(&device.wal).await);
    after.stage.wall.fetch_add(ahead, SeqCst);
    after
}

/// A day passes, and the log forgets its floors.
async fn forget(world: &mut World) {
    world.pass(HOUR * 25);
    let foreign = world.device();
    let (other, theirs) = foreign.open().await;
    ingest(&theirs, 0, 1, 9).await;
    other.flush().await.unwrap();
    other.checkpoint().await.unwrap();
    other.close().await.unwrap();
    let key = &world
        .data
        .list("checkpoint/", None)
        .await
        .unwrap()
        .pop()
        .unwrap()
        .key;
    let bytes = world.data.get(key).await.unwrap().unwrap();
    let mut version = decode_checkpoint(key, &bytes).unwrap();
    version.wal_floors.clear();
    world
        .data
        .put(key, encode_checkpoint(&version).into())
        .await
        .unwrap();
    world.data.delete("CURRENT").await.unwrap();
    for record in world.data.list("log/", None).await.unwrap() {
        if record.key[4..] < key["checkpoint/".len()..] {
            world.data.delete(&record.key).await.unwrap();
        }
    }
}

#[tokio::test]
async fn commits_that_may_be_in_the_log_are_parked_not_uploaded_again() {
    for landed in [true, false] {
        let mut world = World::new();
        let device = forgotten(&mut world, landed).await;
        let there = match landed {
            true => vec![(0, 3, 1), (1, 2, 2), (0, 1, 9)],
            false => vec![(0, 1, 9)],
        };
        let (db, table) = device.open().await;
        assert_eq!(
            (db.stats().parked_commits, db.stats().backlog_commits),
            (2, 0)
        );
        ingest(&table, 7, 8, 3).await;
        db.flush().await.unwrap();
        let mut expected = model(&there);
        expected.extend(model(&[(7, 8, 3)]));
        assert_eq!(engine::content(&table).await.unwrap(), expected);
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
        let (db, table) = device.open().await;
        let parked = db.parked();
        assert_eq!(parked.len(), 2, "still there after a truncation");
        assert!(
            parked
                .iter()
                .all(|p| p.table.as_deref() == Some("t") && !p.delete)
        );
        assert!(parked[0].made < parked[1].made);
        match landed {
            // The user takes it out and commits it anew, or drops it.
            true => {
                assert_eq!(db.discard_parked().await.unwrap(), 2);
            }
            false => {
                table.ingest_ipc(parked[0].ipc.clone()).await.unwrap();
                assert_eq!(db.restore_parked().await.unwrap(), 2);
                expected.extend(model(&[(0, 3, 1), (1, 2, 2)]));
            }
        }
        assert_eq!(db.stats().parked_commits, 0);
        assert_eq!(engine::content(&table).await.unwrap(), expected);
        let again = world.device_on(copy(&device.wal).await);
        let (db, table) = again.open().await;
        assert_eq!(db.stats().parked_commits, 0, "the decision lasts");
        assert_eq!(engine::content(&table).await.unwrap(), expected);
        db.flush().await.unwrap();
        assert_eq!(world.content().await, expected);
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
        let (db, _) = again.open().await;
        assert_eq!(
            (db.stats().parked_commits, db.stats().backlog_commits),
            (0, 0)
        );
    }
}

/// What was one commit is one again, whatever its tables are called by now; and one that cannot be committed
/// again keeps those behind it, not those before it.
#[tokio::test]
async fn parked_commits_come_back_whole_and_one_that_is_refused_stays_parked() {
    let mut world = World::new();
    let write = async |db: &Db, t: &Table| {
        let u = engine::table(db, "u").await;
        ingest(&u, 0, 5, 1).await;
        let options = TransactionOptions::default();
        let both = db.transaction(options, async |tx| {
            tx.table("t")?
                .ingest(&[engine::batch(&engine::rows(0, 3, 1))])?;
            tx.table("u")?.delete(&[engine::keys(&[1, 2])])?;
            tx.table("u")?
                .ingest(&[engine::batch(&engine::rows(2, 3, 7))])
        });
        both.await.unwrap();
        ingest(t, 1, 2, 2).await;
    };
    let device = sent_of(&mut world, false, 0, write).await;
    forget(&mut world).await;
    let (db, t) = device.open().await;
    assert_eq!(db.stats().parked_commits, 3);
    db.alter_table("u", &[Alteration::RenameTable("v".to_owned())])
        .await
        .unwrap();
    db.alter_table("t", &[Alteration::DropColumn("n".to_owned())])
        .await
        .unwrap();
    let refused = kind::<u64>(db.restore_parked().await);
    assert_eq!(refused.0, ErrorKind::Invalid, "{refused:?}");
    assert_eq!(db.stats().parked_commits, 2, "the first is back");
    let copied = world.device_on(copy(&device.wal).await);
    let again = Db::open(copied.env(), Options::default()).await.unwrap();
    let stats = again.stats();
    assert_eq!((stats.parked_commits, stats.backlog_commits), (2, 1));
    let v = db.table("v").unwrap();
    assert_eq!(engine::content(&v).await.unwrap(), model(&[(0, 5, 1)]));
    assert_eq!(db.stats().backlog_commits, 1);
    let n = Arc::new(Field::new("n", DataType::Int32, true));
    db.alter_table("t", &[Alteration::AddColumn(n)])
        .await
        .unwrap();
    assert_eq!(db.restore_parked().await.unwrap(), 2);
    let stats = db.stats();
    assert_eq!((stats.parked_commits, stats.backlog_commits), (0, 3));
    let expected = model(&[(0, 1, 1), (3, 5, 1), (2, 3, 7)]);
    assert_eq!(engine::content(&v).await.unwrap(), expected);
    let expected = model(&[(0, 3, 1), (1, 2, 2), (0, 1, 9)]);
    assert_eq!(
        engine::get(&t, 0).await.unwrap().map(|row| row.n),
        Some(1),
        "it wins over what was written meanwhile"
    );
    assert_eq!(
        engine::content(&t).await.unwrap().len(),
        expected.len(),
        "each row once"
    );
    let again = world.device_on(copy(&device.wal).await);
    let (db, _) = again.open().await;
    assert_eq!(db.stats().parked_commits, 0, "the decision lasts");
}

/// What counts is when they were sent, not what the device's clock said when they were made.
#[tokio::test]
async fn a_wrong_clock_neither_uploads_again_what_may_be_in_the_log_nor_parks_what_was_just_sent() {
    for ahead in [YEAR, -YEAR] {
        for (landed, forgets) in [(true, true), (false, true), (true, false), (false, false)] {
            let mut world = World::new();
            let device = sent(&mut world, landed, ahead).await;
            match forgets {
                true => forget(&mut world).await,
                false => world.pass(Duration::from_secs(60)),
            }
            let (db, table) = device.open().await;
            let stats = db.stats();
            let expected = match (landed, forgets) {
                (_, true) => (2, 0),
                (true, false) => (0, 0),
                (false, false) => (0, 2),
            };
            let found = (stats.parked_commits, stats.backlog_commits);
            assert_eq!(found, expected, "{ahead} {landed} {forgets}");
            db.flush().await.unwrap();
            let mut there = Model::new();
            if landed || !forgets {
                there.extend(model(&[(0, 3, 1), (1, 2, 2)]));
            }
            if forgets {
                there.extend(model(&[(0, 1, 9)]));
            }
            assert_eq!(engine::content(&table).await.unwrap(), there);
        }
    }
}

#[tokio::test]
async fn a_device_that_opened_offline_uploads_nothing_it_is_not_sure_of() {
    let mut world = World::new();
    let device = forgotten(&mut world, true).await;
    device.cut(true);
    let (db, table) = device.open().await;
    assert_eq!(db.stats().backlog_commits, 2, "offline nobody can say");
    ingest(&table, 7, 8, 3).await;
    device.cut(false);
    let (error, message) = kind(db.flush().await);
    assert!(
        error == ErrorKind::Expired && message.contains("parked()"),
        "{message}"
    );
    ingest(&table, 8, 9, 3).await;
    db.close().await.unwrap();
    let (db, table) = device.open().await;
    assert_eq!(
        (db.stats().parked_commits, db.stats().backlog_commits),
        (2, 2)
    );
    db.flush().await.unwrap();
    let expected = model(&[(0, 3, 1), (1, 2, 2), (0, 1, 9), (7, 9, 3)]);
    assert_eq!(engine::content(&table).await.unwrap(), expected);
}

#[tokio::test]
async fn what_was_never_sent_is_uploaded_however_late() {
    for noted in [true, false] {
        let mut world = World::new();
        let device = prepared(&mut world).await;
        let (db, table) = device.open().await;
        ingest(&table, 20, 25, 3).await;
        assert!(db.flush().await.is_err());
        db.close().await.unwrap();
        world.pass(HOUR * 24 * 9);
        device.cut(false);
        if !noted {
            // What is noted beside the WAL is gone: nobody can say whether it was sent.
            device.wal.delete("uploads").await.unwrap();
        }
        let (db, table) = device.open().await;
        assert_eq!(db.stats().parked_commits, if noted { 0 } else { 1 });
        db.flush().await.unwrap();
        let mut expected = model(&[(0, 10, 1), (10, 15, 2)]);
        if noted {
            expected.extend(engine::rows(20, 25, 3));
        }
        assert_eq!(engine::content(&table).await.unwrap(), expected);
    }
}
