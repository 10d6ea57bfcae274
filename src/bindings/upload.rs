//! Uploads in steps and as a loop, on a database's handle; and commits that are parked.

use super::{
    columns::bytes_to_js,
    db::{JsDb, number},
    error::{get, promise, set},
    options::{keep_uploaded, whole},
};
use crate::{
    db::{Committed, Parked, UploadOptions, Uploaded},
    error::{Error, Result},
    wal::Position,
};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use js_sys::{Array, Object, Promise};
use std::{cell::RefCell, pin::pin};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

#[wasm_bindgen(js_class = RawDb)]
impl JsDb {
    /// Uploads what is pending, or a part of it: `Uploaded` of js/src/types.ts.
    pub fn upload(&self, options: &JsValue) -> Promise {
        let db = self.db.clone();
        let options = upload_options(options);
        promise(async move { Ok(uploaded(&db.upload(options?).await?)) })
    }

    /// Uploads whenever something is pending.
    #[wasm_bindgen(js_name = keepUploaded)]
    pub fn keep_uploaded(&self, options: &JsValue) -> JsKeepUploaded {
        let options = keep_uploaded(options);
        let db = self.db.clone();
        let (sender, end) = oneshot::channel();
        let done = promise(async move {
            // The future holds no handle of the database; nor must this one.
            let keeping = options.map(|options| db.keep_uploaded(options))?;
            drop(db);
            match select(pin!(keeping), end).await {
                Either::Left((ended, _)) => ended.map(|()| JsValue::UNDEFINED),
                Either::Right(_) => Ok(JsValue::UNDEFINED),
            }
        });
        let end = RefCell::new(Some(sender));
        JsKeepUploaded { done, end }
    }

    /// Whether a commit (`RawCommitted`) is in the object store.
    #[wasm_bindgen(js_name = isUploaded)]
    pub fn is_uploaded(&self, commit: &JsValue) -> Promise {
        let db = self.db.clone();
        let commit = committed(commit);
        promise(async move { Ok(db.is_uploaded(&commit?)) })
    }

    /// Resolves when it is.
    #[wasm_bindgen(js_name = uploaded)]
    pub fn uploaded(&self, commit: &JsValue) -> Promise {
        let waiting = committed(commit).map(|commit| self.db.uploaded(&commit));
        promise(async move { waiting?.await.map(|()| JsValue::UNDEFINED) })
    }

    /// An array of `Parked` of js/src/types.ts.
    pub fn parked(&self) -> Array {
        self.db.parked().iter().map(parked).collect()
    }

    /// Commits all that is parked again; how many commits.
    #[wasm_bindgen(js_name = restoreParked)]
    pub fn restore_parked(&self) -> Promise {
        let db = self.db.clone();
        promise(async move { Ok(db.restore_parked().await? as f64) })
    }

    /// Gives up what is parked; how many commits.
    #[wasm_bindgen(js_name = discardParked)]
    pub fn discard_parked(&self) -> Promise {
        let db = self.db.clone();
        promise(async move { Ok(db.discard_parked().await? as f64) })
    }
}

/// `RawKeepUploaded` of js/src/raw.ts.
#[wasm_bindgen(js_name = RawKeepUploaded)]
#[derive(Debug)]
pub struct JsKeepUploaded {
    done: Promise,
    /// Dropped, it ends it.
    end: RefCell<Option<oneshot::Sender<()>>>,
}

#[wasm_bindgen(js_class = RawKeepUploaded)]
impl JsKeepUploaded {
    /// Settles at its end.
    pub fn done(&self) -> Promise {
        self.done.clone()
    }

    /// Ends it.
    pub fn cancel(&self) {
        self.end.borrow_mut().take();
    }
}

fn upload_options(options: &JsValue) -> Result<UploadOptions> {
    Ok(UploadOptions {
        max_bytes: whole(options, "maxBytes")?,
        max_millis: whole(options, "maxMs")?,
    })
}

fn uploaded(done: &Uploaded) -> Object {
    let object = Object::new();
    number(&object, "commits", done.commits);
    number(&object, "rows", done.rows);
    number(&object, "bytes", done.bytes);
    number(&object, "remainingRows", done.remaining_rows);
    number(&object, "remainingBytes", done.remaining_bytes);
    object
}

fn parked(parked: &Parked) -> Object {
    let object = Object::new();
    let kind = if parked.delete { "delete" } else { "upsert" };
    set(&object, "position", &position_text(&parked.position).into());
    set(&object, "madeAt", &parked.made.into());
    if let Some(table) = &parked.table {
        set(&object, "table", &table.as_str().into());
    }
    set(&object, "kind", &kind.into());
    set(&object, "bytes", &bytes_to_js(&parked.ipc));
    object
}

/// The stable name of a commit as text: session in hex, frame.
pub(super) fn position_text(position: &Position) -> String {
    let session: String = (position.session.iter())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{session}-{}", position.frame)
}

fn position_of(text: &str) -> Option<Position> {
    let (hex, frame) = text.split_once('-')?;
    let mut session = [0; 16];
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in session.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    let frame = frame.parse().ok()?;
    Some(Position { session, frame })
}

/// What a commit gave, as far as it says where it is.
fn committed(commit: &JsValue) -> Result<Committed> {
    let wrong = || Error::invalid("uploaded() takes what a commit gave, as it was");
    let position = get(commit, "position");
    let position = match position.as_string() {
        Some(text) => Some(position_of(&text).ok_or_else(wrong)?),
        None if position.is_undefined() => None,
        None => return Err(wrong()),
    };
    Ok(Committed {
        ts: 0,
        rows: whole(commit, "rows")?.ok_or_else(wrong)?,
        uploaded: get(commit, "uploaded").as_bool().ok_or_else(wrong)?,
        position,
    })
}
