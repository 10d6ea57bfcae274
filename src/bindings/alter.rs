//! Changes of the catalog, on a database's handle.

use super::{
    db::JsDb,
    error::promise,
    table::{JsTable, Source},
};
use crate::{
    data::{alter::Alteration, spec},
    error::{Error, Result},
};
use js_sys::{Array, Promise};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};

#[wasm_bindgen(js_class = RawDb)]
impl JsDb {
    /// Alters a table; its handle. Changes are `[what, name, type or name]`, as js/src/alter.ts makes them.
    #[wasm_bindgen(js_name = alterTable)]
    pub fn alter_table(&self, name: String, changes: &Array) -> Promise {
        let (db, most) = (self.db.clone(), self.commit_bytes);
        let changes: Result<Vec<Alteration>> = changes.iter().map(alteration).collect();
        promise(async move {
            let table = db.alter_table(&name, &changes?).await?;
            JsTable::new(Source::Newest(table), most)
        })
    }

    /// Drops a table; whether there was one.
    #[wasm_bindgen(js_name = dropTable)]
    pub fn drop_table(&self, name: String) -> Promise {
        let db = self.db.clone();
        promise(async move { db.drop_table(&name).await })
    }
}

fn alteration(change: JsValue) -> Result<Alteration> {
    let parts: Array = change.unchecked_into();
    let text = |at| parts.get(at).as_string().unwrap_or_default();
    let name = text(1);
    Ok(match text(0).as_str() {
        "addColumn" => {
            let column = spec::ColumnSpec {
                name,
                data_type: text(2),
                nullable: None,
            };
            let field = spec::columns(&[column])?.pop();
            Alteration::AddColumn(field.ok_or_else(|| Error::internal("no column"))?)
        }
        "widen" => Alteration::Widen {
            to: spec::parse_type(&text(2)).map_err(|e| e.context(format!("column {name:?}")))?,
            column: name,
        },
        "renameColumn" => Alteration::RenameColumn {
            from: name,
            to: text(2),
        },
        "dropColumn" => Alteration::DropColumn(name),
        "renameTable" => Alteration::RenameTable(name),
        other => return Err(Error::internal(format!("no alteration {other:?}"))),
    })
}
