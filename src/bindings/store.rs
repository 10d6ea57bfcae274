//! Stores from JavaScript: `{ host }`, an object with methods; `{ s3 }` and `{ opfs }`, options of our
//! own backends. `StoreSpec` of js/src/raw.ts is the other side.

use super::error::get;
use crate::{
    env::Storage,
    error::{Error, Result},
    platform::wasm::Host,
};
use std::sync::Arc;
use wasm_bindgen::JsValue;

/// The store that `spec` describes.
pub(super) fn storage(spec: &JsValue) -> Result<Arc<dyn Storage>> {
    let host = get(spec, "host");
    if !host.is_undefined() {
        return Ok(Host::new(host)?);
    }
    Err(Error::invalid(
        "a store is made by s3(), opfs(), directory(), memory() or host()",
    ))
}
