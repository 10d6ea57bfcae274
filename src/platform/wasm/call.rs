//! Calls of methods of plain JS objects whose results may be promises.

use super::host_error::host_error;
use crate::error::{Error, ErrorKind, Result};
use js_sys::{Array, ArrayBuffer, BigInt, Function, Promise, Reflect, Uint8Array};
use send_wrapper::SendWrapper;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Integers beyond this are not exact in a JS number.
pub(super) const MAX_SAFE: u64 = (1 << 53) - 1;

/// The property `name`, unless it is missing, `null` or `undefined`.
pub(super) fn property(object: &JsValue, name: &str) -> Option<JsValue> {
    let value = Reflect::get(object, &name.into()).ok()?;
    (!value.is_null() && !value.is_undefined()).then_some(value)
}

/// A moment in milliseconds since the Unix epoch, as JS has it, in microseconds.
pub(super) fn micros(millis: f64) -> Option<i64> {
    (0.0..=8.64e15)
        .contains(&millis)
        .then_some((millis * 1000.0) as i64)
}

/// The property `name`, if it is a function.
pub(super) fn function(object: &JsValue, name: &str) -> Option<Function> {
    property(object, name)?.dyn_into().ok()
}

/// A JS object whose methods we call, and what it is called in messages.
#[derive(Clone)]
pub(super) struct Object {
    value: SendWrapper<JsValue>,
    name: String,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Object {
    pub(super) fn new(value: JsValue, name: impl Into<String>) -> Self {
        Self {
            value: SendWrapper::new(value),
            name: name.into(),
        }
    }

    pub(super) fn value(&self) -> &JsValue {
        &self.value
    }

    pub(super) fn has(&self, method: &str) -> bool {
        function(&self.value, method).is_some()
    }

    /// Calls `method` and awaits its result if that is a promise.
    pub(super) async fn call(&self, method: &str, arguments: &[JsValue]) -> Result<JsValue> {
        self.call_or(method, arguments, drop).await
    }

    /// The same, of a method whose result is a thing to be given up: `orphan` gets it if it comes when nobody waits
    /// for it any more.
    pub(super) async fn call_or(
        &self,
        method: &str,
        arguments: &[JsValue],
        orphan: impl FnOnce(JsValue) + 'static,
    ) -> Result<JsValue> {
        let called = self.start(method, arguments)?;
        let promised = match called.dyn_into::<Promise>() {
            Ok(promise) => promise,
            Err(value) if function(&value, "then").is_some() => Promise::resolve(&value),
            Err(value) => return Ok(value),
        };
        let settled = Awaited::new(promised, orphan).await;
        settled.map_err(|thrown| host_error(&self.place(method), &thrown))
    }

    /// Calls `method` and returns what it returns.
    pub(super) fn start(&self, method: &str, arguments: &[JsValue]) -> Result<JsValue> {
        let function = function(&self.value, method).ok_or_else(|| {
            Error::unsupported(format!(
                "{} is missing: the host needs this method for what was asked",
                self.place(method)
            ))
        })?;
        let arguments: Array = arguments.iter().collect();
        Reflect::apply(&function, &self.value, &arguments)
            .map_err(|thrown| host_error(&self.place(method), &thrown))
    }

    pub(super) fn place(&self, method: &str) -> String {
        format!("{}.{method}()", self.name)
    }

    /// `Invalid`: what `method` returned is not what it should.
    pub(super) fn wrong(&self, method: &str, expected: &str) -> Error {
        let place = self.place(method);
        Error::new(
            ErrorKind::Invalid,
            format!("{place} must return {expected}"),
        )
    }

    /// The bytes of a `Uint8Array`, of another view, or of an `ArrayBuffer`; copied. Where the buffer was
    /// transferred away there are none.
    pub(super) fn bytes(&self, method: &str, value: JsValue) -> Result<bytes::Bytes> {
        bytes_of(&value).ok_or_else(|| self.wrong(method, "a Uint8Array"))
    }

    /// The property `name` of what `method` returned: a length.
    pub(super) fn length(&self, method: &str, value: &JsValue, name: &str) -> Result<u64> {
        let property = property(value, name).unwrap_or(JsValue::UNDEFINED);
        let length = match property.as_f64() {
            Some(number) if number >= 0.0 && number <= MAX_SAFE as f64 => Some(number as u64),
            Some(_) => None,
            None => property
                .dyn_into::<BigInt>()
                .ok()
                .and_then(|big| u64::try_from(big).ok()),
        };
        length.ok_or_else(|| self.wrong(method, &format!("an object whose `{name}` is a length")))
    }
}

/// What a promise gives. If that comes when this was dropped, nobody has it, and `orphan` gets it.
pub(super) struct Awaited<F: FnOnce(JsValue) + 'static>(Option<(JsFuture, F)>);

impl<F: FnOnce(JsValue) + 'static> Awaited<F> {
    pub(super) fn new(promise: Promise, orphan: F) -> Self {
        Self(Some((JsFuture::from(promise), orphan)))
    }
}

impl<F: FnOnce(JsValue) + 'static> Unpin for Awaited<F> {}

impl<F: FnOnce(JsValue) + 'static> Future for Awaited<F> {
    type Output = std::result::Result<JsValue, JsValue>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((pending, _)) = &mut self.0 else {
            return Poll::Pending;
        };
        let polled = Pin::new(pending).poll(cx);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F: FnOnce(JsValue) + 'static> Drop for Awaited<F> {
    fn drop(&mut self) {
        if let Some((pending, orphan)) = self.0.take() {
            wasm_bindgen_futures::spawn_local(async move {
                if let Ok(late) = pending.await {
                    orphan(late);
                }
            });
        }
    }
}

/// Bytes for JS: a copy of their own, which stays when wasm memory grows and moves.
pub(super) fn for_js(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}

/// A copy of the bytes of a buffer or of a view of one, of any realm. Nothing in it throws: of what has no
/// length (its buffer was transferred away, say) nothing is copied.
pub(super) fn bytes_of(value: &JsValue) -> Option<bytes::Bytes> {
    let array = match value.dyn_ref::<Uint8Array>() {
        Some(array) => array.clone(),
        None => {
            let view = ArrayBuffer::is_view(value);
            let name = if view { "buffer" } else { "byteLength" };
            let first = property(value, name)?;
            let number = |name| property(value, name)?.as_f64();
            let arguments = match view {
                true => [
                    first,
                    number("byteOffset")?.into(),
                    number("byteLength")?.into(),
                ]
                .iter()
                .collect(),
                false => Array::of1(value),
            };
            let made = Reflect::construct(&function(&js_sys::global(), "Uint8Array")?, &arguments);
            made.ok()?.dyn_into().ok()?
        }
    };
    Some(match array.length() {
        0 => bytes::Bytes::new(),
        _ => array.to_vec().into(),
    })
}
