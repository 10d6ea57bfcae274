//! Damage to what a database has on disk: an error of kind `Corrupt` that names the object, or the
//! right rows (where the damage meets nothing that is read), never wrong rows, never a panic. The end
//! of the WAL may be torn: then an exact earlier state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support;

use lakeshore::{Db, Error, ErrorKind, Options, Result, platform::native};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use support::{
    engine::{self, Model},
    random::{Random, seconds, seed},
};

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(root) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&path, &target).unwrap();
    }
}

async fn open(root: &Path) -> Result<Db> {
    let env = native::env(root.join("data"), Some(&root.join("wal")))?;
    Db::open(env, options()).await
}

/// Checkpoints and flushes only when asked for.
fn options() -> Options {
    Options {
        wal_segment_bytes: 2048,
        row_group_rows: 64,
        page_rows: 16,
        ..Options::default()
    }
}

/// Two sstables, log records, a checkpoint, CURRENT, a tail after it, several WAL segments. Returns
/// the model after each commit that is in the WAL alone.
async fn build(root: &Path) -> Vec<Model> {
    let db = open(root).await.unwrap();
    let table = engine::table(&db, "t").await;
    let mut model = Model::new();
    let put = async |model: &mut Model, from, to, mark| {
        let rows = engine::rows(from, to, mark);
        table.ingest(&[engine::batch(&rows)]).await.unwrap();
        model.extend(rows);
    };
    put(&mut model, 0, 200, 1).await;
    db.flush().await.unwrap();
    db.checkpoint().await.unwrap();
    put(&mut model, 100, 300, 2).await;
    table.delete(&[engine::keys(&[5, 150])]).await.unwrap();
    model.remove(&5);
    model.remove(&150);
    db.flush().await.unwrap();
    let mut states = vec![model.clone()];
    for i in 0..6 {
        put(&mut model, 280 + 10 * i, 310 + 10 * i, 3 + i as i32).await;
        states.push(model.clone());
    }
    // A record that no checkpoint covers.
    engine::table(&db, "u").await;
    db.close().await.unwrap();
    states
}

/// Opens and reads everything in every way.
async fn read(root: &Path) -> Result<Model> {
    let db = open(root).await?;
    let outcome = read_all(&db).await;
    db.close().await.unwrap();
    outcome
}

async fn read_all(db: &Db) -> Result<Model> {
    let table = db.table("t")?;
    let content = engine::content(&table).await?;
    for id in [0, 5, 99, 150, 199, 299, 359, 1000] {
        let found = engine::get(&table, id).await?;
        assert_eq!(
            found.as_ref(),
            content.get(&id),
            "get {id} and the scan differ"
        );
    }
    let mut reverse = Model::new();
    for batch in table.scan().reverse(true).stream()?.collect().await? {
        reverse.extend(engine::unpack(&batch));
    }
    assert_eq!(reverse, content, "the reverse scan differs");
    assert_eq!(table.scan().count().await?, content.len() as u64);
    Ok(content)
}

fn kind_of(root: &Path, path: &Path) -> (String, String) {
    let object = path.strip_prefix(root).unwrap().display().to_string();
    let object = object.strip_prefix("data/").unwrap_or(&object).to_owned();
    let kind = match object.split('/').next().unwrap() {
        "data" => "sstable",
        other => other,
    };
    (kind.to_owned(), object)
}

fn names(error: &Error, object: &str) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{object}: {error}");
    let name = object.rsplit('/').next().unwrap();
    assert!(error.message().contains(name), "{name} is not in: {error}");
}

#[tokio::test]
async fn a_flipped_byte_in_any_stored_object_is_an_error_with_its_name_or_harmless() {
    let (seed, clock) = (seed(), seconds(8));
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let original = tempfile::tempdir().unwrap();
    let states = build(original.path()).await;
    let whole = states.last().unwrap();
    let objects: Vec<PathBuf> = files(original.path())
        .into_iter()
        .filter(|p| !p.ends_with("wal.lock"))
        .collect();
    let is_segment = |p: &&PathBuf| p.extension().is_some_and(|e| e == "wal");
    let segments: Vec<&PathBuf> = objects.iter().filter(is_segment).collect();
    assert!(segments.len() > 2, "several segments: {objects:?}");
    let work = tempfile::tempdir().unwrap();
    copy(original.path(), work.path());
    assert_eq!(&read(work.path()).await.unwrap(), whole);
    // What happened, by kind of object: found, harmless, earlier state.
    let mut told: BTreeMap<String, [u32; 3]> = BTreeMap::new();
    let mut turn = 0;
    while clock.left() {
        let path = &objects[turn % objects.len()];
        turn += 1;
        let (kind, object) = kind_of(original.path(), path);
        let bytes = fs::read(path).unwrap();
        let target = work
            .path()
            .join(path.strip_prefix(original.path()).unwrap());
        let mut damaged = bytes.clone();
        let at = match random.below(4) {
            // Footers and tails.
            0 => damaged.len() - 1 - random.below(damaged.len().min(64)),
            _ => random.below(damaged.len()),
        };
        damaged[at] ^= 1 << random.below(8);
        fs::write(&target, &damaged).unwrap();
        let count = told.entry(kind.clone()).or_default();
        match read(work.path()).await {
            Err(error) => {
                names(&error, &object);
                count[0] += 1;
            }
            Ok(found) if &found == whole => count[1] += 1,
            Ok(found) => {
                let last = segments.last().unwrap();
                assert!(
                    path == *last && states.contains(&found),
                    "byte {at} of {object}: other rows"
                );
                count[2] += 1;
            }
        }
        fs::write(&target, &bytes).unwrap();
    }
    println!("{told:?} (found, harmless, an earlier state)");
    for kind in ["CURRENT", "log", "sstable", "wal"] {
        assert!(told[kind][0] > 0, "no damage to {kind} was found: {told:?}");
    }
    assert_eq!(&read(work.path()).await.unwrap(), whole);
}

#[tokio::test]
async fn a_missing_object_is_corrupt_and_named() {
    let original = tempfile::tempdir().unwrap();
    let states = build(original.path()).await;
    let mut met = BTreeMap::<String, u32>::new();
    for path in files(original.path()) {
        let (kind, object) = kind_of(original.path(), &path);
        let work = tempfile::tempdir().unwrap();
        copy(original.path(), work.path());
        fs::remove_file(
            work.path()
                .join(path.strip_prefix(original.path()).unwrap()),
        )
        .unwrap();
        match read(work.path()).await {
            Err(error) if kind == "sstable" => {
                names(&error, &object);
                *met.entry(kind).or_default() += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{object}: {error}"),
            // The last record or the end of the WAL: as if it had never happened.
            Ok(found) => {
                assert_ne!(kind, "sstable", "{object}");
                assert!(states.contains(&found), "{object}: other rows without it");
            }
        }
    }
    assert_eq!(met["sstable"], 2);
}

#[tokio::test]
async fn the_other_half_of_another_database_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build(one.path()).await;
    build(two.path()).await;
    let mixed = |data: &Path, wal: &Path| native::env(data.join("data"), Some(&wal.join("wal")));
    for _ in 0..2 {
        let env = mixed(one.path(), two.path()).unwrap();
        let error = Db::open(env, options()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().contains("belongs to database"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let env = mixed(empty.path(), two.path()).unwrap();
        let error = Db::open(env, options()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(
            error.message().contains("no database in the data store"),
            "{error}"
        );
    }
    // Both are as they were.
    read(one.path()).await.unwrap();
    read(two.path()).await.unwrap();
}
