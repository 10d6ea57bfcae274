//! What an exception of a host means to the caller.
//!
//! `code` equal to one of our kinds keeps the kind; the codes of Node and the names of
//! `DOMException`s are mapped; anything else is `Unavailable`, because it is not known what had
//! happened. Invariant: the query of a URL in the message (it may be signed) is cut off.

use super::call::property;
use crate::error::{Error, ErrorKind};
use wasm_bindgen::JsValue;

const KINDS: [ErrorKind; 11] = [
    ErrorKind::Conflict,
    ErrorKind::Unavailable,
    ErrorKind::Invalid,
    ErrorKind::Busy,
    ErrorKind::Corrupt,
    ErrorKind::Expired,
    ErrorKind::Denied,
    ErrorKind::Unknown,
    ErrorKind::Closed,
    ErrorKind::Unsupported,
    ErrorKind::Internal,
];

/// Kind and remedy of a code or name that is not ours.
fn foreign(code: &str) -> Option<(ErrorKind, &'static str)> {
    Some(match code {
        "EACCES" | "EPERM" => (ErrorKind::Denied, "; check owner and mode of the directory"),
        "EROFS" => (ErrorKind::Denied, "; the file system is mounted read-only"),
        "NotAllowedError" | "SecurityError" => (
            ErrorKind::Denied,
            "; private browsing and blocked site data forbid it",
        ),
        "ENOSPC" => (ErrorKind::Unavailable, "; free disk space and retry"),
        "EDQUOT" => (
            ErrorKind::Unavailable,
            "; raise the disk quota or free space",
        ),
        "QuotaExceededError" => (
            ErrorKind::Unavailable,
            "; free storage of this origin and retry",
        ),
        "ENOTDIR" | "EISDIR" | "EEXIST" | "TypeMismatchError" | "InvalidModificationError" => (
            ErrorKind::Invalid,
            "; on a file system a key cannot be both an object and a prefix of others",
        ),
        "EINVAL" | "ENAMETOOLONG" | "DataCloneError" => (ErrorKind::Invalid, ""),
        "ENOTSUP" | "EOPNOTSUPP" | "ENOSYS" | "NotSupportedError" => (ErrorKind::Unsupported, ""),
        "NoModificationAllowedError" => (ErrorKind::Busy, ""),
        _ => return None,
    })
}

/// `https://host/key?secret` without what is secret, in any text.
pub(super) fn redact(text: &str) -> String {
    let mut words = Vec::new();
    for word in text.split(' ') {
        let query = word.find("://").and_then(|_| word.find('?'));
        words.push(query.map_or(word, |at| &word[..at]));
    }
    words.join(" ")
}

fn text(thrown: &JsValue, name: &str) -> Option<String> {
    property(thrown, name)?.as_string()
}

/// Our error for what `place` (say `host.put() a/b`) threw or rejected with.
pub(super) fn host_error(place: &str, thrown: &JsValue) -> Error {
    let message = text(thrown, "message")
        .or_else(|| thrown.as_string())
        .unwrap_or_else(|| "something that is not an Error was thrown".to_owned());
    let message = redact(&message);
    let code = text(thrown, "code").unwrap_or_default();
    if let Some(kind) = KINDS.into_iter().find(|kind| kind.name() == code) {
        return Error::new(kind, message);
    }
    let name = text(thrown, "name").unwrap_or_default();
    let known = foreign(&code).or_else(|| foreign(&name));
    let (kind, remedy) = known.unwrap_or((ErrorKind::Unavailable, ""));
    Error::new(kind, format!("{place}: {message}{remedy}"))
}
