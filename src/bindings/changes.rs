//! A running change feed. One call at a time reads; `cancel` may come in between, and ends a call that
//! waits for news.

use super::{
    columns::{batch_to_js, bytes_to_js},
    error::{promise, set},
};
use crate::{
    data::intake::write_ipc,
    db::{Change, Changes, TableChange},
    error::{Error, Result},
    merge::Kind,
};
use arrow_array::RecordBatch;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use js_sys::{Array, Object, Promise};
use std::{cell::RefCell, pin::pin, rc::Rc};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

enum Slot {
    Ready(Box<Changes>),
    /// A call has it. Dropped, this ends the call.
    Reading(#[expect(dead_code)] oneshot::Sender<()>),
    Ended,
}

/// The feed for a call, and what tells the call of its end.
type Taken = (Box<Changes>, oneshot::Receiver<()>);

/// `RawChanges` of js/src/raw.ts.
#[wasm_bindgen(js_name = RawChanges)]
pub struct JsChanges {
    slot: Rc<RefCell<Slot>>,
}

impl std::fmt::Debug for JsChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawChanges")
    }
}

#[wasm_bindgen(js_class = RawChanges)]
impl JsChanges {
    /// The next change with its rows as IPC streams, or undefined.
    #[wasm_bindgen(js_name = nextIpc)]
    pub fn next_ipc(&self) -> Promise {
        self.next(|object, batch| {
            let ipc = write_ipc(&batch.schema(), std::slice::from_ref(batch))?;
            set(object, "bytes", &bytes_to_js(&ipc));
            Ok(())
        })
    }

    /// The same with columns.
    #[wasm_bindgen(js_name = nextColumns)]
    pub fn next_columns(&self) -> Promise {
        self.next(|object, batch| {
            set(object, "batch", &batch_to_js(batch)?);
            Ok(())
        })
    }

    /// Ends it.
    pub fn cancel(&self) {
        *self.slot.borrow_mut() = Slot::Ended;
    }
}

impl JsChanges {
    pub(super) fn new(changes: Changes) -> Self {
        Self {
            slot: Rc::new(RefCell::new(Slot::Ready(Box::new(changes)))),
        }
    }

    fn take(&self) -> Result<Option<Taken>> {
        let mut slot = self.slot.borrow_mut();
        let (sender, end) = oneshot::channel();
        match std::mem::replace(&mut *slot, Slot::Ended) {
            Slot::Ready(changes) => {
                *slot = Slot::Reading(sender);
                Ok(Some((changes, end)))
            }
            Slot::Ended => Ok(None),
            reading => {
                *slot = reading;
                Err(Error::invalid(
                    "the changes are being read: await one before the next",
                ))
            }
        }
    }

    fn next(&self, give: fn(&Object, &RecordBatch) -> Result<()>) -> Promise {
        let taken = self.take();
        let slot = self.slot.clone();
        promise(async move {
            let Some((mut changes, end)) = taken? else {
                return Ok(JsValue::UNDEFINED);
            };
            let next = match select(pin!(changes.next()), end).await {
                Either::Left((next, _)) => next,
                Either::Right(_) => return Ok(JsValue::UNDEFINED),
            };
            let mut slot = slot.borrow_mut();
            if matches!(*slot, Slot::Ended) {
                return Ok(JsValue::UNDEFINED);
            }
            *slot = Slot::Ended;
            let Some(change) = next? else {
                return Ok(JsValue::UNDEFINED);
            };
            *slot = Slot::Ready(changes);
            change_to_js(&change, give).map(JsValue::from)
        })
    }
}

/// `{ cursor, timestamp, uploaded, more, tables }`.
fn change_to_js(change: &Change, give: fn(&Object, &RecordBatch) -> Result<()>) -> Result<Object> {
    let table = |part: &TableChange| {
        let object = Object::new();
        let kind = match part.kind {
            Kind::Upsert => "upsert",
            Kind::Delete => "delete",
        };
        set(&object, "table", &part.table.as_str().into());
        set(&object, "kind", &kind.into());
        give(&object, &part.batch)?;
        Ok(object)
    };
    let object = Object::new();
    let tables = change.tables.iter().map(table).collect::<Result<Array>>()?;
    set(&object, "cursor", &change.cursor.to_string().into());
    set(&object, "timestamp", &change.ts.into());
    set(&object, "uploaded", &change.uploaded.into());
    set(&object, "more", &change.more.into());
    set(&object, "tables", &tables);
    Ok(object)
}
