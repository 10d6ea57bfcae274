//! [`Storage`] by calls of S3. Invariant: keys and prefixes are checked before anything is sent.

use super::{
    S3,
    answer::{Asked, Op, Verdict, no_listing},
    driver::Call,
    encode::query,
    xml,
};
use crate::{
    env::{
        AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Requests, Storage,
        StoreClock,
    },
    error::{Error, ErrorKind, Result},
    platform::key::{check_key, check_lock_name, check_prefix, ends_early},
};
use bytes::{Bytes, BytesMut};
use std::{ops::Range, sync::PoisonError};

/// No object of S3 is larger; some servers stumble over larger numbers.
const LARGEST_OBJECT: u64 = 5 << 40;
/// Largest object that is read whole: what one PUT can make.
const LARGEST_GET: u64 = 5 << 30;
/// Longest answer to what has none.
const LARGEST_DONE: u64 = 64 << 10;
/// Longest XML of one page: 1,000 keys of 1,024 bytes, escaped, and what is around them.
const LARGEST_PAGE: u64 = 16 << 20;

fn strange() -> Error {
    Error::internal("an S3 call ended with the outcome of another")
}

fn no_wal(what: &str) -> Error {
    Error::unsupported(format!(
        "an S3 bucket has no {what}: keep the wal in a directory or in OPFS, or leave it out"
    ))
}

impl S3 {
    async fn read(&self, key: &str, op: Op) -> Result<Verdict> {
        check_key(key)?;
        let (range, expected) = match &op {
            Op::Range(range) => (
                Some(format!("bytes={}-{}", range.start, range.end - 1)),
                Some(range.end - range.start),
            ),
            Op::Suffix(length) => (Some(format!("bytes=-{length}")), Some(*length)),
            _ => (None, None),
        };
        let headers = range.map(|range| ("range", range)).into_iter().collect();
        self.run(&Call {
            op,
            key,
            query: String::new(),
            headers,
            body: Bytes::new(),
            expected,
            // One more than expected, so that too much is seen.
            limit: expected.map_or(LARGEST_GET, |n| n + 1),
        })
        .await
    }

    async fn suffix(&self, key: &str, length: u64) -> Result<Option<(Bytes, u64)>> {
        // `bytes=-0` is not satisfiable: one byte tells the size, too.
        let asked = length.clamp(1, LARGEST_OBJECT);
        match self.read(key, Op::Suffix(asked)).await? {
            Verdict::Missing => Ok(None),
            Verdict::Tail(bytes, size) if length == 0 => Ok(Some((bytes.slice(..0), size))),
            Verdict::Tail(bytes, size) => Ok(Some((bytes, size))),
            _ => Err(strange()),
        }
    }

    async fn write(&self, key: &str, body: Bytes, op: Op) -> Result<Verdict> {
        check_key(key)?;
        let headers = match op {
            Op::PutIfAbsent => vec![("if-none-match", "*".to_owned())],
            _ => Vec::new(),
        };
        self.run(&Call {
            op,
            key,
            query: String::new(),
            headers,
            body,
            expected: Some(0),
            limit: LARGEST_DONE,
        })
        .await
    }

    async fn page(&self, prefix: &str, from: (&'static str, &str)) -> Result<xml::Page> {
        let whole = [self.inner.place.prefix.as_str(), prefix].concat();
        let keys = self.inner.page_keys.map(|keys| keys.to_string());
        let mut pairs = vec![
            ("encoding-type", "url"),
            ("list-type", "2"),
            ("prefix", whole.as_str()),
        ];
        if !from.1.is_empty() {
            pairs.push(from);
        }
        if let Some(keys) = &keys {
            pairs.push(("max-keys", keys));
        }
        pairs.sort_unstable();
        let verdict = self
            .run(&Call {
                op: Op::List,
                key: prefix,
                query: query(&pairs),
                headers: Vec::new(),
                body: Bytes::new(),
                expected: None,
                limit: LARGEST_PAGE,
            })
            .await?;
        let Verdict::Bytes(body) = verdict else {
            return Err(strange());
        };
        xml::page(&body).ok_or_else(|| {
            no_listing(&Asked {
                op: &Op::List,
                key: prefix,
                place: &self.inner.place.name,
                all_shown: true,
            })
        })
    }

    async fn pages(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        let root = self.inner.place.prefix.as_str();
        let mut found = Vec::new();
        let after = after.unwrap_or_default();
        let first = match after {
            "" => String::new(),
            after => [root, after].concat(),
        };
        let mut page = self.page(prefix, ("start-after", &first)).await?;
        loop {
            for object in page.objects {
                let Some(key) = object.key.strip_prefix(root) else {
                    continue;
                };
                // What is not a key was put there by somebody else.
                if key.starts_with(prefix) && key > after && check_key(key).is_ok() {
                    found.push(ObjectMeta {
                        key: key.to_owned(),
                        size: object.size,
                        modified: object.modified,
                    });
                }
            }
            let Some(token) = page.next else { break };
            page = self.page(prefix, ("continuation-token", &token)).await?;
            if page.next.as_ref() == Some(&token) {
                let place = &self.inner.place.name;
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("{place}: list {prefix}: a page follows itself"),
                ));
            }
        }
        // S3 sorts by bytes; directory buckets do not sort.
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        found.dedup_by(|a, b| a.key == b.key);
        Ok(found)
    }
}

impl Storage for S3 {
    fn describe(&self) -> String {
        self.inner.place.name.clone()
    }

    fn clock(&self) -> Option<StoreClock> {
        let clock = self.inner.clock.lock();
        *clock.unwrap_or_else(PoisonError::into_inner)
    }

    fn requests(&self) -> Option<Requests> {
        Some(self.inner.counts.requests())
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            match self.read(key, Op::Get).await? {
                Verdict::Missing => Ok(None),
                Verdict::Bytes(bytes) => Ok(Some(bytes)),
                _ => Err(strange()),
            }
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            if range.start > range.end || range.end > LARGEST_OBJECT {
                return Err(Error::invalid(format!(
                    "object {key}: no such range: {range:?}"
                )));
            }
            if range.is_empty() {
                // HTTP has no empty range; whether the object reaches so far is asked all the same.
                return match self.suffix(key, 0).await? {
                    Some((_, size)) if size < range.end => Err(ends_early(key, &range, size)),
                    found => Ok(found.map(|(none, _)| none)),
                };
            }
            match self.read(key, Op::Range(range)).await? {
                Verdict::Missing => Ok(None),
                Verdict::Bytes(bytes) => Ok(Some(bytes)),
                _ => Err(strange()),
            }
        })
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        Box::pin(self.suffix(key, length))
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match self.write(key, body, Op::Put).await? {
                Verdict::Done => Ok(()),
                _ => Err(strange()),
            }
        })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        Box::pin(async move {
            match self.write(key, body, Op::PutIfAbsent).await? {
                Verdict::Done => Ok(PutOutcome::Created),
                Verdict::Exists => Ok(PutOutcome::Exists),
                _ => Err(strange()),
            }
        })
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        Box::pin(async move {
            check_key(key)?;
            let writer = Gathering {
                store: self.clone(),
                key: key.to_owned(),
                body: BytesMut::new(),
            };
            Ok(Box::new(writer) as Box<dyn ObjectWriter>)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        Box::pin(async move {
            check_prefix(prefix)?;
            self.pages(prefix, start_after).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            check_key(key)?;
            let call = Call {
                op: Op::Delete,
                key,
                query: String::new(),
                headers: Vec::new(),
                body: Bytes::new(),
                expected: Some(0),
                limit: LARGEST_DONE,
            };
            match self.run(&call).await? {
                Verdict::Done => Ok(()),
                _ => Err(strange()),
            }
        })
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        Box::pin(async move {
            Err(check_key(key)
                .err()
                .unwrap_or_else(|| no_wal("append files")))
        })
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        Box::pin(async move {
            Err(check_lock_name(name)
                .err()
                .unwrap_or_else(|| no_wal("locks")))
        })
    }
}

/// An object that is not whole yet.
struct Gathering {
    store: S3,
    key: String,
    body: BytesMut,
}

impl ObjectWriter for Gathering {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.body.extend_from_slice(&chunk);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move { self.store.put(&self.key, self.body.freeze()).await })
    }
}
