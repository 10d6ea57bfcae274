//! What every store must do (the invariants in `src/env/storage.rs`), as checks over any
//! `Storage`. No executor is named, so that the same checks run natively and in a browser.

use bytes::Bytes;
use futures_util::future::join_all;
use lakeshore::{
    ErrorKind,
    env::{BoxFuture, ObjectMeta, PutOutcome, Runtime, Storage},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a store is excused from. Nothing, for ours.
#[derive(Clone, Copy, Default)]
pub struct Excused {
    /// A reader may miss an object while it is replaced.
    pub replacing_hides: bool,
    /// 2,500 objects would take long: 250 are enough.
    pub slow: bool,
    /// It is for data only: no append files, no locks.
    pub no_wal: bool,
}

/// All checks, each in an empty store that `make` returns.
pub async fn run(make: impl Fn() -> Arc<dyn Storage>, excused: Excused) {
    objects_are_read_back_whole_and_in_parts(make()).await;
    what_is_not_there_is_none(make()).await;
    a_range_beyond_the_end_is_corrupt(make()).await;
    put_replaces(make()).await;
    readers_see_one_version_or_the_other(make(), excused).await;
    one_of_fifty_creates(make()).await;
    hostile_keys_are_invalid(make()).await;
    listing_is_complete_ordered_and_filtered(make()).await;
    listing_shows_2500_objects(make(), excused).await;
    deleting_is_idempotent(make()).await;
    a_listing_tells_when_objects_were_written_or_nothing(make()).await;
    empty_objects_exist(make()).await;
    large_objects_survive(make()).await;
    pieces_appear_whole_at_finish(make()).await;
    a_probe_finds_nothing_wrong_and_leaves_nothing_behind(make()).await;
    if excused.no_wal {
        return;
    }
    append_files_grow_and_resume(make()).await;
    locks_exclude_until_released(make()).await;
}

fn bytes(length: usize, seed: u8) -> Bytes {
    (0..length)
        .map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8) ^ seed)
        .collect()
}

fn keys(listed: &[ObjectMeta]) -> Vec<&str> {
    listed.iter().map(|meta| meta.key.as_str()).collect()
}

async fn list(store: &dyn Storage, prefix: &str, after: Option<&str>) -> Vec<String> {
    let listed = store.list(prefix, after).await.unwrap();
    listed.into_iter().map(|meta| meta.key).collect()
}

pub async fn objects_are_read_back_whole_and_in_parts(store: Arc<dyn Storage>) {
    let body = bytes(1000, 1);
    store.put("a/b/c.parquet", body.clone()).await.unwrap();
    assert_eq!(store.get("a/b/c.parquet").await.unwrap().unwrap(), body);
    for (start, end) in [(0, 1000), (0, 1), (999, 1000), (500, 500), (17, 400)] {
        let part = store.get_range("a/b/c.parquet", start..end).await.unwrap();
        assert_eq!(part.unwrap(), body[start as usize..end as usize]);
    }
    for length in [0u64, 1, 64, 1000, 1001, u64::MAX] {
        let (tail, size) = store
            .get_suffix("a/b/c.parquet", length)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(size, 1000);
        assert_eq!(tail, body[1000 - length.min(1000) as usize..]);
    }
}

pub async fn what_is_not_there_is_none(store: Arc<dyn Storage>) {
    store.put("dir/object", bytes(10, 0)).await.unwrap();
    for key in [
        "nothing",
        "dir",
        "dir/objec",
        "dir/object2",
        "no/such/dir",
        "dir/object/below",
    ] {
        assert_eq!(store.get(key).await.unwrap(), None, "{key}");
        assert_eq!(store.get_range(key, 0..1).await.unwrap(), None, "{key}");
        assert_eq!(store.get_suffix(key, 8).await.unwrap(), None, "{key}");
    }
    assert_eq!(store.list("nothing/", None).await.unwrap(), []);
}

pub async fn a_range_beyond_the_end_is_corrupt(store: Arc<dyn Storage>) {
    store.put("x", bytes(100, 3)).await.unwrap();
    for range in [50..101, 0..1000, 100..101, 200..300, 0..200_000] {
        let error = store.get_range("x", range.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{range:?}: {error}");
        assert!(error.message().contains('x'), "{error}");
    }
}

pub async fn put_replaces(store: Arc<dyn Storage>) {
    for length in [100, 10, 1000, 0, 5] {
        store.put("k", bytes(length, 9)).await.unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap(), bytes(length, 9));
    }
    assert_eq!(
        store.put_if_absent("k", bytes(7, 7)).await.unwrap(),
        PutOutcome::Exists
    );
    assert_eq!(store.get("k").await.unwrap().unwrap(), bytes(5, 9));
}

pub async fn readers_see_one_version_or_the_other(store: Arc<dyn Storage>, excused: Excused) {
    store.put("CURRENT", bytes(5000, 0)).await.unwrap();
    let write = async {
        for version in 1..30u8 {
            let body = bytes(5000 + version as usize * 100, version);
            store.put("CURRENT", body).await.unwrap();
        }
    };
    let read = async {
        for _ in 0..60 {
            let Some(body) = store.get("CURRENT").await.unwrap() else {
                assert!(excused.replacing_hides, "the object was gone for a moment");
                continue;
            };
            assert_eq!(body, bytes(body.len(), ((body.len() - 5000) / 100) as u8));
        }
    };
    futures_util::join!(write, read);
}

pub async fn one_of_fifty_creates(store: Arc<dyn Storage>) {
    for round in 0..10 {
        let key = format!("log/{round:020}");
        let attempts = (0..50u8).map(|who| {
            let (store, key) = (&store, &key);
            async move {
                let body = bytes(100 + who as usize, who);
                let outcome = store.put_if_absent(key, body).await.unwrap();
                if outcome == PutOutcome::Exists {
                    // The loser reads the winner's, whole, at once.
                    let body = store.get(key).await.unwrap().unwrap();
                    assert_eq!(body, bytes(body.len(), (body.len() - 100) as u8));
                }
                outcome
            }
        });
        let outcomes = join_all(attempts).await;
        let winner: Vec<usize> = (0..50)
            .filter(|&i| outcomes[i] == PutOutcome::Created)
            .collect();
        assert_eq!(winner.len(), 1, "{key} was created {} times", winner.len());
        let stored = store.get(&key).await.unwrap().unwrap();
        assert_eq!(stored.len(), 100 + winner[0]);
    }
    assert_eq!(list(&*store, "log/", None).await.len(), 10);
}

pub async fn hostile_keys_are_invalid(store: Arc<dyn Storage>) {
    let long = "a".repeat(2000);
    let hostile = [
        "",
        "/",
        "..",
        ".",
        "../x",
        "a/../../x",
        "/x",
        "/etc/passwd",
        "a//b",
        "a/./b",
        "a/",
        "a\0b",
        "a\\b",
        "a b",
        "ü",
        "a:b",
        "C:\\x",
        "a\n",
        "%2e%2e/x",
        "a/.tmp-1",
        "wal.lock",
        &long,
    ];
    for key in hostile {
        let errors = [
            store.get(key).await.err(),
            store.get_range(key, 0..1).await.err(),
            store.get_suffix(key, 1).await.err(),
            store.put(key, Bytes::from_static(b"x")).await.err(),
            store
                .put_if_absent(key, Bytes::from_static(b"x"))
                .await
                .err(),
            store.create(key).await.err(),
            store.delete(key).await.err(),
            store.append(key).await.err(),
        ];
        for (call, error) in errors.into_iter().enumerate() {
            let error = error.unwrap_or_else(|| panic!("call {call} took {key:?}"));
            assert_eq!(
                error.kind(),
                ErrorKind::Invalid,
                "call {call}, {key:?}: {error}"
            );
        }
    }
    for prefix in ["../", "/", "a//", "ü", "a/../", "a\0"] {
        let error = store.list(prefix, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{prefix:?}: {error}");
    }
    for name in ["", "../x", "/x", "a\0"] {
        let error = store.lock(name).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?}: {error}");
    }
    assert_eq!(store.list("", None).await.unwrap(), []);
}

pub async fn listing_is_complete_ordered_and_filtered(store: Arc<dyn Storage>) {
    let mut all = [
        "CURRENT",
        "a-b",
        "a.b",
        "a/b",
        "a/b-c/d",
        "a/bb/c",
        "a/bb/d",
        "a0",
        "log/00000001",
        "log/00000002",
        "log/00000010",
        "log2/x",
        "Z",
        "_",
        "z/y/x/w",
    ];
    for (i, key) in all.iter().enumerate() {
        store.put(key, bytes(i, 0)).await.unwrap();
    }
    let sizes: Vec<ObjectMeta> = store.list("", None).await.unwrap();
    for meta in &sizes {
        let expected = all.iter().position(|key| *key == meta.key).unwrap();
        assert_eq!(meta.size, expected as u64, "{}", meta.key);
    }
    all.sort_unstable();
    assert_eq!(keys(&sizes), all);
    let prefixes = [
        "",
        "a",
        "a/",
        "a/b",
        "a/bb",
        "a/bb/",
        "log",
        "log/",
        "log/0000000",
        "lo",
        "x",
    ];
    let afters = [
        None,
        Some(""),
        Some("a"),
        Some("a/b"),
        Some("a/bb/c"),
        Some("a/bb/"),
        Some("log/00000001"),
        Some("log/00000001x"),
        Some("log0"),
        Some("zzz"),
    ];
    for prefix in prefixes {
        for after in afters {
            let expected: Vec<&str> = all
                .iter()
                .copied()
                .filter(|key| key.starts_with(prefix) && after.is_none_or(|after| *key > after))
                .collect();
            assert_eq!(
                list(&*store, prefix, after).await,
                expected,
                "{prefix:?} {after:?}"
            );
        }
    }
}

pub async fn listing_shows_2500_objects(store: Arc<dyn Storage>, excused: Excused) {
    let count = if excused.slow { 250 } else { 2500 };
    let names: Vec<String> = (0..count).map(|i| format!("log/{i:020}")).collect();
    for chunk in names.chunks(100) {
        let puts = chunk
            .iter()
            .map(|key| store.put(key, Bytes::from_static(b"r")));
        for done in join_all(puts).await {
            done.unwrap();
        }
    }
    assert_eq!(list(&*store, "log/", None).await, names);
    assert_eq!(
        list(&*store, "log/", Some(&names[count - 2])).await,
        names[count - 1..]
    );
    assert_eq!(list(&*store, "log/", Some(&names[99])).await, names[100..]);
}

/// Gives whether the store tells.
pub async fn a_listing_tells_when_objects_were_written_or_nothing(store: Arc<dyn Storage>) -> bool {
    let since_2020 = 1_577_836_800_000_000..4_102_444_800_000_000;
    let mut last = 0;
    let mut tells = Vec::new();
    for key in ["log/1", "data/1/b", "log/0", "log/1"] {
        store.put(key, bytes(10, last as u8)).await.unwrap();
        let listed = store.list("", None).await.unwrap();
        let modified = |meta: &ObjectMeta| meta.modified.unwrap_or(0);
        let written = listed.iter().find(|meta| meta.key == key).unwrap();
        tells.extend(listed.iter().map(|meta| meta.modified.is_some()));
        if written.modified.is_some() {
            assert!(since_2020.contains(&modified(written)), "{written:?}");
            // The newest is the last one written, and no older than what was before.
            assert_eq!(listed.iter().map(modified).max(), written.modified);
            assert!(modified(written) >= last, "{written:?} after {last}");
            last = modified(written);
        }
    }
    assert!(
        tells.iter().all(|t| *t == tells[0]),
        "it tells of some only"
    );
    tells[0]
}

pub async fn deleting_is_idempotent(store: Arc<dyn Storage>) {
    store.delete("never/was").await.unwrap();
    store.put("a/b", bytes(3, 0)).await.unwrap();
    store.delete("a").await.unwrap();
    assert!(
        store.get("a/b").await.unwrap().is_some(),
        "deleting a prefix deletes nothing"
    );
    store.delete("a/b").await.unwrap();
    store.delete("a/b").await.unwrap();
    assert_eq!(store.get("a/b").await.unwrap(), None);
    assert_eq!(store.list("", None).await.unwrap(), []);
    assert_eq!(
        store.put_if_absent("a/b", bytes(4, 0)).await.unwrap(),
        PutOutcome::Created
    );
}

pub async fn empty_objects_exist(store: Arc<dyn Storage>) {
    store.put("empty", Bytes::new()).await.unwrap();
    assert_eq!(store.get("empty").await.unwrap(), Some(Bytes::new()));
    assert_eq!(
        store.get_range("empty", 0..0).await.unwrap(),
        Some(Bytes::new())
    );
    let tail = store.get_suffix("empty", 10).await.unwrap();
    assert_eq!(tail, Some((Bytes::new(), 0)));
    let again = store.put_if_absent("empty", bytes(1, 0)).await.unwrap();
    assert_eq!(again, PutOutcome::Exists);
    let first = store.put_if_absent("void", Bytes::new()).await.unwrap();
    assert_eq!(first, PutOutcome::Created);
    store.create("none").await.unwrap().finish().await.unwrap();
    assert_eq!(list(&*store, "", None).await, ["empty", "none", "void"]);
}

pub async fn large_objects_survive(store: Arc<dyn Storage>) {
    let body = bytes(20 << 20, 5);
    store.put("data/large", body.clone()).await.unwrap();
    assert!(store.get("data/large").await.unwrap().unwrap() == body);
    let part = store.get_range("data/large", 7_000_001..17_000_000);
    assert!(part.await.unwrap().unwrap() == body[7_000_001..17_000_000]);
    let (tail, size) = store
        .get_suffix("data/large", 9_000_000)
        .await
        .unwrap()
        .unwrap();
    assert!(tail == body[body.len() - 9_000_000..] && size == body.len() as u64);
    let outcome = store.put_if_absent("data/large2", body.clone()).await;
    assert_eq!(outcome.unwrap(), PutOutcome::Created);
    assert!(store.get("data/large2").await.unwrap().unwrap() == body);
}

/// A runtime that needs none: time stands still, and randomness only never repeats itself.
#[derive(Debug)]
struct Still;

impl Runtime for Still {
    fn now_micros(&self) -> i64 {
        1_800_000_000_000_000
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn random(&self, bytes: &mut [u8]) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let next = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        for (to, from) in bytes.iter_mut().zip(next.into_iter().cycle()) {
            *to = from;
        }
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn spawn(&self, _: BoxFuture<'static, ()>) {
        panic!("a probe does its own work");
    }
}

pub async fn a_probe_finds_nothing_wrong_and_leaves_nothing_behind(store: Arc<dyn Storage>) {
    let report = lakeshore::probe(store.clone(), Arc::new(Still)).await;
    assert!(report.ok, "{report:#?}");
    assert_eq!(report.checks.len(), 10);
    assert_eq!(store.list("", None).await.unwrap(), []);
}

pub async fn pieces_appear_whole_at_finish(store: Arc<dyn Storage>) {
    let body = bytes(3 << 20, 2);
    let mut writer = store.create("data/t/new.parquet").await.unwrap();
    let mut rest = body.clone();
    for length in [1, 0, 70_000, 1 << 20, 100] {
        writer.write(rest.split_to(length)).await.unwrap();
    }
    assert_eq!(store.get("data/t/new.parquet").await.unwrap(), None);
    assert_eq!(store.list("", None).await.unwrap(), []);
    writer.write(rest).await.unwrap();
    writer.finish().await.unwrap();
    assert!(store.get("data/t/new.parquet").await.unwrap().unwrap() == body);

    // It replaces, and dropped it leaves nothing.
    let mut writer = store.create("data/t/new.parquet").await.unwrap();
    writer.write(bytes(10, 8)).await.unwrap();
    assert!(store.get("data/t/new.parquet").await.unwrap().unwrap() == body);
    writer.finish().await.unwrap();
    assert_eq!(
        store.get("data/t/new.parquet").await.unwrap().unwrap(),
        bytes(10, 8)
    );
    let mut writer = store.create("data/t/gone").await.unwrap();
    writer.write(bytes(100_000, 8)).await.unwrap();
    drop(writer);
    assert_eq!(list(&*store, "", None).await, ["data/t/new.parquet"]);
}

#[allow(dead_code)] // for stores of data only
pub async fn append_files_and_locks_are_unsupported(store: Arc<dyn Storage>) {
    for error in [
        store.append("wal/0001").await.err(),
        store.lock("wal").await.err(),
    ] {
        let error = error.expect("a bucket is no place for a WAL");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains("wal"), "{error}");
    }
    assert_eq!(store.list("", None).await.unwrap(), []);
}

pub async fn append_files_grow_and_resume(store: Arc<dyn Storage>) {
    let mut file = store.append("wal/0001").await.unwrap();
    assert!(file.is_empty());
    file.write(bytes(100, 1)).await.unwrap();
    file.sync().await.unwrap();
    file.write(bytes(0, 0)).await.unwrap();
    file.write(bytes(200_000, 2)).await.unwrap();
    file.sync().await.unwrap();
    assert_eq!(file.len(), 200_100);
    file.close().await.unwrap();

    let mut file = store.append("wal/0001").await.unwrap();
    assert_eq!(file.len(), 200_100);
    file.write(bytes(50, 3)).await.unwrap();
    file.sync().await.unwrap();
    file.sync().await.unwrap();
    assert_eq!(file.len(), 200_150);
    let expected = [bytes(100, 1), bytes(200_000, 2), bytes(50, 3)].concat();
    // Readable while it is open, by replay of another handle.
    assert!(store.get("wal/0001").await.unwrap().unwrap() == expected);
    drop(file);
    let (tail, size) = store.get_suffix("wal/0001", 60).await.unwrap().unwrap();
    assert_eq!(
        (tail, size),
        (Bytes::copy_from_slice(&expected[200_090..]), 200_150)
    );
    let listed = store.list("wal/", None).await.unwrap();
    assert_eq!((keys(&listed), listed[0].size), (vec!["wal/0001"], 200_150));

    // Two files at once, one of them on an object that `put` made.
    store.put("wal/0003", bytes(9, 3)).await.unwrap();
    let mut second = store.append("wal/0002").await.unwrap();
    let mut third = store.append("wal/0003").await.unwrap();
    for i in 0..20 {
        second.write(bytes(i, 7)).await.unwrap();
        third.write(bytes(1, i as u8)).await.unwrap();
    }
    second.close().await.unwrap();
    third.close().await.unwrap();
    let expected: Vec<u8> = (0..20).flat_map(|i| bytes(i, 7)).collect();
    assert_eq!(store.get("wal/0002").await.unwrap().unwrap(), expected);
    assert_eq!(
        store.get_suffix("wal/0003", 0).await.unwrap().unwrap().1,
        29
    );
}

pub async fn locks_exclude_until_released(store: Arc<dyn Storage>) {
    let guard = store.lock("wal").await.unwrap();
    let error = store.lock("wal").await.err().expect("held twice");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.message().contains("wal"), "{error}");
    let other = store.lock("other").await.unwrap();
    guard.release().await.unwrap();
    let guard = store.lock("wal").await.unwrap();
    assert_eq!(
        store.lock("wal").await.err().unwrap().kind(),
        ErrorKind::Busy
    );
    drop(guard);
    store.lock("wal").await.unwrap().release().await.unwrap();
    assert_eq!(
        store.lock("other").await.err().unwrap().kind(),
        ErrorKind::Busy
    );
    drop(other);
    assert_eq!(
        store.list("", None).await.unwrap(),
        [],
        "lock files are not objects"
    );
}
