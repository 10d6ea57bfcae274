//! Options from JavaScript: camelCase names, times in milliseconds. An unknown one is `Invalid`.

use super::error::get;
use crate::{
    db::{ChangesOptions, Cursor, KeepUploaded, SettingsChange},
    error::{Error, Result},
    options::{OfflineOpen, Options, SyncPolicy},
};
use js_sys::Object;
use serde::{Deserialize, de::DeserializeOwned};
use std::time::Duration;
use wasm_bindgen::{JsCast, JsValue};

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum JsSync {
    Name(String),
    Interval {
        #[serde(rename = "intervalMs")]
        interval_ms: f64,
    },
    Bytes {
        bytes: f64,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum JsOffline {
    Allow,
    Refuse,
}

/// Puts what is given into the defaults.
pub(super) fn parse(js: &JsValue) -> Result<Options> {
    let mut options = Options::default();
    let Some(object) = js.dyn_ref::<Object>() else {
        return Ok(options);
    };
    for name in Object::keys(object).iter().filter_map(|k| k.as_string()) {
        let value = get(js, &name);
        if !value.is_undefined() {
            set(&mut options, &name, value)?;
        }
    }
    options.validate()?;
    Ok(options)
}

fn set(options: &mut Options, name: &str, value: JsValue) -> Result<()> {
    let read = Reader { name, value };
    match name {
        "sync" => {
            options.sync =
                sync_policy(read.take("\"always\", \"never\", { intervalMs } or { bytes }")?)?
        }
        "walSegmentBytes" => options.wal_segment_bytes = read.count()? as u64,
        "sealBytes" => options.seal_bytes = read.count()?,
        "sealRows" => options.seal_rows = read.count()?,
        "sealBatches" => options.seal_batches = read.count()?,
        "sealAgeMs" => options.seal_age = read.time()?,
        "memtableLimitBytes" => options.memtable_limit_bytes = read.count()?,
        "inlineCommitBytes" => options.inline_commit_bytes = read.count()?,
        "checkpointRecords" => options.checkpoint_records = read.count()? as u64,
        "checkpointBytes" => options.checkpoint_bytes = read.count()? as u64,
        "graceMs" => options.grace = read.time()?,
        "retentionMs" => options.retention = read.time()?,
        "sstableBytes" => options.sstable_bytes = read.count()?,
        "rowGroupRows" => options.row_group_rows = read.count()?,
        "pageRows" => options.page_rows = read.count()?,
        "bloomFpp" => options.bloom_fpp = read.take("a number")?,
        "batchRows" => options.batch_rows = read.count()?,
        "batchBytes" => options.batch_bytes = read.count()?,
        "concurrency" => options.concurrency = read.count()?,
        "coalesceGap" => options.coalesce_gap = read.count()? as u64,
        "memoryBytes" => options.memory_bytes = read.count()?,
        "readBytes" => options.read_bytes = read.count()? as u64,
        "commitBytes" => options.commit_bytes = read.count()?,
        "conflictBytes" => options.conflict_bytes = read.count()?,
        "backlogBytes" => options.backlog_bytes = read.count()?,
        "offline" => {
            options.offline = match read.take("\"allow\" or \"refuse\"")? {
                JsOffline::Allow => OfflineOpen::Allow,
                JsOffline::Refuse => OfflineOpen::Refuse,
            }
        }
        "openTimeoutMs" => options.open_timeout = Some(read.time()?),
        "retries" => options.retries = read.count()? as u32,
        "detachedTasks" => options.detached_tasks = read.take("a boolean")?,
        _ => {
            return Err(Error::invalid(format!(
                "there is no option {name:?}: see OpenOptions"
            )));
        }
    }
    Ok(())
}

/// Options of a change feed.
pub(super) fn change_feed(js: &JsValue) -> Result<ChangesOptions> {
    let given = |name: &'static str| {
        let value = get(js, name);
        (!value.is_undefined()).then_some(Reader { name, value })
    };
    let since =
        given("since").map(|read| read.take::<String>("the cursor of a change, or \"start\""));
    let since = since.transpose()?.map(|text| match text.as_str() {
        "start" => Ok(Cursor::START),
        cursor => cursor.parse(),
    });
    let tables = given("tables").map(|read| read.take("an array of names of tables"));
    let end = given("endAtHead").map(|read| read.take("a boolean"));
    Ok(ChangesOptions {
        since: since.transpose()?,
        tables: tables.transpose()?,
        poll: given("pollMs").map(Reader::time).transpose()?,
        end_at_head: end.transpose()?.unwrap_or(false),
    })
}

/// How to keep uploading.
pub(super) fn keep_uploaded(js: &JsValue) -> Result<KeepUploaded> {
    let mut options = KeepUploaded::default();
    for (name, time) in [
        ("intervalMs", &mut options.every),
        ("longestPauseMs", &mut options.longest_pause),
    ] {
        let value = get(js, name);
        if !value.is_undefined() {
            *time = Reader { name, value }.time()?;
        }
    }
    Ok(options)
}

/// What to change of the settings in the catalog.
pub(super) fn settings_change(js: &JsValue) -> Result<SettingsChange> {
    let mut change = SettingsChange::default();
    let Some(object) = js.dyn_ref::<Object>() else {
        return Ok(change);
    };
    for name in Object::keys(object).iter().filter_map(|k| k.as_string()) {
        let value = get(js, &name);
        if value.is_undefined() {
            continue;
        }
        let read = Reader { name: &name, value };
        match name.as_str() {
            "graceMs" => change.grace = Some(read.time()?),
            "retentionMs" => change.retention = Some(read.time()?),
            "inlineCommitBytes" => change.inline_commit_bytes = Some(read.whole()?),
            "checkpointRecords" => change.checkpoint_records = Some(read.whole()?),
            "checkpointBytes" => change.checkpoint_bytes = Some(read.whole()?),
            _ => {
                return Err(Error::invalid(format!(
                    "there is no setting {name:?}: see Settings"
                )));
            }
        }
    }
    Ok(change)
}

/// A whole number in `object`, if it is there: an option of a call.
pub(super) fn whole(object: &JsValue, name: &str) -> Result<Option<u64>> {
    let value = get(object, name);
    match value.is_undefined() {
        true => Ok(None),
        false => Reader { name, value }.whole().map(Some),
    }
}

struct Reader<'a> {
    name: &'a str,
    value: JsValue,
}

impl Reader<'_> {
    fn take<T: DeserializeOwned>(self, takes: &str) -> Result<T> {
        serde_wasm_bindgen::from_value(self.value)
            .map_err(|_| Error::invalid(format!("option {} takes {takes}", self.name)))
    }

    fn number(self, takes: &str) -> Result<f64> {
        let name = self.name;
        let number: f64 = self.take(takes)?;
        match (0.0..=9_007_199_254_740_991.0).contains(&number) {
            true => Ok(number),
            false => Err(Error::invalid(format!(
                "option {name} is {number}: it takes {takes}"
            ))),
        }
    }

    /// Whole numbers above what a `usize` holds are as good as no bound.
    fn count(self) -> Result<usize> {
        Ok(usize::try_from(self.whole()?).unwrap_or(usize::MAX))
    }

    fn whole(self) -> Result<u64> {
        let (name, takes) = (self.name, "a whole number, at least 0");
        let number = self.number(takes)?;
        match number.fract() == 0.0 {
            true => Ok(number as u64),
            false => Err(Error::invalid(format!(
                "option {name} is {number}: it takes {takes}"
            ))),
        }
    }

    fn time(self) -> Result<Duration> {
        self.number("milliseconds, at least 0")
            .map(|ms| Duration::from_micros((ms * 1000.0) as u64))
    }
}

fn sync_policy(js: JsSync) -> Result<SyncPolicy> {
    Ok(match js {
        JsSync::Name(name) if name == "always" => SyncPolicy::Always,
        JsSync::Name(name) if name == "never" => SyncPolicy::Never,
        JsSync::Interval { interval_ms } if interval_ms >= 0.0 => {
            SyncPolicy::Interval(Duration::from_micros((interval_ms * 1000.0) as u64))
        }
        JsSync::Bytes { bytes } if bytes >= 0.0 => SyncPolicy::Bytes(bytes as u64),
        _ => {
            return Err(Error::invalid(
                "option sync takes \"always\", \"never\", { intervalMs } or { bytes }",
            ));
        }
    })
}
