//! What a failed system call means to the caller: one mapping from `std::io::Error` to our kinds.

use crate::error::{Error, ErrorKind};
use std::{fmt, io};

/// Kind and remedy of an I/O error.
fn meaning(error: &io::Error) -> (ErrorKind, &'static str) {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::PermissionDenied => (ErrorKind::Denied, "; check owner and mode of the directory"),
        Io::ReadOnlyFilesystem => (ErrorKind::Denied, "; the file system is mounted read-only"),
        Io::StorageFull => (ErrorKind::Unavailable, "; free disk space and retry"),
        Io::QuotaExceeded => (
            ErrorKind::Unavailable,
            "; raise the disk quota or free space",
        ),
        Io::NotADirectory | Io::IsADirectory | Io::AlreadyExists => (
            ErrorKind::Invalid,
            "; on a file system a key cannot be both an object and a prefix of others",
        ),
        Io::InvalidInput | Io::InvalidFilename => (ErrorKind::Invalid, ""),
        Io::UnexpectedEof => (
            ErrorKind::Corrupt,
            "; the object is shorter than it was written",
        ),
        Io::Unsupported => (ErrorKind::Unsupported, "; use another file system"),
        _ => (ErrorKind::Unavailable, ""),
    }
}

/// Our error for `error`, which happened while doing `what` (say `write a/b`).
pub(crate) fn io_error(what: impl fmt::Display, error: io::Error) -> Error {
    let (kind, remedy) = meaning(&error);
    Error::new(kind, format!("{what}: {error}{remedy}")).with_source(error)
}

/// Whether the error says that there is no such object.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind as Io;
    matches!(
        error.kind(),
        Io::NotFound | Io::NotADirectory | Io::IsADirectory
    )
}
