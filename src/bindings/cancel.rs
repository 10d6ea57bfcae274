//! Ends a call from outside: what it was doing is dropped, and its promise rejects. A call is armed by whoever
//! makes it: `arm()`, the call, `disarm()`, all at once, so that nothing else can come between. Invariant: what
//! must not be broken off (a commit that was sent) goes on in the store below whatever is dropped here.

use crate::error::{Error, ErrorKind, Result};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use std::{cell::RefCell, pin::pin};
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    /// Of the call that is being made.
    static ARMED: RefCell<Option<oneshot::Receiver<()>>> = const { RefCell::new(None) };
}

/// `RawCancel` of js/src/raw.ts.
#[wasm_bindgen(js_name = RawCancel)]
#[derive(Debug, Default)]
pub struct JsCancel(RefCell<Option<oneshot::Sender<()>>>);

#[wasm_bindgen(js_class = RawCancel)]
impl JsCancel {
    /// One that ends nothing yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// The call that is made next is ended by this.
    pub fn arm(&self) {
        let (sender, end) = oneshot::channel();
        *self.0.borrow_mut() = Some(sender);
        ARMED.set(Some(end));
    }

    /// The call was made.
    pub fn disarm(&self) {
        ARMED.set(None);
    }

    /// Ends it.
    pub fn cancel(&self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(());
        }
    }
}

/// What ends the call that is being made, if anything does.
pub(super) fn armed() -> Option<oneshot::Receiver<()>> {
    ARMED.take()
}

/// The outcome of `work`, unless it is ended first. Who lets go of the other side ends nothing.
pub(super) async fn until<T>(
    work: impl Future<Output = Result<T>>,
    end: Option<oneshot::Receiver<()>>,
) -> Result<T> {
    let Some(end) = end else {
        return work.await;
    };
    match select(pin!(work), end).await {
        Either::Left((done, _)) => done,
        Either::Right((Ok(()), _)) => Err(Error::new(
            ErrorKind::Closed,
            "the call was ended by its signal",
        )),
        Either::Right((Err(_), work)) => work.await,
    }
}
