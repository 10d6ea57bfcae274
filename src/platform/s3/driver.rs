//! Makes calls: signs, sends, waits, and does what `answer` and `retry` decide. Invariants: every
//! attempt is counted and has a time-out, and all of a call together twice that, beside the time its bytes may take; no lock and no permit is held while waiting to try again;
//! dropping a call ends its request, except a conditional PUT, which goes on to its end (PROTOCOL C2).

use super::{
    S3,
    access::{Access, Credentials},
    answer::{Asked, Op, Verdict, judge},
    http::{Announced, HttpAnswer, HttpError, HttpRequest},
    prepare::Common,
    retry::{Bounds, Next, Tries, next},
    sign::digest,
};
use crate::{
    env::{Runtime, StoreClock},
    error::{Error, ErrorKind, Result},
    platform::date::http_date,
};
use bytes::Bytes;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use std::{
    pin::pin,
    sync::{PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

/// One call of the store, of one or more attempts.
pub(super) struct Call<'a> {
    pub(super) op: Op,
    /// The key, or the prefix of a listing.
    pub(super) key: &'a str,
    pub(super) query: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// Bytes of the answer, if that is known.
    pub(super) expected: Option<u64>,
    /// Where a longer answer is cut off: more than that is wrong in any case.
    pub(super) limit: u64,
}

/// The longest that bytes may take beside the time-out of an attempt.
const LONGEST: Duration = Duration::from_secs(600);
/// The slowest line that a time-out allows, in bytes a second.
const SLOWEST: u64 = 128 << 10;
/// A difference of clocks that is not corrected (PROTOCOL T1).
const TOLERATED: i64 = 5 * 60 * 1_000_000;

/// The time that so many bytes may take.
fn for_bytes(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST).min(LONGEST)
}

/// The outcome of `future`, or `None` after `timeout`.
pub(super) async fn within<T>(
    runtime: &dyn Runtime,
    timeout: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    match select(pin!(future), runtime.sleep(timeout)).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

impl S3 {
    /// Makes a call; only outcomes come back.
    pub(super) async fn run(&self, call: &Call<'_>) -> Result<Verdict> {
        let asked = Asked {
            op: &call.op,
            key: call.key,
            place: &self.inner.place.name,
            all_shown: self.inner.http.shows_all_headers(),
        };
        let object = (call.op != Op::List).then_some(call.key);
        let common = Common {
            call,
            path: self.inner.place.path(object)?,
            body_digest: match self.inner.access {
                Access::Anonymous => String::new(),
                _ => digest(&call.body),
            },
        };
        let bounds = Bounds {
            retries: self.inner.retries,
            timeout: self.inner.timeout,
            renewable: matches!(self.inner.access, Access::Provider(_) | Access::Signer(_)),
        };
        let mut tries = Tries::default();
        let mut refused = None;
        let mut again = false;
        loop {
            let began = self.inner.runtime.monotonic();
            let signed_for = self.inner.skew.load(Relaxed);
            let timeout = bounds.attempt(&tries);
            let (request, keys) = self.prepare(&common, refused.as_ref(), timeout).await?;
            tries.took(self.since(began), Duration::ZERO);
            let announced = request.announced.clone();
            let timeout = bounds.attempt(&tries);
            let (answer, took) = self.attempt(call, request, (timeout, &tries, again)).await;
            tries.took(took, Self::moving(call, &announced));
            again = true;
            let verdict = match answer {
                Some(Ok(answer)) => {
                    self.hear(&answer);
                    judge(&asked, &answer)
                }
                Some(Err(failure)) => {
                    let error = asked.error(ErrorKind::Unavailable, &failure.message);
                    let may_be_skew = failure.hidden && keys.is_some() && tries.may_ask_time();
                    let was_skew = may_be_skew
                        && self
                            .ask_time(&common.path, timeout, signed_for, &mut tries)
                            .await;
                    // Nobody can say that it was refused.
                    if was_skew && call.op != Op::PutIfAbsent {
                        Verdict::Skewed {
                            error,
                            server: None,
                        }
                    } else if failure.retryable {
                        asked.again(&failure.message)
                    } else {
                        Verdict::Fail(error)
                    }
                }
                None => asked.again(&format!("no answer within {} ms", timeout.as_millis())),
            };
            match next(&call.op, verdict, &mut tries, bounds) {
                Next::Done(verdict) => return Ok(verdict),
                Next::Fail(error) => return Err(self.clean(error, keys.as_ref())),
                Next::After(least, bound) => {
                    let pause = least.saturating_add(self.jitter(bound));
                    tries.took(pause, Duration::ZERO);
                    self.inner.runtime.sleep(pause).await;
                }
                Next::SetClock(server) => self.set_clock(server),
                Next::Renew => refused = keys,
            }
        }
    }

    fn since(&self, began: Duration) -> Duration {
        self.inner.runtime.monotonic().saturating_sub(began)
    }

    /// One attempt and what it took. `None` if its time ran out.
    async fn attempt(
        &self,
        call: &Call<'_>,
        request: HttpRequest,
        (timeout, tries, again): (Duration, &Tries, bool),
    ) -> (Option<Result<HttpAnswer, HttpError>>, Duration) {
        let _permit = match &self.inner.permits {
            Some(permits) => Some(permits.acquire().await),
            None => None,
        };
        let began = self.inner.runtime.monotonic();
        self.inner.counts.attempt(&call.op, call.body.len(), again);
        let announced = request.announced.clone();
        let known = Self::moving(call, &announced);
        let first = timeout.saturating_add(tries.for_bytes(known));
        let (unknown, limit) = (call.expected.is_none(), call.limit);
        let moved = tries.clone();
        let sending = self.inner.http.send(request);
        let runtime = self.inner.runtime.clone();
        let work = async move {
            let mut sending = pin!(sending);
            match within(&*runtime, first, &mut sending).await {
                // Its head came, and said how long it is.
                None if unknown && announced.bytes() > 0 => {
                    let more = moved.for_bytes(for_bytes(announced.bytes().min(limit)));
                    within(&*runtime, more, sending).await
                }
                done => done,
            }
        };
        let answer = if call.op == Op::PutIfAbsent {
            let (tell, told) = oneshot::channel();
            let work = async move {
                let _ = tell.send(work.await);
            };
            self.inner.runtime.spawn(Box::pin(work));
            told.await.unwrap_or(None)
        } else {
            work.await
        };
        if let Some(Ok(answer)) = &answer {
            self.inner.counts.answered(answer.body.len());
        }
        (answer, self.since(began))
    }

    /// Whether a request was signed for a wrong time, by that correction of the clock, as the store tells now: another
    /// request may have found it out meanwhile. Some stores leave CORS out where
    /// they refuse a signature, so that a browser shows neither the refusal nor their time; of a request that
    /// nobody signed they show it, whatever they say to it.
    async fn ask_time(
        &self,
        path: &str,
        timeout: Duration,
        signed_for: i64,
        tries: &mut Tries,
    ) -> bool {
        let request = HttpRequest {
            method: "GET",
            url: self.inner.place.url(path, ""),
            headers: Vec::new(),
            body: Bytes::new(),
            limit: 0,
            announced: Announced::default(),
        };
        let _permit = match &self.inner.permits {
            Some(permits) => Some(permits.acquire().await),
            None => None,
        };
        self.inner.counts.attempt(&Op::Get, 0, true);
        let sending = self.inner.http.send(request);
        let began = self.inner.runtime.monotonic();
        if let Some(Ok(answer)) = within(&*self.inner.runtime, timeout, sending).await {
            self.inner.counts.answered(answer.body.len());
            self.hear(&answer);
            tries.told_time();
        }
        tries.took(self.since(began), Duration::ZERO);
        let after = self.inner.skew.load(Relaxed);
        after.saturating_sub(signed_for).saturating_abs() > TOLERATED
    }

    /// The time that the bytes of an attempt may take.
    fn moving(call: &Call<'_>, announced: &Announced) -> Duration {
        let coming = call
            .expected
            .unwrap_or_else(|| announced.bytes().min(call.limit));
        for_bytes((call.body.len() as u64).saturating_add(coming))
    }

    /// A random part of `bound`.
    fn jitter(&self, bound: Duration) -> Duration {
        let mut random = [0u8; 8];
        self.inner.runtime.random(&mut random);
        let most = bound.as_micros().max(1) as u64;
        Duration::from_micros(u64::from_le_bytes(random) % most)
    }

    /// Notes the time an answer tells.
    fn hear(&self, answer: &HttpAnswer) {
        let Some(date) = answer.header("date").and_then(http_date) else {
            return;
        };
        let clock = StoreClock {
            date,
            heard: self.inner.runtime.monotonic(),
        };
        *self
            .inner
            .clock
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(clock);
        let off = date.saturating_sub(self.inner.runtime.now_micros());
        let skew = if off.saturating_abs() > TOLERATED {
            off
        } else {
            0
        };
        self.inner.skew.store(skew, Relaxed);
    }

    /// Signs by `server` from now on, if `hear` did not learn better.
    fn set_clock(&self, server: Option<i64>) {
        if let (0, Some(server)) = (self.inner.skew.load(Relaxed), server) {
            let off = server.saturating_sub(self.inner.runtime.now_micros());
            self.inner.skew.store(off, Relaxed);
        }
    }

    /// Without secrets, should the store have said one back to us.
    fn clean(&self, error: Error, keys: Option<&Credentials>) -> Error {
        let told = |text: &str| text.len() > 3 && error.message().contains(text);
        let token = |keys: &Credentials| keys.session_token.as_deref().is_some_and(told);
        match keys {
            Some(keys) if told(&keys.secret_access_key) || token(keys) => Error::new(
                error.kind(),
                format!("{}: the answer is not shown", self.inner.place.name),
            ),
            _ => error,
        }
    }
}
