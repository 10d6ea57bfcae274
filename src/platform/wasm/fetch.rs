//! [`Http`] over `fetch`, in whatever JavaScript engine this is. Invariants: nothing is taken from or put
//! into an HTTP cache (what was asked is what is counted, a stale log would mislead, and Chromium lets
//! ranged reads of one URL wait for each other there); no cookie is sent; no redirect is followed; a
//! dropped request is aborted.

use super::{
    call::{bytes_of, function, property},
    host_error::redact,
    runtime::WasmRuntime,
};
use crate::{
    env::BoxFuture,
    error::{Error, Result},
    platform::s3::{
        ANSWER_HEADERS, Announced, Http, HttpAnswer, HttpError, HttpRequest, S3, S3Options,
    },
};
use js_sys::{Array, Function, Object, Promise, Reflect};
use send_wrapper::SendWrapper;
use std::{fmt, sync::Arc};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::AbortController;

/// A bucket over `fetch`: the global one, or the one given.
pub fn s3(options: S3Options, fetch: Option<Function>) -> Result<Arc<S3>> {
    S3::new(options, Fetch::new(fetch)?, WasmRuntime::new()?)
}

/// The `fetch` of this JavaScript engine.
pub struct Fetch {
    shared: SendWrapper<Arc<Shared>>,
}

struct Shared {
    fetch: Function,
    /// What every request says, as far as this engine takes it.
    init: Vec<(&'static str, JsValue)>,
    /// Whether requests are subject to CORS, whose refusals look like a broken line.
    browser: bool,
}

impl Fetch {
    /// Over `fetch`, or the global one. `Unsupported` if there is none.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(fetch: Option<Function>) -> Result<Arc<Self>> {
        let global = js_sys::global();
        let fetch = fetch
            .or_else(|| function(&global, "fetch"))
            .ok_or_else(|| {
                Error::unsupported(
                    "this JavaScript engine has no fetch: give s3() the option fetch",
                )
            })?;
        let wanted = [
            ("redirect", "manual"),
            // workerd throws at what it does not have.
            ("cache", "no-store"),
            ("credentials", "omit"),
        ];
        let init = wanted
            .into_iter()
            .map(|(name, value)| (name, JsValue::from(value)))
            .filter(|(name, value)| takes(name, value))
            .collect();
        let shared = Shared {
            fetch,
            init,
            // `location` is of windows and their workers; Deno throws unless it was given one.
            browser: property(&global, "location").is_some(),
        };
        Ok(Arc::new(Self {
            shared: SendWrapper::new(Arc::new(shared)),
        }))
    }
}

/// Whether a request may be made with this.
fn takes(name: &str, value: &JsValue) -> bool {
    let Some(request) = function(&js_sys::global(), "Request") else {
        return false;
    };
    let init = Object::new();
    let _ = Reflect::set(&init, &name.into(), value);
    Reflect::construct(&request, &Array::of2(&"http://localhost/".into(), &init)).is_ok()
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetch")
    }
}

impl Http for Fetch {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpAnswer, HttpError>> {
        let shared = (*self.shared).clone();
        Box::pin(SendWrapper::new(async move {
            let abort = Abort(AbortController::new().ok());
            let answer = shared.exchange(request, &abort).await;
            abort.done();
            answer.map_err(|thrown| shared.failed(&thrown))
        }))
    }

    fn shows_all_headers(&self) -> bool {
        !self.shared.browser
    }
}

/// Aborts when it is dropped.
struct Abort(Option<AbortController>);

impl Abort {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        if let Some(controller) = &self.0 {
            controller.abort();
        }
    }
}

impl Shared {
    async fn exchange(&self, request: HttpRequest, abort: &Abort) -> Result<HttpAnswer, JsValue> {
        let init = Object::new();
        let set = |name: &str, value: &JsValue| Reflect::set(&init, &name.into(), value);
        set("method", &request.method.into())?;
        let headers = Object::new();
        for (name, value) in &request.headers {
            Reflect::set(&headers, &name.into(), &value.into())?;
        }
        set("headers", &headers)?;
        for (name, value) in &self.init {
            set(name, value)?;
        }
        if let Some(controller) = &abort.0 {
            set("signal", &controller.signal())?;
        }
        if request.method == "PUT" {
            set("body", &super::call::for_js(&request.body))?;
        }
        let (limit, announced) = (request.limit, request.announced);
        let url = JsValue::from(request.url);
        drop(request.body);
        let sent = self.fetch.call2(&js_sys::global(), &url, &init)?;
        let answer = JsFuture::from(Promise::resolve(&sent)).await?;
        read(&answer, limit, &announced, abort).await
    }

    fn failed(&self, thrown: &JsValue) -> HttpError {
        let text = |value: &JsValue, name| property(value, name)?.as_string();
        let mut message = text(thrown, "message").unwrap_or_else(|| "fetch failed".to_owned());
        // Node says only there what happened.
        if let Some(cause) = property(thrown, "cause")
            && let Some(why) = text(&cause, "code").or_else(|| text(&cause, "message"))
        {
            message = [message, why].join(": ");
        }
        if self.browser {
            message.push_str(
                "; either the store cannot be reached, or its CORS rules do not allow this origin \
                 GET, PUT and DELETE with any header (they must expose ETag, Date, Content-Range, \
                 x-amz-bucket-region), or it refuses the keys (some stores then leave CORS out)",
            );
        }
        HttpError {
            // Once a Worker has spent its subrequests there are no more.
            retryable: !message.contains("subrequests"),
            message: redact(&message),
            hidden: self.browser,
        }
    }
}

/// The bytes of what a promise of an `ArrayBuffer` gives.
async fn read(
    answer: &JsValue,
    limit: u64,
    announced: &Announced,
    abort: &Abort,
) -> Result<HttpAnswer, JsValue> {
    let wrong = || {
        JsValue::from(js_sys::Error::new(
            "fetch gave something that is no Response",
        ))
    };
    let status = property(answer, "status").and_then(|status| status.as_f64());
    let status = status.ok_or_else(wrong)? as u16;
    let of_answer = property(answer, "headers").ok_or_else(wrong)?;
    let get = function(&of_answer, "get").ok_or_else(wrong)?;
    let mut headers = Vec::new();
    for name in ANSWER_HEADERS {
        if let Some(value) = get.call1(&of_answer, &name.into())?.as_string() {
            headers.push((name.to_owned(), value));
        }
    }
    let mut whole = HttpAnswer {
        status,
        headers,
        body: bytes::Bytes::new(),
    };
    let limit = HttpRequest::limit_of(limit, status);
    if whole.length().is_some_and(|length| length > limit) && status < 300 {
        // More than was asked for: not worth its reading.
        if let Some(controller) = &abort.0 {
            controller.abort();
        }
        return Ok(whole);
    }
    announced.tell(whole.length().unwrap_or(0));
    let buffer = function(answer, "arrayBuffer").ok_or_else(wrong)?;
    let buffer = JsFuture::from(Promise::resolve(&buffer.call0(answer)?)).await?;
    let mut bytes = bytes_of(&buffer).ok_or_else(wrong)?;
    bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    whole.body = bytes;
    Ok(whole)
}
