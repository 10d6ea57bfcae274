//! A bucket of S3, or of a store that speaks as it does, as a [`Storage`]: our own small client.
//!
//! Pure files decide (`encode`, `sign`, `xml`, `options`, `answer`, `stranger`, `retry`), `prepare` signs, `driver` does,
//! [`Http`] is the one thing a target brings: `platform::native::s3`, `platform::wasm::s3`.
//! Invariants: what is signed is what is sent; a range is given only if it is the one asked for; every
//! attempt is counted; nothing secret is in an error or in `Debug`.
//!
//! **A conditional PUT.** `put_if_absent` sends `If-None-Match: *` and gives `Created` for 2xx, `Exists`
//! for 412. It is repeated inside only after 409, 429 and 503; an `Exists` after that may be our own
//! object, so a caller to whom it matters compares what is there (`log/store.rs` does after every
//! `Exists`). After any other failure the outcome is unknown: `Unavailable`, read back.
//!
//! **Pieces.** `create` gathers an object in memory and PUTs it at `finish`: sstables are bounded.

mod access;
mod answer;
mod counts;
mod driver;
mod encode;
mod http;
mod options;
mod prepare;
mod retry;
mod sign;
mod store;
mod stranger;
mod xml;

pub use access::{Access, CredentialProvider, Credentials, Signed, Signer, Unsigned};
pub use http::{ANSWER_HEADERS, Announced, Http, HttpAnswer, HttpError, HttpRequest};
pub use options::S3Options;

use super::fusio_store::fusio_store;
use crate::{
    env::{Runtime, StoreClock},
    error::{Error, Result},
};
use access::Keys;
use async_lock::Semaphore;
use counts::Counts;
use options::Place;
use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicI64},
    time::Duration,
};

#[cfg(doc)]
use crate::env::Storage;

/// A bucket, or a prefix of one. A clone is another handle on the same, with the same counts.
#[derive(Clone)]
pub struct S3 {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    access: Access,
    /// Of `Access::Provider`.
    keys: Option<Keys>,
    http: Arc<dyn Http>,
    runtime: Arc<dyn Runtime>,
    /// `None` for no bound.
    permits: Option<Semaphore>,
    timeout: Duration,
    retries: u32,
    page_keys: Option<u32>,
    counts: Counts,
    clock: Mutex<Option<StoreClock>>,
    /// Added to the device's time when signing, in microseconds.
    skew: AtomicI64,
}

impl S3 {
    /// A store over `http`. `Invalid` names the option that is wrong. Sends nothing.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(
        options: S3Options,
        http: Arc<dyn Http>,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Arc<Self>> {
        let place = Place::new(&options)?;
        if let Access::Credentials(keys) = &options.access {
            keys.check()?;
        }
        if options.timeout.is_zero() {
            return Err(Error::invalid(
                "s3 option timeout is zero, in which no attempt can succeed: it takes the longest that \
                 one may take, such as 30 s",
            ));
        }
        let bounded = options.concurrency > 0;
        let keys = match &options.access {
            Access::Provider(provider) => Some(Keys::new(provider.clone(), bounded)),
            _ => None,
        };
        let inner = Inner {
            place,
            access: options.access,
            keys,
            http,
            runtime,
            permits: bounded.then(|| Semaphore::new(options.concurrency)),
            timeout: options.timeout,
            retries: options.retries,
            page_keys: options.page_keys,
            counts: Counts::default(),
            clock: Mutex::new(None),
            skew: AtomicI64::new(0),
        };
        Ok(Arc::new(Self {
            inner: Arc::new(inner),
        }))
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.place.name)
    }
}

fusio_store!(S3, S3);
