//! [`Runtime`] over `Date`, `performance`, `crypto`, `setTimeout` and the task queue of
//! wasm-bindgen-futures. Invariant: no state outside of the value, no timer left behind by a
//! dropped sleep.

use super::call::{function, property};
use crate::{
    env::{BoxFuture, Runtime},
    error::{Error, Result},
};
use futures_channel::oneshot;
use js_sys::{Date, Function, Math, Uint8Array};
use send_wrapper::SendWrapper;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};

/// `setTimeout` takes an `i32` of milliseconds.
const LONGEST_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);
/// `getRandomValues` fills at most this many bytes.
const RANDOM_CHUNK: usize = 65_536;

/// A method of a global object.
#[derive(Clone)]
struct Method {
    this: JsValue,
    function: Function,
}

struct Globals {
    set_timeout: Function,
    clear_timeout: Option<Function>,
    random: Method,
    /// `performance.now`, where there is one.
    now: Option<Method>,
}

/// Clock, randomness, timers and tasks of the JavaScript engine.
pub struct WasmRuntime {
    globals: SendWrapper<Arc<Globals>>,
    /// The latest value of `monotonic` in microseconds, should `Date` go back.
    latest: AtomicU64,
}

fn method(object: &str, name: &str) -> Option<Method> {
    let this = property(&js_sys::global(), object)?;
    let function = function(&this, name)?;
    Some(Method { this, function })
}

fn missing(what: &str) -> Error {
    Error::unsupported(format!(
        "this JavaScript engine has no {what}: Lakeshore needs a browser, a worker, Node, Deno or Bun"
    ))
}

impl WasmRuntime {
    /// The runtime of this JavaScript engine. `Unsupported` if it has no timers or no `crypto`.
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> Result<Arc<Self>> {
        let global = js_sys::global();
        let globals = Globals {
            set_timeout: function(&global, "setTimeout").ok_or_else(|| missing("setTimeout"))?,
            clear_timeout: function(&global, "clearTimeout"),
            random: method("crypto", "getRandomValues")
                .ok_or_else(|| missing("crypto.getRandomValues"))?,
            now: method("performance", "now"),
        };
        Ok(Arc::new(Self {
            globals: SendWrapper::new(Arc::new(globals)),
            latest: AtomicU64::new(0),
        }))
    }
}

impl fmt::Debug for WasmRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WasmRuntime")
    }
}

impl Runtime for WasmRuntime {
    fn now_micros(&self) -> i64 {
        (Date::now() * 1000.0) as i64
    }

    fn monotonic(&self) -> Duration {
        let now = self.globals.now.as_ref();
        let millis = now
            .and_then(|now| now.function.call0(&now.this).ok()?.as_f64())
            .unwrap_or_else(Date::now);
        let micros = (millis * 1000.0) as u64;
        let before = self.latest.fetch_max(micros, Ordering::Relaxed);
        Duration::from_micros(micros.max(before))
    }

    fn random(&self, bytes: &mut [u8]) {
        let random = &self.globals.random;
        for chunk in bytes.chunks_mut(RANDOM_CHUNK) {
            let array = Uint8Array::new_with_length(chunk.len() as u32);
            match random.function.call1(&random.this, &array) {
                Ok(_) => array.copy_to(chunk),
                // Refused, as workerd does outside of a request.
                Err(_) => chunk.fill_with(|| (Math::random() * 256.0) as u8),
            }
        }
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let globals = (*self.globals).clone();
        Box::pin(SendWrapper::new(async move {
            let mut rest = duration;
            loop {
                let part = rest.min(LONGEST_TIMEOUT);
                Timer::wait(&globals, part).await;
                rest -= part;
                if rest.is_zero() {
                    return;
                }
            }
        }))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        wasm_bindgen_futures::spawn_local(task);
    }
}

/// A running timer; dropped, it is cleared, so that it keeps no process alive.
struct Timer {
    globals: Arc<Globals>,
    id: JsValue,
    _callback: Closure<dyn FnMut()>,
}

impl Timer {
    async fn wait(globals: &Arc<Globals>, duration: Duration) {
        let (fire, fired) = oneshot::channel();
        let mut fire = Some(fire);
        let callback = Closure::<dyn FnMut()>::new(move || {
            if let Some(fire) = fire.take() {
                let _ = fire.send(());
            }
        });
        // Rounded up: it resolves after *at least* that long.
        let millis = duration.as_micros().div_ceil(1000) as f64;
        let function = callback.as_ref().unchecked_ref();
        let set = &globals.set_timeout;
        let Ok(id) = set.call2(&JsValue::UNDEFINED, function, &millis.into()) else {
            return; // No timers at this moment: not to sleep is better than never to wake.
        };
        let timer = Self {
            globals: globals.clone(),
            id,
            _callback: callback,
        };
        let _ = fired.await;
        drop(timer);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(clear) = &self.globals.clear_timeout {
            let _ = clear.call1(&JsValue::UNDEFINED, &self.id);
        }
    }
}
