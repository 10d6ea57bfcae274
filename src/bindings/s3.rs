//! The options of `s3()`, checked by js/src/s3.ts; what is wrong nonetheless is `Invalid`.

use super::error::get;
use crate::{
    env::Storage,
    error::{Error, Result},
    platform::{
        s3::S3Options,
        wasm::{s3, s3_access},
    },
};
use std::{sync::Arc, time::Duration};
use wasm_bindgen::{JsCast, JsValue};

/// The bucket of `options`.
pub(super) fn storage(options: &JsValue, detached: bool) -> Result<Arc<dyn Storage>> {
    let text = |name: &str| get(options, name).as_string();
    let number = |name: &str| get(options, name).as_f64();
    let bucket = text("bucket").ok_or_else(|| Error::invalid("s3 option bucket is missing"))?;
    let mut made = S3Options::new(bucket);
    made.prefix = text("prefix").unwrap_or_default();
    if let Some(region) = text("region") {
        made.region = region;
    }
    made.endpoint = text("endpoint");
    made.path_style = get(options, "pathStyle").as_bool();
    made.access = s3_access(options)?;
    if let Some(millis) = number("timeoutMs") {
        made.timeout = Duration::from_millis(millis as u64);
    }
    if let Some(retries) = number("retries") {
        made.retries = retries as u32;
    }
    if !detached {
        made.concurrency = 0;
    }
    if let Some(concurrency) = number("concurrency") {
        made.concurrency = concurrency as usize;
    }
    let fetch = get(options, "fetch").dyn_into().ok();
    Ok(s3(made, fetch)?)
}
