//! Functions of JavaScript that give credentials or sign requests, as what the S3 store takes. js/src/s3.ts
//! has brought what users' functions return into one form. Invariant: what a function throws is cut of
//! URL queries; what it returns is checked.

use super::{call::property, host_error::host_error};
use crate::{
    env::BoxFuture,
    error::{Error, Result},
    platform::s3::{Access, CredentialProvider, Credentials, Signed, Signer, Unsigned},
};
use js_sys::{Array, Function, Object, Promise, Reflect};
use send_wrapper::SendWrapper;
use std::sync::Arc;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// `{ accessKeyId, secretAccessKey, sessionToken?, expires? }`, the last in milliseconds.
fn credentials(value: &JsValue) -> Result<Credentials> {
    let text = |name: &str| property(value, name).and_then(|value| value.as_string());
    let needed = |name: &str| {
        text(name).ok_or_else(|| Error::invalid(format!("s3 credentials: {name} is missing")))
    };
    let mut keys = Credentials::new(needed("accessKeyId")?, needed("secretAccessKey")?);
    keys.session_token = text("sessionToken");
    let expires = property(value, "expires").and_then(|at| at.as_f64());
    keys.expires = expires.map(|millis| (millis * 1000.0) as i64);
    Ok(keys)
}

/// Who signs, by the fields `credentials` (a value or a function) and `sign` of a store's options.
pub fn s3_access(options: &JsValue) -> Result<Access> {
    if let Some(sign) = property(options, "sign") {
        let function = sign.dyn_into().map_err(|_| wrong("sign"))?;
        return Ok(Access::Signer(Arc::new(Calls(SendWrapper::new(function)))));
    }
    match property(options, "credentials") {
        None => Ok(Access::Anonymous),
        Some(given) => match given.dyn_into::<Function>() {
            Ok(function) => Ok(Access::Provider(Arc::new(Calls(SendWrapper::new(
                function,
            ))))),
            Err(value) => Ok(Access::Credentials(credentials(&value)?)),
        },
    }
}

fn wrong(option: &str) -> Error {
    Error::invalid(format!("s3 option {option} takes a function"))
}

/// A function of the user's.
struct Calls(SendWrapper<Function>);

impl Calls {
    async fn call(&self, name: &str, argument: &JsValue) -> Result<JsValue> {
        let failed = |thrown: JsValue| host_error(name, &thrown);
        let called = self
            .0
            .call1(&JsValue::UNDEFINED, argument)
            .map_err(failed)?;
        JsFuture::from(Promise::resolve(&called))
            .await
            .map_err(failed)
    }
}

impl CredentialProvider for Calls {
    fn credentials(&self) -> BoxFuture<'_, Result<Credentials>> {
        Box::pin(SendWrapper::new(async {
            credentials(&self.call("credentials()", &JsValue::UNDEFINED).await?)
        }))
    }
}

impl Signer for Calls {
    fn sign(&self, request: Unsigned) -> BoxFuture<'_, Result<Signed>> {
        Box::pin(SendWrapper::new(async move {
            let (argument, headers) = (Object::new(), Object::new());
            let set = |object: &Object, name: &str, value: &JsValue| {
                // It cannot fail: the object is ours.
                let _ = Reflect::set(object, &name.into(), value);
            };
            for (name, value) in &request.headers {
                set(&headers, name, &value.into());
            }
            set(&argument, "method", &request.method.into());
            set(&argument, "url", &request.url.into());
            set(&argument, "headers", &headers);
            let signed = self.call("sign()", &argument).await?;
            let mut headers = Vec::new();
            if let Some(pairs) = property(&signed, "headers") {
                for pair in Array::from(&pairs).iter() {
                    let pair = Array::from(&pair);
                    match (pair.get(0).as_string(), pair.get(1).as_string()) {
                        (Some(name), Some(value)) => headers.push((name, value)),
                        _ => return Err(Error::invalid("sign() must return headers of text")),
                    }
                }
            }
            let url = property(&signed, "url").and_then(|url| url.as_string());
            Ok(Signed { url, headers })
        }))
    }
}
