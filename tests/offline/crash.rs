//! A crash at every operation of a device that commits and uploads.

use super::support::{
    crash::{CrashStorage, When},
    engine,
    random::seed,
    stage::Stage,
};
use lakeshore::{Db, Env, Options, UploadOptions, platform::native::TokioRuntime};
use std::sync::atomic::Ordering::SeqCst;

fn crash_env(world: &CrashStorage) -> Env {
    Env {
        data: world.at("data"),
        wal: Some(world.at("wal")),
        runtime: TokioRuntime::current().unwrap(),
    }
}

fn crash_options() -> Options {
    Options {
        wal_segment_bytes: 1500,
        retries: 0,
        ..Options::default()
    }
}

/// Commits of keys of their own, uploads in steps, checkpoints, closes. Counts what was acknowledged.
async fn script(world: &CrashStorage, acknowledged: &mut i64) -> lakeshore::Result<()> {
    for round in 0..3 {
        let db = Db::open(crash_env(world), crash_options()).await?;
        let table = db.create_table("t", engine::schema()).await?;
        for part in 0..3 {
            for _ in 0..3 {
                let (from, to) = (*acknowledged * 3, *acknowledged * 3 + 3);
                table
                    .ingest(&[engine::batch(&engine::rows(from, to, round))])
                    .await?;
                *acknowledged += 1;
            }
            if part != round {
                db.upload(UploadOptions::default()).await?;
            }
        }
        if round != 1 {
            db.checkpoint().await?;
            db.close().await?;
        }
    }
    Ok(())
}

async fn check_crash(left: &CrashStorage, acknowledged: i64, place: &str) {
    // First without the store: all is there, or it says that there is no catalog.
    let cut = Stage::new(1);
    cut.cut.store(true, SeqCst);
    let offline = Env {
        data: cut.env().data,
        ..crash_env(left)
    };
    let rows = |db: &Db| -> u64 {
        let stats = db.stats();
        stats
            .tables
            .iter()
            .map(|t| t.file_rows + t.memtable_rows)
            .sum()
    };
    match Db::open(offline, crash_options()).await {
        Ok(db) => {
            assert!(
                rows(&db) as i64 >= acknowledged * 3,
                "{place}: offline it has {}",
                rows(&db)
            );
            db.close().await.unwrap();
        }
        Err(e) => assert!(
            e.message().contains("no copy of the catalog"),
            "{place}: {e}"
        ),
    }
    let db = Db::open(crash_env(left), crash_options()).await;
    let db = db.unwrap_or_else(|e| panic!("{place}: {e}"));
    if acknowledged == 0 {
        return;
    }
    let table = db.table("t").unwrap();
    let content = engine::content(&table).await.unwrap();
    let ids: Vec<i64> = content.keys().copied().collect();
    let most = (acknowledged + 1) * 3;
    let whole =
        ids.len() as i64 % 3 == 0 && (acknowledged * 3..=most).contains(&(ids.len() as i64));
    assert!(
        whole && ids == (0..ids.len() as i64).collect::<Vec<_>>(),
        "{place}: {ids:?}"
    );
    db.flush().await.unwrap_or_else(|e| panic!("{place}: {e}"));
    assert_eq!(engine::content(&table).await.unwrap(), content, "{place}");
    assert_eq!(
        rows(&db),
        ids.len() as u64,
        "{place}: a row is in the log twice"
    );
    db.close().await.unwrap();
}

#[test]
fn a_crash_at_any_operation_of_uploads_loses_nothing_and_uploads_nothing_twice() {
    let seed = seed();
    let mut swept = 0;
    for n in 0.. {
        let mut reached = false;
        for when in [When::Before, When::Within, When::After] {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            reached = runtime.block_on(async {
                let world = CrashStorage::new(seed);
                world.stop_at(n, when);
                let mut acknowledged = 0;
                let outcome = script(&world, &mut acknowledged).await;
                if !world.is_stopped() {
                    outcome.unwrap();
                    return false;
                }
                let left = world.crash(seed.wrapping_add(n));
                check_crash(
                    &left,
                    acknowledged,
                    &format!("operation {n} {when:?}, SEED={seed}"),
                )
                .await;
                true
            });
        }
        if !reached {
            break;
        }
        swept += 1;
    }
    assert!(swept > 120, "the script has only {swept} operations");
    println!("{swept} operations, each stopped before, within, after; SEED={seed}");
}
