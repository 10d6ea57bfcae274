//! A store that a plain JS object provides: R2, `node:fs`, OPFS or a user's own.
//!
//! | method | returns (a value or a promise of it) |
//! |---|---|
//! | `get(key)` | `Uint8Array`, or `null` |
//! | `getRange(key, start, end)` | the same; shorter if the object is |
//! | `getSuffix(key, length)` | `{ bytes, size }`, or `null` |
//! | `put(key, bytes)` | |
//! | `putIfAbsent(key, bytes)` | `true` if it was created, `false` if there was one |
//! | `list(prefix, startAfter?)` | `[{ key, size, modified? }]`; `modified` is a `Date` |
//! | `delete(key)` | |
//! | `describe()` | a string; not a promise; optional |
//! | `create(key)` | `{ write(bytes), finish(), abort() }`; without it, pieces gather in memory |
//! | `append(key)` | `{ size, write(bytes), sync(), confirm?(), close() }`; only a WAL needs it |
//! | `lock(name)` | `{ confirm?(), release() }`; only a WAL needs it; throws with `code: "Busy"` if held |
//!
//! Invariants: keys are checked before the host sees them; bytes cross as copies; answers are
//! checked, because a host is not our code; what it opens is given up in any case, also if it comes when whoever
//! asked for it is gone.

use super::call::{MAX_SAFE, Object, for_js, function, micros, property};
use crate::{
    env::{AppendFile, BoxFuture, LockGuard, ObjectMeta, ObjectWriter, PutOutcome, Storage},
    error::{Error, ErrorKind, Result},
    platform::{
        fusio_store::fusio_store,
        key::{check_key, check_lock_name, check_prefix, ends_early},
    },
};
use bytes::{Bytes, BytesMut};
use js_sys::{Array, Promise};
use send_wrapper::SendWrapper;
use std::{ops::Range, sync::Arc};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// A JS object as a [`Storage`]. A clone is another handle on the same.
#[derive(Clone, Debug)]
pub struct Host {
    object: Object,
    description: String,
}

/// A future that stays on its thread, as one that may move.
fn local<'a, T>(future: impl Future<Output = T> + 'a) -> BoxFuture<'a, T> {
    Box::pin(SendWrapper::new(future))
}

impl Host {
    /// The store that `object` provides. `Invalid` if one of the methods that every host needs is
    /// missing. Calls nothing but `describe`.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(object: JsValue) -> Result<Arc<Self>> {
        if !object.is_object() {
            return Err(Error::invalid(
                "a host must be an object with the methods of a Host",
            ));
        }
        let object = Object::new(object, "host");
        for method in [
            "get",
            "getRange",
            "getSuffix",
            "put",
            "putIfAbsent",
            "list",
            "delete",
        ] {
            if !object.has(method) {
                let place = object.place(method);
                return Err(Error::invalid(format!(
                    "{place} is missing: every host needs it"
                )));
            }
        }
        let description = object.describe().unwrap_or_else(|| "host".to_owned());
        Ok(Arc::new(Self {
            object,
            description,
        }))
    }

    /// What `method` opens, to be given up by its method `end`.
    async fn open(&self, method: &str, name: &str, end: &'static str) -> Result<Object> {
        let place = format!("host.{method}({name:?})");
        let orphan = |late| give_up(&mut Some(Object::new(late, "")), end);
        let value = self.object.call_or(method, &[name.into()], orphan).await?;
        Ok(Object::new(value, place))
    }

    async fn read(&self, method: &str, arguments: &[JsValue]) -> Result<Option<JsValue>> {
        let value = self.object.call(method, arguments).await?;
        Ok((!value.is_null() && !value.is_undefined()).then_some(value))
    }

    async fn suffix(&self, key: &str, length: u64) -> Result<Option<(Bytes, u64)>> {
        const METHOD: &str = "getSuffix";
        let wanted = length.min(MAX_SAFE);
        let arguments = [key.into(), JsValue::from(wanted as f64)];
        let Some(value) = self.read(METHOD, &arguments).await? else {
            return Ok(None);
        };
        let size = self.object.length(METHOD, &value, "size")?;
        let bytes = property(&value, "bytes").unwrap_or(JsValue::UNDEFINED);
        let bytes = self.object.bytes(METHOD, bytes)?;
        let expected = size.min(wanted);
        if bytes.len() as u64 != expected {
            let (got, place) = (bytes.len(), self.object.place(METHOD));
            return Err(Error::corrupt(format!(
                "object {key}: {place} returned {got} bytes where {expected} of {size} were asked for"
            )));
        }
        Ok(Some((bytes, size)))
    }

    async fn range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        const METHOD: &str = "getRange";
        if range.start > range.end || range.end > MAX_SAFE {
            return Err(Error::invalid(format!(
                "object {key}: no such range: {range:?}"
            )));
        }
        let arguments = [
            key.into(),
            JsValue::from(range.start as f64),
            JsValue::from(range.end as f64),
        ];
        let Some(value) = self.read(METHOD, &arguments).await? else {
            return Ok(None);
        };
        let bytes = self.object.bytes(METHOD, value)?;
        match (bytes.len() as u64).cmp(&(range.end - range.start)) {
            std::cmp::Ordering::Equal => Ok(Some(bytes)),
            std::cmp::Ordering::Less => {
                let end = range.start + bytes.len() as u64;
                Err(ends_early(key, &range, end))
            }
            // Such as the whole object instead of its range: wrong bytes, never to be used.
            std::cmp::Ordering::Greater => Err(Error::corrupt(format!(
                "object {key}: {} returned {} bytes for {range:?}",
                self.object.place(METHOD),
                bytes.len()
            ))),
        }
    }

    async fn listing(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        const METHOD: &str = "list";
        let after_value = after.map_or(JsValue::UNDEFINED, JsValue::from);
        let listed = self
            .object
            .call(METHOD, &[prefix.into(), after_value])
            .await?;
        if !Array::is_array(&listed) {
            return Err(self.object.wrong(METHOD, "an array of { key, size }"));
        }
        let mut found = Vec::new();
        for entry in Array::from(&listed).iter() {
            let key = property(&entry, "key").and_then(|key| key.as_string());
            let key = key.ok_or_else(|| self.object.wrong(METHOD, "an array of { key, size }"))?;
            let wanted = key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after);
            // What is not a key was put there by somebody else.
            if wanted && check_key(&key).is_ok() {
                let size = self.object.length(METHOD, &entry, "size")?;
                let modified = match property(&entry, "modified") {
                    None => None,
                    Some(date) => {
                        // Maybe of another realm: not `instanceof Date`.
                        let time = function(&date, "getTime").and_then(|f| f.call0(&date).ok());
                        let date = time.and_then(|time| micros(time.as_f64()?));
                        let wrong = || self.object.wrong(METHOD, "a Date as `modified`");
                        Some(date.ok_or_else(wrong)?)
                    }
                };
                found.push(ObjectMeta {
                    key,
                    size,
                    modified,
                });
            }
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

impl Object {
    fn describe(&self) -> Option<String> {
        // Synchronous, since `Storage::describe` is.
        super::call::function(self.value(), "describe")?
            .call0(self.value())
            .ok()?
            .as_string()
    }
}

fusio_store!(Host, Local);

impl Storage for Host {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        local(async move {
            check_key(key)?;
            let value = self.read("get", &[key.into()]).await?;
            value
                .map(|value| self.object.bytes("get", value))
                .transpose()
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Option<Bytes>>> {
        local(async move {
            check_key(key)?;
            self.range(key, range).await
        })
    }

    fn get_suffix<'a>(
        &'a self,
        key: &'a str,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<(Bytes, u64)>>> {
        local(async move {
            check_key(key)?;
            self.suffix(key, length).await
        })
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        local(async move {
            check_key(key)?;
            self.object
                .call("put", &[key.into(), for_js(&body)])
                .await?;
            Ok(())
        })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<PutOutcome>> {
        const METHOD: &str = "putIfAbsent";
        local(async move {
            check_key(key)?;
            let created = self
                .object
                .call(METHOD, &[key.into(), for_js(&body)])
                .await?;
            match created.as_bool() {
                Some(true) => Ok(PutOutcome::Created),
                Some(false) => Ok(PutOutcome::Exists),
                None => Err(Error::new(
                    ErrorKind::Unknown,
                    format!("{} must return a boolean", self.object.place(METHOD)),
                )),
            }
        })
    }

    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn ObjectWriter>>> {
        local(async move {
            check_key(key)?;
            if !self.object.has("create") {
                let writer = Gathering {
                    host: self.clone(),
                    key: key.to_owned(),
                    body: BytesMut::new(),
                };
                return Ok(Box::new(writer) as Box<dyn ObjectWriter>);
            }
            let object = Some(self.open("create", key, "abort").await?);
            Ok(Box::new(Writer { object }) as Box<dyn ObjectWriter>)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectMeta>>> {
        local(async move {
            check_prefix(prefix)?;
            self.listing(prefix, start_after).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        local(async move {
            check_key(key)?;
            self.object.call("delete", &[key.into()]).await?;
            Ok(())
        })
    }

    fn append<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn AppendFile>>> {
        local(async move {
            check_key(key)?;
            let object = self.open("append", key, "close").await?;
            let length = self.object.length("append", object.value(), "size");
            let mut file = Appender {
                object: Some(object),
                length: 0,
            };
            file.length = length?;
            Ok(Box::new(file) as Box<dyn AppendFile>)
        })
    }

    fn lock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn LockGuard>>> {
        local(async move {
            check_lock_name(name)?;
            let object = Some(self.open("lock", name, "release").await?);
            Ok(Box::new(Guard { object }) as Box<dyn LockGuard>)
        })
    }
}

/// Gives a JS resource up without waiting: its owner was dropped, nobody is left to tell.
fn give_up(object: &mut Option<Object>, method: &'static str) {
    let Some(object) = object.take().filter(|object| object.has(method)) else {
        return;
    };
    // Called now, so that what the host does at once is done when `drop` returns.
    if let Ok(Ok(promise)) = object.start(method, &[]).map(JsCast::dyn_into::<Promise>) {
        wasm_bindgen_futures::spawn_local(async move {
            // Awaited all the same: an unhandled rejection ends a Node process.
            let _ = JsFuture::from(promise).await;
        });
    }
}

fn gone() -> Error {
    Error::internal("used after its end")
}

struct Writer {
    /// `None` when it was finished.
    object: Option<Object>,
}

impl ObjectWriter for Writer {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        local(async move {
            let object = self.object.as_ref().ok_or_else(gone)?;
            object.call("write", &[for_js(&chunk)]).await?;
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        local(async move {
            let object = self.object.take().ok_or_else(gone)?;
            object.call("finish", &[]).await?;
            Ok(())
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        give_up(&mut self.object, "abort");
    }
}

/// For a host without `create`.
struct Gathering {
    host: Host,
    key: String,
    body: BytesMut,
}

impl ObjectWriter for Gathering {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.body.extend_from_slice(&chunk);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move { self.host.put(&self.key, self.body.freeze()).await })
    }
}

struct Appender {
    /// `None` when it was closed.
    object: Option<Object>,
    length: u64,
}

impl AppendFile for Appender {
    fn write<'a>(&'a mut self, chunk: Bytes) -> BoxFuture<'a, Result<()>> {
        local(async move {
            let object = self.object.as_ref().ok_or_else(gone)?;
            object.call("write", &[for_js(&chunk)]).await?;
            self.length += chunk.len() as u64;
            Ok(())
        })
    }

    fn sync<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        local(async move {
            let object = self.object.as_ref().ok_or_else(gone)?;
            object.call("sync", &[]).await?;
            Ok(())
        })
    }

    fn confirm<'a>(&'a mut self) -> BoxFuture<'a, Result<()>> {
        local(async move {
            let object = self.object.as_ref().ok_or_else(gone)?;
            if object.has("confirm") {
                object.call("confirm", &[]).await?;
            }
            Ok(())
        })
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        local(async move {
            let object = self.object.take().ok_or_else(gone)?;
            object.call("close", &[]).await?;
            Ok(())
        })
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        give_up(&mut self.object, "close");
    }
}

#[derive(Debug)]
struct Guard {
    /// `None` when it was released.
    object: Option<Object>,
}

impl LockGuard for Guard {
    fn confirm(&self) -> Result<()> {
        let object = self.object.as_ref().ok_or_else(gone)?;
        if !object.has("confirm") {
            return Ok(());
        }
        match object.start("confirm", &[])?.dyn_into::<Promise>() {
            Err(_) => Ok(()),
            Ok(promise) => {
                // Heard all the same: an unhandled rejection ends a Node process.
                wasm_bindgen_futures::spawn_local(async move {
                    let _ = JsFuture::from(promise).await;
                });
                Err(object.wrong("confirm", "at once, and no promise"))
            }
        }
    }

    fn release(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        local(async move {
            let object = self.object.take().ok_or_else(gone)?;
            object.call("release", &[]).await?;
            Ok(())
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        give_up(&mut self.object, "release");
    }
}
