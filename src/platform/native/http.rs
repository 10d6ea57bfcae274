//! [`Http`] over hyper, HTTP/1.1, with rustls and Mozilla's roots. Invariants: works from any thread,
//! because it runs on the tokio runtime it was made in; connections are pooled, without delay; a dropped
//! request is ended; an answer is read to its end or is none.

use crate::{
    env::BoxFuture,
    error::{Error, ErrorKind, Result},
    platform::s3::{Http, HttpAnswer, HttpError, HttpRequest, S3, S3Options},
};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{runtime::Handle, task::JoinHandle};

/// Stores close a connection that idles for longer than some 20 s.
const IDLE: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(10);

/// A bucket, over an [`HttpClient`] of this tokio runtime. `Invalid` outside of one.
pub fn s3(options: S3Options) -> Result<Arc<S3>> {
    S3::new(
        options,
        HttpClient::current()?,
        super::TokioRuntime::current()?,
    )
}

/// An HTTP client on a tokio runtime.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    handle: Handle,
}

impl HttpClient {
    /// A client on the runtime this is called in, which must have I/O and timers enabled (`enable_all`;
    /// `#[tokio::main]` does). `Invalid` outside of one.
    pub fn current() -> Result<Arc<Self>> {
        let handle = Handle::try_current().map_err(|error| {
            Error::new(
                ErrorKind::Invalid,
                "no tokio runtime is running here: make the S3 store within one",
            )
            .with_source(error)
        })?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Arc::new(Self { client, handle }))
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// A task that ends with its handle.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Http for HttpClient {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpAnswer, HttpError>> {
        let (client, handle) = (self.client.clone(), self.handle.clone());
        Box::pin(async move {
            let (limit, announced) = (request.limit, request.announced.clone());
            let request = build(request)?;
            let work = async move {
                let answer = client.request(request).await.map_err(|e| failed(&e))?;
                announced.tell(answer.body().size_hint().exact().unwrap_or(0));
                read(answer, limit).await
            };
            let mut task = Task(handle.spawn(work));
            let done = (&mut task.0).await;
            done.unwrap_or_else(|_| Err(broken("the tokio runtime was shut down", false)))
        })
    }

    fn shows_all_headers(&self) -> bool {
        true
    }
}

fn broken(message: &str, retryable: bool) -> HttpError {
    HttpError {
        message: message.to_owned(),
        retryable,
        hidden: false,
    }
}

fn build(request: HttpRequest) -> Result<Request<Full<Bytes>>, HttpError> {
    let mut builder = Request::builder().method(request.method).uri(request.url);
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    if request.method == "PUT" && request.body.is_empty() {
        // hyper leaves it out, and stores insist on it.
        builder = builder.header("content-length", "0");
    }
    // The error of the builder may show the value.
    let built = builder.body(Full::new(request.body));
    built.map_err(|_| broken("its URL or a header is not valid", false))
}

/// The chain of causes: the outer ones say little.
fn failed(error: &dyn std::error::Error) -> HttpError {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.ends_with(&text) {
            message = [message, text].join(": ");
        }
        cause = inner.source();
    }
    broken(&message, true)
}

async fn read(answer: Response<Incoming>, limit: u64) -> Result<HttpAnswer, HttpError> {
    let (head, mut body) = answer.into_parts();
    let limit = HttpRequest::limit_of(limit, head.status.as_u16());
    let text = |value: &hyper::header::HeaderValue| value.to_str().ok().map(str::to_owned);
    let headers = head.headers.iter();
    let headers = headers.filter_map(|(name, value)| Some((name.to_string(), text(value)?)));
    let headers = headers.collect();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(&error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let room = limit.saturating_sub(whole.len() as u64);
        if data.len() as u64 >= room {
            whole.extend_from_slice(&data[..room as usize]);
            // The rest would be read for nothing: the connection is given up.
            break;
        }
        whole.extend_from_slice(&data);
    }
    Ok(HttpAnswer {
        status: head.status.as_u16(),
        headers,
        body: whole.freeze(),
    })
}
