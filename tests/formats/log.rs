//! The bytes of log objects: golden files, round trips, and damage. A reader that meets any changed
//! or cut byte says `Corrupt` and where; it never panics and never reads something else.

use crate::support;

use arrow_schema::{DataType, Field};
use bytes::Bytes;
use lakeshore::{
    Alteration, ErrorKind,
    data::{
        history::{ColumnHistory, PastColumn},
        schema::TableSchema,
    },
    log::{
        chain::unpack,
        checkpoint::{decode_checkpoint, decode_current, encode_checkpoint, encode_current},
        device::{Upload, Uploads, decode_kept, decode_uploads, encode_kept, encode_uploads},
        edit::{Edit, Settings},
        record::{Record, decode_object, digest, encode_object},
        version::Version,
    },
    merge::Kind,
    sstable::meta::{ColumnStats, SstableMeta, Ulid},
};
use std::sync::Arc;
use support::{
    engine,
    random::{Random, seconds, seed},
};

fn meta(id: u8, fresh: bool) -> Arc<SstableMeta> {
    Arc::new(SstableMeta {
        id: Ulid([id; 16]),
        rows: 1000,
        tombstones: 3,
        bytes: 54_321,
        footer_bytes: 4_321,
        footer_crc: 0xDEAD_BEEF,
        min_key: vec![0x80, 0, 0, 1],
        max_key: vec![0x80, 0, 3, 0xE8],
        stamps: (!fresh).then_some((1_764_000_000_000_001, 1_764_000_000_000_002)),
        multi_version: !fresh,
        columns: vec![
            ColumnStats {
                column_id: 1,
                min: Some(vec![1]),
                max: Some(vec![9]),
                nulls: 0,
                nans: 0,
            },
            ColumnStats {
                column_id: 2,
                min: None,
                max: None,
                nulls: 7,
                nans: 1,
            },
        ],
    })
}

/// One of each kind.
fn alterations() -> Vec<Alteration> {
    let field = |name: &str| Arc::new(Field::new(name, DataType::Utf8, true));
    vec![
        Alteration::DropColumn("name".into()),
        Alteration::AddColumn(field("name")),
        Alteration::Widen {
            column: "n".into(),
            to: DataType::Int64,
        },
        Alteration::RenameColumn {
            from: "id".into(),
            to: "key".into(),
        },
    ]
}

/// A record with every edit, following `prev`.
fn records() -> Vec<Record> {
    let schema = Arc::new(engine::schema());
    let altered = Arc::new(schema.altered(&alterations()).unwrap());
    let record = |seq: u64, edits| Record {
        database: [0xDB; 16],
        seq,
        prev: [0; 32],
        ts: 1_764_000_000_000_000 + seq as i64,
        writer: [0x77; 16],
        nonce: 42,
        edits,
    };
    let settings = Settings {
        grace: 3_600_000_000,
        retention: 86_400_000_000,
        inline_commit_bytes: 262_144,
        checkpoint_records: 64,
        checkpoint_bytes: 1_048_576,
    };
    let create = |table: u32, name: &str| Edit::CreateTable {
        table,
        name: name.into(),
        schema: schema.clone(),
    };
    vec![
        record(
            1,
            vec![
                create(1, "flights"),
                create(2, "ports"),
                Edit::Settings(settings),
            ],
        ),
        record(
            2,
            vec![
                Edit::Rows {
                    table: 1,
                    schema_version: 1,
                    kind: Kind::Upsert,
                    ipc: Bytes::from_static(b"an Arrow IPC stream"),
                },
                Edit::Rows {
                    table: 2,
                    schema_version: 1,
                    kind: Kind::Delete,
                    ipc: Bytes::from_static(b"keys"),
                },
                Edit::AddSstable {
                    table: 1,
                    schema_version: 1,
                    meta: meta(0x11, true),
                },
                Edit::AddSstable {
                    table: 1,
                    schema_version: 1,
                    meta: meta(0x22, false),
                },
                Edit::WalFloor {
                    session: [0x55; 16],
                    frame: 17,
                },
            ],
        ),
        record(
            3,
            vec![
                Edit::RemoveSstable {
                    table: 1,
                    id: Ulid([0x11; 16]),
                },
                Edit::AlterTable {
                    table: 2,
                    name: "airports".into(),
                    schema: schema.clone(),
                },
                Edit::AlterTable {
                    table: 1,
                    name: "flights".into(),
                    schema: altered,
                },
                Edit::DropTable { table: 2 },
                Edit::InlineFloor { from: 0, to: 1 },
                Edit::OrphanFloor {
                    ulid: Ulid([0x10; 16]),
                },
                Edit::Watermark { ts: 500 },
                Edit::Tag {
                    name: "release".into(),
                    ts: 1_000,
                },
                Edit::Tag {
                    name: "gone".into(),
                    ts: 1_001,
                },
                Edit::Untag {
                    name: "gone".into(),
                },
            ],
        ),
    ]
}

/// The chain: each record's object, with copies of those before it, and the version after it.
fn chain() -> Vec<(Bytes, Version)> {
    let (mut version, mut out, mut bodies) = (Version::default(), Vec::new(), Vec::new());
    for mut record in records() {
        record.prev = version.head.digest;
        let body = record.encode();
        let bytes = encode_object(&body, &bodies);
        assert_eq!(
            decode_object("log/x", &bytes).unwrap(),
            (body.clone(), bodies.clone())
        );
        assert_eq!(Record::decode("log/x", &body).unwrap(), record);
        version = version.apply(&record, digest(&body)).unwrap();
        out.push((bytes, version.clone()));
        bodies.insert(0, body);
    }
    out
}

fn objects() -> Vec<(&'static str, Bytes)> {
    let chain = chain();
    let checkpoint = encode_checkpoint(&chain[2].1);
    let current = encode_current(3, &checkpoint);
    let names = ["record 1", "record 2", "record 3"];
    let mut objects: Vec<_> = names
        .into_iter()
        .zip(chain.into_iter().map(|c| c.0))
        .collect();
    objects.push(("checkpoint", checkpoint.into()));
    objects.push(("current", current.into()));
    objects
}

/// What a device keeps beside its WAL.
fn device_objects() -> Vec<(&'static str, Bytes)> {
    let version = encode_kept(1_764_000_000_000_007, &chain()[2].1);
    vec![
        ("device version", version.into()),
        ("device uploads", encode_uploads(&uploads()).into()),
    ]
}

fn uploads() -> Uploads {
    let known = Upload {
        tried: 7,
        since: 1_764_000_000_000_009,
        done: 5,
        discarded: 4,
    };
    let sessions = [([1; 16], known), ([2; 16], Upload::unknown())];
    Uploads {
        database: [0xDB; 16],
        sessions: sessions.into(),
    }
}

fn all() -> Vec<(&'static str, Bytes)> {
    objects().into_iter().chain(device_objects()).collect()
}

fn read(name: &str, bytes: &Bytes) -> lakeshore::Result<()> {
    match name {
        "device version" => decode_kept(name, bytes).map(drop),
        "device uploads" => decode_uploads(name, bytes).map(drop),
        "checkpoint" => decode_checkpoint(name, bytes).map(drop),
        "current" => decode_current(bytes).map(drop),
        _ => {
            let seq = name.split_once(' ').unwrap().1.parse().unwrap();
            unpack(seq, bytes, 1).map(drop)
        }
    }
}

#[test]
fn the_formats_are_those_of_the_golden_files() {
    compare(
        objects(),
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/log-v1.hex"),
    );
    compare(
        device_objects(),
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/device-v1.hex"),
    );
}

fn compare(objects: Vec<(&str, Bytes)>, path: &str) {
    let mut found = String::new();
    for (name, bytes) in objects {
        found += &format!("{name}\n");
        for line in bytes.chunks(32) {
            found += &line.iter().map(|b| format!("{b:02x}")).collect::<String>();
            found += "\n";
        }
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        found, golden,
        "the format changed: old databases become unreadable"
    );
}

#[test]
fn a_checkpoint_holds_the_whole_version() {
    for (_, version) in chain() {
        let bytes = Bytes::from(encode_checkpoint(&version));
        assert_eq!(decode_checkpoint("checkpoint/x", &bytes).unwrap(), version);
        let current = Bytes::from(encode_current(version.head.seq, &bytes));
        let (seq, embedded) = decode_current(&current).unwrap();
        assert_eq!((seq, embedded), (version.head.seq, Some(bytes)));
    }
}

#[test]
fn what_a_device_keeps_reads_back() {
    let [version, kept] = [device_objects().remove(0).1, device_objects().remove(1).1];
    let read = decode_kept("version", &version).unwrap();
    assert_eq!(read.version, chain()[2].1);
    assert_eq!(read.proved, 1_764_000_000_000_007);
    assert_eq!(decode_uploads("uploads", &kept).unwrap(), uploads());
}

#[test]
fn any_flipped_bit_and_any_cut_is_corrupt_with_the_objects_name() {
    for (name, bytes) in all() {
        for at in 0..bytes.len() {
            for bit in [0, 3, 7] {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 1 << bit;
                let error = read(name, &damaged.into()).unwrap_err();
                assert_eq!(
                    error.kind(),
                    ErrorKind::Corrupt,
                    "{name} byte {at}: {error}"
                );
            }
            let error = read(name, &bytes.slice(..at)).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Corrupt,
                "{name} cut at {at}: {error}"
            );
        }
    }
}

/// Lies under a valid checksum: counts, lengths and tags that do not fit.
#[test]
fn lies_with_a_right_checksum_are_refused_without_panic() {
    let seed = seed();
    let mut random = Random::new(seed);
    let (objects, time, mut refused, mut tries) = (all(), seconds(3), 0u64, 0u64);
    while time.left() {
        let (name, bytes) = random.pick(&objects);
        let mut lie = bytes[..bytes.len() - 4].to_vec();
        for _ in 0..=random.below(4) {
            let at = 6 + random.below(lie.len() - 6);
            lie[at] = *random.pick(&[0, 1, 0x7F, 0x80, 0xFF, lie[at] ^ 1]);
        }
        if random.chance(0.2) {
            let keep = 6 + random.below(lie.len() - 6);
            lie.truncate(keep);
        }
        let crc = crc32c::crc32c(&lie);
        lie.extend_from_slice(&crc.to_le_bytes());
        refused += u64::from(read(name, &lie.into()).is_err());
        tries += 1;
    }
    println!("{tries} lies, {refused} refused; SEED={seed}");
    assert!(refused > tries / 10);
}

#[test]
fn a_record_that_does_not_follow_changes_nothing() {
    let (bytes, version) = chain().swap_remove(1);
    let (body, _) = decode_object("log/2", &bytes).unwrap();
    let record = Record::decode("log/2", &body).unwrap();
    let before = version.clone();
    for (change, word) in [
        (
            Record {
                seq: 9,
                ..record.clone()
            },
            "number",
        ),
        (
            Record {
                seq: 3,
                prev: [1; 32],
                ..record.clone()
            },
            "prev",
        ),
        (
            Record {
                seq: 3,
                database: [1; 16],
                ..record.clone()
            },
            "database",
        ),
        (
            Record {
                seq: 3,
                prev: version.head.digest,
                ts: version.head.ts,
                ..record.clone()
            },
            "timestamp",
        ),
    ] {
        let error = version.apply(&change, [0; 32]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(word), "{error}");
    }
    assert_eq!(version, before);
}

/// Histories that no alteration makes, under a right checksum.
#[test]
fn a_checkpoint_whose_history_does_not_fit_is_corrupt() {
    let (_, version) = chain().pop().unwrap();
    let good = &version.tables[&1];
    assert_eq!((good.schema_version, good.history.past().len()), (2, 3));
    let first = good.schema_at(1).unwrap();
    assert!(first.same_columns(&engine::schema()), "{first:?}");
    assert!(good.schema_at(0).is_err() && good.schema_at(3).is_err());
    let since = good.history.since().to_vec();
    let past = good.history.past().to_vec();
    let parts = |since: &[u32], past: &[PastColumn]| {
        ColumnHistory::from_parts(&good.schema, 2, since.to_vec(), past.to_vec())
    };
    assert_eq!(parts(&since, &past).as_ref(), Ok(good.history.as_ref()));
    type Lie<'a> = (&'a str, &'a dyn Fn(&mut Vec<u32>, &mut Vec<PastColumn>));
    let lies: [Lie<'_>; 12] = [
        ("fit the columns", &|since, _| since.truncate(2)),
        ("newer than its table", &|since, _| since[2] = 3),
        ("newer than its table", &|since, _| since[2] = 0),
        ("a key column was added", &|_, past| drop(past.remove(0))),
        ("never given", &|_, past| past[1].id = 5),
        ("no time", &|_, past| past[1].first = 0),
        ("no time", &|_, past| past[1].last = 2),
        ("out of order", &|_, past| past.swap(0, 1)),
        ("away for a while", &|since, _| since[1] = 1),
        ("out of order", &|_, past| past.push(past[2].clone())),
        ("key column changed", &|_, past| {
            let field = past[0].field.as_ref().clone();
            past[0].field = Arc::new(field.with_data_type(DataType::Int32));
        }),
        ("no longer nullable", &|since, past| {
            let field = past[2].field.as_ref().clone();
            past[2].field = Arc::new(field.with_data_type(DataType::Int64));
            past[0].field = Arc::new(past[0].field.as_ref().clone().with_nullable(true));
            since[0] = 2;
        }),
    ];
    for (word, lie) in lies {
        let (mut since, mut past) = (since.clone(), past.clone());
        lie(&mut since, &mut past);
        let why = parts(&since, &past).unwrap_err();
        assert!(why.contains(word), "{word}: {why}");
    }
}

/// What no writer does: it would make rows unreadable.
#[test]
fn an_alteration_under_which_old_rows_cannot_be_read_is_corrupt() {
    let (_, version) = chain().swap_remove(1);
    let schema = engine::schema();
    let field = |name: &str, t, nullable| Arc::new(Field::new(name, t, nullable));
    let id = field("id", DataType::Int64, false);
    let n = field("n", DataType::Int32, true);
    let parts = |columns: Vec<Arc<Field>>, ids: &[u32], next| {
        Arc::new(TableSchema::from_parts(columns, ids.to_vec(), vec![0], next).unwrap())
    };
    let wide = field("id", DataType::Int32, false);
    let small = field("n", DataType::Int16, true);
    let sure = field("n", DataType::Int32, false);
    let alter = |table, name: &str, schema| Edit::AlterTable {
        table,
        name: name.into(),
        schema,
    };
    let lies = [
        (
            "primary key",
            alter(1, "flights", parts(vec![wide], &[1], 4)),
        ),
        (
            "primary key",
            alter(1, "flights", parts(vec![id.clone()], &[4], 5)),
        ),
        (
            "went from",
            alter(1, "flights", parts(vec![id.clone(), small], &[1, 3], 4)),
        ),
        (
            "nullable",
            alter(
                1,
                "flights",
                parts(vec![id.clone(), sure.clone()], &[1, 3], 4),
            ),
        ),
        (
            "neither old",
            alter(1, "flights", parts(vec![id.clone(), sure], &[1, 4], 5)),
        ),
        ("twice", alter(1, "flights", parts(vec![id, n], &[1, 2], 3))),
        ("another is", alter(1, "ports", Arc::new(schema.clone()))),
        ("not there", alter(7, "x", Arc::new(schema))),
        (
            "schema version 2",
            Edit::Rows {
                table: 1,
                schema_version: 2,
                kind: Kind::Upsert,
                ipc: Bytes::new(),
            },
        ),
        (
            "schema version 0",
            Edit::AddSstable {
                table: 1,
                schema_version: 0,
                meta: meta(0x33, true),
            },
        ),
    ];
    for (word, edit) in lies {
        let record = Record {
            seq: 3,
            prev: version.head.digest,
            edits: vec![edit],
            ..records().swap_remove(2)
        };
        let error = version.apply(&record, [0; 32]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(word), "{word}: {error}");
    }
}

#[test]
fn a_newer_format_version_asks_for_an_update() {
    for (name, bytes) in all() {
        let mut newer = bytes[..bytes.len() - 4].to_vec();
        newer[4] = 2;
        let crc = crc32c::crc32c(&newer);
        newer.extend_from_slice(&crc.to_le_bytes());
        let error = read(name, &newer.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}");
    }
}
