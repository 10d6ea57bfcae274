//! A device with a wrong clock, in a browser, before a store that leaves CORS out where it refuses a
//! signature, as Ceph does: the browser shows neither the refusal nor the store's time (PROTOCOL T1).

use bytes::Bytes;
use lakeshore::{
    ErrorKind, Result,
    env::{BoxFuture, PutOutcome, Runtime, Storage},
    platform::{
        native::TokioRuntime,
        s3::{
            Access, CredentialProvider, Credentials, Http, HttpAnswer, HttpError, HttpRequest, S3,
            S3Options,
        },
    },
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

const YEAR: i64 = 365 * 24 * 3600 * 1_000_000;
/// 2023-11-14, 22:13:20.
const NOW: i64 = 1_700_000_000_000_000;
const DATE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const AMZ_DATE: &str = "20231114T22";

/// What a browser shows of that store, which has one object, at one moment.
#[derive(Debug, Default)]
struct Browser {
    asked: Mutex<Vec<&'static str>>,
    down: AtomicBool,
    /// So many of the next requests meet a connection that died.
    dead: AtomicU32,
}

impl Http for Browser {
    fn send(
        &self,
        request: HttpRequest,
    ) -> BoxFuture<'static, std::result::Result<HttpAnswer, HttpError>> {
        let header = |name| {
            let mut all = request.headers.iter();
            all.find(|(n, _)| n == name).map(|(_, value)| value.clone())
        };
        let date = header("x-amz-date");
        let is_right = date.as_ref().is_some_and(|date| date.starts_with(AMZ_DATE));
        let (asked, status) = match (date, request.method) {
            (Some(_), "GET") => ("signed", if is_right { 200 } else { 0 }),
            (Some(_), _) => ("put", if is_right { 200 } else { 0 }),
            (None, _) => ("unsigned", 403),
        };
        self.asked.lock().unwrap().push(asked);
        let one_less = |left: u32| left.checked_sub(1);
        let is_dead = self.dead.fetch_update(SeqCst, SeqCst, one_less).is_ok();
        let answer = match status {
            0 => None,
            _ if self.down.load(SeqCst) || is_dead => None,
            _ => Some(HttpAnswer {
                status,
                headers: vec![
                    ("date".to_owned(), DATE.to_owned()),
                    ("content-length".to_owned(), "1".to_owned()),
                ],
                body: Bytes::from_static(b"1"),
            }),
        };
        let hidden = || HttpError {
            message: "Failed to fetch".to_owned(),
            retryable: true,
            hidden: true,
        };
        Box::pin(async move { answer.ok_or_else(hidden) })
    }
}

/// A wall clock that is wrong.
#[derive(Debug)]
struct Device {
    runtime: Arc<dyn Runtime>,
    ahead: AtomicI64,
}

impl Runtime for Device {
    fn now_micros(&self) -> i64 {
        NOW + self.ahead.load(SeqCst)
    }

    fn monotonic(&self) -> Duration {
        self.runtime.monotonic()
    }

    fn random(&self, bytes: &mut [u8]) {
        self.runtime.random(bytes);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.runtime.sleep(duration / 1000)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.runtime.spawn(task);
    }
}

fn device(ahead: i64) -> (Arc<Browser>, Arc<Device>, Arc<S3>) {
    let browser = Arc::new(Browser::default());
    let device = Arc::new(Device {
        runtime: TokioRuntime::current().unwrap(),
        ahead: ahead.into(),
    });
    let access = Access::Credentials(Credentials::new("key", "secret"));
    let store = store(&browser, &device, access);
    (browser, device, store)
}

fn store(browser: &Arc<Browser>, device: &Arc<Device>, access: Access) -> Arc<S3> {
    let mut options = S3Options::new("bucket");
    (options.access, options.retries) = (access, 2);
    S3::new(options, browser.clone(), device.clone()).unwrap()
}

/// Keys that are good for an hour.
#[derive(Debug, Default)]
struct Provider(AtomicU32);

impl CredentialProvider for Provider {
    fn credentials(&self) -> BoxFuture<'_, Result<Credentials>> {
        self.0.fetch_add(1, SeqCst);
        let mut keys = Credentials::new("key", "secret");
        keys.expires = Some(NOW + 3_600_000_000);
        Box::pin(async move { Ok(keys) })
    }
}

#[tokio::test]
async fn keys_expire_by_the_time_of_the_store() {
    for ahead in [0, YEAR, -YEAR] {
        let (browser, device, _) = device(ahead);
        let provider = Arc::new(Provider::default());
        let store = store(&browser, &device, Access::Provider(provider.clone()));
        for _ in 0..5 {
            store.get("k").await.unwrap();
        }
        // By a clock that is ahead the first ones had expired before the store told its time.
        assert!(provider.0.load(SeqCst) <= 2, "{}", provider.0.load(SeqCst));
    }
}

impl Browser {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[tokio::test]
async fn where_a_refusal_is_not_shown_the_store_is_asked_for_its_time_by_a_request_that_nobody_signed()
 {
    for ahead in [YEAR, -YEAR] {
        let (browser, device, store) = device(ahead);
        assert_eq!(store.get("k").await.unwrap().unwrap(), "1");
        assert_eq!(browser.take(), ["signed", "unsigned", "signed"]);
        assert_eq!(store.clock().unwrap().date, NOW);
        store.get("k").await.unwrap();
        assert_eq!(browser.take(), ["signed"]);
        // The clock is set while the database is open.
        device.ahead.store(0, SeqCst);
        store.put("k", Bytes::from_static(b"1")).await.unwrap();
        assert_eq!(browser.take(), ["put", "unsigned", "put"]);
        store.get("k").await.unwrap();
        assert_eq!(browser.take(), ["signed"]);
    }
}

#[tokio::test]
async fn a_conditional_put_is_not_repeated_all_the_same() {
    let (browser, _, store) = device(YEAR);
    let put = || store.put_if_absent("k", Bytes::from_static(b"1"));
    let error = put().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(browser.take(), ["put", "unsigned"]);
    assert_eq!(put().await.unwrap(), PutOutcome::Created);
}

#[tokio::test]
async fn a_line_that_is_down_is_asked_for_the_time_once_an_attempt() {
    let (browser, _, store) = device(0);
    browser.down.store(true, SeqCst);
    let error = store.get("k").await.unwrap_err();
    assert!(error.message().contains("Failed to fetch"), "{error}");
    let attempts = ["signed", "unsigned"].repeat(3);
    assert_eq!(browser.take(), attempts);
}

/// A device in Chromium met both in one call, and took the refusal for an outage.
#[tokio::test]
async fn a_connection_that_died_does_not_hide_a_clock_that_jumped() {
    let (browser, _, store) = device(YEAR);
    browser.dead.store(2, SeqCst);
    assert_eq!(store.get("k").await.unwrap().unwrap(), "1");
    let dead = ["signed", "unsigned"];
    assert_eq!(
        browser.take(),
        [&dead[..], &["signed", "unsigned", "signed"]].concat()
    );
}
