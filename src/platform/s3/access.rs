//! Who signs: nobody, a key, a provider of keys that expire, or somebody else. Invariants: no secret
//! in `Debug`; keys are renewed a minute before they expire, and once after the store refused them; a
//! refresh is awaited by the others only where no request can vanish while it holds the lock.

use crate::{
    env::{BoxFuture, Runtime},
    error::{Error, ErrorKind, Result},
};
use async_lock::Mutex as AsyncMutex;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A key pair, perhaps of a session.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `AKIA…`. It is sent in the clear, so it is no secret, but it is not shown either.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The session's token, if these are of a session.
    pub session_token: Option<String>,
    /// When they expire: microseconds since the Unix epoch.
    pub expires: Option<i64>,
}

impl Credentials {
    /// A key pair that lasts.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
            expires: None,
        }
    }

    /// `Invalid` if a header cannot carry them.
    pub(super) fn check(&self) -> Result<()> {
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        let name = if !visible(&self.access_key_id) || self.access_key_id.contains(['/', ',']) {
            "accessKeyId"
        } else if !visible(&self.secret_access_key) {
            "secretAccessKey"
        } else if !self.session_token.as_deref().is_none_or(visible) {
            "sessionToken"
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!(
            "s3 credentials: {name} is empty or has characters that no key has"
        )))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Gives credentials that expire, when asked.
pub trait CredentialProvider: Send + Sync {
    /// New credentials.
    fn credentials(&self) -> BoxFuture<'_, Result<Credentials>>;
}

/// A request that somebody else signs. The body's digest is in the header `x-amz-content-sha256`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    /// `GET`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// Absolute and percent-encoded.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

/// What a signer made of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// The URL to send to, if it is another, such as a presigned one.
    pub url: Option<String>,
    /// Headers to add, or to put in place of those of the same name.
    pub headers: Vec<(String, String)>,
}

/// Signs requests: a server that holds the keys.
pub trait Signer: Send + Sync {
    /// Signs one request. Asked again for each attempt.
    fn sign(&self, request: Unsigned) -> BoxFuture<'_, Result<Signed>>;
}

/// Who signs.
#[derive(Clone)]
pub enum Access {
    /// Nobody: public buckets.
    Anonymous,
    /// These keys.
    Credentials(Credentials),
    /// Keys that are asked for.
    Provider(Arc<dyn CredentialProvider>),
    /// Somebody else.
    Signer(Arc<dyn Signer>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Credentials(_) => "Credentials(…)",
            Self::Provider(_) => "Provider(…)",
            Self::Signer(_) => "Signer(…)",
        })
    }
}

/// Asked for this long before they expire.
const EARLY: i64 = 60_000_000;
/// A provider that gave what is about to expire, twice, is not asked again for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The newest credentials of a provider.
pub(super) struct Keys {
    provider: Arc<dyn CredentialProvider>,
    newest: Mutex<Option<Newest>>,
    /// When a call that has not been answered yet began to ask, while others can do without.
    asked: Mutex<Option<Duration>>,
    /// Held while asking; `None` where a request may vanish (`S3Options::concurrency` 0).
    asking: Option<AsyncMutex<()>>,
}

#[derive(Clone)]
struct Newest {
    keys: Credentials,
    /// When they were given, by the monotonic clock and by the wall clock.
    given: Duration,
    at: i64,
    /// They were about to expire then, and so were those before them: the provider has no better ones.
    best: bool,
}

impl Newest {
    fn lasts(&self, now: i64) -> bool {
        (self.keys.expires).is_none_or(|at| at.saturating_sub(EARLY) > now)
    }

    /// Not expired, as far as that can be known: what was given as expired may be so by a wrong clock only.
    fn holds(&self, now: i64) -> bool {
        self.keys.expires.is_none_or(|at| at > now || at <= self.at)
    }
}

impl Keys {
    pub(super) fn new(provider: Arc<dyn CredentialProvider>, one_at_a_time: bool) -> Self {
        Self {
            provider,
            newest: Mutex::new(None),
            asked: Mutex::new(None),
            asking: one_at_a_time.then(|| AsyncMutex::new(())),
        }
    }

    fn newest(&self) -> Option<Newest> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.clone()
    }

    /// What can be used at `now` (monotonic, wall), other than `refused`.
    fn usable(&self, now: (Duration, i64), refused: Option<&Credentials>) -> Option<Credentials> {
        let newest = self.newest()?;
        let best = newest.best && now.0.saturating_sub(newest.given) < PATIENCE;
        let usable = newest.lasts(now.1) || best && newest.holds(now.1);
        (usable && refused != Some(&newest.keys)).then_some(newest.keys)
    }

    /// What does while another call asks for better ones, for at most `timeout`.
    fn meanwhile(
        &self,
        now: (Duration, i64),
        timeout: Duration,
        refused: Option<&Credentials>,
    ) -> Option<Credentials> {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.newest().filter(|newest| newest.holds(now.1))?;
        let asking = now.0.saturating_sub(asked?) < timeout;
        (asking && refused != Some(&newest.keys)).then_some(newest.keys)
    }

    /// Credentials other than `refused`, asked for if need be. `skew` is added to the device's time: by a
    /// clock that is ahead all would have expired.
    pub(super) async fn get(
        &self,
        (runtime, skew): (&dyn Runtime, i64),
        timeout: Duration,
        refused: Option<&Credentials>,
    ) -> Result<Credentials> {
        let now = || {
            (
                runtime.monotonic(),
                runtime.now_micros().saturating_add(skew),
            )
        };
        let ready = || {
            self.usable(now(), refused)
                .or_else(|| self.meanwhile(now(), timeout, refused))
        };
        if let Some(keys) = ready() {
            return Ok(keys);
        }
        // Who waits for another's answer waits no longer than if it asked itself.
        let asking = async {
            let lock = match &self.asking {
                Some(lock) => Some(lock.lock().await),
                None => None,
            };
            if let Some(keys) = ready() {
                return Err(keys);
            }
            let mark = Mark::set(&self.asked, runtime.monotonic());
            Ok((self.provider.credentials().await, mark, lock))
        };
        let asked = match super::driver::within(runtime, timeout, asking).await {
            Some(Err(keys)) => return Ok(keys),
            Some(Ok(asked)) => Some(asked),
            None => None,
        };
        // Held until the answer is noted.
        let (answer, _held) = asked.map_or((None, None), |(keys, mark, lock)| {
            (Some(keys), Some((mark, lock)))
        });
        let keys = answer
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Unavailable,
                    format!("no answer within {} ms", timeout.as_millis()),
                )
            })
            .and_then(|keys| keys)
            .and_then(|keys| keys.check().map(|()| keys))
            .map_err(|error| error.context("s3 credentials could not be had"));
        let (given, at) = now();
        let mut slot = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = match (keys, slot.as_mut()) {
            (Ok(keys), _) => keys,
            // Those that are there are good for a while.
            (Err(_), Some(there)) if refused != Some(&there.keys) && there.holds(at) => {
                (there.given, there.best) = (given, true);
                return Ok(there.keys.clone());
            }
            (Err(error), _) => return Err(error),
        };
        let mut newest = Newest {
            keys: keys.clone(),
            given,
            at,
            best: false,
        };
        let before = slot
            .as_ref()
            .is_some_and(|b| !b.lasts(b.at) && given.saturating_sub(b.given) < PATIENCE);
        newest.best = before && !newest.lasts(at);
        *slot = Some(newest);
        Ok(keys)
    }
}

/// Says that somebody asks, until it is dropped.
struct Mark<'a>(&'a Mutex<Option<Duration>>);

impl<'a> Mark<'a> {
    fn set(asked: &'a Mutex<Option<Duration>>, now: Duration) -> Self {
        *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Self(asked)
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
