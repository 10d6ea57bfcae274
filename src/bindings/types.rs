//! Arrow types as JavaScript objects: `DataType` and `Field` of js/src/columns/column.ts.

use super::error::set;
use crate::data::{schema::TableSchema, spec::type_name};
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use js_sys::{Array, Object};
use wasm_bindgen::JsValue;

/// `{ fields, primaryKey }`.
pub(super) fn schema(schema: &TableSchema) -> Object {
    let object = Object::new();
    set(&object, "fields", &fields(schema.user().fields()));
    let names = schema.key().iter().map(|&i| schema.user().field(i).name());
    let key: Array = names.map(|name| JsValue::from_str(name)).collect();
    set(&object, "primaryKey", &key);
    object
}

/// An array of `{ name, type, nullable }`.
pub(super) fn fields(fields: &Fields) -> JsValue {
    let all: Array = fields.iter().map(|f| field(f)).collect();
    all.into()
}

fn field(field: &Field) -> JsValue {
    named(field.name(), field.data_type(), field.is_nullable())
}

fn named(name: &str, data_type: &DataType, nullable: bool) -> JsValue {
    let object = Object::new();
    set(&object, "name", &name.into());
    set(&object, "type", &describe(data_type));
    set(&object, "nullable", &nullable.into());
    object.into()
}

/// `{ kind, text, … }`.
fn describe(data_type: &DataType) -> JsValue {
    use DataType::*;
    let object = Object::new();
    let text = type_name(data_type);
    let kind: &str = match data_type {
        Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => "decimal",
        // The text up to its first parameter.
        _ => text.split(['[', '(', '<']).next().unwrap_or(&text),
    };
    set(&object, "kind", &kind.into());
    set(&object, "text", &text.as_str().into());
    match data_type {
        Timestamp(unit, _) | Time32(unit) | Time64(unit) | Duration(unit) => {
            set(&object, "unit", &unit_name(unit).into());
        }
        FixedSizeBinary(size) => set(&object, "size", &(*size).into()),
        FixedSizeList(item, size) => {
            set(&object, "size", &(*size).into());
            children(&object, [field(item)]);
        }
        Decimal32(_, scale) => decimal(&object, 32, *scale),
        Decimal64(_, scale) => decimal(&object, 64, *scale),
        Decimal128(_, scale) => decimal(&object, 128, *scale),
        Decimal256(_, scale) => decimal(&object, 256, *scale),
        List(item) | LargeList(item) => children(&object, [field(item)]),
        Struct(members) => set(&object, "children", &fields(members)),
        Map(entries, _) => {
            if let Struct(pair) = entries.data_type() {
                set(&object, "children", &fields(pair));
            }
        }
        Dictionary(index, value) => children(
            &object,
            [named("index", index, true), named("value", value, true)],
        ),
        _ => {}
    }
    object.into()
}

fn decimal(object: &Object, bits: u32, scale: i8) {
    set(object, "bits", &bits.into());
    set(object, "scale", &scale.into());
}

fn children<const N: usize>(object: &Object, all: [JsValue; N]) {
    set(object, "children", &all.into_iter().collect::<Array>());
}

fn unit_name(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}
