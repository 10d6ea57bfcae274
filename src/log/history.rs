//! Reads of the past: which timestamps can be read, and what a timestamp or a tag stands for (PROTOCOL
//! T3, G1).

use super::version::Version;
use crate::{
    error::{Error, ErrorKind, Result},
    platform::date::iso_micros,
};

/// A moment of the database's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Microseconds since the Unix epoch. One beyond the head means the head (T3).
    Timestamp(i64),
    /// The timestamp of that tag.
    Tag(String),
}

/// The oldest timestamp that can be read, in microseconds since the Unix epoch: versions below it may
/// have been merged away (G1).
pub fn oldest_readable(version: &Version) -> i64 {
    version.watermark
}

/// `Expired`, naming the oldest timestamp there is, if `ts` is older.
pub fn check_as_of(version: &Version, ts: i64) -> Result<()> {
    let oldest = oldest_readable(version);
    if ts >= oldest {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Expired,
        format!(
            "timestamp {ts} ({}) is older than what is kept: the oldest available is {oldest} ({}); a \
             longer retention or a tag keeps more",
            iso_micros(ts),
            iso_micros(oldest)
        ),
    ))
}

/// The timestamp that `at` stands for in `version`, at most that of its head (T3). A caller that must not
/// miss what others committed refreshes first where [`is_beyond`] says so.
pub fn resolve(version: &Version, at: &AsOf) -> Result<i64> {
    let ts = match at {
        AsOf::Timestamp(ts) => (*ts).min(version.head.ts),
        AsOf::Tag(name) => tag(version, name)?,
    };
    check_as_of(version, ts)?;
    Ok(ts)
}

/// Whether a newer version may answer otherwise: a time beyond the head, or a tag not seen yet.
pub fn is_beyond(version: &Version, at: &AsOf) -> bool {
    match at {
        AsOf::Timestamp(ts) => *ts > version.head.ts,
        AsOf::Tag(name) => !version.tags.contains_key(name),
    }
}

fn tag(version: &Version, name: &str) -> Result<i64> {
    version.tags.get(name).copied().ok_or_else(|| {
        let names: Vec<&str> = version.tags.keys().take(20).map(String::as_str).collect();
        let there = match names.is_empty() {
            true => "there is none".to_owned(),
            false => format!("there are {}", names.join(", ")),
        };
        Error::new(ErrorKind::Invalid, format!("no tag {name:?}: {there}"))
    })
}
