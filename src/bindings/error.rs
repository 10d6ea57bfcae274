//! Errors on their way to JavaScript.

use super::cancel;
use crate::error::{Error, Result};
use js_sys::{Object, Promise, Reflect};
use std::pin::Pin;
use wasm_bindgen::JsValue;

/// `{ kind, message }`, which js/src/errors.ts makes a `LakeshoreError` of.
pub(super) fn to_js(error: Error) -> JsValue {
    let object = Object::new();
    set(&object, "kind", &error.kind().name().into());
    set(&object, "message", &error.message().into());
    object.into()
}

/// Sets a property of an object that we made.
pub(super) fn set(object: &Object, name: &str, value: &JsValue) {
    // It cannot fail: the object is plain and extensible.
    let _ = Reflect::set(object, &name.into(), value);
}

/// The property of an object, or undefined.
pub(super) fn get(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// Runs `future`, until it is ended if the call was armed, and gives its outcome to JavaScript.
pub(super) fn promise<T: Into<JsValue>>(
    future: impl Future<Output = Result<T>> + 'static,
) -> Promise {
    run(Box::pin(async move { future.await.map(Into::into) }))
}

/// Not generic: the machine around a future is there once.
fn run(future: Pin<Box<dyn Future<Output = Result<JsValue>>>>) -> Promise {
    let end = cancel::armed();
    wasm_bindgen_futures::future_to_promise(async move {
        cancel::until(future, end).await.map_err(to_js)
    })
}
