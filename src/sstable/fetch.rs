//! Reads ranges of one object with few requests. Invariants: no request is larger than `read_bytes`; who may
//! stop early begins with small ones that grow;
//! no byte is asked for twice, unless a request failed; at most `concurrency` requests are under way; bytes are let go when
//! the last user has had them.

use crate::{
    env::{BoxFuture, Storage},
    error::{Error, Result},
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, future::poll_immediate, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
};

/// Bounds of reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Ranges closer than this are read together.
    pub(super) gap: u64,
    /// Largest request, and most bytes fetched ahead of need.
    pub(super) read_bytes: u64,
    /// What the first user is expected to need: less than `read_bytes` if who reads may stop early.
    pub(super) first_bytes: u64,
    /// Most requests at once.
    pub(super) concurrency: usize,
}

impl Limits {
    /// Whether who reads may stop early.
    fn grows(&self) -> bool {
        self.first_bytes < self.read_bytes
    }
}

/// The requests for `ranges`: joined across gaps, cut at `read_bytes`; ascending.
pub(super) fn coalesce(mut ranges: Vec<Range<u64>>, limits: &Limits) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|r| r.start);
    let mut spans: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match spans.last_mut() {
            Some(span) if range.start <= span.end.saturating_add(limits.gap) => {
                span.end = span.end.max(range.end);
            }
            _ => spans.push(range),
        }
    }
    spans
        .into_iter()
        .flat_map(|span| cut(span, limits))
        .collect()
}

fn cut(mut span: Range<u64>, limits: &Limits) -> Vec<Range<u64>> {
    let mut out = Vec::new();
    while span.start < span.end {
        let end = span
            .end
            .min(span.start.saturating_add(limits.read_bytes.max(1)));
        out.push(span.start..end);
        span.start = end;
    }
    out
}

/// The same, so that the first users need no bytes that only later ones do (but for gaps).
fn coalesce_each<'a>(
    users: impl Iterator<Item = &'a [Range<u64>]>,
    limits: &Limits,
) -> Vec<Range<u64>> {
    // Start and end of what is asked for already; no two overlap.
    let mut asked: BTreeMap<u64, u64> = BTreeMap::new();
    let everything = Limits {
        read_bytes: u64::MAX,
        ..*limits
    };
    for user in users {
        for span in coalesce(user.to_vec(), &everything) {
            let mut at = span.start;
            while at < span.end {
                let before = asked.range(..=at).next_back().map(|(_, end)| *end);
                if let Some(end) = before.filter(|end| *end > at) {
                    at = end;
                    continue;
                }
                let next = asked
                    .range(at..)
                    .next()
                    .map_or(u64::MAX, |(start, _)| *start);
                for part in cut(at..span.end.min(next), limits) {
                    asked.insert(part.start, part.end);
                    at = part.end;
                }
            }
        }
    }
    asked.into_iter().map(|(start, end)| start..end).collect()
}

struct Request {
    range: Range<u64>,
    started: bool,
    bytes: Option<Bytes>,
    /// How many users have not had it yet.
    uses: usize,
}

type Reply = (usize, Result<Option<Bytes>>);

/// Fetches what a list of users need, in their order.
pub(super) struct Fetcher {
    storage: Arc<dyn Storage>,
    object: Arc<str>,
    limits: Limits,
    requests: Vec<Request>,
    /// Requests not started, in the order of their first user.
    queue: VecDeque<usize>,
    flying: FuturesUnordered<BoxFuture<'static, Reply>>,
    /// Bytes asked for so far.
    asked: u64,
}

impl Fetcher {
    /// `users`: what each needs, in the order in which they will ask.
    pub(super) fn new<'a>(
        storage: Arc<dyn Storage>,
        object: Arc<str>,
        limits: Limits,
        users: impl Iterator<Item = &'a [Range<u64>]> + Clone,
    ) -> Self {
        let requests = match limits.grows() {
            true => coalesce_each(users.clone(), &limits),
            false => coalesce(users.clone().flatten().cloned().collect(), &limits),
        };
        let requests = requests
            .into_iter()
            .map(|range| Request {
                range,
                started: false,
                bytes: None,
                uses: 0,
            })
            .collect();
        let mut fetcher = Self {
            storage,
            object,
            limits,
            requests,
            queue: VecDeque::new(),
            flying: FuturesUnordered::new(),
            asked: 0,
        };
        for user in users {
            for request in fetcher.requests_of(user) {
                if fetcher.requests[request].uses == 0 {
                    fetcher.queue.push_back(request);
                }
                fetcher.requests[request].uses += 1;
            }
        }
        fetcher
    }

    /// Waits until `ranges` are there and sees to it that the next requests are under way.
    pub(super) async fn need(&mut self, ranges: &[Range<u64>]) -> Result<()> {
        let needed = self.requests_of(ranges);
        loop {
            for &request in &needed {
                if !self.requests[request].started && self.flying.len() < self.limits.concurrency {
                    self.start(request);
                }
            }
            if needed.iter().all(|r| self.requests[*r].bytes.is_some()) {
                break;
            }
            match self.flying.next().await {
                Some(reply) => self.accept(reply)?,
                None => return Err(Error::internal("a read was planned but never started")),
            }
        }
        self.ahead(&needed).await
    }

    /// Bytes that `need` brought. Only what straddles two requests is copied.
    pub(super) fn slice(&self, range: &Range<u64>) -> Result<Bytes> {
        let mut joined = BytesMut::new();
        let mut at = range.start;
        for request in self.requests_of(std::slice::from_ref(range)) {
            let Request {
                range: have,
                bytes: Some(bytes),
                ..
            } = &self.requests[request]
            else {
                break;
            };
            let end = range.end.min(have.end);
            if at < have.start {
                break;
            }
            let part = bytes.slice((at - have.start) as usize..(end - have.start) as usize);
            if at == range.start && end == range.end {
                return Ok(part);
            }
            if at == range.start {
                joined.reserve((range.end - range.start) as usize);
            }
            joined.extend_from_slice(&part);
            at = end;
        }
        match at == range.end {
            true => Ok(joined.freeze()),
            false => Err(Error::internal(format!(
                "{}: bytes {range:?} are used but were not planned",
                self.object
            ))),
        }
    }

    /// One user has had its `ranges`.
    pub(super) fn release(&mut self, ranges: &[Range<u64>]) {
        for request in self.requests_of(ranges) {
            let request = &mut self.requests[request];
            request.uses = request.uses.saturating_sub(1);
            if request.uses == 0 {
                request.bytes = None;
            }
        }
    }

    /// Starts the next requests, as far as the bounds allow.
    async fn ahead(&mut self, needed: &[usize]) -> Result<()> {
        let held = |(i, r): (usize, &Request)| {
            let ahead = r.started && r.uses > 0 && !needed.contains(&i);
            if ahead {
                r.range.end - r.range.start
            } else {
                0
            }
        };
        let mut bytes: u64 = self.requests.iter().enumerate().map(held).sum();
        // Who may stop early is not read ahead for by more than was wanted so far.
        let most = match self.limits.grows() {
            true => (self.asked)
                .saturating_sub(self.limits.first_bytes)
                .min(self.limits.read_bytes),
            false => self.limits.read_bytes,
        };
        while let Some(&next) = self.queue.front() {
            let range = &self.requests[next].range;
            let size = range.end - range.start;
            let fits = bytes.saturating_add(size) <= most;
            // One request is left free for what is needed at once.
            if !fits || self.flying.len() + 1 >= self.limits.concurrency {
                break;
            }
            bytes += size;
            self.start(next);
        }
        // A future does nothing until it is polled.
        while let Some(Some(reply)) = poll_immediate(self.flying.next()).await {
            self.accept(reply)?;
        }
        Ok(())
    }

    fn start(&mut self, index: usize) {
        let request = &mut self.requests[index];
        request.started = true;
        self.asked = (self.asked).saturating_add(request.range.end - request.range.start);
        self.queue.retain(|i| *i != index);
        let (storage, object) = (self.storage.clone(), self.object.clone());
        let range = request.range.clone();
        self.flying.push(Box::pin(async move {
            let reply = storage.get_range(&object, range).await;
            (index, reply.map_err(|e| super::read::not_read(&object, e)))
        }));
    }

    fn accept(&mut self, (index, reply): Reply) -> Result<()> {
        let request = &mut self.requests[index];
        // One that failed is made again when it is next needed.
        request.started = matches!(reply, Ok(Some(_)));
        let bytes = reply?.ok_or_else(|| super::read::missing(&self.object))?;
        let expected = request.range.end - request.range.start;
        if bytes.len() as u64 != expected {
            return Err(Error::corrupt(format!(
                "{} at offset {}: got {} bytes, expected {expected}",
                self.object,
                request.range.start,
                bytes.len()
            )));
        }
        request.bytes = Some(bytes);
        Ok(())
    }

    /// The requests that `ranges` lie in; ascending, each once.
    fn requests_of(&self, ranges: &[Range<u64>]) -> Vec<usize> {
        let mut out = Vec::new();
        for range in ranges {
            let first = self
                .requests
                .partition_point(|r| r.range.end <= range.start);
            let within = self.requests[first..]
                .iter()
                .take_while(|r| r.range.start < range.end);
            out.extend(first..first + within.count());
        }
        out.sort_unstable();
        out.dedup();
        out
    }
}
