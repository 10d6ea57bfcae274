//! A database's past, on its handle: tags, versions, gc, and settings that govern how long it is kept.

use super::{
    db::{JsDb, number},
    error::{promise, set},
    options::settings_change,
    snapshot::as_of,
};
use crate::{
    db::{GcOptions, GcReport, LogVersion},
    log::edit::Settings,
};
use js_sys::{Array, Object, Promise};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

#[wasm_bindgen(js_class = RawDb)]
impl JsDb {
    /// Names a moment; its timestamp.
    pub fn tag(&self, name: String, at: JsValue) -> Promise {
        let db = self.db.clone();
        promise(async move {
            let at = (!at.is_undefined()).then(|| as_of(at)).transpose()?;
            db.tag(&name, at).await
        })
    }

    /// Removes a tag; whether there was one.
    pub fn untag(&self, name: String) -> Promise {
        let db = self.db.clone();
        promise(async move { db.untag(&name).await })
    }

    /// An array of `{ name, timestamp }`.
    pub fn tags(&self) -> Promise {
        let tags = self.db.tags();
        promise(async move {
            let describe = |(name, ts): (String, i64)| {
                let object = Object::new();
                set(&object, "name", &name.into());
                set(&object, "timestamp", &ts.into());
                object
            };
            Ok(tags?.into_iter().map(describe).collect::<Array>())
        })
    }

    /// The newest versions, an array of `{ seq, timestamp, tags }`.
    pub fn versions(&self, limit: u32) -> Promise {
        let db = self.db.clone();
        promise(async move {
            let versions = db.versions(limit as usize).await?;
            Ok(versions.iter().map(version).collect::<Array>())
        })
    }

    /// Deletes what nobody can need any more: `GcReport` of js/src/types.ts.
    pub fn gc(&self, dry_run: bool) -> Promise {
        let db = self.db.clone();
        promise(async move { Ok(report(&db.gc(GcOptions { dry_run }).await?)) })
    }

    /// `Settings` of js/src/types.ts.
    pub fn settings(&self) -> Object {
        settings(&self.db.settings())
    }

    /// Changes settings for all handles; what holds from then on.
    pub fn configure(&self, change: &JsValue) -> Promise {
        let db = self.db.clone();
        let change = settings_change(change);
        promise(async move { Ok(settings(&db.configure(change?).await?)) })
    }
}

fn version(version: &LogVersion) -> Object {
    let object = Object::new();
    let tags: Array = version.tags.iter().map(|t| JsValue::from_str(t)).collect();
    number(&object, "seq", version.seq);
    set(&object, "timestamp", &version.ts.into());
    set(&object, "tags", &tags);
    object
}

fn report(report: &GcReport) -> Object {
    let object = Object::new();
    set(&object, "watermark", &report.watermark.into());
    for (name, seq) in [
        ("checkpoint", report.checkpoint),
        ("committed", report.committed),
    ] {
        if let Some(seq) = seq {
            number(&object, name, seq);
        }
    }
    number(&object, "records", report.records);
    number(&object, "checkpoints", report.checkpoints);
    number(&object, "files", report.files);
    number(&object, "bytes", report.bytes);
    object
}

fn settings(settings: &Settings) -> Object {
    let object = Object::new();
    let millis = |micros: u64| JsValue::from(micros as f64 / 1000.0);
    set(&object, "graceMs", &millis(settings.grace));
    set(&object, "retentionMs", &millis(settings.retention));
    number(&object, "inlineCommitBytes", settings.inline_commit_bytes);
    number(&object, "checkpointRecords", settings.checkpoint_records);
    number(&object, "checkpointBytes", settings.checkpoint_bytes);
    object
}
