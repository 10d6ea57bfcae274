//! Records carry copies of their predecessors, so that few requests read many. Copies only save
//! requests: the chain proves them, they are bounded, and where they lie that is damage with a place.

use crate::support;

use bytes::Bytes;
use lakeshore::{
    Db, Env, ErrorKind, Options, Table,
    env::Storage,
    log::{
        chain::{MAX_COPIES, MAX_COPY_BYTES, unpack},
        edit::Edit,
        record::{Record, decode_object, encode_object, record_key},
    },
    platform::{memory::Memory, native::TokioRuntime},
};
use std::sync::Arc;
use support::{
    engine::{self, Model, Row},
    random::{Random, seconds, seed},
};

async fn open(data: &Arc<Memory>) -> lakeshore::Result<Db> {
    let env = Env {
        data: data.clone(),
        wal: None,
        runtime: TokioRuntime::current().unwrap(),
    };
    let options = Options {
        checkpoint_records: 1_000_000,
        checkpoint_bytes: 1 << 40,
        ..Options::default()
    };
    Db::open(env, options).await
}

async fn ingest(table: &Table, id: i64, name: String) -> (i64, Row) {
    let row = (id, Row { name, n: 0 });
    table
        .ingest(&[engine::batch(std::slice::from_ref(&row))])
        .await
        .unwrap();
    row
}

/// A log of `records` small records: the table, and a row each.
async fn small(records: i64) -> (Arc<Memory>, Db, Model) {
    let data = Memory::new();
    let db = open(&data).await.unwrap();
    let table = engine::table(&db, "t").await;
    let mut model = Model::new();
    for id in 1..records {
        let (id, row) = ingest(&table, id, format!("row {id}")).await;
        model.insert(id, row);
    }
    (data, db, model)
}

async fn object(data: &Memory, seq: u64) -> (Bytes, Vec<Bytes>) {
    let bytes = data.get(&record_key(seq)).await.unwrap().unwrap();
    decode_object("it", &bytes).unwrap()
}

async fn replace(data: &Memory, seq: u64, body: &[u8], copies: &[Bytes]) {
    let bytes = encode_object(body, copies);
    data.put(&record_key(seq), bytes).await.unwrap();
}

async fn content(db: &Db) -> Model {
    engine::content(&db.table("t").unwrap()).await.unwrap()
}

#[tokio::test]
async fn an_open_reads_seventeen_small_records_a_get() {
    for (records, gets) in [(1, 1), (2, 1), (17, 1), (18, 2), (34, 2), (35, 3), (69, 5)] {
        let (data, _, model) = small(records).await;
        let db = open(&data).await.unwrap();
        assert_eq!(content(&db).await, model);
        let requests = db.stats().data;
        assert_eq!(
            (requests.get, requests.list),
            (1 + gets, 1),
            "{records} records"
        );
    }
}

/// Of any sizes, by several handles, some new, some behind: what is copied is what was there, within
/// the bounds, and whoever reads it has what was committed.
#[tokio::test]
async fn copies_are_the_nearest_predecessors_within_their_bounds() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let time = seconds(5);
    let (mut logs, mut most) = (0, (0, 0));
    while time.left() || most.0 < MAX_COPIES {
        logs += 1;
        let data = Memory::new();
        let mut handles = vec![open(&data).await.unwrap()];
        engine::table(&handles[0], "t").await;
        let mut model = Model::new();
        let sizes = [1, 100, 900, 1500, 9_000, 33_000];
        let largest = 1 + random.below(sizes.len());
        for id in 0..random.below(90) as i64 {
            if random.chance(0.15) {
                handles.push(open(&data).await.unwrap());
            }
            if random.chance(0.1) {
                let db = random.pick(&handles);
                db.refresh().await.unwrap();
                assert_eq!(content(db).await, model, "SEED={seed}");
            }
            if random.chance(0.02) {
                random.pick(&handles).checkpoint().await.unwrap();
            }
            let db = random.pick(&handles);
            db.refresh().await.unwrap();
            let size = *random.pick(&sizes[..largest]);
            let (id, row) = ingest(&db.table("t").unwrap(), id, "x".repeat(size)).await;
            model.insert(id, row);
        }
        let db = open(&data).await.unwrap();
        assert_eq!(content(&db).await, model, "SEED={seed}");
        let head = db.stats().head;
        let mut bodies = vec![Bytes::new()];
        for seq in 1..=head {
            let (body, copies) = object(&data, seq).await;
            let bytes: usize = copies.iter().map(Bytes::len).sum();
            assert!(copies.len() <= MAX_COPIES && bytes <= MAX_COPY_BYTES);
            most = (most.0.max(copies.len()), most.1.max(bytes));
            let before = bodies[1..].iter().rev().take(copies.len());
            assert!(before.eq(copies.iter()), "record {seq}, SEED={seed}");
            bodies.push(body);
        }
    }
    println!("{logs} logs; at most {} copies, {} bytes", most.0, most.1);
}

/// What is not copied (large records) is read itself; never more requests than records.
#[tokio::test]
async fn records_too_large_to_copy_are_read_themselves() {
    let data = Memory::new();
    let db = open(&data).await.unwrap();
    let table = engine::table(&db, "t").await;
    let mut model = Model::new();
    for id in 1..40 {
        let (id, row) = ingest(&table, id, "x".repeat(33_000)).await;
        model.insert(id, row);
    }
    let db = open(&data).await.unwrap();
    assert_eq!(content(&db).await, model);
    assert_eq!(db.stats().data.get, 1 + 40);
    assert!(db.stats().data.bytes_read < 40 * 35_000);
}

/// The checksums are right, so it is damage or malice; and never a wrong row.
#[tokio::test]
async fn a_copy_that_does_not_verify_is_corrupt_with_the_objects_name() {
    let (data, _, _) = small(12).await;
    let (body, copies) = object(&data, 12).await;
    let (foreign, ..) = small(12).await;
    let (_, theirs) = object(&foreign, 12).await;
    let copy = |at: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut lie = copies.clone();
        let mut bytes = lie[at].to_vec();
        change(&mut bytes);
        lie[at] = bytes.into();
        lie
    };
    let forged = |at: usize| {
        let mut record = Record::decode("it", &copies[at]).unwrap();
        let rows = record.edits.iter_mut();
        for edit in rows {
            if let Edit::Rows { kind, .. } = edit {
                *kind = lakeshore::merge::Kind::Delete;
            }
        }
        copy(at, &|bytes| *bytes = record.encode().to_vec())
    };
    let mut lies = vec![
        forged(0),
        forged(3),
        copy(1, &|bytes| *bytes.last_mut().unwrap() ^= 1),
        copy(2, &|bytes| bytes.truncate(20)),
        copy(4, &Vec::clear),
        copies[1..].to_vec(),
        copies[..2].iter().chain(&copies[3..]).cloned().collect(),
        copies.iter().rev().cloned().collect(),
        vec![copies[0].clone(); 5],
        theirs,
        copies.iter().chain(&copies[..3]).cloned().collect(),
    ];
    lies.push(vec![body.clone()]);
    for (lie, copies) in lies.iter().enumerate() {
        replace(&data, 12, &body, copies).await;
        let error = open(&data).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "lie {lie}: {error}");
        assert!(
            error.message().contains(&record_key(12)),
            "lie {lie}: {error}"
        );
    }
}

/// Who has the records before does not look at the copies: the slot says what the record is.
#[tokio::test]
async fn a_handle_that_is_not_behind_needs_no_copies() {
    let (data, db, mut model) = small(11).await;
    let other = open(&data).await.unwrap();
    let (id, row) = ingest(&other.table("t").unwrap(), 100, "new".into()).await;
    model.insert(id, row);
    let (body, _) = object(&data, 12).await;
    replace(&data, 12, &body, &[]).await;
    assert!(db.refresh().await.unwrap());
    assert_eq!(content(&db).await, model);
}

/// Counts and lengths that claim more than there is.
#[test]
fn copies_that_claim_more_than_the_bytes_are_refused() {
    let body = Record {
        database: [1; 16],
        seq: 40,
        prev: [2; 32],
        ts: 3,
        writer: [4; 16],
        nonce: 5,
        edits: Vec::new(),
    }
    .encode();
    let honest = encode_object(&body, &[]);
    assert!(unpack(40, &honest, 1).is_ok());
    let at = honest.len() - 8;
    for (count, more) in [(1u32, 0u32), (u32::MAX, 0), (1, u32::MAX), (2, 1), (0, 7)] {
        let mut lie = honest[..at].to_vec();
        lie.extend_from_slice(&count.to_le_bytes());
        lie.extend_from_slice(&more.to_le_bytes());
        let crc = crc32c::crc32c(&lie);
        lie.extend_from_slice(&crc.to_le_bytes());
        let error = unpack(40, &lie.into(), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{count} {more}: {error}");
        assert!(error.message().contains(&record_key(40)), "{error}");
    }
}

/// A slot below a checkpoint that gc freed and a sleeper put again, while its neighbours are still
/// there (gc deletes one by one): wherever the reader meets it, it reads what the log says.
#[tokio::test]
async fn a_ghost_in_a_slot_is_never_read_for_the_record() {
    for ghost in 2..30 {
        let (data, db, model) = small(30).await;
        let (body, copies) = object(&data, ghost).await;
        let mut record = Record::decode("it", &body).unwrap();
        record.nonce ^= 1;
        record.edits.clear();
        replace(&data, ghost, &record.encode(), &copies).await;
        let current = data.get("CURRENT").await.unwrap();
        assert!(current.is_none(), "readers begin at the first record");
        db.checkpoint().await.unwrap();
        data.delete("CURRENT").await.unwrap();
        let reader = open(&data).await.unwrap();
        assert_eq!(content(&reader).await, model, "ghost at {ghost}");
        let lists = reader.stats().data.list;
        // 30 and 13 are read; the others are copies, and so is a ghost's.
        assert_eq!(lists > 1, ghost == 13, "ghost at {ghost}: {lists} LISTs");
    }
}

/// Few inline rows must not keep 32 KiB of copies each in memory, nor make checkpoints come early.
#[tokio::test]
async fn copies_count_for_no_bound_of_the_tail() {
    let data = Memory::new();
    let env = || Env {
        data: data.clone(),
        wal: None,
        runtime: TokioRuntime::current().unwrap(),
    };
    let options = Options {
        checkpoint_records: 1_000_000,
        checkpoint_bytes: 100_000,
        ..Options::default()
    };
    let db = Db::open(env(), options.clone()).await.unwrap();
    let table = engine::table(&db, "t").await;
    let mut bodies = object(&data, 1).await.0.len();
    for id in 0.. {
        ingest(&table, id, "x".repeat(1000)).await;
        let head = db.stats().head;
        bodies += object(&data, head).await.0.len();
        if bodies >= 100_000 {
            break;
        }
        assert_eq!(db.stats().data.put, 0, "at {bodies} bytes");
        if id == 30 {
            // Another handle, which read the tail instead of writing it, counts alike.
            let reader = Db::open(env(), options.clone()).await.unwrap();
            ingest(&reader.table("t").unwrap(), 1000, "y".into()).await;
            reader.close().await.unwrap();
            assert_eq!(reader.stats().data.put, 0);
            db.refresh().await.unwrap();
            bodies += object(&data, head + 1).await.0.len();
        }
    }
    db.close().await.unwrap();
    assert_eq!(db.stats().data.put, 2, "the checkpoint and CURRENT");
}
