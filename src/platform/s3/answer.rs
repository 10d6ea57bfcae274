//! What an answer means: a pure function of status, headers and body. Invariants: bytes are given only
//! for exactly what was asked; "there is none" only when the store says that the *key* is missing; no
//! text of an answer gets into a message but its code and, cut short, its message.

use super::{
    http::HttpAnswer,
    stranger,
    xml::{self, ErrorBody},
};
use crate::{
    error::{Error, ErrorKind},
    platform::{date::http_date, key::ends_early},
};
use bytes::Bytes;
use std::{ops::Range, time::Duration};

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Get,
    /// Not empty.
    Range(Range<u64>),
    /// The last bytes, at least one.
    Suffix(u64),
    Put,
    PutIfAbsent,
    List,
    Delete,
}

impl Op {
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Get | Self::Range(_) | Self::Suffix(_) => "read",
            Self::Put => "write",
            Self::PutIfAbsent => "create",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }

    fn permission(&self) -> &'static str {
        match self {
            Self::Get | Self::Range(_) | Self::Suffix(_) => {
                "s3:GetObject on its objects and, because without it a missing object is \
                 refused instead of missing, s3:ListBucket on the bucket"
            }
            Self::Put | Self::PutIfAbsent => "s3:PutObject on its objects",
            Self::List => "s3:ListBucket on the bucket",
            Self::Delete => "s3:DeleteObject on its objects",
        }
    }
}

/// What an answer means.
#[derive(Debug)]
pub(super) enum Verdict {
    Bytes(Bytes),
    /// The end of an object, and its size.
    Tail(Bytes, u64),
    Missing,
    Done,
    Exists,
    /// Another attempt may succeed. `early`: the store says it did nothing, and asks for time; `wait`: for so
    /// much.
    Again {
        error: Error,
        early: bool,
        wait: Option<Duration>,
    },
    /// The clock that signed is wrong; the store's time, if it said it.
    Skewed {
        error: Error,
        server: Option<i64>,
    },
    /// New credentials may be taken.
    Stale(Error),
    Fail(Error),
}

/// The object or prefix that was asked for, and where.
pub(super) struct Asked<'a> {
    pub(super) op: &'a Op,
    pub(super) key: &'a str,
    /// `Place::name`.
    pub(super) place: &'a str,
    /// `Http::shows_all_headers`.
    pub(super) all_shown: bool,
}

impl Asked<'_> {
    /// An error of `kind` that says what was asked of whom.
    pub(super) fn error(&self, kind: ErrorKind, why: &str) -> Error {
        let parts = [self.place, ": ", self.op.verb(), " ", self.key, ": ", why];
        Error::new(kind, parts.concat())
    }

    pub(super) fn again(&self, why: &str) -> Verdict {
        Verdict::Again {
            error: self.error(ErrorKind::Unavailable, why),
            early: false,
            wait: None,
        }
    }

    fn fail(&self, kind: ErrorKind, why: &str) -> Verdict {
        Verdict::Fail(self.error(kind, why))
    }
}

/// What `answer` means for what was `asked`.
pub(super) fn judge(asked: &Asked<'_>, answer: &HttpAnswer) -> Verdict {
    let error = match (asked.op, answer.status) {
        // An object, or a part of one.
        (Op::Get | Op::Range(_) | Op::Suffix(_) | Op::List, 200..=299) => ErrorBody::default(),
        _ => xml::error(&answer.body),
    };
    let op = (asked.op, asked.key);
    if let Some(what) = stranger::looks_like(op, answer, asked.all_shown, &error.code) {
        return asked.again(&not_a_stores(answer.status, &what));
    }
    let whole = answer.header("content-encoding").is_some()
        || answer
            .length()
            .is_none_or(|length| answer.body.len() as u64 >= length);
    match (asked.op, answer.status) {
        (Op::Range(_) | Op::Suffix(_), 206) => part(asked, answer),
        // Nothing is the end of nothing, whether the range was heeded or not.
        (Op::Suffix(_), 200) if answer.length() == Some(0) => Verdict::Tail(Bytes::new(), 0),
        (Op::Range(_) | Op::Suffix(_), 200) => asked.fail(
            ErrorKind::Unavailable,
            "the answer to a ranged read is 200, not 206: the store, or a proxy before it, \
             ignores Range",
        ),
        (Op::Range(_) | Op::Suffix(_), 416) => beyond(asked, answer),
        (Op::Get | Op::List, 200) if !whole => asked.again("the answer ends too early"),
        (Op::Get | Op::List, 200) => Verdict::Bytes(answer.body.clone()),
        // A store answers nothing here, or, late, an error.
        (Op::Put | Op::PutIfAbsent | Op::Delete, 200 | 201 | 204) if !error.code.is_empty() => {
            asked.again(&said(answer.status, &error))
        }
        (Op::Put | Op::PutIfAbsent, 200 | 201 | 204) => Verdict::Done,
        (Op::Delete, 200 | 204) => Verdict::Done,
        (Op::PutIfAbsent, 412) => Verdict::Exists,
        _ => refused(asked, answer, &error),
    }
}

/// What to say of an answer that something else than a store gave.
fn not_a_stores(status: u16, what: &str) -> String {
    format!("{status}: the answer {what}, not a store's: a portal or a wrong endpoint?")
}

/// `Unavailable`: what was given as a listing is none.
pub(super) fn no_listing(asked: &Asked<'_>) -> Error {
    asked.error(ErrorKind::Unavailable, &not_a_stores(200, "is no listing"))
}

/// The longest that a store may ask us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The header `Retry-After`: seconds, or a moment by the clock of whoever says it.
fn retry_after(answer: &HttpAnswer) -> Option<Duration> {
    let text = answer.header("retry-after")?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let now = http_date(answer.header("date")?)?;
            let micros = http_date(text)?.saturating_sub(now);
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// `bytes a-b/size`.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (span, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, size.parse().ok()?))
}

fn part(asked: &Asked<'_>, answer: &HttpAnswer) -> Verdict {
    let Some(text) = answer.header("content-range") else {
        return asked.fail(
            ErrorKind::Invalid,
            "the answer shows no Content-Range: let CORS expose ETag, Date, Content-Range and \
             x-amz-bucket-region",
        );
    };
    let Some((first, last, size)) = content_range(text) else {
        return asked.fail(ErrorKind::Corrupt, "its Content-Range cannot be read");
    };
    let expected = match asked.op {
        Op::Range(range) if range.start < size && range.end > size => {
            return Verdict::Fail(ends_early(asked.key, range, size));
        }
        Op::Range(range) => range.clone(),
        Op::Suffix(length) => size.saturating_sub(*length)..size,
        _ => 0..size,
    };
    if first != expected.start || last.checked_add(1) != Some(expected.end) {
        return asked.fail(
            ErrorKind::Corrupt,
            "the answer has another Content-Range than was asked for",
        );
    }
    if answer.body.len() as u64 != expected.end - expected.start {
        return asked.again("the answer is not as long as its Content-Range");
    }
    match asked.op {
        Op::Suffix(_) => Verdict::Tail(answer.body.clone(), size),
        _ => Verdict::Bytes(answer.body.clone()),
    }
}

/// 416: the range lies behind the end.
fn beyond(asked: &Asked<'_>, answer: &HttpAnswer) -> Verdict {
    let size = answer
        .header("content-range")
        .and_then(|text| text.trim().strip_prefix("bytes */")?.parse().ok());
    match (asked.op, size) {
        // Of an object with bytes there is always an end.
        (Op::Suffix(_), None | Some(0)) => Verdict::Tail(Bytes::new(), 0),
        (Op::Range(range), Some(size)) if size < range.end => {
            Verdict::Fail(ends_early(asked.key, range, size))
        }
        (Op::Range(range), None) => Verdict::Fail(Error::corrupt(format!(
            "object {}: expected bytes {}..{}, but it ends before",
            asked.key, range.start, range.end
        ))),
        _ => asked.fail(ErrorKind::Corrupt, "416 to a range that it has"),
    }
}

const SLOW: [&str; 6] = [
    "SlowDown",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestLimitExceeded",
];

fn refused(asked: &Asked<'_>, answer: &HttpAnswer, error: &ErrorBody) -> Verdict {
    use ErrorKind::{Denied, Invalid, Unavailable, Unsupported};
    let (status, code) = (answer.status, error.code.as_str());
    let said = said(status, error);
    let why = |text: &str| [said.as_str(), ": ", text].concat();
    let region = answer.header("x-amz-bucket-region");
    let region = region.or(error.region.as_deref());
    match (code, status) {
        ("NoSuchKey", _) if *asked.op == Op::Delete => Verdict::Done,
        ("NoSuchKey", _) if asked.op.verb() == "read" => Verdict::Missing,
        ("NoSuchBucket", _) => asked.fail(
            Invalid,
            &why("there is no such bucket: create it, or correct the option bucket or endpoint"),
        ),
        ("RequestTimeTooSkewed" | "RequestExpired", _) => Verdict::Skewed {
            error: asked.error(
                Denied,
                &why("the clock of this device differs from the store's: set it"),
            ),
            server: error.server_time,
        },
        ("SignatureDoesNotMatch", _) => asked.fail(
            Denied,
            &why("the secret access key is not the one of the access key id, or a proxy changed the request"),
        ),
        ("InvalidAccessKeyId", _) => Verdict::Stale(asked.error(
            Denied,
            &why("the store does not know the access key id: correct the credentials"),
        )),
        ("ExpiredToken" | "TokenRefreshRequired", _) => Verdict::Stale(asked.error(
            Denied,
            &why("the session has expired: give new credentials, or a function that gets them"),
        )),
        ("InvalidToken", _) => Verdict::Stale(asked.error(
            Denied,
            &why("the store does not take the session token: give the one of these credentials"),
        )),
        ("PermanentRedirect" | "TemporaryRedirect" | "Redirect", _) | (_, 0 | 300..=399) => {
            elsewhere(asked, &said, region)
        }
        ("AuthorizationHeaderMalformed", _) if region.is_some() => elsewhere(asked, &said, region),
        ("NotImplemented", _) | (_, 501) => asked.fail(
            Unsupported,
            &why("this store lacks what was asked: Lakeshore needs If-None-Match on PUT and ranged reads"),
        ),
        (_, 429 | 503 | 409) => again_later(asked, answer, &said),
        (code, _) if SLOW.contains(&code) => again_later(asked, answer, &said),
        (
            "RequestTimeout" | "IncompleteBody" | "BadDigest" | "XAmzContentSHA256Mismatch"
            | "InternalError",
            _,
        )
        | (_, 408 | 425 | 500..) => asked.again(&said),
        (_, 401 | 403) => Verdict::Stale(asked.error(
            Denied,
            &why(&["the credentials are wrong, or lack ", asked.op.permission()].concat()),
        )),
        (_, 404) => asked.fail(
            Invalid,
            &why("not an answer of an S3 store: correct the option endpoint, or pathStyle"),
        ),
        (_, 200..=299) => asked.fail(Unavailable, &why("not the answer to what was asked")),
        _ => asked.fail(Invalid, &said),
    }
}

fn again_later(asked: &Asked<'_>, answer: &HttpAnswer, said: &str) -> Verdict {
    Verdict::Again {
        error: asked.error(ErrorKind::Unavailable, said),
        early: true,
        wait: retry_after(answer),
    }
}

/// `403 AccessDenied`, with the message where the code is not one we explain.
fn said(status: u16, error: &ErrorBody) -> String {
    let plain = |text: &str, most: usize| -> String {
        let shown = |c: &char| !c.is_control();
        text.chars().filter(shown).take(most).collect()
    };
    let mut said = status.to_string();
    for (mark, text, most) in [(" ", &error.code, 60), (", ", &error.message, 200)] {
        if !text.is_empty() {
            said.push_str(mark);
            said.push_str(&plain(text, most));
        }
    }
    said
}

fn elsewhere(asked: &Asked<'_>, said: &str, region: Option<&str>) -> Verdict {
    let remedy = match region {
        Some(region) => format!("the bucket is in the region {region:.64}: set the option region"),
        None => "the bucket is elsewhere: correct the option region or endpoint".to_owned(),
    };
    asked.fail(ErrorKind::Invalid, &[said, ": ", &remedy].concat())
}
