//! Makes calls: signs, sends, waits, and does what `answer` and `retry` decide. Invariants: every
//! attempt is counted and has a time-out; no lock and no permit is held while waiting to try again;
//! dropping a call ends its request, except a conditional PUT, which goes on to its end (PROTOCOL C2).

use super::{
    S3,
    access::{Access, Credentials},
    answer::{Asked, Op, Verdict, judge},
    http::{HttpAnswer, HttpError, HttpRequest},
    prepare::Common,
    retry::{Next, Tries, next},
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
        let mut tries = Tries::default();
        let mut refused = None;
        let mut again = false;
        loop {
            let (request, keys) = self.prepare(&common, refused.as_ref()).await?;
            let timeout = self.timeout(call, tries.failed);
            let answer = self.attempt(call, request, timeout, again).await;
            again = true;
            let verdict = match answer {
                Some(Ok(answer)) => {
                    self.hear(&answer);
                    judge(&asked, &answer)
                }
                Some(Err(failure)) => {
                    let error = asked.error(ErrorKind::Unavailable, &failure.message);
                    let may_be_skew = failure.hidden && keys.is_some() && tries.may_ask_time();
                    let was_skew = may_be_skew && self.ask_time(&common.path, timeout).await;
                    // Nobody can say that it was refused.
                    if was_skew && call.op != Op::PutIfAbsent {
                        Verdict::Skewed {
                            error,
                            server: None,
                        }
                    } else if failure.retryable {
                        Verdict::Again {
                            error,
                            early: false,
                        }
                    } else {
                        Verdict::Fail(error)
                    }
                }
                None => {
                    let why = format!("no answer within {} ms", timeout.as_millis());
                    let error = asked.error(ErrorKind::Unavailable, &why);
                    Verdict::Again {
                        error,
                        early: false,
                    }
                }
            };
            let renewable = matches!(self.inner.access, Access::Provider(_) | Access::Signer(_));
            match next(&call.op, verdict, &mut tries, self.inner.retries, renewable) {
                Next::Done(verdict) => return Ok(verdict),
                Next::Fail(error) => return Err(self.clean(error, keys.as_ref())),
                Next::After(bound) => self.inner.runtime.sleep(self.jitter(bound)).await,
                Next::SetClock(server) => self.set_clock(server),
                Next::Renew => refused = keys,
            }
        }
    }

    /// One attempt. `None` if its time ran out.
    async fn attempt(
        &self,
        call: &Call<'_>,
        request: HttpRequest,
        timeout: Duration,
        again: bool,
    ) -> Option<Result<HttpAnswer, HttpError>> {
        let _permit = match &self.inner.permits {
            Some(permits) => Some(permits.acquire().await),
            None => None,
        };
        self.inner.counts.attempt(&call.op, call.body.len(), again);
        let sending = self.inner.http.send(request);
        let answer = if call.op == Op::PutIfAbsent {
            let (tell, told) = oneshot::channel();
            let runtime = self.inner.runtime.clone();
            let work = async move {
                let _ = tell.send(within(&*runtime, timeout, sending).await);
            };
            self.inner.runtime.spawn(Box::pin(work));
            told.await.unwrap_or(None)
        } else {
            within(&*self.inner.runtime, timeout, sending).await
        };
        if let Some(Ok(answer)) = &answer {
            self.inner.counts.answered(answer.body.len());
        }
        answer
    }

    /// Whether requests were signed for a wrong time, as the store tells now. Some stores leave CORS out where
    /// they refuse a signature, so that a browser shows neither the refusal nor their time; of a request that
    /// nobody signed they show it, whatever they say to it.
    async fn ask_time(&self, path: &str, timeout: Duration) -> bool {
        let before = self.inner.skew.load(Relaxed);
        let request = HttpRequest {
            method: "GET",
            url: self.inner.place.url(path, ""),
            headers: Vec::new(),
            body: Bytes::new(),
            limit: 0,
        };
        let _permit = match &self.inner.permits {
            Some(permits) => Some(permits.acquire().await),
            None => None,
        };
        self.inner.counts.attempt(&Op::Get, 0, true);
        let sending = self.inner.http.send(request);
        if let Some(Ok(answer)) = within(&*self.inner.runtime, timeout, sending).await {
            self.inner.counts.answered(answer.body.len());
            self.hear(&answer);
        }
        let after = self.inner.skew.load(Relaxed);
        after.saturating_sub(before).saturating_abs() > TOLERATED
    }

    /// Longer where it is not known how much will come.
    fn timeout(&self, call: &Call<'_>, failed: u32) -> Duration {
        let bytes = call.body.len() as u64 + call.expected.unwrap_or(0);
        let by_size = Duration::from_secs(bytes / SLOWEST).min(LONGEST);
        let base = match call.expected {
            None => self.inner.timeout.saturating_mul(1 << failed.min(3)),
            Some(_) => self.inner.timeout,
        };
        base.saturating_add(by_size)
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
