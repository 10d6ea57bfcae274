//! What the device keeps beside its WAL (`log::device`): the newest version it knows, so that it can be
//! opened while the data store cannot be reached; and which frames were ever in a record it put.
//! Invariants: WAL segments go only when a version with their floors is kept, or none is (PROTOCOL W4);
//! a frame is noted as tried before its record is put; a version that is kept knows the schema of every
//! frame, or the device could not be opened by it. A commit waits for none of this, but the first after
//! the catalog changed.

use super::{Inner, line::Lined};
use crate::{
    env::Storage,
    error::{Error, ErrorKind, Result},
    log::{
        device::{
            Kept, UPLOADS_KEY, Upload, Uploads, VERSION_KEY, decode_kept, decode_uploads,
            encode_kept, encode_uploads,
        },
        edit::TableId,
        version::Version,
    },
    wal::{Commit, HeldLock, SessionId},
};
use bytes::Bytes;
use futures_channel::oneshot;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A version is written this often at most, unless segments wait for it.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// What an open found beside the WAL.
pub(super) struct Found {
    /// The version; an error if it is damaged.
    pub(super) version: Result<Option<Kept>>,
    /// `None` if it is not there or damaged: then every frame may have been tried.
    pub(super) uploads: Option<Uploads>,
}

/// Reads what is kept beside the WAL in `storage`.
///
/// # Errors
/// What is known of uploads is there, and cannot be read: to go on without it would be to forget it.
pub(super) async fn read(storage: &dyn Storage) -> Result<Found> {
    let place = |key: &str| format!("{key} in {}", storage.describe());
    let version = match storage.get(VERSION_KEY).await {
        Ok(Some(bytes)) if !bytes.is_empty() => decode_kept(&place(VERSION_KEY), &bytes).map(Some),
        Ok(_) => Ok(None),
        Err(error) => Err(error),
    };
    let uploads = storage.get(UPLOADS_KEY).await?;
    let uploads = uploads.and_then(|bytes| decode_uploads(&place(UPLOADS_KEY), &bytes).ok());
    Ok(Found { version, uploads })
}

/// Leaves nothing at `key`, for good: a power cut may undo a deletion, but not a put that followed it. An
/// object without bytes counts as none. On a full device the deletion makes room for it.
async fn forget(storage: &dyn Storage, key: &str) -> Result<()> {
    storage.delete(key).await?;
    match storage.put(key, Bytes::new()).await {
        // A browser that cannot keep objects never had one.
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        put => put,
    }
}

/// The device's own store, and what is in it.
pub(super) struct Device {
    storage: Arc<dyn Storage>,
    disk: Lined<Disk>,
    /// What is known of uploads; on disk before anything relies on it.
    uploads: Mutex<BTreeMap<SessionId, Upload>>,
    /// Commits that may be in the log already (W4): the user's to decide.
    pub(super) parked: Mutex<Vec<Commit>>,
    /// Pending commits of this handle may be in the log already: only a reopen can park them.
    pub(super) doubt: AtomicBool,
    /// Held for as long as anything may be put.
    lock: HeldLock,
    /// A version is being written in the background.
    keeping: AtomicBool,
    /// Of the version that is kept.
    catalog: Mutex<Keeps>,
}

/// The tables of a catalog and their schema versions.
type Catalog = Vec<(TableId, u32)>;

/// What is known of the version that is kept.
#[derive(PartialEq)]
enum Keeps {
    /// There is none.
    Nothing,
    /// It has this catalog.
    Catalog(Catalog),
    /// A read or a write of it failed: any, or none.
    Unknown,
}

fn catalog_of(version: &Version) -> Catalog {
    let tables = version.tables.iter();
    tables
        .map(|(id, table)| (*id, table.schema_version))
        .collect()
}

struct Disk {
    /// The head of the version that is kept.
    kept: Option<u64>,
    /// When this handle last tried to write one.
    at: Option<Duration>,
    uploads: Option<BTreeMap<SessionId, Upload>>,
    /// The handle is closed: what is here is the next one's.
    over: bool,
}

// What puts something takes the device itself: it runs to its end in a task, see `Inner::lasting`.
impl Device {
    /// `sessions`: those that the WAL had.
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        found: Found,
        sessions: impl Iterator<Item = SessionId>,
        lock: HeldLock,
    ) -> Self {
        let catalog = match &found.version {
            Ok(Some(kept)) => Keeps::Catalog(catalog_of(&kept.version)),
            Ok(None) => Keeps::Nothing,
            Err(_) => Keeps::Unknown,
        };
        let version = found.version.ok().flatten();
        let on_disk = found.uploads.map(|u| u.sessions);
        let unknown = |session| (session, Upload::unknown());
        let uploads = on_disk
            .clone()
            .unwrap_or_else(|| sessions.map(unknown).collect());
        Self {
            storage,
            disk: Lined::new(Disk {
                kept: version.as_ref().map(|k| k.version.head.seq),
                at: None,
                uploads: on_disk,
                over: false,
            }),
            uploads: Mutex::new(with_floors(uploads, version.as_ref().map(|k| &k.version))),
            parked: Mutex::default(),
            doubt: AtomicBool::new(false),
            lock,
            keeping: AtomicBool::new(false),
            catalog: Mutex::new(catalog),
        }
    }

    /// What is known of each session's uploads.
    pub(super) fn uploads(&self) -> BTreeMap<SessionId, Upload> {
        self.uploads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The floors of `version`, and those the log has forgotten.
    pub(super) fn floors(&self, version: &Version) -> HashMap<SessionId, u64> {
        merged_floors(&self.uploads(), version)
    }

    /// Changes what is known of uploads of these `sessions` (all, if not given), and puts it if it is new.
    /// One change at a time, each made of the one before, or one would undo the other.
    async fn change_uploads(
        self: Arc<Self>,
        version: Arc<Version>,
        sessions: Option<BTreeSet<SessionId>>,
        change: impl FnOnce(&mut BTreeMap<SessionId, Upload>),
    ) -> Result<()> {
        let Some(database) = version.database else {
            return Ok(());
        };
        let mut disk = self.disk.lock().await;
        self.check_ours(&disk)?;
        let mut next = with_floors(self.uploads(), Some(&version));
        if let Some(sessions) = sessions {
            next.retain(|session, _| sessions.contains(session));
        }
        change(&mut next);
        if disk.uploads.as_ref() != Some(&next) {
            disk.uploads = None;
            let sessions = next.clone();
            let bytes = Bytes::from(encode_uploads(&Uploads { database, sessions }));
            let mut put = self.storage.put(UPLOADS_KEY, bytes.clone()).await;
            if let Err(error) = put {
                // A full device must still get rid of its rows. Without the object, all counts as tried.
                (forget(&*self.storage, UPLOADS_KEY).await).map_err(|_| error.duplicate())?;
                // But not what was discarded: that is the user's decision, and nothing else says so.
                put = match next.values().any(|upload| upload.discarded > 0) {
                    true => Ok(self.storage.put(UPLOADS_KEY, bytes).await?),
                    false => Err(error),
                };
            }
            if put.is_ok() {
                disk.uploads = Some(next.clone());
            }
        }
        *self.uploads.lock().unwrap_or_else(PoisonError::into_inner) = next;
        drop(disk);
        Ok(())
    }

    /// Puts a version, if a newer one than is kept.
    async fn put_version(
        self: Arc<Self>,
        now: Duration,
        proved: i64,
        version: Arc<Version>,
    ) -> Result<()> {
        let seq = version.head.seq;
        let mut disk = self.disk.lock().await;
        self.check_ours(&disk)?;
        if version.database.is_none() || disk.kept.is_some_and(|kept| kept >= seq) {
            return Ok(());
        }
        disk.at = Some(now);
        let bytes = encode_kept(proved, &version);
        // Should it fail, or this call vanish, it may have happened all the same; and until it is done,
        // frames of its schema must wait for it. With the catalog that is kept already none of it matters.
        let same = Keeps::Catalog(catalog_of(&version));
        if *self.catalog.lock().unwrap_or_else(PoisonError::into_inner) != same {
            self.keeps(Keeps::Unknown);
        }
        self.storage.put(VERSION_KEY, bytes.into()).await?;
        disk.kept = Some(seq);
        self.keeps(same);
        Ok(())
    }

    fn keeps(&self, catalog: Keeps) {
        *self.catalog.lock().unwrap_or_else(PoisonError::into_inner) = catalog;
    }

    /// Whether a version is or may be kept that lacks something of the catalog.
    fn lacks_schema(&self, version: &Version) -> bool {
        let keeps = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        *keeps != Keeps::Nothing && *keeps != Keeps::Catalog(catalog_of(version))
    }

    /// Whether what is here is this handle's to write: it is not closed, and nobody took the WAL.
    fn check_ours(&self, disk: &Disk) -> Result<()> {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        match disk.over {
            true => Err(Error::closed()),
            false => lock.as_ref().map_or(Ok(()), |lock| lock.confirm()),
        }
    }

    async fn forget_version(self: Arc<Self>) -> Result<()> {
        let mut disk = self.disk.lock().await;
        self.check_ours(&disk)?;
        forget(&*self.storage, VERSION_KEY).await?;
        disk.kept = None;
        self.keeps(Keeps::Nothing);
        Ok(())
    }

    fn is_due(&self, now: Duration, seq: u64) -> bool {
        let due = |disk: &Disk| {
            disk.kept.is_none_or(|kept| kept < seq)
                && disk
                    .at
                    .is_none_or(|at| now.saturating_sub(at) >= KEEP_EVERY)
        };
        self.disk.peek(due).unwrap_or(false)
    }
}

/// With what `version` says is done.
fn with_floors(
    mut uploads: BTreeMap<SessionId, Upload>,
    version: Option<&Version>,
) -> BTreeMap<SessionId, Upload> {
    if let Some(version) = version {
        for (session, upload) in &mut uploads {
            upload.done = upload.done.max(version.wal_floor(session));
        }
    }
    uploads
}

/// The floors of `version`, and those the log has forgotten.
pub(super) fn merged_floors(
    uploads: &BTreeMap<SessionId, Upload>,
    version: &Version,
) -> HashMap<SessionId, u64> {
    let mut floors = version.floors();
    for (session, upload) in uploads.iter().filter(|(_, upload)| upload.done > 0) {
        let floor = floors.entry(*session).or_default();
        *floor = upload.done.max(*floor);
    }
    floors
}

impl Inner {
    /// Before a record with frames up to these is put. Should it be heard of only after the log has
    /// forgotten its floors, the frames are parked, not uploaded again (PROTOCOL W4).
    pub(super) async fn note_tried(&self, floors: &[(SessionId, u64)]) -> Result<()> {
        let Some(device) = &self.device else {
            return Ok(());
        };
        if device.doubt.load(Ordering::Acquire) {
            return Err(in_doubt());
        }
        let version = self.state().version.clone();
        let now = self.runtime.now_micros().max(version.head.ts);
        let floors = floors.to_vec();
        let tried = move |known: &mut BTreeMap<SessionId, Upload>| {
            for (session, frame) in floors {
                let upload = known.entry(session).or_default();
                *upload = upload.put(frame, now);
            }
        };
        let (device, sessions) = (device.clone(), self.wal_sessions().await);
        self.lasting(device.change_uploads(version, sessions, tried))
            .await
    }

    /// The sessions up to these frames are given up, whatever the log says.
    pub(super) async fn note_discarded(&self, floors: &[(SessionId, u64)]) -> Result<()> {
        let Some(device) = &self.device else {
            return Ok(());
        };
        let floors = floors.to_vec();
        let discarded = move |known: &mut BTreeMap<SessionId, Upload>| {
            for (session, frame) in floors {
                let upload = known.entry(session).or_default();
                *upload = upload.without(frame);
            }
        };
        let (device, sessions) = (device.clone(), self.wal_sessions().await);
        let version = self.state().version.clone();
        self.lasting(device.change_uploads(version, sessions, discarded))
            .await
    }

    /// Puts what is known of uploads of these sessions, if it changed.
    async fn put_uploads(&self, sessions: Option<BTreeSet<SessionId>>) -> Result<()> {
        let Some(device) = &self.device else {
            return Ok(());
        };
        let (device, version) = (device.clone(), self.state().version.clone());
        self.lasting(device.change_uploads(version, sessions, |_| {}))
            .await
    }

    /// Runs `puts` in a task of its own. A put may happen though its caller is gone, and were the next one
    /// not to wait for it, it could come after that.
    async fn lasting(&self, puts: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.runtime.spawn(Box::pin(async move {
            let _ = sender.send(puts.await);
        }));
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "the runtime is shutting down",
            ))
        })
    }

    /// The sessions that the WAL still has.
    async fn wal_sessions(&self) -> Option<BTreeSet<SessionId>> {
        match &self.wal {
            Some(wal) => Some(wal.lock().await.sessions()),
            None => None,
        }
    }

    /// After a commit or an upload, or when a table is asked for, in the background: keeps the newest
    /// version, once in a while.
    pub(super) fn keep_version_soon(self: &Arc<Self>) {
        let Some(device) = &self.device else { return };
        let seq = self.state().version.head.seq;
        if !device.is_due(self.runtime.monotonic(), seq)
            || device.keeping.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let inner = self.clone();
        self.runtime.spawn(Box::pin(async move {
            // Not needed while the store answers; the next commit after a while tries again.
            let _ = inner.keep_version().await;
            if let Some(device) = &inner.device {
                device.keeping.store(false, Ordering::Release);
            }
        }));
    }

    /// Before frames are written: a version that is kept must know their schema.
    pub(super) async fn keep_schema(&self) -> Result<()> {
        let Some(device) = &self.device else {
            return Ok(());
        };
        match device.lacks_schema(&self.state().version) {
            true => self.keep_version().await,
            false => Ok(()),
        }
    }

    /// Keeps the newest version.
    pub(super) async fn keep_version(&self) -> Result<()> {
        let Some(device) = &self.device else {
            return Ok(());
        };
        let at = self.current();
        let proved = at.offline.unwrap_or(at.proof.wall);
        let now = self.runtime.monotonic();
        let version = &at.state.version;
        self.lasting(device.clone().put_version(now, proved, version.clone()))
            .await?;
        if device.disk.lock().await.uploads.is_none() {
            // From now on its absence means that it was lost, not that nothing was tried.
            self.put_uploads(self.wal_sessions().await).await?;
        }
        Ok(())
    }

    /// Frees WAL segments that the log has up to `version` (PROTOCOL W4): a version older than what is
    /// left of the WAL would lack rows, so the newer one is kept first; if there is no room for it, none.
    pub(super) async fn truncate_wal(&self, version: &Version) -> Result<()> {
        let (Some(wal), Some(device)) = (&self.wal, &self.device) else {
            return Ok(());
        };
        if self.current().offline.is_some() {
            // Uploads may be known that no version here has: their rows are in the WAL alone.
            return Ok(());
        }
        let floors = device.floors(version);
        if wal.lock().await.dead_bytes(&floors) == 0 {
            return Ok(());
        }
        let kept = self.keep_version().await;
        if kept.is_err() {
            self.lasting(device.clone().forget_version()).await?;
        }
        wal.lock().await.truncate(&floors).await?;
        if kept.is_err() {
            // There may be room now.
            let _ = self.keep_version().await;
        }
        Ok(())
    }

    /// At the end of a close.
    pub(super) async fn keep_at_close(&self) {
        let Some(device) = &self.device else { return };
        // Both only spare the next open something; the WAL and the log have all that counts.
        let _ = self.keep_version().await;
        let _ = self.put_uploads(None).await;
        device.disk.lock().await.over = true;
    }
}

/// PROTOCOL W4: uploading would perhaps upload twice.
pub(super) fn in_doubt() -> Error {
    Error::new(
        ErrorKind::Expired,
        "rows that wait for upload were sent longer ago than the retention, and the log no longer says \
         whether they arrived: close the database and open it online; they are parked then, see parked()",
    )
}
