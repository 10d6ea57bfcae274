//! (being written)
use crate::error::{Error, Result};
use arrow_array::ArrayRef;
use arrow_schema::DataType;

/// `array` as `to`.
pub fn convert(array: &ArrayRef, to: &DataType, column: &str) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    Err(Error::invalid(format!(
        "column {column:?} is {}, not {to}",
        array.data_type()
    )))
}
