//! Whether a store gave an answer at all, or something between: a portal that wants a sign-in, a server that
//! gives its start page for every path. Pure; `answer` asks it first. Invariants: bytes that a store gave are
//! never called a stranger's (damage is `Corrupt`), and what is a stranger's says nothing about the object: not
//! that it is there, nor that it is damaged, nor that it was written.

use super::{answer::Op, http::HttpAnswer};

/// What every store says of an object, be it read or written.
const MARKS: [&str; 2] = ["etag", "x-amz-request-id"];
/// Objects of a database whose first bytes are ours, whatever the answer's headers say.
const OURS: [&str; 3] = ["CURRENT", "checkpoint/", "log/"];

/// What the answer looks like, if it is not a store's. `all_shown`: a header that is missing was not sent. `code`:
/// that of an error as stores write it, or nothing.
pub(super) fn looks_like(
    (op, key): (&Op, &str),
    answer: &HttpAnswer,
    all_shown: bool,
    code: &str,
) -> Option<String> {
    let kind = kind(answer);
    let marked = MARKS.iter().any(|name| answer.header(name).is_some());
    // Some stores call an answer without a body HTML, too.
    let empty = answer.body.is_empty() && answer.length().unwrap_or(0) == 0;
    let page = matches!(kind.as_str(), "text/html" | "application/xhtml+xml");
    let whole = matches!(op, Op::Get | Op::Put | Op::PutIfAbsent | Op::Delete);
    let reads = matches!(op, Op::Get | Op::Range(_) | Op::Suffix(_));
    match answer.status {
        _ if !code.is_empty() => None,
        // Overloaded, or broken: who says so does not matter.
        429 | 500.. => None,
        _ if page && !empty => Some(document(&kind)),
        300..=399 if !marked && answer.header("x-amz-bucket-region").is_none() => {
            Some("sends elsewhere, and has no header of a store's".to_owned())
        }
        200..=299 if empty && op == &Op::Delete => None,
        200..=299
            if whole && is_document(&answer.body) && !is_ours_to_say(op, key, &kind, marked) =>
        {
            Some(document(&kind))
        }
        200..=206 if reads && !marked && is_text(&kind) => {
            Some(format!("looks like text ({kind})"))
        }
        200..=299 if whole && op != &Op::Delete && all_shown && !marked => {
            Some("has neither an ETag nor an x-amz-request-id".to_owned())
        }
        _ => None,
    }
}

fn document(kind: &str) -> String {
    match kind {
        "" => "looks like a web page".to_owned(),
        kind if kind.ends_with("xml") && !kind.contains("html") => {
            format!("looks like a document ({kind})")
        }
        kind => format!("looks like a web page ({kind})"),
    }
}

/// The media type, without parameters, as far as it is plain.
fn kind(answer: &HttpAnswer) -> String {
    let given = answer.header("content-type").unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '/' | '+' | '-' | '.');
    let kind = kind.chars().take_while(plain).take(60);
    kind.collect::<String>().to_ascii_lowercase()
}

/// What no store calls bytes that it was given without a name for them.
fn is_text(kind: &str) -> bool {
    kind.starts_with("text/")
        || ["json", "xml", "javascript"]
            .iter()
            .any(|part| kind.ends_with(part))
}

/// `<!doctype …`, `<?xml …`, `<html …`.
fn is_document(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    match body.trim_ascii_start() {
        [b'<', next, ..] => next.is_ascii_alphabetic() || matches!(next, b'!' | b'?'),
        _ => false,
    }
}

/// Whether an object that begins as a document does may be one: somebody else's, as a store describes it. What we
/// write begins otherwise.
fn is_ours_to_say(op: &Op, key: &str, kind: &str, marked: bool) -> bool {
    let known = OURS.iter().any(|ours| key.starts_with(ours));
    op == &Op::Get && !known && marked && !is_text(kind)
}
