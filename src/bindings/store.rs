//! Stores from JavaScript: `{ host }`, an object with methods; `{ s3 }` and `{ opfs }`, options of our
//! own backends. `StoreSpec` of js/src/raw.ts is the other side.

use super::error::get;
use crate::{
    env::Storage,
    error::{Error, Result},
    platform::wasm::{Host, Opfs},
};
use std::sync::Arc;
use wasm_bindgen::JsValue;

/// The store that `spec` describes. Where tasks are not `detached` (Workers), nothing in it waits for
/// what another call holds.
pub(super) fn storage(spec: &JsValue, detached: bool) -> Result<Arc<dyn Storage>> {
    let host = get(spec, "host");
    if !host.is_undefined() {
        return Ok(Host::new(host)?);
    }
    let opfs = get(spec, "opfs");
    if !opfs.is_undefined() {
        return Ok(Opfs::from_js(&opfs)?);
    }
    let s3 = get(spec, "s3");
    if !s3.is_undefined() {
        return super::s3::storage(&s3, detached);
    }
    Err(Error::invalid(
        "a store is made by s3(), opfs(), directory(), memory() or host()",
    ))
}
