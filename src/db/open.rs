//! Opens a database: lock the WAL, read the log, replay what the log does not have (PROTOCOL F2,
//! W1, W3). Writes nothing but the lock.

use super::{
    Current, Db, Inner,
    commit::Queue,
    feeds::Feeds,
    log::{all_inline_rows, decode_rows},
    stats::Counts,
};
use crate::{
    data::intake,
    env::{Counted, Env, Storage},
    error::{Error, Result},
    log::{
        clock::StoreTime,
        store::{Loaded, LogStore, Tail},
    },
    merge::{Kind, sorted_rows},
    options::Options,
    scan::readers::Readers,
    state::{State, TableRows, recent::Recent},
    wal::{Commit, FrameKind, Replayed, WalWriter, replay_with},
};
use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

/// Name of the lock in a WAL directory.
const WAL_LOCK: &str = "wal";

pub(super) async fn open(env: Env, options: Options) -> Result<Db> {
    options.validate()?;
    if env.wal.is_some() && !options.detached_tasks {
        return Err(Error::invalid(
            "a WAL needs option detached_tasks on: its writer is shared by all calls; leave out the \
             WAL (each commit is then a record in the data store), or leave the option on",
        ));
    }
    let data_counted = Counted::new(env.data);
    let data: Arc<dyn Storage> = data_counted.clone();
    let wal_counted = env.wal.map(Counted::new);
    let lock = match &wal_counted {
        Some(wal) => Some(wal.lock(WAL_LOCK).await?),
        None => None,
    };
    let store = LogStore::new(
        data.clone(),
        env.runtime.clone(),
        options.retries,
        options.concurrency,
    );
    let Loaded {
        version,
        tail,
        recent,
        proof,
    } = store.load().await?;
    let inline = all_inline_rows(&version)?;
    let version = Arc::new(version);
    let mut state = State::new(version.clone()).with_record(version, inline);
    state.recent = Recent::new(options.conflict_bytes);
    let runtime = StoreTime::new(env.runtime, data.clone());
    let wal = match &wal_counted {
        None => None,
        Some(storage) => {
            let replayed = replay_into(storage.as_ref(), &mut state).await?;
            let storage: Arc<dyn Storage> = storage.clone();
            let writer = WalWriter::new(storage, runtime.clone(), &options, replayed.tail);
            Some(async_lock::Mutex::new(writer))
        }
    };
    let mut writer = [0; 16];
    runtime.random(&mut writer);
    let readers = Arc::new(Readers::new(data.clone(), options.clone()));
    Ok(Db {
        inner: Arc::new(Inner {
            options,
            runtime,
            data,
            data_counted,
            wal_counted,
            writer,
            current: Mutex::new(Current {
                state: Arc::new(state),
                tail,
                recent,
                round_trip: Duration::ZERO,
                claimed: Tail::default(),
                proof,
                taking: None,
            }),
            queue: Mutex::new(Queue::default()),
            log: store,
            committing: async_lock::Mutex::new(()),
            wal,
            maintenance: async_lock::Mutex::new(()),
            readers,
            lock: Mutex::new(lock),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            counts: Counts::default(),
            feeds: Feeds::default(),
        }),
    })
}

/// Commits above their session's floor become pending rows, stamped above the head (PROTOCOL W2).
async fn replay_into(storage: &dyn Storage, state: &mut State) -> Result<Replayed> {
    let mut next = state.clone();
    // Why a commit could not be taken, said only if the WAL belongs to this database.
    let mut failed = None;
    let replayed = replay_with(
        storage,
        Some(&state.version.floors()),
        &mut |commit: Commit| {
            let wanted = commit.last > next.version.wal_floor(&commit.session);
            if wanted && failed.is_none() {
                match replay_commit(&next, commit) {
                    Ok(after) => next = after,
                    Err(error) => failed = Some(error),
                }
            }
            Ok(())
        },
    )
    .await?;
    check_database(state, &replayed)?;
    match failed {
        Some(error) => Err(error),
        None => {
            *state = next;
            Ok(replayed)
        }
    }
}

fn replay_commit(state: &State, commit: Commit) -> Result<State> {
    let stamp = commit.stamp.max(state.last_stamp + 1);
    let place = |what: String| {
        let (first, last) = (commit.first, commit.last);
        Error::corrupt(format!("WAL frames {first} to {last}: {what}"))
    };
    let mut rows = Vec::with_capacity(commit.frames.len());
    let mut dropped = 0;
    for frame in &commit.frames {
        let kind = match frame.kind {
            FrameKind::Upsert => Kind::Upsert,
            FrameKind::Delete => Kind::Delete,
        };
        let version = &state.version;
        let Some(entry) = version.tables.get(&frame.table) else {
            if frame.table >= version.next_table {
                let table = frame.table;
                return Err(place(format!(
                    "they name table {table}, which the log lacks"
                )));
            }
            // The table was dropped, and its rows with it (PROTOCOL C6).
            dropped += intake::count_rows(&frame.payload).map_err(|e| place(e.to_string()))?;
            continue;
        };
        let schema_version = frame.schema_version;
        let schema = entry
            .schema_at(schema_version)
            .map_err(|e| place(e.to_string()))?;
        let batches =
            decode_rows(&schema, kind, &frame.payload).map_err(|e| place(e.to_string()))?;
        rows.push(TableRows {
            table: frame.table,
            schema_version,
            rows: sorted_rows(&schema, kind, &batches, stamp)?,
        });
    }
    let mut next = state.with_pending(rows, commit.session, commit.last, stamp);
    next.dropped_rows += dropped;
    Ok(next)
}

fn check_database(state: &State, replayed: &Replayed) -> Result<()> {
    let hex = |id: &[u8; 16]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    match (&replayed.database, &state.version.database) {
        (Some(wal), Some(log)) if wal != log => Err(Error::invalid(format!(
            "the WAL belongs to database {}, the data to database {}: open them with their own \
             other half",
            hex(wal),
            hex(log)
        ))),
        (Some(wal), None) => Err(Error::invalid(format!(
            "the WAL belongs to database {}, but there is no database in the data store: check \
             that its place is the right one",
            hex(wal)
        ))),
        _ => Ok(()),
    }
}
