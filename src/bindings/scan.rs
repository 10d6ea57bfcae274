//! A running scan. One call at a time reads; `cancel` may come in between.

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
use js_sys::Promise;
use std::{cell::RefCell, rc::Rc};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

enum Slot {
    Ready(Box<Scan>),
    /// A call has it.
    Reading,
    Ended,
}

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
            let counted = match taken? {
                Some(scan) => scan.count().await?,
                None => 0,
            };
            *slot.borrow_mut() = Slot::Ended;
            Ok(counted as f64)
        })
    }

    /// Ends it and lets go of what it read from.
    pub fn cancel(&self) {
        *self.slot.borrow_mut() = Slot::Ended;
    }
}

impl JsScan {
    pub(super) fn new(scan: Scan) -> Self {
        Self {
            slot: Rc::new(RefCell::new(Slot::Ready(Box::new(scan)))),
        }
    }

    fn take(&self) -> Result<Option<Box<Scan>>> {
        let mut slot = self.slot.borrow_mut();
        match std::mem::replace(&mut *slot, Slot::Reading) {
            Slot::Ready(scan) => Ok(Some(scan)),
            Slot::Reading => Err(Error::invalid(
                "the scan is being read: await one batch before the next",
            )),
            Slot::Ended => {
                *slot = Slot::Ended;
                Ok(None)
            }
        }
    }

    fn next(&self, give: impl FnOnce(&RecordBatch) -> Result<JsValue> + 'static) -> Promise {
        let taken = self.take();
        let slot = self.slot.clone();
        promise(async move {
            let Some(mut scan) = taken? else {
                return Ok(JsValue::UNDEFINED);
            };
            let next = scan.next().await;
            let mut slot = slot.borrow_mut();
            if matches!(*slot, Slot::Ended) {
                return Ok(JsValue::UNDEFINED);
            }
            match next {
                Ok(Some(batch)) => {
                    *slot = Slot::Ready(scan);
                    give(&batch)
                }
                Ok(None) => {
                    *slot = Slot::Ended;
                    Ok(JsValue::UNDEFINED)
                }
                Err(error) => {
                    *slot = Slot::Ended;
                    Err(error)
                }
            }
        })
    }
}
