//! Web Locks: they exclude other tabs and workers of the origin, and die with their holder.
//!
//! Names are origin-wide and hold the whole path below the origin's root, so that two stores that
//! share files share locks. Invariant: a lock is held by a promise that we resolve; a request whose
//! asker has gone is given back at once when it is granted.

use super::{
    super::{call::property, host_error::host_error},
    sys::{Held, LockManager, object, settled},
};
use crate::{
    env::{BoxFuture, LockGuard, Runtime},
    error::{Error, ErrorKind, Result},
};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use js_sys::{Array, Function, Promise};
use send_wrapper::SendWrapper;
use std::{pin::pin, time::Duration};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;

/// How long to wait for a lock of another worker: that of a page just reloaded ends late.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long for one of this worker: the browser may still be giving back what was just released.
const OWN_PATIENCE: Duration = Duration::from_millis(100);
/// How long to wait in a queue of writers of one object. A frozen tab keeps its locks.
const QUEUE: Duration = Duration::from_secs(10);

pub(super) struct Locks {
    pub(super) manager: LockManager,
    pub(super) held: Held,
}

/// A lock we have; dropping it gives it back.
pub(super) struct Lock {
    release: Option<Function>,
    held: Held,
    /// Settles when the browser has taken it back.
    ended: Promise,
}

impl Lock {
    fn give_back(&mut self) {
        if let Some(release) = self.release.take() {
            self.held.delete(&release);
            let _: Result<JsValue, JsValue> = release.call0(&JsValue::UNDEFINED);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Locks {
    /// The lock `name`, or, with `now`, `None` if it is not to be had at once.
    async fn request(&self, name: &str, now: bool) -> Result<Option<Lock>> {
        let failed = |thrown: JsValue| host_error(&format!("lock {name}"), &thrown);
        let mut release = None;
        let until = Promise::new(&mut |resolve, _| release = Some(resolve));
        let (grant, granted) = oneshot::channel();
        let on_grant = Closure::once_into_js(move |lock: JsValue| {
            // Nobody waits for it any more, or there is none.
            if lock.is_null() || grant.is_canceled() {
                let _ = grant.send(false);
                return JsValue::UNDEFINED;
            }
            let _ = grant.send(true);
            until.into()
        });
        let options = object("ifAvailable", now);
        let ended = (self.manager.request(name, &options, &on_grant)).map_err(failed)?;
        let refused = pin!(JsFuture::from(ended.clone()));
        let granted = match select(granted, refused).await {
            Either::Left((granted, _)) => granted.unwrap_or(false),
            Either::Right((Err(thrown), _)) => return Err(failed(thrown)),
            // It ended before its grant was seen: it was not granted.
            Either::Right((Ok(_), granted)) => granted.await.unwrap_or(false),
        };
        if !granted {
            return Ok(None);
        }
        if let Some(release) = &release {
            self.held.add(release);
        }
        Ok(Some(Lock {
            release,
            held: self.held.clone(),
            ended,
        }))
    }

    /// Takes a lock that nobody else can have: its name is random.
    pub(super) async fn take(&self, name: &str) -> Result<Lock> {
        let taken = self.request(name, true).await?;
        taken.ok_or_else(|| Error::internal("a lock of a random name is held"))
    }

    /// Waits for the lock `name`, which is held for one write of one object.
    pub(super) async fn wait(&self, runtime: &dyn Runtime, name: &str) -> Result<Lock> {
        let request = pin!(self.request(name, false));
        match select(request, runtime.sleep(QUEUE)).await {
            Either::Left((Ok(Some(lock)), _)) => Ok(lock),
            Either::Left((Ok(None), _)) => Err(Error::internal("a lock was not granted")),
            Either::Left((Err(error), _)) => Err(error),
            Either::Right(((), _)) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("lock {name} was not granted: is another tab of this origin frozen?"),
            )),
        }
    }

    /// Takes the lock `name` of the store `place`, or fails with `Busy` naming the holder.
    pub(super) async fn exclude(
        &self,
        runtime: &dyn Runtime,
        name: &str,
        what: &str,
    ) -> Result<Lock> {
        let start = runtime.monotonic();
        let mut pause = Duration::from_millis(5);
        loop {
            if let Some(lock) = self.request(name, true).await? {
                return Ok(lock);
            }
            let waited = runtime.monotonic().saturating_sub(start);
            if waited >= OWN_PATIENCE {
                let holder = self.holder(runtime, name).await?;
                match holder {
                    Some(Holder::Own) => return Err(busy(what, "another handle in this worker")),
                    Some(Holder::Other(client)) if waited >= PATIENCE => {
                        let who = format!("another tab or worker of this origin (client {client})");
                        return Err(busy(what, &who));
                    }
                    None if waited >= PATIENCE => {
                        return Err(busy(what, "another tab or worker of this origin"));
                    }
                    _ => {}
                }
            }
            runtime.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// The names and client ids of all locks held in this origin.
    pub(super) async fn all(&self) -> Result<Vec<(String, String)>> {
        let state = settled(self.manager.query()).await;
        let state = state.map_err(|thrown| host_error("navigator.locks.query()", &thrown))?;
        let held = property(&state, "held").unwrap_or(JsValue::UNDEFINED);
        let text = |lock: &JsValue, name| property(lock, name).and_then(|text| text.as_string());
        let locks = held.dyn_into::<Array>().unwrap_or_default();
        let named = |lock: JsValue| Some((text(&lock, "name")?, text(&lock, "clientId")?));
        Ok(locks.iter().filter_map(named).collect())
    }

    async fn holder(&self, runtime: &dyn Runtime, name: &str) -> Result<Option<Holder>> {
        // Who we are, only a lock of our own can tell.
        let probe_name = format!("lakeshore:probe:{}", super::random_id(runtime));
        let probe = self.take(&probe_name).await?;
        let all = self.all().await?;
        drop(probe);
        let client = |name: &str| Some(&all.iter().find(|(held, _)| held == name)?.1);
        Ok(match (client(name), client(&probe_name)) {
            (Some(holder), Some(own)) if holder == own => Some(Holder::Own),
            (Some(holder), _) => Some(Holder::Other(holder.clone())),
            (None, _) => None,
        })
    }
}

enum Holder {
    Own,
    Other(String),
}

fn busy(what: &str, who: &str) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!("{what} is held by {who}: close it there first"),
    )
}

/// The lock of a store, held.
pub(super) struct Guard(pub(super) SendWrapper<Lock>);

impl LockGuard for Guard {
    fn release(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.0.give_back();
        let ended = JsFuture::from(self.0.ended.clone());
        Box::pin(SendWrapper::new(async move {
            // Awaited, so that whoever opens next finds it free.
            let _ = ended.await;
            Ok(())
        }))
    }
}
