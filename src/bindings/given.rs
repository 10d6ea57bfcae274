//! Rows as JavaScript gives them: outside of wasm memory until there is room for them (`db/queue.rs`).
//! Invariant: what waits is a copy of JavaScript's own, for callers may use their buffers again as soon as
//! the call has returned.

use super::{
    columns::{batch_from_js, bytes_of},
    error::{get, set},
};
use crate::{
    db::{Given, Source},
    error::{Error, Result},
};
use arrow_array::RecordBatch;
use arrow_schema::FieldRef;
use js_sys::{Array, Object, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, JsValue};

/// Rows of one call.
pub(super) struct JsRows(SendWrapper<Rows>);

enum Rows {
    Ipc(Uint8Array),
    Batches(Vec<FieldRef>, Vec<(Array, usize)>),
}

impl JsRows {
    /// An IPC stream or file.
    pub(super) fn ipc(bytes: &Uint8Array) -> Self {
        Self(SendWrapper::new(Rows::Ipc(bytes.clone())))
    }

    /// Batches of columns, each with its number of rows.
    pub(super) fn batches(fields: Vec<FieldRef>, batches: Vec<(Array, usize)>) -> Self {
        Self(SendWrapper::new(Rows::Batches(fields, batches)))
    }
}

impl Given for JsRows {
    fn bytes(&self) -> usize {
        match &*self.0 {
            Rows::Ipc(bytes) => bytes.length() as usize,
            Rows::Batches(_, batches) => {
                let columns = batches.iter().flat_map(|(columns, _)| columns.iter());
                columns.map(|column| bytes_of(&column)).sum::<f64>() as usize
            }
        }
    }

    fn keep(&mut self) -> Result<()> {
        match &mut *self.0 {
            Rows::Ipc(bytes) => *bytes = bytes.slice(0, bytes.length()),
            Rows::Batches(_, batches) => {
                for (columns, _) in batches {
                    *columns = columns.iter().map(|column| copied(&column)).collect();
                }
            }
        }
        Ok(())
    }

    fn read(self: Box<Self>) -> Result<Source> {
        match self.0.take() {
            Rows::Ipc(bytes) => Ok(Source::Ipc(bytes.to_vec().into())),
            Rows::Batches(fields, batches) => {
                let read = |(columns, rows)| batch_from_js(&columns, &fields, rows, usize::MAX);
                let batches: Result<Vec<RecordBatch>> = batches.into_iter().map(read).collect();
                batches.map(Source::Batches)
            }
        }
    }
}

/// A column whose buffers are copies.
fn copied(column: &JsValue) -> JsValue {
    let object = Object::new();
    let list = |name: &str, of: &dyn Fn(&JsValue) -> JsValue| -> Array {
        let list: Option<Array> = get(column, name).dyn_into().ok();
        list.map_or_else(Array::new, |list| {
            list.iter().map(|item| of(&item)).collect()
        })
    };
    set(&object, "length", &get(column, "length"));
    set(&object, "validity", &copied_bytes(&get(column, "validity")));
    set(&object, "buffers", &list("buffers", &copied_bytes));
    set(&object, "children", &list("children", &copied));
    object.into()
}

fn copied_bytes(bytes: &JsValue) -> JsValue {
    match bytes.dyn_ref::<Uint8Array>() {
        Some(bytes) => bytes.slice(0, bytes.length()).into(),
        None => bytes.clone(),
    }
}

/// Refused before anything is copied, be it on the side of JavaScript.
pub(super) fn too_large(bytes: usize, most: usize) -> Error {
    Error::invalid(format!(
        "the commit has {bytes} bytes: option commitBytes allows {most} (at most an eighth of \
         memoryBytes); split it"
    ))
}
