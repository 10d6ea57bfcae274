//! Errors on their way to JavaScript.

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

/// Runs `future` and gives its outcome to JavaScript.
pub(super) fn promise<T: Into<JsValue>>(
    future: impl Future<Output = Result<T>> + 'static,
) -> Promise {
    start(Box::pin(async move {
        future.await.map(Into::into).map_err(to_js)
    }))
}

/// Not generic: what the runtime makes of a future would be there once for each call, at some 2 KB.
fn start(future: Pin<Box<dyn Future<Output = std::result::Result<JsValue, JsValue>>>>) -> Promise {
    wasm_bindgen_futures::future_to_promise(future)
}
