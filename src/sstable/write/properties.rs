//! How columns are encoded: LZ4_RAW; dictionaries (at most 64 KiB) only where the first rows promise
//! that they pay, never for keys, so that a point read needs no dictionary page; deltas for integer
//! keys; pages of at most 128 KiB with a page index; large values without dictionary and statistics. Columns that are encoded one after the other have a
//! dictionary only where their chunk is large enough to repay its table.

use crate::data::{
    convert::slice_bytes,
    schema::{TS_COLUMN, TableSchema},
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, SchemaRef};
use parquet::{
    basic::{Compression, Encoding},
    file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
    schema::types::ColumnPath,
};
use std::collections::HashSet;

const DICTIONARY_BYTES: usize = 64 * 1024;
const PAGE_BYTES: usize = 128 * 1024;
const BOUND_BYTES: usize = 32;
const SAMPLE_ROWS: usize = 1024;

/// A chunk of fewer bytes is plain: the table of a dictionary would cost more than it saves.
const LEAST_FOR_DICTIONARY: usize = 4096;

/// Values that are larger on average have neither dictionary nor Parquet's own statistics: a dictionary has room
/// for few of them, and both cost whole copies while they are written.
const LARGE_VALUE: u64 = 8 * 1024;

/// How the columns of a file are encoded.
pub(super) struct Properties {
    page_rows: usize,
    /// Of each root column of the file: whether it is part of the key, and whether its values repeat.
    columns: Vec<Column>,
}

#[derive(Clone, Copy)]
struct Column {
    key: bool,
    repeats: bool,
    large: bool,
}

impl Properties {
    /// For a file whose first rows are `columns`, in the order of `schema`'s storage columns.
    pub(super) fn new(schema: &TableSchema, columns: &[ArrayRef], page_rows: usize) -> Self {
        let of = |(index, column): (usize, &ArrayRef)| Column {
            key: schema.is_key(index),
            repeats: repeats(column),
            large: is_large(column),
        };
        let storage = columns.iter().take(schema.storage().fields().len());
        Self {
            page_rows,
            columns: storage.enumerate().map(of).collect(),
        }
    }

    /// Of a file whose columns are encoded one by one, each as [`Self::of_chunk`] says.
    pub(super) fn of_none(&self) -> WriterProperties {
        self.basis().build()
    }

    /// Of all columns together.
    pub(super) fn of_file(&self, schema: &SchemaRef) -> WriterProperties {
        let mut builder = self.basis();
        for (field, column) in schema.fields().iter().zip(&self.columns) {
            builder = of_column(builder, field, *column);
        }
        builder.build()
    }

    /// Of one column of a row group of so many rows that is encoded alone; `first` are some of them.
    pub(super) fn of_chunk(
        &self,
        at: usize,
        field: &Field,
        first: Option<&ArrayRef>,
        rows: usize,
    ) -> WriterProperties {
        let (key, small) = match (self.columns.get(at), first) {
            (Some(column), Some(first)) if !first.is_empty() => {
                let bytes = slice_bytes(first, 0, first.len());
                let all = bytes.saturating_mul(rows as u64) / first.len() as u64;
                (column.key, all < LEAST_FOR_DICTIONARY as u64)
            }
            _ => (false, false),
        };
        let column = Column {
            key,
            repeats: first.is_none_or(repeats),
            large: first.is_some_and(is_large),
        };
        let basis = self.basis().set_dictionary_enabled(!small);
        match at < self.columns.len() {
            true if small => of_column(
                basis,
                field,
                Column {
                    repeats: false,
                    ..column
                },
            )
            .build(),
            true => of_column(basis, field, column).build(),
            false => basis.build(),
        }
    }

    fn basis(&self) -> WriterPropertiesBuilder {
        WriterProperties::builder()
            .set_created_by(concat!("lakeshore ", env!("CARGO_PKG_VERSION")).to_string())
            .set_compression(Compression::LZ4_RAW)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_data_page_size_limit(PAGE_BYTES)
            .set_data_page_row_count_limit(self.page_rows)
            .set_write_batch_size(self.page_rows.min(1024))
            .set_max_row_group_row_count(None)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_statistics_truncate_length(Some(BOUND_BYTES))
            .set_column_index_truncate_length(Some(BOUND_BYTES))
            .set_column_encoding(ColumnPath::from(TS_COLUMN), Encoding::DELTA_BINARY_PACKED)
    }
}

fn of_column(
    mut builder: WriterPropertiesBuilder,
    field: &Field,
    column: Column,
) -> WriterPropertiesBuilder {
    let path = ColumnPath::from(field.name().as_str());
    if column.key && is_plain_integer(field.data_type()) {
        builder = builder.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED);
    }
    if column.large {
        builder = builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
    }
    match column.key || !column.repeats || column.large {
        true => builder.set_column_dictionary_enabled(path, false),
        false => builder,
    }
}

/// Integers that Parquet holds as INT32 or INT64.
fn is_plain_integer(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Timestamp(..) | DataType::Date32)
}

/// Whether the first values are large. Nested columns are not looked into: their values are what they hold.
fn is_large(column: &ArrayRef) -> bool {
    let rows = column.len().min(SAMPLE_ROWS);
    let bytes = slice_bytes(column, 0, rows);
    !column.data_type().is_nested() && bytes > LARGE_VALUE * rows as u64
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
