//! One table through every path: memory, point reads, replay, one file, file and memory, two files,
//! reverse, filters, snapshots, transactions, the feed, alterations. What is read is held against a map
//! of plain cells.

use super::bury::bury;
use crate::support::{
    cells::{self, Cell},
    random::Random,
};
use arrow_array::{Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema};
use lakeshore::{
    Alteration, AsOf, ChangesOptions, Db, Env, Options, ScanBuilder, TransactionOptions,
    data::{
        intake::write_ipc,
        predicate::{CompareOp, Predicate, Value},
        schema::TableSchema,
    },
    merge::Kind,
    platform::{memory::Memory, native::TokioRuntime},
};
use std::{collections::BTreeMap, sync::Arc};

type Model = BTreeMap<i64, Vec<Cell>>;
type Checked<T = ()> = Result<T, String>;

/// `Err` says on which path the table is not what was written, or what panicked.
pub(super) async fn all(fields: Vec<FieldRef>, seed: u64) -> Checked {
    for local in [true, false] {
        let run = tokio::spawn(round(fields.clone(), local, seed));
        let ended = run.await.map_err(|e| {
            let said = e.try_into_panic().ok();
            let said = said
                .as_ref()
                .and_then(|p| p.downcast_ref::<String>().cloned());
            format!("it panics: {}", said.unwrap_or_default())
        });
        let wal = if local { "with a WAL" } else { "without a WAL" };
        ended
            .and_then(|checked| checked)
            .map_err(|why| format!("{wal}, {why}"))?;
    }
    Ok(())
}

fn said(what: &str) -> impl Fn(lakeshore::Error) -> String + '_ {
    move |e| format!("{what}: {e}")
}

struct World {
    data: Arc<Memory>,
    wal: Option<Arc<Memory>>,
    db: Db,
}

async fn open(data: &Arc<Memory>, wal: &Option<Arc<Memory>>) -> Checked<Db> {
    let env = Env {
        data: data.clone(),
        wal: wal.clone().map(|w| w as _),
        runtime: TokioRuntime::current().map_err(said("runtime"))?,
    };
    let options = Options {
        inline_commit_bytes: 1 << 20,
        page_rows: 16,
        ..Options::default()
    };
    Db::open(env, options).await.map_err(said("open"))
}

impl World {
    async fn reopen(&mut self) -> Checked {
        self.db.close().await.map_err(said("close"))?;
        self.db = open(&self.data, &self.wal).await?;
        Ok(())
    }
}

/// Rows as they are sent, and what they say.
fn rows(fields: &Fields, random: &mut Random) -> (RecordBatch, Model) {
    let count = 1 + random.below(30);
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for _ in 0..count {
        let mut row = vec![Cell::Int(random.below(40) as i128)];
        row.extend(fields[1..].iter().map(|f| cells::of_field(f, random)));
        rows.push(row);
    }
    let batch = cells::batch(fields, &rows);
    let key = &fields[0];
    let columns = batch.columns().iter().zip(fields);
    let columns: Vec<_> = columns
        .map(|(c, f)| {
            if f == key {
                c.clone()
            } else {
                bury(c, f, random)
            }
        })
        .collect();
    let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    let model = model_of(&batch);
    (batch, model)
}

fn model_of(batch: &RecordBatch) -> Model {
    let rows = cells::rows(batch).into_iter();
    rows.map(|row| match row[0] {
        Cell::Int(id) => (id as i64, row),
        _ => panic!("no id"),
    })
    .collect()
}

async fn round(fields: Vec<FieldRef>, local: bool, seed: u64) -> Checked {
    let mut random = Random::new(seed);
    let sent: Fields = fields.iter().cloned().collect();
    let schema = TableSchema::new(fields, &["id"]).map_err(said("create"))?;
    let (data, wal) = (Memory::new(), local.then(Memory::new));
    let db = open(&data, &wal).await?;
    let mut world = World { data, wal, db };
    let table = world
        .db
        .create_table("t", schema.clone())
        .await
        .map_err(said("create"))?;
    let feed = world
        .db
        .changes(ChangesOptions::default())
        .map_err(said("feed"))?;
    let beginning = feed.cursor();
    drop(feed);

    let mut model = Model::new();
    for way in ["a batch", "IPC"] {
        let (batch, said_by) = rows(&sent, &mut random);
        let ingested = match way {
            "IPC" => {
                let ipc = write_ipc(&batch.schema(), &[batch]).map_err(said("write"))?;
                table.ingest_ipc(ipc.into()).await
            }
            _ => table.ingest(&[batch]).await,
        };
        ingested.map_err(said(way))?;
        model.extend(said_by);
    }
    check(&|| table.scan(), &schema, &model, &mut random, "in memory").await?;
    get(&table, &model, "get in memory").await?;

    world.reopen().await?;
    let table = world.db.table("t").map_err(said("table"))?;
    check(&|| table.scan(), &schema, &model, &mut random, "replayed").await?;
    world.db.flush().await.map_err(said("flush"))?;
    check(&|| table.scan(), &schema, &model, &mut random, "one file").await?;
    get(&table, &model, "get in a file").await?;
    let (then, held) = (
        model.clone(),
        world.db.snapshot().map_err(said("snapshot"))?,
    );

    let (batch, said_by) = rows(&sent, &mut random);
    table.ingest(&[batch]).await.map_err(said("ingest"))?;
    model.extend(said_by);
    check(
        &|| table.scan(),
        &schema,
        &model,
        &mut random,
        "file and memory",
    )
    .await?;
    let gone: Vec<i64> = model
        .keys()
        .copied()
        .filter(|_| random.chance(0.1))
        .collect();
    table.delete(&[ids(&gone)]).await.map_err(said("delete"))?;
    model.retain(|id, _| !gone.contains(id));
    check(
        &|| table.scan(),
        &schema,
        &model,
        &mut random,
        "after deletes",
    )
    .await?;

    let tx = world
        .db
        .begin(TransactionOptions::default())
        .map_err(said("begin"))?;
    let inside = tx.table("t").map_err(said("table"))?;
    let (batch, said_by) = rows(&sent, &mut random);
    inside.ingest(&[batch]).map_err(said("ingest"))?;
    model.extend(said_by);
    check(
        &|| inside.scan(),
        &schema,
        &model,
        &mut random,
        "in a transaction",
    )
    .await?;
    tx.commit().await.map_err(said("commit"))?;
    check(&|| table.scan(), &schema, &model, &mut random, "committed").await?;

    world.db.flush().await.map_err(said("flush"))?;
    check(&|| table.scan(), &schema, &model, &mut random, "two files").await?;
    let old = held.table("t").map_err(said("table"))?;
    check(&|| old.scan(), &schema, &then, &mut random, "a snapshot").await?;
    let at = AsOf::Timestamp(held.timestamp());
    if !local {
        let past = world.db.snapshot_at(at).await.map_err(said("as of"))?;
        let old = past.table("t").map_err(said("table"))?;
        check(&|| old.scan(), &schema, &then, &mut random, "as of").await?;
    }

    let mut fed = Model::new();
    let options = ChangesOptions {
        since: Some(beginning),
        end_at_head: true,
        ..ChangesOptions::default()
    };
    let mut feed = world.db.changes(options).map_err(said("feed"))?;
    while let Some(change) = feed.next().await.map_err(said("feed"))? {
        for part in change.tables {
            match part.kind {
                Kind::Upsert => fed.extend(model_of(&part.batch)),
                Kind::Delete => fed.retain(|id, _| !model_of(&part.batch).contains_key(id)),
            }
        }
    }
    same(&fed, &model, "the feed")?;
    alter(&mut world, &sent, &model, &mut random).await
}

/// A column more, of a type that there is; one with another name; one less.
async fn alter(world: &mut World, sent: &Fields, model: &Model, random: &mut Random) -> Checked {
    let mut changes = vec![Alteration::RenameColumn {
        from: "c0".into(),
        to: "renamed".into(),
    }];
    let last = sent.len() - 1;
    if last > 1 {
        changes.push(Alteration::DropColumn(sent[last].name().clone()));
    }
    let added = Field::new("added", random.pick(&sent[1..]).data_type().clone(), true);
    changes.push(Alteration::AddColumn(Arc::new(added.clone())));
    let table = world
        .db
        .alter_table("t", &changes)
        .await
        .map_err(said("alter"))?;
    let row = |row: &Vec<Cell>| {
        let mut row = row.clone();
        row.truncate(if last > 1 { last } else { 2 });
        row.push(Cell::Null);
        row
    };
    let mut model: Model = model.iter().map(|(id, r)| (*id, row(r))).collect();
    let schema = table.schema().map_err(said("schema"))?;
    check(&|| table.scan(), &schema, &model, random, "altered").await?;
    let mut now: Vec<FieldRef> = sent[..if last > 1 { last } else { 2 }].to_vec();
    now[1] = Arc::new(now[1].as_ref().clone().with_name("renamed"));
    now.push(Arc::new(added));
    let (batch, said_by) = rows(&now.into(), random);
    table.ingest(&[batch]).await.map_err(said("ingest"))?;
    model.extend(said_by);
    check(
        &|| table.scan(),
        &schema,
        &model,
        random,
        "altered, files and memory",
    )
    .await?;
    world.reopen().await?;
    let table = world.db.table("t").map_err(said("table"))?;
    check(
        &|| table.scan(),
        &schema,
        &model,
        random,
        "altered and reopened",
    )
    .await
}

fn ids(ids: &[i64]) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, false)]);
    let column = Int64Array::from(ids.to_vec());
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).unwrap()
}

async fn get(table: &lakeshore::Table, model: &Model, what: &str) -> Checked {
    for (id, row) in model.iter().take(3) {
        let found = table.get(&ids(&[*id]), None).await.map_err(said(what))?;
        let found = found.map(|batch| cells::rows(&batch).remove(0));
        if found.as_ref() != Some(row) {
            return Err(format!("{what}: {found:?} is not {row:?}"));
        }
    }
    Ok(())
}

async fn read(scan: ScanBuilder, schema: &TableSchema, what: &str) -> Checked<Vec<Vec<Cell>>> {
    let stream = scan.stream().map_err(said(what))?;
    let mut found = Vec::new();
    for batch in stream.collect().await.map_err(said(what))? {
        for (column, field) in batch.columns().iter().zip(schema.user().fields()) {
            if column.data_type() != field.data_type() {
                return Err(format!(
                    "{what}: {} comes out as {}",
                    field,
                    column.data_type()
                ));
            }
            let valid = column.to_data().validate_full();
            valid.map_err(|e| format!("{what}: {field}: {e}"))?;
        }
        found.extend(cells::rows(&batch));
    }
    Ok(found)
}

fn equal(found: &[Vec<Cell>], wanted: &[&Vec<Cell>], what: &str) -> Checked {
    if found.len() != wanted.len() {
        return Err(format!(
            "{what}: {} rows, not {}",
            found.len(),
            wanted.len()
        ));
    }
    match found.iter().zip(wanted).find(|(a, b)| a != *b) {
        Some((found, wanted)) => Err(format!("{what}: {found:?} is not {wanted:?}")),
        None => Ok(()),
    }
}

fn same(found: &Model, wanted: &Model, what: &str) -> Checked {
    let found: Vec<Vec<Cell>> = found.values().cloned().collect();
    equal(&found, &wanted.values().collect::<Vec<_>>(), what)
}

/// Scans forwards, backwards, in small batches and by filters.
async fn check(
    scan: &(dyn Fn() -> ScanBuilder + Sync),
    schema: &TableSchema,
    model: &Model,
    random: &mut Random,
    what: &str,
) -> Checked {
    let wanted: Vec<&Vec<Cell>> = model.values().collect();
    equal(&read(scan(), schema, what).await?, &wanted, what)?;
    let small = scan().batch_rows(1 + random.below(7));
    equal(
        &read(small, schema, what).await?,
        &wanted,
        &format!("{what}, small batches"),
    )?;
    let mut back = read(scan().reverse(true), schema, what).await?;
    back.reverse();
    equal(&back, &wanted, &format!("{what}, backwards"))?;
    let from = random.below(40) as i64;
    let later = Predicate::Compare(
        "id".into(),
        CompareOp::GreaterOrEqual,
        Value::Int(from.into()),
    );
    let tail: Vec<&Vec<Cell>> = model.range(from..).map(|(_, row)| row).collect();
    equal(
        &read(scan().filter(later), schema, what).await?,
        &tail,
        &format!("{what}, filtered"),
    )?;
    let at = 1 + random.below(schema.user().fields().len() - 1);
    let name = schema.user().field(at).name().clone();
    let none = read(scan().filter(Predicate::IsNull(name)), schema, what).await?;
    let wanted: Vec<&Vec<Cell>> = model.values().filter(|row| row[at] == Cell::Null).collect();
    equal(&none, &wanted, &format!("{what}, column {at} null"))
}
