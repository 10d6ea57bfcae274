//! Opening without the data store, and meeting it again. A handle that opened offline stands on the version
//! the device kept, with the WAL replayed on top. Its position was never proved in this process, so no
//! reply counts (PROTOCOL F1) until the log was loaded anew; and the store may not be the one it was.

use super::{Inner, device::Found};
use crate::{
    error::{Error, ErrorKind, Result},
    log::{
        chain::Recent,
        clock::Moment,
        inline::all_inline_rows,
        store::{Loaded, Tail},
        version::Version,
    },
    options::OfflineOpen,
    state::pending::PendingCommit,
    wal::Position,
};
use std::{collections::BTreeMap, sync::Arc};

/// What an open starts from.
pub(super) struct Start {
    pub(super) version: Version,
    pub(super) tail: Tail,
    pub(super) recent: Recent,
    pub(super) proof: Moment,
    /// Offline: when the version was last proved to be the head, in microseconds, …
    pub(super) offline: Option<i64>,
    /// … and why the store did not answer.
    pub(super) unreachable: Option<String>,
}

/// The log, or where it cannot be reached, what the device kept. `kept`: what an open found beside its
/// WAL, if it has one.
pub(super) fn start(
    loaded: Result<Loaded>,
    kept: Option<&Found>,
    offline: OfflineOpen,
) -> Result<Start> {
    let unreachable = match loaded {
        Ok(loaded) => {
            if let Some(Ok(Some(kept))) = kept.map(|k| &k.version) {
                check_lineage(&kept.version, &loaded.version)?;
            }
            return Ok(Start {
                version: loaded.version,
                tail: loaded.tail,
                recent: loaded.recent,
                proof: loaded.proof,
                offline: None,
                unreachable: None,
            });
        }
        Err(error) if error.kind() == ErrorKind::Unavailable => error,
        Err(error) => return Err(error),
    };
    let Some(found) = kept else {
        return Err(unreachable);
    };
    if offline == OfflineOpen::Refuse {
        return Err(unreachable.context("option offline refuses to open without the data store"));
    }
    match &found.version {
        Ok(Some(kept)) => Ok(Start {
            version: kept.version.clone(),
            tail: Tail::default(),
            recent: Recent::default(),
            proof: Moment::never(),
            offline: Some(kept.proved),
            unreachable: Some(unreachable.message().to_owned()),
        }),
        Ok(None) => Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the data store cannot be reached ({}), and this device has no copy of the catalog \
                 beside its WAL: it must be opened online once",
                unreachable.message()
            ),
        )),
        Err(damaged) => Err(damaged.duplicate().context(format!(
            "the data store cannot be reached ({}), and the copy of the catalog beside the WAL cannot be \
             used: open online",
            unreachable.message()
        ))),
    }
}

/// Whether the log that a store holds is the one the device knew at `kept`. A WAL must never be uploaded
/// into another database, nor a record be put behind a log that lost its end.
pub(super) fn check_lineage(kept: &Version, log: &Version) -> Result<()> {
    let hex = |id: &[u8; 16]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let Some(own) = &kept.database else {
        return Ok(());
    };
    match &log.database {
        None => {
            return Err(Error::invalid(format!(
                "the WAL belongs to database {}, but there is no database in the data store: check \
                 that its place is the right one",
                hex(own)
            )));
        }
        Some(other) if other != own => {
            return Err(Error::invalid(format!(
                "the WAL belongs to database {}, the data to database {}: open them with their own \
                 other half",
                hex(own),
                hex(other)
            )));
        }
        Some(_) => {}
    }
    let (kept, head) = (kept.head, log.head);
    if head.seq < kept.seq || head.seq == kept.seq && head.digest != kept.digest {
        return Err(Error::corrupt(format!(
            "the log ends at record {}, but this device has seen record {}{}: the data store has lost \
             records, or is an older copy; restore it, or remove the file {} from the WAL's place to \
             go on from what is there",
            head.seq,
            kept.seq,
            if head.seq == kept.seq {
                " with another content"
            } else {
                ""
            },
            crate::log::device::VERSION_KEY
        )));
    }
    Ok(())
}

impl Inner {
    /// After an offline open: loads the log as an open does, and re-bases on it.
    pub(super) async fn connect(&self) -> Result<()> {
        let before = self.current();
        let loaded = self.log.load().await?;
        check_lineage(&before.state.version, &loaded.version)?;
        let inline = all_inline_rows(&loaded.version)?;
        let version = Arc::new(loaded.version);
        // The device may know of uploads whose floors the log has forgotten (PROTOCOL W4).
        let uploads = (self.device.as_ref()).map_or_else(BTreeMap::new, |device| device.uploads());
        let is_done = |commit: &PendingCommit| {
            let Position { session, frame } = commit.position;
            uploads
                .get(&session)
                .is_some_and(|upload| frame <= upload.done)
        };
        self.change(|current| {
            // Another call may have connected meanwhile, and have seen less.
            let first = current.offline.take().is_some();
            if first || version.head.seq > current.state.version.head.seq {
                let next = current.state.jumped(version, inline);
                current.state = Arc::new(next.without_pending(&is_done));
                current.tail = loaded.tail;
                current.recent = loaded.recent;
                current.claimed = Tail::default();
                current.proof = loaded.proof;
            }
        });
        self.look_for_doubt();
        self.reached();
        Ok(())
    }

    /// The store answered.
    pub(super) fn reached(&self) {
        self.counts.reached();
        self.watch.wake();
    }

    /// Whether the store did not answer lately, as far as this handle asked.
    pub(super) fn is_offline(&self) -> bool {
        self.current().offline.is_some() || self.counts.unreachable().is_some()
    }

    /// Notes an outcome that says whether the store answers.
    pub(super) fn heard<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome
            && error.kind() == ErrorKind::Unavailable
        {
            self.counts
                .unreachable_since(self.runtime.monotonic(), error.message());
        }
        outcome
    }
}
