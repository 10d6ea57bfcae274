//! How columns are encoded: LZ4_RAW; dictionaries (at most 64 KiB) only where the first rows promise
//! that they pay, never for keys, so that a point read needs no dictionary page; deltas for integer
//! keys; pages of at most 128 KiB with a page index.

use crate::data::schema::{TS_COLUMN, TableSchema};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use parquet::{
    basic::{Compression, Encoding},
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};
use std::collections::HashSet;

const DICTIONARY_BYTES: usize = 64 * 1024;
const PAGE_BYTES: usize = 128 * 1024;
const BOUND_BYTES: usize = 32;
const SAMPLE_ROWS: usize = 1024;

/// The properties for a file that begins with `batch`.
pub(super) fn properties(
    schema: &TableSchema,
    batch: &RecordBatch,
    page_rows: usize,
) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("lakeshore ", env!("CARGO_PKG_VERSION")).to_string())
        .set_compression(Compression::LZ4_RAW)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows.min(1024))
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(BOUND_BYTES))
        .set_column_index_truncate_length(Some(BOUND_BYTES))
        .set_column_encoding(ColumnPath::from(TS_COLUMN), Encoding::DELTA_BINARY_PACKED);
    for (index, field) in schema.storage().fields().iter().enumerate() {
        let path = ColumnPath::from(field.name().as_str());
        if schema.is_key(index) {
            if is_plain_integer(field.data_type()) {
                builder = builder.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED);
            }
            builder = builder.set_column_dictionary_enabled(path, false);
        } else if !repeats(batch.column(index)) {
            builder = builder.set_column_dictionary_enabled(path, false);
        }
    }
    builder.build()
}

/// Integers that Parquet holds as INT32 or INT64.
fn is_plain_integer(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Timestamp(..) | DataType::Date32)
}

/// Whether at most half of the first values are distinct. Nested columns are not looked into.
fn repeats(column: &ArrayRef) -> bool {
    let rows = column.len().min(SAMPLE_ROWS);
    let sample = column.slice(0, rows).to_data();
    let mut seen = HashSet::new();
    let values: Box<dyn Iterator<Item = &[u8]>> = match column.data_type() {
        DataType::Utf8 | DataType::Binary => {
            let ends = sample.buffer::<i32>(0);
            let bytes = sample.buffers().get(1).map_or(&[][..], |b| b.as_slice());
            Box::new(
                ends.windows(2)
                    .take(rows)
                    .map(move |w| bytes.get(w[0] as usize..w[1] as usize).unwrap_or_default()),
            )
        }
        other => match other.primitive_width() {
            Some(width) => {
                let bytes = sample.buffers().first().map_or(&[][..], |b| b.as_slice());
                Box::new(bytes.chunks_exact(width).skip(sample.offset()).take(rows))
            }
            None => return true,
        },
    };
    for value in values {
        seen.insert(xxhash_rust::xxh3::xxh3_64(value));
    }
    rows < 64 || seen.len() * 2 <= rows
}
