//! Which keys are keys: one rule for every store, so that what one accepts all accept.
//! Invariant: a key that passes here cannot leave a directory it is joined to, nor name a store's
//! own file (a temporary `.tmp-*`, a lock `*.lock`).

use crate::error::{Error, Result};

/// Longest key in bytes (S3's limit).
const MAX_KEY: usize = 1024;
/// Longest segment in bytes (what file systems allow).
const MAX_SEGMENT: usize = 250;
/// How a store's temporary files begin.
pub(crate) const TEMPORARY: &str = ".tmp-";
/// How a store's lock files end.
pub(crate) const LOCK_SUFFIX: &str = ".lock";

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn segments(key: &str) -> Result<(), &'static str> {
    if key.is_empty() {
        return Err("it is empty");
    }
    if key.len() > MAX_KEY {
        return Err("it is longer than 1024 bytes");
    }
    for segment in key.split('/') {
        match segment {
            "" => return Err("a segment is empty"),
            "." | ".." => return Err("a segment is `.` or `..`"),
            s if s.len() > MAX_SEGMENT => return Err("a segment is longer than 250 bytes"),
            s if !s.bytes().all(allowed) => return Err("only A-Z a-z 0-9 . _ - are allowed"),
            s if s.starts_with(TEMPORARY) => return Err("`.tmp-` is reserved"),
            _ => {}
        }
    }
    Ok(())
}

/// Whether `name` is a store's own file, which no listing shows.
pub(crate) fn is_own(name: &str) -> bool {
    name.starts_with(TEMPORARY) || name.ends_with(LOCK_SUFFIX)
}

/// `Invalid`, saying why, unless `key` may name an object.
pub(crate) fn check_key(key: &str) -> Result<()> {
    let checked = segments(key).and_then(|()| {
        if key.ends_with(LOCK_SUFFIX) {
            Err("the ending `.lock` is reserved")
        } else {
            Ok(())
        }
    });
    checked.map_err(|why| Error::invalid(format!("{key:?} is not an object key: {why}")))
}

/// `Invalid`, saying why, unless `name` may name a lock.
pub(crate) fn check_lock_name(name: &str) -> Result<()> {
    segments(name).map_err(|why| Error::invalid(format!("{name:?} is not a lock name: {why}")))
}

/// `Invalid`, saying why, unless keys may begin with `prefix` (which may end within a segment).
pub(crate) fn check_prefix(prefix: &str) -> Result<()> {
    let (directory, rest) = match prefix.rsplit_once('/') {
        Some((directory, rest)) => (Some(directory), rest),
        None => (None, prefix),
    };
    let checked = match directory {
        Some(directory) => segments(directory),
        None => Ok(()),
    };
    checked
        .and_then(|()| {
            if rest.bytes().all(allowed) {
                Ok(())
            } else {
                Err("only A-Z a-z 0-9 . _ - are allowed")
            }
        })
        .map_err(|why| Error::invalid(format!("{prefix:?} is not a key prefix: {why}")))
}

/// `Corrupt`: an object of `size` bytes ended before the `range` that was asked for.
pub(crate) fn ends_early(key: &str, range: &std::ops::Range<u64>, size: u64) -> Error {
    Error::corrupt(format!(
        "object {key}: expected bytes {}..{}, but it ends at {size}",
        range.start, range.end
    ))
}
