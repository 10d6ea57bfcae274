//! A running scan. One call at a time reads; `cancel` may come in between, and ends that call: what it was
//! reading is dropped, and with it the requests under way.

use super::{
    columns::{batch_to_js, bytes_to_js},
    error::promise,
};
use crate::{
    data::intake::write_ipc,
    db::Scan,
    error::{Error, Result},
};
use arrow_array::RecordBatch;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use js_sys::Promise;
use std::{cell::RefCell, pin::pin, rc::Rc};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

enum Slot {
    Ready(Box<Scan>),
    /// A call has it. Dropped, this ends the call.
    Reading(#[expect(dead_code)] oneshot::Sender<()>),
    Ended,
}

/// The scan for a call, and what tells the call of its end.
type Taken = (Box<Scan>, oneshot::Receiver<()>);

/// `RawScan` of js/src/raw.ts.
#[wasm_bindgen(js_name = RawScan)]
pub struct JsScan {
    slot: Rc<RefCell<Slot>>,
}

impl std::fmt::Debug for JsScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawScan")
    }
}

#[wasm_bindgen(js_class = RawScan)]
impl JsScan {
    /// The next batch as an IPC stream, or undefined.
    #[wasm_bindgen(js_name = nextIpc)]
    pub fn next_ipc(&self) -> Promise {
        self.next(|batch| {
            let ipc = write_ipc(&batch.schema(), std::slice::from_ref(batch))?;
            Ok(bytes_to_js(&ipc))
        })
    }

    /// The next batch as columns, or undefined.
    #[wasm_bindgen(js_name = nextColumns)]
    pub fn next_columns(&self) -> Promise {
        self.next(batch_to_js)
    }

    /// The number of rows; nothing was read before, and nothing can be after.
    pub fn count(&self) -> Promise {
        let taken = self.take();
        let slot = self.slot.clone();
        promise(async move {
            let Some((scan, end)) = taken? else {
                return Ok(0.0);
            };
            let counted = until(scan.count(), end).await;
            *slot.borrow_mut() = Slot::Ended;
            Ok(counted.unwrap_or(Ok(0))? as f64)
        })
    }

    /// Ends it and lets go of what it read from; a call under way gives nothing, or 0.
    pub fn cancel(&self) {
        *self.slot.borrow_mut() = Slot::Ended;
    }
}

/// The outcome of `read`, unless it is ended first.
async fn until<T>(read: impl Future<Output = T>, end: oneshot::Receiver<()>) -> Option<T> {
    match select(pin!(read), end).await {
        Either::Left((read, _)) => Some(read),
        Either::Right(_) => None,
    }
}

impl JsScan {
    pub(super) fn new(scan: Scan) -> Self {
        Self {
            slot: Rc::new(RefCell::new(Slot::Ready(Box::new(scan)))),
        }
    }

    fn take(&self) -> Result<Option<Taken>> {
        let mut slot = self.slot.borrow_mut();
        let (sender, end) = oneshot::channel();
        match std::mem::replace(&mut *slot, Slot::Ended) {
            Slot::Ready(scan) => {
                *slot = Slot::Reading(sender);
                Ok(Some((scan, end)))
            }
            Slot::Ended => Ok(None),
            reading => {
                *slot = reading;
                Err(Error::invalid(
                    "the scan is being read: await one batch before the next",
                ))
            }
        }
    }

    fn next(&self, give: impl FnOnce(&RecordBatch) -> Result<JsValue> + 'static) -> Promise {
        let taken = self.take();
        let slot = self.slot.clone();
        promise(async move {
            let Some((mut scan, end)) = taken? else {
                return Ok(JsValue::UNDEFINED);
            };
            let Some(next) = until(scan.next(), end).await else {
                return Ok(JsValue::UNDEFINED);
            };
            let mut slot = slot.borrow_mut();
            if matches!(*slot, Slot::Ended) {
                return Ok(JsValue::UNDEFINED);
            }
            *slot = Slot::Ended;
            let Some(batch) = next? else {
                return Ok(JsValue::UNDEFINED);
            };
            *slot = Slot::Ready(scan);
            give(&batch)
        })
    }
}
