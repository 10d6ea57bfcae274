//! Opens a database: lock the WAL, read the log, replay what the log does not have (PROTOCOL F2,
//! W1, W3). Writes nothing but the lock.

use super::{
    Current, Db, Inner,
    device::{self, Device, Found, merged_floors},
    feeds::Feeds,
    leaving,
    line::{Line, Lined},
    offline::{Start, start},
    parked,
    queue::Queue,
    stats::Counts,
    watch::Watch,
};
use crate::{
    data::intake,
    env::{Counted, Env, Memory, Runtime, Storage},
    error::{Error, ErrorKind, Result},
    log::{
        clock::StoreTime,
        device::Upload,
        inline::{all_inline_rows, decode_rows},
        store::{Loaded, LogStore, Tail},
    },
    merge::{Kind, sorted_rows},
    options::Options,
    scan::readers::Readers,
    state::{State, TableRows, recent::Recent},
    wal::{Commit, DatabaseId, FrameKind, Position, Replayed, SessionId, WalWriter, replay_with},
};
use bytes::Bytes;
use futures_util::future::{Either, join, select};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

/// Name of the lock in a WAL directory.
const WAL_LOCK: &str = "wal";

pub(super) async fn open(env: Env, options: Options) -> Result<Db> {
    options.validate()?;
    let options = options.fitted();
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
        Some(wal) => {
            if let Some(place) = wal.identity() {
                leaving::wait(&place, &*env.runtime).await;
            }
            Some(wal.lock(WAL_LOCK).await?)
        }
        None => None,
    };
    let lock = Arc::new(Mutex::new(lock));
    let store = LogStore::new(
        data.clone(),
        env.runtime.clone(),
        options.retries,
        options.concurrency,
    );
    let patience = match &wal_counted {
        Some(_) => Some(options.open_timeout.unwrap_or(Options::OPEN_TIMEOUT)),
        None => options.open_timeout,
    };
    let load = load(&store, env.runtime.as_ref(), patience);
    let (loaded, found) = match &wal_counted {
        Some(wal) => {
            let (loaded, found) = join(load, device::read(wal.as_ref())).await;
            (loaded, Some(found?))
        }
        None => (load.await, None),
    };
    let Start {
        version,
        tail,
        recent,
        proof,
        offline,
        unreachable,
    } = start(loaded, found.as_ref(), options.offline)?;
    let inline = all_inline_rows(&version)?;
    let version = Arc::new(version);
    let mut state = State::new(version.clone()).with_record(version, inline);
    state.recent = Recent::new(options.conflict_bytes);
    let runtime = StoreTime::new(env.runtime, data.clone());
    let (mut wal, mut device) = (None, None);
    if let (Some(storage), Some(found)) = (&wal_counted, found) {
        let now = runtime.now_micros().max(state.version.head.ts);
        let mut replay = Replay {
            uploads: found.uploads.as_ref().map(|u| u.sessions.clone()),
            // Offline nobody can say what the log knows.
            horizon: offline.is_none().then_some(now),
            options: &options,
            parked: Vec::new(),
            known: BTreeSet::new(),
        };
        let replayed = replay.run(storage.as_ref(), &found, &mut state).await?;
        let storage: Arc<dyn Storage> = storage.clone();
        let writer = WalWriter::new(storage.clone(), runtime.clone(), &options, replayed.tail)
            .guarded_by(lock.clone());
        // Of sessions before this one nobody knows, unless it is noted.
        let before = (writer.sessions().into_iter()).filter(|s| *s != writer.session());
        let kept = Device::new(storage, found, before, lock.clone());
        *kept.parked.lock().unwrap_or_else(PoisonError::into_inner) = replay.parked;
        (wal, device) = (Some(writer), Some(Arc::new(kept)));
    }
    let session = wal.as_ref().map(WalWriter::session);
    let mut writer = [0; 16];
    runtime.random(&mut writer);
    let memory = match options.detached_tasks {
        true => Memory::new(options.memory_bytes),
        false => Memory::without_waiting(options.memory_bytes, &runtime),
    };
    let readers = Arc::new(Readers::new(
        data.clone(),
        options.clone(),
        memory.reads.clone(),
    ));
    let counts = Counts::default();
    if let Some(why) = unreachable {
        counts.unreachable_since(runtime.monotonic(), &why);
    }
    // What was replayed is there, whatever the bound: the next commit waits until enough is uploaded.
    let mut memtables = memory.hold_rows(0);
    match options.detached_tasks {
        true => state.count(None, &memory),
        false => memtables.set(state.memory_bytes()),
    }
    Ok(Db {
        inner: Arc::new(Inner {
            options,
            memory,
            memtables: Mutex::new(memtables),
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
                offline,
                taking: None,
            }),
            queue: Mutex::new(Queue::default()),
            log: store,
            committing: Line::default(),
            wal: wal.map(Lined::new),
            session,
            device,
            watch: Watch::default(),
            maintenance: Line::default(),
            readers,
            lock,
            closed: AtomicBool::new(false),
            lost: Mutex::new(None),
            ended: AtomicBool::new(false),
            proved: AtomicBool::new(false),
            counts,
            feeds: Feeds::default(),
        }),
    })
}

/// Reads the log, or gives up: a line that swallows packets would keep an open for as long as all its requests
/// may take.
async fn load(
    store: &LogStore,
    runtime: &dyn Runtime,
    patience: Option<Duration>,
) -> Result<Loaded> {
    let Some(patience) = patience else {
        return store.load().await;
    };
    match select(pin!(store.load()), runtime.sleep(patience)).await {
        Either::Left((loaded, _)) => loaded,
        Either::Right(_) => Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the data store did not show the log within {} ms: option open_timeout sets how long an \
                 open waits for it",
                patience.as_millis()
            ),
        )),
    }
}

/// What is to become of the commits of a WAL.
struct Replay<'a> {
    /// What the device knows of uploads; `None`: nothing, so that all may have been tried.
    uploads: Option<BTreeMap<SessionId, Upload>>,
    /// By when the log may have forgotten floors; `None` if that cannot be said.
    horizon: Option<i64>,
    options: &'a Options,
    /// Commits that may be in the log already (PROTOCOL W4).
    parked: Vec<Commit>,
    /// Sessions with pending commits.
    known: BTreeSet<SessionId>,
}

impl Replay<'_> {
    /// Commits above their session's floor become pending rows, stamped above the head (PROTOCOL W2).
    async fn run(
        &mut self,
        storage: &dyn Storage,
        found: &Found,
        state: &mut State,
    ) -> Result<Replayed> {
        let mut floors = merged_floors(
            self.uploads.as_ref().unwrap_or(&BTreeMap::new()),
            &state.version,
        );
        if let Ok(Some(kept)) = &found.version {
            // The log may have forgotten what the device still knows.
            for (session, frame) in kept.version.floors() {
                let floor = floors.entry(session).or_default();
                *floor = frame.max(*floor);
            }
        }
        // Offline, uploaded rows that the kept version does not have yet are shown from the WAL, so that
        // acknowledged rows stay (DESIGN promise 14); `connect` lets them go. What was discarded is not shown.
        let shown = match self.horizon {
            Some(_) => floors.clone(),
            None => {
                let known = self.uploads.iter().flatten();
                let mut shown = state.version.floors();
                for (session, upload) in known.filter(|(_, upload)| upload.discarded > 0) {
                    let floor = shown.entry(*session).or_default();
                    *floor = upload.discarded.max(*floor);
                }
                shown
            }
        };
        let mut next = state.clone();
        // Why a commit could not be taken, said only if the WAL belongs to this database.
        let mut failed = None;
        let replayed = replay_with(storage, Some(&floors), &mut |commit: Commit| {
            if commit.last <= shown.get(&commit.session).copied().unwrap_or(0) {
                return Ok(());
            }
            if self.is_parked(&next, &commit) {
                self.parked.push(commit);
                return Ok(());
            }
            if failed.is_some() {
                return Ok(());
            }
            self.known.insert(commit.session);
            match replay_commit(&next, commit) {
                Ok(after) => next = after,
                Err(error) => failed = Some(error),
            }
            if next.active_size().0 >= self.options.seal_bytes {
                next = next.sealed();
            }
            Ok(())
        })
        .await?;
        let noted = found.uploads.as_ref().map(|u| u.database);
        check_database(state, replayed.database.or(noted).as_ref())?;
        match failed {
            Some(error) => Err(error),
            None => {
                *state = next;
                Ok(replayed)
            }
        }
    }

    /// A session is parked as a whole, or not: by its oldest commit.
    fn is_parked(&self, state: &State, commit: &Commit) -> bool {
        let Some(horizon) = self
            .horizon
            .filter(|_| !self.known.contains(&commit.session))
        else {
            return false;
        };
        let of_session = |c: &Commit| c.session == commit.session;
        if self.parked.iter().any(of_session) {
            return true;
        }
        let all = |session| BTreeMap::from([(session, Upload::unknown())]);
        let uploads = self.uploads.clone().unwrap_or_else(|| all(commit.session));
        let retention = parked::retention(&state.version, self.options.retention);
        let position: Position = parked::position(commit);
        parked::in_doubt(
            &state.version,
            &uploads,
            horizon,
            retention,
            (position, commit.stamp),
        )
    }
}

fn replay_commit(state: &State, commit: Commit) -> Result<State> {
    let stamp = commit.stamp.max(state.last_stamp + 1);
    let place = |what: String| {
        let (first, last) = (commit.first, commit.last);
        Error::corrupt(format!("WAL frames {first} to {last}: {what}"))
    };
    let position = parked::position(&commit);
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
        // A copy: rows that share the bytes would keep the whole segment.
        let payload = Bytes::copy_from_slice(&frame.payload);
        let batches = decode_rows(&schema, kind, &payload).map_err(|e| place(e.to_string()))?;
        drop(payload);
        rows.push(TableRows {
            table: frame.table,
            schema_version,
            rows: sorted_rows(&schema, kind, batches, stamp)?,
        });
    }
    let mut next = state.replayed(rows, position, stamp, commit.stamp);
    next.dropped_rows += dropped;
    Ok(next)
}

fn check_database(state: &State, wal: Option<&DatabaseId>) -> Result<()> {
    let hex = |id: &[u8; 16]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    match (wal, &state.version.database) {
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
