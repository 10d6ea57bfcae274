//! Columns as Arrow's own buffers: `Column` of js/src/columns/column.ts, `{ length, validity,
//! buffers, children }`, without offset. What comes in is validated in full.

use super::error::{get, set};
use crate::error::{Error, Result};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_data::{ArrayData, transform::MutableArrayData};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use js_sys::{Array, Object, Uint8Array};
use std::sync::Arc;
use wasm_bindgen::{JsCast, JsValue};

/// `{ fields, columns, rows }`.
pub(super) fn batch_to_js(batch: &RecordBatch) -> Result<JsValue> {
    let object = Object::new();
    let columns = batch
        .columns()
        .iter()
        .map(column_to_js)
        .collect::<Result<Array>>()?;
    set(
        &object,
        "fields",
        &super::types::fields(batch.schema_ref().fields()),
    );
    set(&object, "columns", &columns);
    set(&object, "rows", &(batch.num_rows() as f64).into());
    Ok(object.into())
}

fn column_to_js(column: &ArrayRef) -> Result<JsValue> {
    let data = column.to_data();
    // Drops offsets and what is outside of the slice, for every type alike.
    let mut whole = MutableArrayData::new(vec![&data], false, data.len());
    whole
        .try_extend(0, 0, data.len())
        .map_err(|e| Error::internal(e.to_string()))?;
    Ok(data_to_js(&whole.freeze()))
}

fn data_to_js(data: &ArrayData) -> JsValue {
    let object = Object::new();
    let buffers: Array = data.buffers().iter().map(|b| bytes_to_js(b)).collect();
    let children: Array = data.child_data().iter().map(data_to_js).collect();
    let validity = data.nulls().filter(|nulls| nulls.null_count() > 0);
    let validity = validity.map(|nulls| bytes_to_js(&nulls.inner().sliced()));
    set(&object, "length", &(data.len() as f64).into());
    set(&object, "validity", &validity.unwrap_or(JsValue::UNDEFINED));
    set(&object, "buffers", &buffers);
    set(&object, "children", &children);
    object.into()
}

/// A copy outside of wasm memory.
pub(super) fn bytes_to_js(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}

/// Bytes of a column's buffers and its children's. Values without any (nulls of type null) count, too, since they may
/// become values of another type.
pub(super) fn bytes_of(column: &JsValue) -> f64 {
    let sum = |name: &str, of: &dyn Fn(&JsValue) -> f64| -> f64 {
        let list: Option<Array> = get(column, name).dyn_into().ok();
        list.map_or(0.0, |list| list.iter().map(|item| of(&item)).sum())
    };
    let own = sum("buffers", &|bytes| {
        get(bytes, "byteLength").as_f64().unwrap_or(0.0)
    });
    match own + sum("children", &bytes_of) {
        0.0 => 8.0 * get(column, "length").as_f64().unwrap_or(0.0),
        bytes => bytes,
    }
}

/// A batch of `rows` rows with the columns `fields` in storage types, each nullable: the engine's
/// intake says what may not be null, naming the row.
pub(super) fn batch_from_js(
    columns: &Array,
    fields: &[FieldRef],
    rows: usize,
    most_bytes: usize,
) -> Result<RecordBatch> {
    let bytes: f64 = columns.iter().map(|column| bytes_of(&column)).sum();
    if bytes > most_bytes as f64 {
        return Err(super::given::too_large(bytes as usize, most_bytes));
    }
    if columns.length() as usize != fields.len() {
        return Err(Error::invalid(format!(
            "a batch of {} columns does not match a schema of {}",
            columns.length(),
            fields.len()
        )));
    }
    let arrays = fields.iter().zip(columns.iter()).map(|(field, column)| {
        let data = data_from_js(&column, field.data_type());
        data.map(make_array)
            .map_err(|e| e.context(format!("column {:?}", field.name())))
    });
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    let nullable = |f: &FieldRef| Field::new(f.name(), f.data_type().clone(), true);
    let schema = Schema::new(fields.iter().map(nullable).collect::<Vec<_>>());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options)
        .map_err(|e| Error::invalid(e.to_string()))
}

fn data_from_js(column: &JsValue, data_type: &DataType) -> Result<ArrayData> {
    let length = get(column, "length").as_f64().unwrap_or(0.0) as usize;
    let buffers: Array = get(column, "buffers").dyn_into().map_err(|_| no_column())?;
    let children: Array = get(column, "children")
        .dyn_into()
        .map_err(|_| no_column())?;
    let types = child_types(data_type);
    if children.length() as usize != types.len() {
        return Err(Error::invalid(format!(
            "a column of {} child columns does not match the type {data_type}, which has {}",
            children.length(),
            types.len()
        )));
    }
    let children = children
        .iter()
        .zip(types)
        .map(|(child, of)| data_from_js(&child, &of));
    let validity: Option<Uint8Array> = get(column, "validity").dyn_into().ok();
    let validity = validity.filter(|_| *data_type != DataType::Null);
    let buffers = buffers.iter().map(|bytes| {
        let bytes: Uint8Array = bytes.dyn_into().map_err(|_| no_column())?;
        Ok(buffer_from_js(&bytes))
    });
    ArrayData::builder(data_type.clone())
        .len(length)
        .buffers(buffers.collect::<Result<Vec<_>>>()?)
        .child_data(children.collect::<Result<Vec<_>>>()?)
        .null_bit_buffer(validity.map(|bits| buffer_from_js(&bits)))
        .align_buffers(true)
        .build()
        .map_err(|e| Error::invalid(e.to_string()))
}

fn no_column() -> Error {
    Error::invalid(
        "what should be a column is none: it takes { length, validity, buffers, children }",
    )
}

/// A copy inside wasm memory, aligned for every type.
fn buffer_from_js(bytes: &Uint8Array) -> Buffer {
    let mut buffer = MutableBuffer::from_len_zeroed(bytes.length() as usize);
    bytes.copy_to(buffer.as_slice_mut());
    buffer.into()
}

/// The types of a column's child columns. A dictionary's is that of its values, as in Arrow's own data: columns in
/// storage types have none, but those of an Arrow library may.
fn child_types(data_type: &DataType) -> Vec<DataType> {
    use DataType::*;
    match data_type {
        List(f) | LargeList(f) | FixedSizeList(f, _) | Map(f, _) => vec![f.data_type().clone()],
        Struct(fields) => fields.iter().map(|f| f.data_type().clone()).collect(),
        Dictionary(_, value) => vec![value.as_ref().clone()],
        _ => Vec::new(),
    }
}
