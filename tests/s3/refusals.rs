//! What a store refuses, and what the error says of it: the right code, the remedy, never a secret.

use crate::support::s3::{Proxy, Server, fresh_prefix, server, variable};
use bytes::Bytes;
use lakeshore::{
    Error, ErrorKind,
    env::{BoxFuture, Storage},
    platform::{
        native,
        s3::{Access, CredentialProvider, Credentials, S3, S3Options, Signed, Signer, Unsigned},
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const KEY: &str = "log/00000000000000000001";

/// The errors of a read of a missing key, a write, a conditional write, a listing and a deletion.
async fn errors(store: &S3) -> Vec<Error> {
    let body = Bytes::from_static(b"body");
    [
        store.get(KEY).await.err(),
        store.get_range(KEY, 1..2).await.err(),
        store.get_suffix(KEY, 2).await.err(),
        store.put(KEY, body.clone()).await.err(),
        store.put_if_absent(KEY, body).await.err(),
        store.list("log/", None).await.err(),
        store.delete(KEY).await.err(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// That no part of an error, nor the store's `Debug`, holds a secret.
fn tells_nothing(store: &S3, errors: &[Error], keys: &Credentials) {
    let mut texts = vec![format!("{store:?}"), store.describe()];
    for error in errors {
        texts.push(format!("{error} {error:?} {error:#?}"));
    }
    for text in texts {
        let secrets = [
            Some(keys.secret_access_key.as_str()),
            keys.session_token.as_deref(),
            Some("Signature="),
            Some("AWS4-HMAC"),
            Some("X-Amz-"),
        ];
        for secret in secrets.into_iter().flatten() {
            assert!(!text.contains(secret), "{secret:?} is in {text}");
        }
    }
}

async fn all_are(
    server: &Server,
    change: impl FnOnce(&mut S3Options),
    kind: ErrorKind,
    word: &str,
) {
    let mut options = server.options(&fresh_prefix());
    options.retries = 1;
    change(&mut options);
    let keys = match &options.access {
        Access::Credentials(keys) => keys.clone(),
        _ => server.keys.clone(),
    };
    let store = native::s3(options).unwrap();
    let found = errors(&store).await;
    assert_eq!(found.len(), 7, "{word}: {found:?}");
    for error in &found {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(word), "{error}");
        assert!(
            error.message().contains("bucket"),
            "names no place: {error}"
        );
    }
    tells_nothing(&store, &found, &keys);
}

#[tokio::test]
async fn a_wrong_secret_is_denied() {
    let Some(server) = server("a_wrong_secret_is_denied") else {
        return;
    };
    let keys = Credentials::new(&server.keys.access_key_id, "wrong/Secret+0123456789");
    let change = |o: &mut S3Options| o.access = Access::Credentials(keys);
    // Ceph with sessions says AccessDenied, others SignatureDoesNotMatch.
    all_are(&server, change, ErrorKind::Denied, "403").await;
}

#[tokio::test]
async fn an_unknown_key_is_denied() {
    let Some(server) = server("an_unknown_key_is_denied") else {
        return;
    };
    let keys = Credentials::new("AKIANOBODYKNOWSIT000", "some/Secret+0123456789");
    let change = |o: &mut S3Options| o.access = Access::Credentials(keys);
    all_are(&server, change, ErrorKind::Denied, "403").await;
}

#[tokio::test]
async fn no_signature_is_denied() {
    let Some(server) = server("no_signature_is_denied") else {
        return;
    };
    let change = |o: &mut S3Options| o.access = Access::Anonymous;
    all_are(&server, change, ErrorKind::Denied, "s3:").await;
}

#[tokio::test]
async fn a_bogus_token_is_denied() {
    let Some(server) = server("a_bogus_token_is_denied") else {
        return;
    };
    let mut keys = server.keys.clone();
    keys.session_token = Some("Ym9ndXMgdG9rZW4gb2Ygbm9ib2R5".into());
    let change = |o: &mut S3Options| o.access = Access::Credentials(keys);
    all_are(&server, change, ErrorKind::Denied, "403").await;
}

#[tokio::test]
async fn session_credentials_work() {
    let Some(server) = server("session_credentials_work") else {
        return;
    };
    let Some(token) = variable("LAKESHORE_S3_SESSION_TOKEN") else {
        eprintln!("SKIPPED session_credentials_work: LAKESHORE_S3_SESSION_TOKEN is not set");
        return;
    };
    let mut keys = Credentials::new(
        variable("LAKESHORE_S3_SESSION_ACCESS_KEY_ID").unwrap(),
        variable("LAKESHORE_S3_SESSION_SECRET_ACCESS_KEY").unwrap(),
    );
    keys.session_token = Some(token);
    let mut options = server.options(&fresh_prefix());
    options.access = Access::Credentials(keys);
    let store = native::s3(options).unwrap();
    store.put(KEY, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(store.get(KEY).await.unwrap().unwrap(), "x");
}

#[tokio::test]
async fn a_missing_bucket_is_invalid_and_named() {
    let Some(server) = server("a_missing_bucket_is_invalid_and_named") else {
        return;
    };
    let change = |o: &mut S3Options| o.bucket = "there-is-no-such-bucket".into();
    all_are(
        &server,
        change,
        ErrorKind::Invalid,
        "there-is-no-such-bucket",
    )
    .await;
}

#[tokio::test]
async fn without_list_bucket_a_missing_key_is_denied_and_the_permission_named() {
    let name = "without_list_bucket_a_missing_key_is_denied_and_the_permission_named";
    let Some(server) = server(name) else {
        return;
    };
    let Some(id) = variable("LAKESHORE_S3_RESTRICTED_ACCESS_KEY_ID") else {
        eprintln!("SKIPPED {name}: LAKESHORE_S3_RESTRICTED_ACCESS_KEY_ID is not set");
        return;
    };
    let secret = variable("LAKESHORE_S3_RESTRICTED_SECRET_ACCESS_KEY").unwrap();
    let mut options = server.options(&fresh_prefix());
    options.access = Access::Credentials(Credentials::new(id, secret));
    let store = native::s3(options).unwrap();
    let body = Bytes::from_static(b"there");
    store.put("there", body.clone()).await.unwrap();
    assert_eq!(store.get("there").await.unwrap().unwrap(), body);
    for error in [
        store.get(KEY).await.unwrap_err(),
        store.get_suffix(KEY, 3).await.unwrap_err(),
        store.list("", None).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.message().contains("s3:ListBucket"), "{error}");
    }
}

#[tokio::test]
async fn nobody_listening_is_unavailable() {
    let Some(server) = server("nobody_listening_is_unavailable") else {
        return;
    };
    let change = |o: &mut S3Options| o.endpoint = Some("http://127.0.0.1:1".into());
    all_are(&server, change, ErrorKind::Unavailable, "127.0.0.1:1").await;
}

#[tokio::test]
async fn a_server_without_tls_is_unavailable_over_https() {
    let Some(server) = server("a_server_without_tls_is_unavailable_over_https") else {
        return;
    };
    let endpoint = server.endpoint.replace("http://", "https://");
    let change = |o: &mut S3Options| o.endpoint = Some(endpoint);
    all_are(&server, change, ErrorKind::Unavailable, "https://").await;
}

/// A proxy that answers everything so.
fn canned(test: &str, action: &str) -> Option<(Server, Proxy)> {
    let server = server(test)?;
    let proxy = Proxy::start(test)?;
    proxy.fault(&format!(r#"{{"times":0,"action":{action}}}"#));
    Some((server.through(&proxy), proxy))
}

#[tokio::test]
async fn canned_refusals_have_their_codes() {
    for (action, kind, word) in [
        (
            r#"{"status":400,"code":"ExpiredToken","message":"The provided token has expired."}"#,
            ErrorKind::Denied,
            "expired",
        ),
        (
            r#"{"status":400,"code":"InvalidToken"}"#,
            ErrorKind::Denied,
            "session token",
        ),
        (
            r#"{"status":301,"code":"PermanentRedirect","headers":{"x-amz-bucket-region":"eu-west-3"}}"#,
            ErrorKind::Invalid,
            "eu-west-3",
        ),
        (
            r#"{"status":307,"code":"TemporaryRedirect","headers":{"location":"http://127.0.0.1:1/"}}"#,
            ErrorKind::Invalid,
            "region",
        ),
        (
            r#"{"status":400,"code":"AuthorizationHeaderMalformed","headers":{"x-amz-bucket-region":"eu-west-3"}}"#,
            ErrorKind::Invalid,
            "eu-west-3",
        ),
        (
            r#"{"status":403,"code":"RequestTimeTooSkewed"}"#,
            ErrorKind::Denied,
            "clock",
        ),
        (r#"{"status":503}"#, ErrorKind::Unavailable, "SlowDown"),
        (r#"{"status":500}"#, ErrorKind::Unavailable, "500"),
        (r#"{"status":429}"#, ErrorKind::Unavailable, "429"),
        (
            r#"{"status":501,"code":"NotImplemented"}"#,
            ErrorKind::Unsupported,
            "If-None-Match",
        ),
        (
            r#"{"status":404,"code":"Whatever"}"#,
            ErrorKind::Invalid,
            "endpoint",
        ),
        (
            r#"{"status":418,"code":"Teapot"}"#,
            ErrorKind::Invalid,
            "418 Teapot",
        ),
        (
            r#"{"status":403,"code":"SignatureDoesNotMatch"}"#,
            ErrorKind::Denied,
            "secret access key",
        ),
        (
            r#"{"status":403,"code":"InvalidAccessKeyId"}"#,
            ErrorKind::Denied,
            "access key id",
        ),
        (r#"{"reset":true}"#, ErrorKind::Unavailable, "bucket"),
    ] {
        let Some((server, _proxy)) = canned("canned_refusals_have_their_codes", action) else {
            return;
        };
        all_are(&server, |_| (), kind, word).await;
    }
}

#[tokio::test]
async fn a_message_that_repeats_a_secret_is_not_shown() {
    let Some(server) = server("a_message_that_repeats_a_secret_is_not_shown") else {
        return;
    };
    let secret = "theSecretThatIsRepeated";
    let action = format!(r#"{{"status":418,"code":"Teapot","message":"you said {secret}"}}"#);
    let Some((through, _proxy)) = canned("a_message_that_repeats_a_secret_is_not_shown", &action)
    else {
        return;
    };
    let keys = Credentials::new(&server.keys.access_key_id, secret);
    let change = |o: &mut S3Options| o.access = Access::Credentials(keys);
    all_are(&through, change, ErrorKind::Invalid, "not shown").await;
}

/// Gives expired credentials first, then good ones.
struct Provider {
    asked: AtomicUsize,
    first: Credentials,
    then: Credentials,
}

impl CredentialProvider for Provider {
    fn credentials(&self) -> BoxFuture<'_, lakeshore::Result<Credentials>> {
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(if n == 0 {
                self.first.clone()
            } else {
                self.then.clone()
            })
        })
    }
}

fn provider(first: Credentials, then: &Credentials) -> Arc<Provider> {
    Arc::new(Provider {
        asked: AtomicUsize::new(0),
        first,
        then: then.clone(),
    })
}

#[tokio::test]
async fn refused_credentials_are_renewed_once_and_only_by_one() {
    let Some(server) = server("refused_credentials_are_renewed_once_and_only_by_one") else {
        return;
    };
    let bad = Credentials::new("AKIANOBODYKNOWSIT000", "some/Secret+0123456789");
    let good = provider(bad.clone(), &server.keys);
    let mut options = server.options(&fresh_prefix());
    options.access = Access::Provider(good.clone());
    let store = native::s3(options).unwrap();
    let gets = (0..20).map(|_| store.get(KEY));
    for got in futures_util::future::join_all(gets).await {
        assert_eq!(got.unwrap(), None);
    }
    assert_eq!(good.asked.load(Ordering::Relaxed), 2);

    let never = provider(bad.clone(), &bad);
    let mut options = server.options(&fresh_prefix());
    options.access = Access::Provider(never.clone());
    let store = native::s3(options).unwrap();
    let error = store.get(KEY).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(never.asked.load(Ordering::Relaxed) <= 2);
    tells_nothing(&store, &[error], &bad);
}

#[tokio::test]
async fn credentials_are_renewed_before_they_expire() {
    let Some(server) = server("credentials_are_renewed_before_they_expire") else {
        return;
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let mut soon = server.keys.clone();
    soon.expires = Some((now + Duration::from_secs(59)).as_micros() as i64);
    let asked = provider(soon, &server.keys);
    let mut options = server.options(&fresh_prefix());
    options.access = Access::Provider(asked.clone());
    let store = native::s3(options).unwrap();
    for expected in [1, 2, 2] {
        assert_eq!(store.get(KEY).await.unwrap(), None);
        assert_eq!(asked.asked.load(Ordering::Relaxed), expected);
    }
}

struct Failing;

impl CredentialProvider for Failing {
    fn credentials(&self) -> BoxFuture<'_, lakeshore::Result<Credentials>> {
        Box::pin(async { Err(Error::new(ErrorKind::Denied, "nobody is signed in")) })
    }
}

impl Signer for Failing {
    fn sign(&self, _: Unsigned) -> BoxFuture<'_, lakeshore::Result<Signed>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_provider_that_fails_says_why_and_one_that_hangs_is_given_up() {
    let Some(server) = server("a_provider_that_fails_says_why_and_one_that_hangs_is_given_up")
    else {
        return;
    };
    let change = |o: &mut S3Options| o.access = Access::Provider(Arc::new(Failing));
    let mut options = server.options(&fresh_prefix());
    change(&mut options);
    for error in errors(&native::s3(options).unwrap()).await {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.message().contains("nobody is signed in"), "{error}");
    }
    let mut options = server.options(&fresh_prefix());
    options.access = Access::Signer(Arc::new(Failing));
    options.timeout = Duration::from_millis(50);
    for error in errors(&native::s3(options).unwrap()).await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("sign"), "{error}");
    }
}
