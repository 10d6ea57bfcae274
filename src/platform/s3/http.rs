//! What the store asks of an HTTP client; `platform/native/http.rs` and `platform/wasm/fetch.rs` are two.

use crate::env::BoxFuture;
use bytes::Bytes;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A request, as it goes to the wire: nothing in it may be encoded again.
pub struct HttpRequest {
    /// `GET`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// Absolute and percent-encoded. It may carry a signature: not for messages.
    pub url: String,
    /// Names in lower case. `host` is not among them: it follows from the URL.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Bytes,
    /// A longer body is cut off here; see [`HttpRequest::limit_of`].
    pub limit: u64,
    /// Is told how long the answer's body is, as soon as its head says so: by that it may take longer.
    pub announced: Announced,
}

/// The length of a body that is on its way, in bytes; 0 while nobody said it.
#[derive(Clone, Debug, Default)]
pub struct Announced(Arc<AtomicU64>);

impl Announced {
    /// The head says so.
    pub fn tell(&self, bytes: u64) {
        self.0.store(bytes, Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl HttpRequest {
    /// Where the body of an answer with this status is cut off: an error says little.
    pub fn limit_of(limit: u64, status: u16) -> u64 {
        if status < 300 { limit } else { 64 << 10 }
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status; 0 for a redirect that the client does not show.
    pub status: u16,
    /// Names in lower case: at least those of [`ANSWER_HEADERS`] that there are and may be seen.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// The headers that the store reads.
pub const ANSWER_HEADERS: [&str; 9] = [
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "retry-after",
    "x-amz-bucket-region",
    "x-amz-request-id",
];

impl HttpAnswer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The header `content-length`.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }
}

/// No answer, or not a whole one. It is not known whether the request had an effect.
#[derive(Clone, Debug)]
pub struct HttpError {
    /// What happened, without URLs and headers.
    pub message: String,
    /// Whether another attempt may end otherwise.
    pub retryable: bool,
    /// Whether there may have been an answer that is not shown: a browser's, where the store left CORS out.
    pub hidden: bool,
}

/// An HTTP client.
pub trait Http: Send + Sync + fmt::Debug {
    /// Sends one request and reads its answer; redirects are not followed. Dropping the future
    /// ends the request. It has no time-out of its own.
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpAnswer, HttpError>>;

    /// Whether an answer that lacks a header of [`ANSWER_HEADERS`] was sent without it. Not so in a page, where
    /// CORS hides what is not exposed.
    fn shows_all_headers(&self) -> bool {
        false
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.url.split('?').next().unwrap_or_default();
        write!(f, "{} {place} ({} bytes)", self.method, self.body.len())
    }
}
