//! The one error type. A kind says what the caller should do; the message names the field, object
//! or option at fault and the remedy. Invariant: no secret (key, token, signed URL) in any part.

use std::fmt;

/// What the caller should do about an [`Error`]. The names are the `code`s of `LakeshoreError` in JS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another transaction wrote what this one read: retry the transaction.
    Conflict,
    /// The store did not answer or is overloaded: retry later.
    Unavailable,
    /// The call is wrong: fix it. Nothing was changed.
    Invalid,
    /// Somebody else holds it (a WAL directory, say): the message names the holder.
    Busy,
    /// Stored bytes are not what was written: the message names object and offset.
    Corrupt,
    /// The time or snapshot asked for is older than what is kept.
    Expired,
    /// The store refused the credentials or the permission.
    Denied,
    /// It is not known whether the commit happened: read before you retry.
    Unknown,
    /// The handle was closed.
    Closed,
    /// Not supported here: the message names the remedy.
    Unsupported,
    /// A defect of Lakeshore.
    Internal,
}

impl ErrorKind {
    /// The stable name of the kind, equal to `LakeshoreError.code`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::Unavailable => "Unavailable",
            Self::Invalid => "Invalid",
            Self::Busy => "Busy",
            Self::Corrupt => "Corrupt",
            Self::Expired => "Expired",
            Self::Denied => "Denied",
            Self::Unknown => "Unknown",
            Self::Closed => "Closed",
            Self::Unsupported => "Unsupported",
            Self::Internal => "Internal",
        }
    }

    /// Whether the same call may succeed when made again unchanged.
    pub fn retryable(self) -> bool {
        matches!(self, Self::Conflict | Self::Unavailable | Self::Busy)
    }
}

/// Any failure of Lakeshore.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync + 'static>>,
}

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with a message that names what is wrong and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The same with the error that caused it.
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts `context: ` before the message; kind and source stay.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message without the kind.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// A second error that says the same: one failed group commit answers several callers.
    pub fn duplicate(&self) -> Self {
        Self::new(self.kind, self.message.clone())
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    pub(crate) fn closed() -> Self {
        Self::new(
            ErrorKind::Closed,
            "the database handle is closed: open it again",
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
