//! Servers that lie: web pages in a store's place, lines that swallow packets or drip, stores that ignore
//! conditions, that ask for time, that do not know their keys any more. Nothing is believed that a store did not
//! say, and every wait has an end.

use crate::support::{
    engine,
    s3::{Proxy, Server, fresh_prefix, server},
};
use bytes::Bytes;
use lakeshore::{
    Db, Env, Error, ErrorKind, KeepUploaded, Options, Table,
    data::predicate::{CompareOp, Predicate, Value},
    env::{BoxFuture, PutOutcome, Runtime, Storage},
    platform::{
        native::{self, Directory, TokioRuntime},
        s3::{Access, CredentialProvider, Credentials, S3, S3Options, Signed, Signer, Unsigned},
    },
    probe,
};
use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const KEY: &str = "log/00000000000000000001";
const PAGE: &str = r#"{"times":0,"action":{"page":200}}"#;

fn both(test: &str) -> Option<(Server, Proxy)> {
    let server = server(test)?;
    let proxy = Proxy::start(test)?;
    Some((server.through(&proxy), proxy))
}

/// A server of our own: what it was sent, and an answer to each request by what `answer` makes of its head.
struct Liar {
    heads: Arc<Mutex<Vec<String>>>,
    endpoint: String,
}

impl Liar {
    async fn start(answer: impl Fn(&str, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (heads.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, answer) = (seen.clone(), answer.clone());
                tokio::spawn(async move {
                    let mut request = vec![0; 16_384];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    if length == 0 {
                        return;
                    }
                    let head = String::from_utf8_lossy(&request[..length]).into_owned();
                    let answer = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(head.clone());
                        answer(&head, seen.len())
                    };
                    if answer.is_empty() {
                        // Nothing ever comes.
                        return std::future::pending().await;
                    }
                    let _ = stream.write_all(&answer).await;
                });
            }
        });
        Self { heads, endpoint }
    }

    /// Every request is answered so.
    async fn always(answer: &str) -> Self {
        let answer = answer.as_bytes().to_vec();
        Self::start(move |_, _| answer.clone()).await
    }

    fn asked(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    fn options(&self) -> S3Options {
        S3Options {
            endpoint: Some(self.endpoint.clone()),
            retries: 1,
            timeout: Duration::from_secs(5),
            ..S3Options::new("bucket")
        }
    }

    fn store(&self) -> Arc<S3> {
        native::s3(self.options()).unwrap()
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

/// What each kind of request makes of it.
async fn outcomes(store: &S3) -> Vec<(&'static str, Option<Error>)> {
    let body = Bytes::from_static(b"body");
    vec![
        ("get", store.get(KEY).await.err()),
        ("CURRENT", store.get("CURRENT").await.err()),
        ("range", store.get_range("data/1/a", 1..3).await.err()),
        ("suffix", store.get_suffix("data/1/a", 2).await.err()),
        ("put", store.put("data/1/a", body.clone()).await.err()),
        ("create", store.put_if_absent(KEY, body).await.err()),
        ("list", store.list("log/", None).await.err()),
        ("delete", store.delete(KEY).await.err()),
    ]
}

#[tokio::test]
async fn a_web_page_in_place_of_any_answer_is_unavailable_and_called_what_it_is() {
    let html = "<!doctype html><html><body>Please sign in</body></html>";
    let typed = "content-type: text/html; charset=utf-8\r\n";
    let spa = "content-type: text/html\r\netag: \"656a-1\"\r\nserver: nginx\r\n";
    for (status, headers) in [
        ("200 OK", typed),
        // A start page for every path, which knows of ETags and, on some servers, of ranges.
        ("200 OK", spa),
        (
            "206 P",
            "content-type: text/html\r\netag: \"1\"\r\ncontent-range: bytes 1-2/55\r\n",
        ),
        ("403 Blocked", typed),
        ("404 Not Found", typed),
        (
            "302 Found",
            "content-type: text/html\r\nlocation: http://portal.example/\r\n",
        ),
    ] {
        let liar = Liar::always(&answer(status, headers, html)).await;
        for (kind, error) in outcomes(&liar.store()).await {
            let error = error.unwrap_or_else(|| panic!("{kind} believed {status} {headers}"));
            assert_eq!(
                error.kind(),
                ErrorKind::Unavailable,
                "{kind}, {status}: {error}"
            );
            assert!(
                error.message().contains("web page (text/html)"),
                "{kind}: {error}"
            );
            assert!(
                error.message().contains("a portal or a wrong endpoint?"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn what_has_no_mark_of_a_store_is_no_object_and_no_acknowledgement() {
    for (headers, body) in [
        ("", "OK"),
        ("", ""),
        ("content-type: application/json\r\n", "{\"ok\":true}"),
        ("", " <html>please sign in</html>"),
    ] {
        let liar = Liar::always(&answer("200 OK", headers, body)).await;
        for (kind, error) in outcomes(&liar.store()).await {
            if kind == "delete" && !body.contains('<') || kind == "suffix" && body.is_empty() {
                continue;
            }
            let error = error.unwrap_or_else(|| panic!("{kind} believed {headers:?} {body:?}"));
            assert_eq!(
                error.kind(),
                ErrorKind::Unavailable,
                "{kind}, {body:?}: {error}"
            );
        }
    }
    // A redirect that says nothing of a region is nobody's we know.
    let liar = Liar::always(&answer(
        "302 Found",
        "location: http://portal.example/\r\n",
        "",
    ))
    .await;
    for (kind, error) in outcomes(&liar.store()).await {
        assert_eq!(error.unwrap().kind(), ErrorKind::Unavailable, "{kind}");
    }
}

#[tokio::test]
async fn damaged_objects_stay_corrupt() {
    let Some(server) = server("damaged_objects_stay_corrupt") else {
        return;
    };
    let prefix = fresh_prefix();
    let db = open(&server, &prefix, None, Options::default())
        .await
        .unwrap();
    let table = engine::table(&db, "t").await;
    ingest(&table, 0, 10).await;
    db.checkpoint().await.unwrap();
    let store = server.store(&prefix);
    let good = store.get("CURRENT").await.unwrap().unwrap();
    for damage in [
        b"<".to_vec(),
        b"{\"a\":1}".to_vec(),
        good[..good.len() / 2].to_vec(),
    ] {
        store.put("CURRENT", damage.clone().into()).await.unwrap();
        let error = open(&server, &prefix, None, Options::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage:?}: {error}");
    }
    store.put("CURRENT", good).await.unwrap();
    // Somebody else's object may begin as it likes.
    let page = Bytes::from_static(b"<html>mine</html>");
    store.put("page", page.clone()).await.unwrap();
    assert_eq!(store.get("page").await.unwrap().unwrap(), page);
    open(&server, &prefix, None, Options::default())
        .await
        .unwrap();
}

fn env(data: Arc<dyn Storage>, wal: Option<&Path>) -> Env {
    Env {
        data,
        wal: wal.map(|wal| Directory::open(wal) as _),
        runtime: TokioRuntime::current().unwrap(),
    }
}

async fn open(
    server: &Server,
    prefix: &str,
    wal: Option<&Path>,
    options: Options,
) -> lakeshore::Result<Db> {
    Db::open(env(server.store(prefix), wal), options).await
}

async fn ingest(table: &Table, from: i64, to: i64) {
    let rows = engine::batch(&engine::rows(from, to, 1));
    table.ingest(&[rows]).await.unwrap();
}

#[tokio::test]
async fn behind_a_portal_a_device_opens_offline_and_goes_on_uploading_once_it_is_through() {
    let name = "behind_a_portal_a_device_opens_offline_and_goes_on_uploading_once_it_is_through";
    let Some((server, proxy)) = both(name) else {
        return;
    };
    let (wal, prefix) = (tempfile::tempdir().unwrap(), fresh_prefix());
    let db = open(&server, &prefix, Some(wal.path()), Options::default())
        .await
        .unwrap();
    let table = engine::table(&db, "t").await;
    ingest(&table, 0, 10).await;
    db.flush().await.unwrap();
    db.close().await.unwrap();

    proxy.fault(PAGE);
    let db = open(&server, &prefix, Some(wal.path()), Options::default())
        .await
        .unwrap();
    let stats = db.stats();
    assert!(!stats.online);
    let why = stats.unreachable.unwrap();
    assert!(why.contains("looks like a web page"), "{why}");
    let table = db.table("t").unwrap();
    ingest(&table, 10, 20).await;
    let every = Duration::from_millis(50);
    let keep = KeepUploaded {
        every,
        longest_pause: every,
    };
    let uploading = tokio::spawn(db.keep_uploaded(keep));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!uploading.is_finished(), "{:?}", uploading.await);
    assert!(db.stats().upload_error.unwrap().contains("web page"));
    proxy.clear();
    let deadline = Instant::now() + Duration::from_secs(60);
    while db.stats().backlog_rows > 0 {
        assert!(Instant::now() < deadline, "{:?}", db.stats());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!uploading.is_finished());
    db.close().await.unwrap();
    let again = open(&server, &prefix, None, Options::default())
        .await
        .unwrap();
    assert_eq!(
        engine::content(&again.table("t").unwrap())
            .await
            .unwrap()
            .len(),
        20
    );
}

/// A page in place of the answer to a conditional PUT, whether the store saw the PUT or not.
#[tokio::test]
async fn a_page_for_a_commit_loses_nothing_and_commits_nothing_twice() {
    let Some((server, proxy)) = both("a_page_for_a_commit_loses_nothing_and_commits_nothing_twice")
    else {
        return;
    };
    let prefix = fresh_prefix();
    let db = open(&server, &prefix, None, Options::default())
        .await
        .unwrap();
    let table = engine::table(&db, "t").await;
    for i in 0..4 {
        proxy.fault(r#"{"kind":"putIfAbsent","path":"/log/","action":{"page":200}}"#);
        ingest(&table, i * 10, i * 10 + 10).await;
    }
    assert_eq!(db.stats().head, 5, "one record for each commit");
    let again = open(&server, &prefix, None, Options::default())
        .await
        .unwrap();
    assert_eq!(
        engine::content(&again.table("t").unwrap())
            .await
            .unwrap()
            .len(),
        40
    );
}

#[tokio::test]
async fn an_open_over_a_line_that_swallows_packets_is_offline_within_its_deadline() {
    let name = "an_open_over_a_line_that_swallows_packets_is_offline_within_its_deadline";
    let Some((server, proxy)) = both(name) else {
        return;
    };
    let (wal, prefix) = (tempfile::tempdir().unwrap(), fresh_prefix());
    let db = open(&server, &prefix, Some(wal.path()), Options::default())
        .await
        .unwrap();
    let table = engine::table(&db, "t").await;
    ingest(&table, 0, 10).await;
    db.close().await.unwrap();
    proxy.fault(r#"{"times":0,"action":{"hang":true}}"#);
    for (open_timeout, least, most) in [
        (None, 5_000, 7_000),
        (Some(Duration::from_millis(300)), 300, 1_500),
    ] {
        let options = Options {
            open_timeout,
            ..Options::default()
        };
        let began = Instant::now();
        let db = open(&server, &prefix, Some(wal.path()), options.clone())
            .await
            .unwrap();
        let took = began.elapsed().as_millis();
        assert!((least..most).contains(&took), "{took} ms");
        let why = db.stats().unreachable.unwrap();
        assert!(
            why.contains("within") && why.contains("open_timeout"),
            "{why}"
        );
        let rows = engine::content(&db.table("t").unwrap()).await.unwrap();
        assert_eq!(rows.len(), 10, "rows of the WAL are there");
        db.close().await.unwrap();

        // A device that was never online has nothing to open by.
        let never = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let error = open(&server, &prefix, Some(never.path()), options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(began.elapsed().as_millis() < most);
    }
    let options = Options {
        open_timeout: Some(Duration::from_millis(200)),
        ..Options::default()
    };
    let error = open(&server, &prefix, None, options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_request_ends_within_twice_its_time_out_with_all_its_attempts() {
    let hole = Liar::start(|_, _| Vec::new()).await;
    let mut options = hole.options();
    options.timeout = Duration::from_millis(500);
    options.retries = 20;
    let store = native::s3(options).unwrap();
    for kind in ["get", "range", "list", "put", "create"] {
        let (began, before) = (Instant::now(), hole.asked());
        let body = Bytes::from_static(b"x");
        let error = match kind {
            "get" => store.get("a").await.unwrap_err(),
            "range" => store.get_range("a", 0..9).await.unwrap_err(),
            "list" => store.list("", None).await.unwrap_err(),
            "put" => store.put("a", body).await.unwrap_err(),
            _ => store.put_if_absent("a", body).await.unwrap_err(),
        };
        let took = began.elapsed().as_millis();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let (least, most) = if kind == "create" {
            (500, 800)
        } else {
            (700, 1_300)
        };
        assert!((least..most).contains(&took), "{kind}: {took} ms");
        let attempts = hole.asked() - before;
        let enough = if kind == "create" {
            attempts == 1
        } else {
            attempts >= 2
        };
        assert!(enough, "{kind}: {attempts} attempts");
    }
}

#[tokio::test]
async fn a_body_that_drips_ends_with_the_time_its_bytes_may_take() {
    let Some((server, proxy)) = both("a_body_that_drips_ends_with_the_time_its_bytes_may_take")
    else {
        return;
    };
    let mut options = server.options(&fresh_prefix());
    options.timeout = Duration::from_millis(600);
    let store = native::s3(options).unwrap();
    store.put("a", Bytes::from(vec![7; 30_000])).await.unwrap();
    proxy.fault(r#"{"kind":"get","times":0,"action":{"dripMs":20}}"#);
    for whole in [true, false] {
        let began = Instant::now();
        let error = match whole {
            true => store.get("a").await.unwrap_err(),
            false => store.get_range("a", 0..30_000).await.unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        // 30,000 bytes at 128 KiB/s are 229 ms; all of it twice.
        assert!(began.elapsed().as_millis() < 2_200, "{:?}", began.elapsed());
    }
    proxy.clear();
}

/// Its head says how long it will be, so it may take longer.
#[tokio::test]
async fn a_large_object_of_unknown_length_over_a_slow_line_is_read() {
    const LENGTH: usize = 600_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let head = format!("HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: {LENGTH}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..6 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            stream.write_all(&vec![7; LENGTH / 6]).await.unwrap();
        }
    });
    let store = native::s3(S3Options {
        endpoint: Some(endpoint),
        timeout: Duration::from_millis(600),
        ..S3Options::new("bucket")
    })
    .unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().len(), LENGTH);
}

#[tokio::test]
async fn what_a_store_says_of_when_to_come_again_is_heeded_and_bounded() {
    for (headers, least) in [
        ("retry-after: 1\r\n", 1_000),
        (
            "date: Mon, 30 Nov 2026 10:00:00 GMT\r\nretry-after: Mon, 30 Nov 2026 10:00:02 GMT\r\n",
            2_000,
        ),
        ("retry-after: soon\r\n", 0),
    ] {
        for status in ["503 Slow Down", "429 Too Many"] {
            let slow = answer(status, headers, "").into_bytes();
            let done = answer("200 OK", "etag: \"1\"\r\n", "").into_bytes();
            let liar = Liar::start(move |_, nth| match nth % 2 {
                1 => slow.clone(),
                _ => done.clone(),
            })
            .await;
            let began = Instant::now();
            let body = Bytes::from_static(b"x");
            let store = liar.store();
            let outcome = store.put_if_absent(KEY, body).await.unwrap();
            assert_eq!(outcome, PutOutcome::Created);
            let took = began.elapsed().as_millis();
            assert!(
                (least..least + 900).contains(&took),
                "{headers:?}: {took} ms"
            );
        }
    }
    // There is no time for that: it is not waited for.
    let liar = Liar::always(&answer("503 Slow Down", "retry-after: 100\r\n", "")).await;
    let began = Instant::now();
    let error = liar.store().get("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("100 s"), "{error}");
    assert!(began.elapsed().as_millis() < 1_000 && liar.asked() == 1);
}

/// Gives credentials that are about to expire, over and over.
struct Expiring {
    asked: AtomicUsize,
    keys: Credentials,
    lasts: Duration,
    anew: bool,
}

impl CredentialProvider for Expiring {
    fn credentials(&self) -> BoxFuture<'_, lakeshore::Result<Credentials>> {
        let nth = self.asked.fetch_add(1, Relaxed);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let mut keys = self.keys.clone();
            let more = Duration::from_secs(if self.anew { nth as u64 } else { 0 });
            keys.expires = Some((now + self.lasts + more).as_micros() as i64);
            Ok(keys)
        })
    }
}

#[tokio::test]
async fn credentials_about_to_expire_are_asked_for_once_and_not_at_every_request() {
    for (lasts, anew, concurrency) in [(50, false, 8), (50, true, 8), (50, false, 0), (0, false, 8)]
    {
        let liar = Liar::always(&answer("200 OK", "etag: \"1\"\r\n", "")).await;
        let provider = Arc::new(Expiring {
            asked: AtomicUsize::new(0),
            keys: Credentials::new("AKIASOMEBODY", "some/Secret+0123456789"),
            lasts: Duration::from_secs(lasts),
            anew,
        });
        let options = S3Options {
            access: Access::Provider(provider.clone()),
            concurrency,
            ..liar.options()
        };
        let store = native::s3(options).unwrap();
        for _ in 0..20 {
            store.put("a", Bytes::new()).await.unwrap();
        }
        let puts = (0..20).map(|_| store.put("a", Bytes::new()));
        for done in futures_util::future::join_all(puts).await {
            done.unwrap();
        }
        let asked = provider.asked.load(Relaxed);
        assert!(
            asked <= 2,
            "asked {asked} times for 40 requests (lasts {lasts} s)"
        );
    }
}

/// Never answers.
struct Silent;

impl CredentialProvider for Silent {
    fn credentials(&self) -> BoxFuture<'_, lakeshore::Result<Credentials>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn requests_at_once_do_not_wait_one_after_the_other_for_a_silent_provider() {
    for concurrency in [8, 0] {
        let options = S3Options {
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            access: Access::Provider(Arc::new(Silent)),
            timeout: Duration::from_millis(200),
            concurrency,
            ..S3Options::new("bucket")
        };
        let store = native::s3(options).unwrap();
        let began = Instant::now();
        let gets = (0..8).map(|_| store.get("a"));
        for got in futures_util::future::join_all(gets).await {
            let error = got.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.message().contains("credentials"), "{error}");
        }
        let took = began.elapsed().as_millis();
        assert!((200..500).contains(&took), "{took} ms");
    }
}

#[tokio::test]
async fn a_time_out_of_any_length_is_taken_and_none_at_all_is_not() {
    let refused = native::s3(S3Options {
        timeout: Duration::ZERO,
        ..S3Options::new("bucket")
    })
    .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert!(refused.message().contains("timeout"), "{refused}");
    // An answer that is tried again, and then one that is not.
    let busy = answer("503 Slow Down", "retry-after: 0\r\n", "");
    let done = answer("200 OK", "etag: \"1\"\r\n", "");
    for timeout in [Duration::MAX, Duration::from_nanos(1)] {
        let (busy, done) = (busy.clone(), done.clone());
        let liar = Liar::start(move |_, n| if n == 1 { &busy } else { &done }.clone().into()).await;
        let store = native::s3(S3Options {
            timeout,
            ..liar.options()
        })
        .unwrap();
        let put = store.put("a", Bytes::from_static(b"x")).await;
        match timeout {
            Duration::MAX => put.unwrap(),
            _ => drop(put),
        }
    }
}

#[tokio::test]
async fn expired_keys_and_a_wrong_region_are_told_and_no_wal_hides_them() {
    let Some((server, proxy)) =
        both("expired_keys_and_a_wrong_region_are_told_and_no_wal_hides_them")
    else {
        return;
    };
    for (action, kind, word) in [
        (
            r#"{"status":400,"code":"ExpiredToken","message":"The provided token has expired."}"#,
            ErrorKind::Denied,
            "expired",
        ),
        (
            r#"{"status":301,"code":"PermanentRedirect","headers":{"x-amz-bucket-region":"eu-west-3"}}"#,
            ErrorKind::Invalid,
            "eu-west-3",
        ),
    ] {
        proxy.fault(&format!(r#"{{"times":0,"action":{action}}}"#));
        let wal = tempfile::tempdir().unwrap();
        let error = open(
            &server,
            &fresh_prefix(),
            Some(wal.path()),
            Options::default(),
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(word), "{error}");
        proxy.clear();
    }
}

/// Gives a URL that covers some headers, and no others.
struct Presigner(&'static str);

impl Signer for Presigner {
    fn sign(&self, request: Unsigned) -> BoxFuture<'_, lakeshore::Result<Signed>> {
        let covers = self.0;
        Box::pin(async move {
            let mark = if request.url.contains('?') { '&' } else { '?' };
            Ok(Signed {
                url: Some(format!(
                    "{}{mark}X-Amz-SignedHeaders={covers}&X-Amz-Signature=00",
                    request.url
                )),
                headers: vec![("x-amz-acl".into(), "private".into())],
            })
        })
    }
}

#[tokio::test]
async fn with_a_presigned_url_go_no_headers_of_s3s_that_it_does_not_cover() {
    for (covers, digest) in [("host", false), ("host%3Bx-amz-content-sha256", true)] {
        let liar = Liar::always(&answer("200 OK", "etag: \"1\"\r\n", "")).await;
        let store = native::s3(S3Options {
            access: Access::Signer(Arc::new(Presigner(covers))),
            ..liar.options()
        })
        .unwrap();
        store
            .put_if_absent(KEY, Bytes::from_static(b"x"))
            .await
            .unwrap();
        let heads = liar.heads.lock().unwrap();
        let head = heads[0].to_ascii_lowercase();
        assert_eq!(head.contains("x-amz-content-sha256:"), digest, "{head}");
        assert!(!head.contains("x-amz-acl:"), "{head}");
        assert!(head.contains("if-none-match: *"), "{head}");
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_holds_no_database() {
    let Some((server, proxy)) = both("a_store_that_ignores_conditions_holds_no_database") else {
        return;
    };
    proxy.fault(r#"{"kind":"putIfAbsent","times":0,"action":{"unconditional":true}}"#);
    let prefix = fresh_prefix();
    for wal in [None, Some(tempfile::tempdir().unwrap())] {
        let wal = wal.as_ref().map(|wal| wal.path());
        let db = open(&server, &prefix, wal, Options::default())
            .await
            .unwrap();
        let error = db.create_table("t", engine::schema()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        for word in ["If-None-Match", "Garage", "probe()"] {
            assert!(error.message().contains(word), "{error}");
        }
        db.close().await.unwrap();
    }
    let left = server.store(&prefix).list("", None).await.unwrap();
    assert_eq!(left, [], "nothing stays behind");
    let runtime = TokioRuntime::current().unwrap();
    let report = probe(server.store(&prefix), runtime.clone()).await;
    assert!(!report.ok);
    let failed: Vec<&str> = report
        .checks
        .iter()
        .filter(|c| !c.ok)
        .map(|c| c.name)
        .collect();
    assert_eq!(
        failed,
        ["create if absent", "create if absent, many at once"]
    );
    proxy.clear();
    let report = probe(server.store(&prefix), runtime).await;
    assert!(report.ok, "{report:#?}");
    assert_eq!(server.store(&prefix).list("", None).await.unwrap(), []);
}

#[tokio::test]
async fn a_probe_of_a_portal_says_what_is_there() {
    let Some((server, proxy)) = both("a_probe_of_a_portal_says_what_is_there") else {
        return;
    };
    proxy.fault(PAGE);
    let mut options = server.options(&fresh_prefix());
    options.retries = 0;
    let runtime: Arc<dyn Runtime> = TokioRuntime::current().unwrap();
    let report = probe(native::s3(options).unwrap(), runtime).await;
    assert!(!report.ok);
    let first = &report.checks[0];
    assert!(!first.ok && first.detail.contains("web page"), "{first:?}");
}

#[tokio::test]
async fn a_scan_or_count_that_is_dropped_or_closed_asks_for_nothing_more() {
    let Some((server, proxy)) =
        both("a_scan_or_count_that_is_dropped_or_closed_asks_for_nothing_more")
    else {
        return;
    };
    let prefix = fresh_prefix();
    let db = open(&server, &prefix, None, Options::default())
        .await
        .unwrap();
    let table = engine::table(&db, "t").await;
    for i in 0..24 {
        for mark in 1..3 {
            let from = i * 10 + 5 * i64::from(mark);
            let rows = engine::batch(&engine::rows(from, from + 5, mark));
            table.ingest(&[rows]).await.unwrap();
        }
        db.flush().await.unwrap();
    }
    // So that even a count must read.
    let ones = Predicate::Compare("n".into(), CompareOp::Equal, Value::Int(1));
    for how in ["dropped", "closed"] {
        for counts in [true, false] {
            let reader = open(&server, &prefix, None, Options::default())
                .await
                .unwrap();
            let table = reader.table("t").unwrap();
            proxy.latency(150);
            proxy.reset();
            let ones = ones.clone();
            let read = async move {
                match counts {
                    true => table.scan().filter(ones).count().await.map(drop),
                    false => table.scan().stream()?.collect().await.map(drop),
                }
            };
            let read = tokio::spawn(read);
            tokio::time::sleep(Duration::from_millis(400)).await;
            let began = Instant::now();
            match how {
                "dropped" => read.abort(),
                _ => {
                    reader.close().await.unwrap();
                    let error = read.await.unwrap().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                    let took = began.elapsed().as_millis();
                    assert!(took < 100, "told after {took} ms");
                }
            }
            let before = proxy.counts().total;
            tokio::time::sleep(Duration::from_millis(800)).await;
            let more = proxy.counts().total - before;
            assert!(
                before > 0 && more <= 1,
                "{before} requests, {more} after it was {how}"
            );
            proxy.clear();
        }
    }
}
