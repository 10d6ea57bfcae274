//! Crash at every I/O: a scripted run over two tables is stopped at storage operation n, for every
//! n, before, within and after its effect; then the power is cut. What was synced survives; unsynced
//! bytes and names survive wholly, torn, or not at all, by seed. After reopening, every acknowledged
//! commit is there and no part of another is, except the one in flight, which is whole or absent. A
//! second reopen equals the first, and the database goes on working.
//!
//! The same run over a store whose sync does nothing must fail: else this test proves nothing.

use crate::support;

use lakeshore::{Db, Env, Options, Result, platform::native::TokioRuntime};
use support::{
    crash::{CrashStorage, When},
    engine::{self, Model},
    random::{seconds, seed},
};

/// Content of both tables.
type Content = [Model; 2];

fn options() -> Options {
    // Explicit maintenance only: the run is the same operations in the same order, whatever n is.
    Options {
        wal_segment_bytes: 3000,
        retries: 0,
        row_group_rows: 64,
        ..Options::default()
    }
}

/// `local` has a WAL, `remote` none.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Durability {
    Local,
    Remote,
}
use Durability::{Local, Remote};

fn env(world: &CrashStorage, durability: Durability) -> Env {
    Env {
        data: world.at("data"),
        wal: (durability == Local).then(|| world.at("wal") as _),
        runtime: TokioRuntime::current().unwrap(),
    }
}

/// What a run told its caller.
#[derive(Default)]
struct Told {
    /// Content after each commit, from none on; the last is the one in flight, if any is.
    states: Vec<Content>,
    /// So many commits were acknowledged.
    acknowledged: usize,
}

/// One commit to one table.
enum Change {
    Rows(i64, i64, i32),
    Delete(Vec<i64>),
}

async fn commit(db: &Db, told: &mut Told, table: usize, change: Change) -> Result<()> {
    let mut next = told.states[told.acknowledged].clone();
    let handle = db.table(["a", "b"][table])?;
    told.states.truncate(told.acknowledged + 1);
    match change {
        Change::Rows(from, to, mark) => {
            let rows = engine::rows(from, to, mark);
            next[table].extend(rows.iter().cloned());
            told.states.push(next);
            handle.ingest(&[engine::batch(&rows)]).await?;
        }
        Change::Delete(ids) => {
            ids.iter().for_each(|id| _ = next[table].remove(id));
            told.states.push(next);
            handle.delete(&[engine::keys(&ids)]).await?;
        }
    }
    told.acknowledged += 1;
    Ok(())
}

/// The scripted run.
async fn script(world: &CrashStorage, durability: Durability, told: &mut Told) -> Result<()> {
    told.states.push(Content::default());
    let db = Db::open(env(world, durability), options()).await?;
    db.create_table("a", engine::schema()).await?;
    db.create_table("b", engine::schema()).await?;
    commits(&db, told, 0..40).await?;
    db.flush().await?;
    commits(&db, told, 40..70).await?;
    db.close().await?;
    let db = Db::open(env(world, durability), options()).await?;
    commits(&db, told, 70..100).await?;
    db.flush().await?;
    commits(&db, told, 100..120).await?;
    db.checkpoint().await?;
    commits(&db, told, 120..140).await?;
    db.close().await
}

async fn commits(db: &Db, told: &mut Told, range: std::ops::Range<i64>) -> Result<()> {
    for i in range {
        let table = (i % 3 == 0) as usize;
        let from = (i * 7) % 90;
        let change = match i % 5 {
            4 => Change::Delete(vec![from, from + 1, from + 50]),
            _ => Change::Rows(from, from + 1 + i % 6, i as i32),
        };
        commit(db, told, table, change).await?;
    }
    Ok(())
}

async fn read(db: &Db) -> Result<Content> {
    let mut content = Content::default();
    for (i, name) in ["a", "b"].into_iter().enumerate() {
        if db.tables().iter().any(|t| t.0 == name) {
            content[i] = engine::content(&db.table(name)?).await?;
        }
    }
    Ok(content)
}

/// Reopens what a stopped run left and says what is wrong with it.
async fn check(
    world: &CrashStorage,
    durability: Durability,
    told: &Told,
) -> std::result::Result<(), String> {
    let wrong = |what: &str, e: lakeshore::Error| format!("{what}: {e}");
    let db = Db::open(env(world, durability), options())
        .await
        .map_err(|e| wrong("the reopen failed", e))?;
    let first = read(&db).await.map_err(|e| wrong("reading failed", e))?;
    let stamp = db.stats().last_timestamp;
    if !told.states[told.acknowledged..].contains(&first) {
        let lost = told.states[..told.acknowledged].contains(&first);
        return Err(match lost {
            true => "an acknowledged commit is lost".into(),
            false => "a part of a commit is there, or something that never was".into(),
        });
    }
    db.close().await.map_err(|e| wrong("closing failed", e))?;
    let db = Db::open(env(world, durability), options())
        .await
        .map_err(|e| wrong("the 2nd reopen failed", e))?;
    let second = read(&db)
        .await
        .map_err(|e| wrong("reading again failed", e))?;
    if second != first || db.stats().last_timestamp != stamp {
        return Err("the second reopen differs from the first".into());
    }
    let table = engine::table(&db, "a").await;
    let rows = engine::rows(1000, 1003, -1);
    table
        .ingest(&[engine::batch(&rows)])
        .await
        .map_err(|e| wrong("the next ingest failed", e))?;
    db.flush()
        .await
        .map_err(|e| wrong("the next flush failed", e))?;
    let mut expected = first[0].clone();
    expected.extend(rows);
    match engine::content(&table)
        .await
        .map_err(|e| wrong("the last read failed", e))?
    {
        content if content == expected => Ok(()),
        _ => Err("after a further ingest and flush the content is wrong".into()),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Stops the script at operation `n` and checks what is left; `None` if it ran to its end.
fn stop_at(
    durability: Durability,
    n: u64,
    when: When,
    seed: u64,
    ignore_sync: bool,
) -> Option<std::result::Result<(), String>> {
    runtime().block_on(async {
        let world = CrashStorage::new(seed);
        world.ignore_sync(ignore_sync);
        world.stop_at(n, when);
        let mut told = Told::default();
        let outcome = script(&world, durability, &mut told).await;
        if !world.is_stopped() {
            outcome.expect("the script must not fail by itself");
            return None;
        }
        let left = world.crash(seed.wrapping_add(n));
        left.ignore_sync(false);
        Some(check(&left, durability, &told).await)
    })
}

/// Sweeps every operation; gives how many there are.
fn sweep(durability: Durability, seed: u64) -> u64 {
    for n in 0.. {
        for when in [When::Before, When::Within, When::After] {
            match stop_at(durability, n, when, seed, false) {
                None => return n,
                Some(Ok(())) => {}
                Some(Err(what)) => {
                    panic!("{durability:?}, operation {n} {when:?}: {what}; SEED={seed}")
                }
            }
        }
    }
    0
}

#[test]
fn stopping_at_any_operation_loses_nothing_acknowledged() {
    let seed = seed();
    let time = seconds(1);
    let mut sweeps = 0;
    // At least one whole sweep; a long run goes on with other seeds.
    while sweeps == 0 || time.left() {
        let seed = seed + sweeps;
        let operations = sweep(Local, seed);
        assert!(
            operations >= 300,
            "the script has only {operations} operations"
        );
        let remote = sweep(Remote, seed);
        println!(
            "{operations} + {remote} operations, each stopped before, within, after; SEED={seed}"
        );
        sweeps += 1;
    }
}

#[test]
fn a_store_that_ignores_sync_is_found_out() {
    let seed = seed();
    let mut lost = 0;
    for n in (10..300).step_by(7) {
        let outcome = stop_at(Local, n, When::Before, seed, true);
        lost += usize::from(matches!(outcome, Some(Err(_))));
    }
    println!("{lost} of 42 stops lost something; SEED={seed}");
    assert!(
        lost > 0,
        "no stop lost anything without sync: the crash test proves nothing"
    );
}
