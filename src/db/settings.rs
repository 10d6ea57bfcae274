//! Settings kept in the catalog (PROTOCOL N3), so that every handle uses the same: what another handle
//! may still believe, or rely on, follows from them. Invariant: the grace time never gets shorter. A
//! handle that has not heard of a shorter one would trust a proof for longer (F1) than gc lets it live.

use super::{Db, Inner, log::IfFreed};
use crate::{
    error::{Error, Result},
    log::{
        edit::{Edit, Settings},
        version::Version,
    },
    options::Options,
};
use std::time::Duration;

/// What to change of the [`Settings`]; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// How long a deleted thing may still be in use by a slow process: at least 15 minutes, and never
    /// less than it was.
    pub grace: Option<Duration>,
    /// How far back `as of` reads reach. Raising it brings nothing back that gc or compaction took.
    pub retention: Option<Duration>,
    /// Largest commit whose rows go inline into a log record, in bytes.
    pub inline_commit_bytes: Option<u64>,
    /// A checkpoint is written after this many log records: at least 1.
    pub checkpoint_records: Option<u64>,
    /// … or after this many bytes of log tail: at least 1.
    pub checkpoint_bytes: Option<u64>,
}

impl SettingsChange {
    /// `now` with this change.
    fn apply(&self, now: &Settings) -> Result<Settings> {
        let next = Settings {
            grace: self.grace.map_or(now.grace, micros),
            retention: self.retention.map_or(now.retention, micros),
            inline_commit_bytes: self.inline_commit_bytes.unwrap_or(now.inline_commit_bytes),
            checkpoint_records: self.checkpoint_records.unwrap_or(now.checkpoint_records),
            checkpoint_bytes: self.checkpoint_bytes.unwrap_or(now.checkpoint_bytes),
        };
        if next.grace < now.grace {
            return Err(Error::invalid(format!(
                "setting grace: it is {} s and cannot be made shorter, for a handle that has not heard of \
                 it would rely on things that gc deletes",
                now.grace / 1_000_000
            )));
        }
        for (name, value) in [
            ("checkpoint_records", next.checkpoint_records),
            ("checkpoint_bytes", next.checkpoint_bytes),
        ] {
            if value == 0 {
                return Err(Error::invalid(format!(
                    "setting {name} is 0: it takes at least 1"
                )));
            }
        }
        Ok(next)
    }
}

impl Db {
    /// The settings all handles use: the catalog's, or before there is a database those that this handle's
    /// options would give it.
    pub fn settings(&self) -> Settings {
        self.inner.settings()
    }

    /// Changes settings for all handles, by a commit; each follows them when it meets that record. Gives
    /// what holds from then on.
    ///
    /// # Errors
    /// `Invalid` for a value out of range, for a shorter grace time, and before there is a database.
    pub async fn configure(&self, change: SettingsChange) -> Result<Settings> {
        self.inner.check_open()?;
        self.inner
            .commit_record(IfFreed::Replan, &mut |state| {
                let Some(now) = &state.version.settings else {
                    return Err(Error::invalid(
                        "there is no database yet, and so no settings to change: give them as options, or \
                         create a table first",
                    ));
                };
                let next = change.apply(now)?;
                Ok(match next == *now {
                    true => Vec::new(),
                    false => vec![Edit::Settings(next)],
                })
            })
            .await?;
        Ok(self.settings())
    }
}

impl Inner {
    pub(super) fn settings(&self) -> Settings {
        self.settings_of(&self.state().version)
    }

    pub(super) fn settings_of(&self, version: &Version) -> Settings {
        (version.settings).unwrap_or_else(|| settings_of(&self.options))
    }
}

/// What the first record puts into the catalog.
pub(super) fn settings_of(options: &Options) -> Settings {
    Settings {
        grace: micros(options.grace),
        retention: micros(options.retention),
        inline_commit_bytes: options.inline_commit_bytes as u64,
        checkpoint_records: options.checkpoint_records,
        checkpoint_bytes: options.checkpoint_bytes,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
