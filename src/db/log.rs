//! Commits edits to the log: plan on the newest state, take the next slot, and if another writer won
//! it, apply its record and plan anew (PROTOCOL C2, C3); and follows the log (F1, F3). No lock is
//! held across a request: a call that vanishes blocks nobody, and another call of this handle that
//! was quicker is met like any foreign writer.

use super::{Current, Inner, offline::check_lineage, prove::prove, settings::settings_of};
use crate::{
    data::rows::Rows,
    error::{Error, ErrorKind, Result},
    log::{
        chain::{Found, unpack},
        clock::Moment,
        edit::{Edit, TableId},
        inline::{all_inline_rows, inline_rows},
        record::{Record, encode_object, record_key},
        store::{Fence, Loaded, Slot, Tail, unknown},
        version::{Head, Version},
    },
    state::{
        State, TableState,
        recent::{self, Touched},
    },
};
use bytes::Bytes;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How many foreign records a commit goes past before it gives up as `Unavailable`.
const MAX_LOST_RACES: usize = 64;
/// So many records are looked for one by one; then the log is listed and the newest read, which has
/// copies of those before it.
const PROBES: usize = 2;
/// How long a call without detached tasks looks on while another of this handle puts a record, and how
/// often it looks. The other may have vanished, so this saves requests and decides nothing.
const LOOK_ON: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What to do when it cannot be known whether a record is in the log (PROTOCOL F1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfFreed {
    /// The plan sees by the newest version whether it was: plan again.
    Replan,
    /// Tell the caller.
    Unknown,
}

/// What to commit, given the newest state. `dyn`: the machine around it is large, and there once.
pub(super) type Plan<'a> = &'a mut (dyn FnMut(&State) -> Result<Vec<Edit>> + Send);

impl Inner {
    /// Commits what `plan` makes of the newest state, and gives the record's place; nothing if it makes
    /// no edits. When it returns, the state has the record.
    pub(super) async fn commit_record(&self, if_freed: IfFreed, plan: Plan<'_>) -> Result<Head> {
        // Records of one handle would only race each other.
        let _turn = self.alone(&self.committing).await;
        let mut lost = 0;
        for _ in 0..MAX_LOST_RACES {
            self.await_turn(lost).await?;
            let (before, _taking) = self.take_slot().await;
            if self.log.is_stale(&self.fence(&before)) {
                self.follow().await?;
                continue;
            }
            let version = &before.state.version;
            let edits = plan(&before.state)?;
            if edits.is_empty() {
                return Ok(version.head);
            }
            if version.database.is_none() && !self.proved.load(Ordering::Relaxed) {
                prove(self.data.as_ref(), self.runtime.as_ref()).await?;
                self.proved.store(true, Ordering::Relaxed);
            }
            let record = self.next_record(version, edits);
            // Decode what readers will decode, before anybody can: a record that cannot be applied
            // must never get a slot.
            let found = Found::decode(&record_key(record.seq), record.seq, record.encode())?;
            let bytes = encode_object(&found.body, &before.recent.copies(record.seq));
            let own = (record.seq, found.digest);
            let next = Step::new(version, found)?;
            let fence = self.fence(&before);
            let asked = self.runtime.monotonic();
            let slot = self.log.put_record(own, &bytes, &fence).await?;
            self.timed(asked, 1 + u32::from(matches!(slot, Slot::Lost(_))));
            match slot {
                Slot::Won(proof) => {
                    let head = next.version.head;
                    self.adopt(next, Some(proof));
                    return Ok(head);
                }
                Slot::Lost(foreign) => {
                    lost += 1;
                    self.meet(&before, record.seq, &foreign).await?;
                }
                Slot::Freed => {
                    let jumped = self.jump(&before).await;
                    if if_freed == IfFreed::Unknown {
                        return Err(unknown(&record_key(record.seq), jumped.err()));
                    }
                    jumped?;
                }
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("other writers won the next slot {MAX_LOST_RACES} times in a row: retry later"),
        ))
    }

    /// What is current when no other call of this handle is putting a record there, as far as that is
    /// known. With detached tasks a lock sees to that.
    async fn take_slot(&self) -> (Current, Taking<'_>) {
        let looks = LOOK_ON.as_millis() / LOOK_EVERY.as_millis();
        let mut looked = (0, 0);
        loop {
            match self.try_slot(looked.1 == looks, looked.0) {
                Ok(taken) => return taken,
                Err(seq) if seq == looked.0 => looked.1 += 1,
                Err(seq) => looked = (seq, 1),
            }
            self.runtime.sleep(LOOK_EVERY).await;
        }
    }

    /// Takes the next slot; its number if another call has it. `force`: takes `seq` even so.
    fn try_slot(&self, force: bool, seq: u64) -> Result<(Current, Taking<'_>), u64> {
        let now = self.runtime.monotonic();
        let current = self.change(|current| {
            let next = current.state.version.head.seq + 1;
            let open = |(at, until)| at != next || now >= until;
            let free = current.taking.is_none_or(open) || self.options.detached_tasks;
            if !(free || force && seq == next) {
                return Err(next);
            }
            current.taking = Some((next, now + LOOK_ON));
            Ok(current.clone())
        })?;
        let seq = current.state.version.head.seq + 1;
        Ok((current, Taking { inner: self, seq }))
    }

    fn next_record(&self, version: &Version, mut edits: Vec<Edit>) -> Record {
        let first = version.database.is_none();
        if first {
            edits.push(Edit::Settings(settings_of(&self.options)));
        }
        Record {
            database: version.database.unwrap_or_else(|| self.random()),
            seq: version.head.seq + 1,
            prev: version.head.digest,
            ts: self.runtime.now_micros().max(version.head.ts + 1),
            writer: self.writer,
            nonce: u64::from_le_bytes(self.random()),
            edits,
        }
    }

    /// PROTOCOL F1: a proof counts for half the grace time that all handles use (N3).
    pub(super) fn fence(&self, at: &Current) -> Fence {
        let grace = self.settings_of(&at.state.version).grace;
        Fence {
            proof: at.proof,
            counts_for: Duration::from_micros(grace) / 2,
        }
    }

    /// Follows the log to its head (PROTOCOL F3); whether anything new came. One request if not.
    pub(super) async fn refresh(&self) -> Result<bool> {
        let start = self.state().version.head.seq;
        for _ in 0..PROBES {
            let before = self.current();
            let asked = self.log.moment();
            let seq = before.state.version.head.seq + 1;
            if self.log.is_stale(&self.fence(&before)) {
                break;
            }
            let found = self.log.read_record(seq).await?;
            // Judged now that the reply is here, not when the request left (F1).
            if self.log.is_stale(&self.fence(&before)) {
                break;
            }
            match found {
                Some(bytes) => self.meet(&before, seq, &bytes).await?,
                None => {
                    self.prove(before.state.version.head, asked);
                    return Ok(self.state().version.head.seq > start);
                }
            }
        }
        self.follow().await?;
        Ok(self.state().version.head.seq > start)
    }

    /// PROTOCOL G4: an sstable of `seen` is not there. The table's newest state, if that has left a file
    /// of `seen` behind; else a live file is missing, which `error` says.
    pub(super) async fn after_missing(
        &self,
        seen: &TableState,
        error: Error,
    ) -> Result<Arc<TableState>> {
        self.refresh().await?;
        let Some(now) = self.state().tables.get(&seen.id).cloned() else {
            return Err(dropped());
        };
        if now.entry.schema_version != seen.entry.schema_version {
            return Err(Error::new(
                ErrorKind::Expired,
                format!("{error}; the table was altered meanwhile: start the read again"),
            ));
        }
        let live = |id| now.files.iter().any(|f| f.meta.id == id);
        match seen.files.iter().all(|f| live(f.meta.id)) {
            true => Err(error),
            false => Ok(now),
        }
    }

    /// Lists what follows the position and applies it; where that is a gap or another branch, the
    /// position was left behind, and the newest checkpoint leads on (PROTOCOL F1, F2).
    pub(super) async fn follow(&self) -> Result<()> {
        let before = self.current();
        if before.offline.is_some() {
            return self.connect().await;
        }
        let asked = self.log.moment();
        let head = before.state.version.head;
        let Ok(all) = self.log.read_after(head.seq, head.digest).await? else {
            return self.jump(&before).await;
        };
        let at = all.last().map_or(head, Found::head);
        self.adopt_all(head, all)?;
        self.prove(at, asked);
        Ok(())
    }

    /// Applies a chain of records that follow `at`, as far as no other call of this handle did.
    pub(super) fn adopt_all(&self, mut at: Head, chain: Vec<Found>) -> Result<()> {
        for found in chain {
            let (current, next) = (self.current(), found.head());
            if current.state.version.head == at {
                self.adopt(Step::new(&current.state.version, found)?, None);
            }
            at = next;
        }
        Ok(())
    }

    async fn jump(&self, before: &Current) -> Result<()> {
        let version = before.state.version.as_ref().clone();
        let loaded = self.log.reach(version).await?;
        check_lineage(&before.state.version, &loaded.version)?;
        let inline = all_inline_rows(&loaded.version)?;
        let Loaded {
            version,
            tail,
            recent,
            proof,
        } = loaded;
        let version = Arc::new(version);
        self.change(|current| {
            let here = current.state.version.head;
            if version.head == here {
                current.proof = proof;
            } else if version.head.seq > here.seq {
                current.state = Arc::new(current.state.jumped(version, inline));
                current.tail = tail;
                current.recent = recent;
                current.claimed = Tail::default();
                current.proof = proof;
            }
        });
        self.look_for_doubt();
        self.reached();
        Ok(())
    }

    /// A foreign record was read from the slot after `before`. It counts if the position is fresh (F1)
    /// and it follows.
    async fn meet(&self, before: &Current, seq: u64, bytes: &Bytes) -> Result<()> {
        if self.log.is_stale(&self.fence(before)) {
            return self.follow().await;
        }
        let version = &before.state.version;
        for found in unpack(seq, bytes, seq)? {
            if found.record.prev == version.head.digest {
                self.adopt(Step::new(version, found)?, None);
                return Ok(());
            }
        }
        self.jump(before).await
    }

    /// The state after a record, unless another call of this handle brought the state on meanwhile: it
    /// can only have applied the same record, and maybe more.
    fn adopt(&self, step: Step, proof: Option<Moment>) {
        let seen = self.runtime.monotonic();
        self.change(|current| {
            if current.state.version.head == step.after {
                let state = current.state.with_record(step.version, step.inline);
                // A device checks its transactions against its own commits alone (PROTOCOL W5).
                current.state = Arc::new(match self.wal.is_some() {
                    true => state,
                    false => state.with_change(step.touched),
                });
                current.tail.records += 1;
                current.tail.bytes += step.found.body.len() as u64;
                current.recent.push(&step.found, Some(seen));
                current.proof = proof.unwrap_or(current.proof);
            }
        });
        self.reached();
    }

    /// The position was proved, if it still is the position.
    fn prove(&self, head: Head, proof: Moment) {
        self.change(|current| {
            if current.state.version.head == head {
                current.proof = proof;
            }
        });
        self.reached();
    }
}

/// Others may take the slot when this goes; should it never go, they do so after a while.
struct Taking<'a> {
    inner: &'a Inner,
    seq: u64,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.inner.change(|current| {
            current.taking = current.taking.filter(|(seq, _)| *seq != self.seq);
        });
    }
}

/// One record further.
struct Step {
    after: Head,
    version: Arc<Version>,
    inline: Vec<(TableId, Rows)>,
    /// What transactions are checked against: inline rows and fresh sstables; rows that were only moved
    /// never conflict (PROTOCOL C4).
    touched: Vec<(TableId, Touched)>,
    found: Found,
}

impl Step {
    fn new(before: &Version, found: Found) -> Result<Self> {
        let version = Arc::new(before.apply(&found.record, found.digest)?);
        let inline = inline_rows(&version, found.record.seq)?;
        let mut touched: Vec<(TableId, Touched)> = recent::touched(&inline).collect();
        touched.extend(version.fresh_files().map(|(t, f)| (t, Touched::File(f))));
        Ok(Self {
            after: before.head,
            version,
            inline,
            touched,
            found,
        })
    }
}

/// PROTOCOL C6: rows of a dropped table die with it.
pub(super) fn dropped() -> Error {
    Error::invalid("the table was dropped: create it again, and ask the database for the new one")
}
