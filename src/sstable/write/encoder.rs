//! Parquet encoding, a row group at a time. Invariant: the regions pushed to the index are exactly
//! the pages of the bytes handed out, in their order.

use crate::{
    error::{Error, Result},
    sstable::{
        index::SstableIndex,
        write::{PLACES_KEY, batch_of},
    },
};
use arrow_array::ArrayRef;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    },
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties, writer::SerializedFileWriter},
};
use std::ops::Range;

/// Turns columns into the bytes of a Parquet file.
pub(super) struct Encoder {
    schema: SchemaRef,
    file: SerializedFileWriter<Vec<u8>>,
    factory: ArrowRowGroupWriterFactory,
    /// One for each leaf column of the row group being written.
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
    leaves: usize,
}

impl Encoder {
    pub(super) fn new(schema: SchemaRef, properties: WriterProperties) -> Result<Self> {
        let (file, factory) = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(internal)?;
        let leaves = file.schema_descr().num_columns();
        Ok(Self {
            schema,
            file,
            factory,
            columns: Vec::new(),
            rows: 0,
            leaves,
        })
    }

    /// Rows of the row group being written.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of leaf columns.
    pub(super) fn leaves(&self) -> usize {
        self.leaves
    }

    /// About how many bytes the row group being written will have.
    pub(super) fn group_bytes(&self) -> usize {
        self.columns
            .iter()
            .map(ArrowColumnWriter::get_estimated_total_bytes)
            .sum()
    }

    /// Bytes of all that was finished.
    pub(super) fn bytes(&self) -> u64 {
        self.file.bytes_written() as u64
    }

    pub(super) fn write(&mut self, columns: &[ArrayRef], rows: Range<usize>) -> Result<()> {
        if self.columns.is_empty() {
            let group = self.file.flushed_row_groups().len();
            self.columns = self
                .factory
                .create_column_writers(group)
                .map_err(internal)?;
        }
        let batch = batch_of(&self.schema, columns, &rows)?;
        let mut writers = self.columns.iter_mut();
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            for leaf in compute_leaves(field, column).map_err(internal)? {
                if let Some(writer) = writers.next() {
                    writer.write(&leaf).map_err(internal)?;
                }
            }
        }
        self.rows += rows.len();
        Ok(())
    }

    /// Ends the row group and gives its bytes away.
    pub(super) fn end_group(&mut self, index: &mut SstableIndex) -> Result<Bytes> {
        let mut pages = Vec::new();
        let mut group = self.file.next_row_group().map_err(internal)?;
        for column in self.columns.drain(..) {
            let chunk = column.close().map_err(internal)?;
            let result = chunk.close();
            let locations = result
                .offset_index
                .as_ref()
                .map(|i| i.page_locations().iter());
            let sizes: Vec<usize> = locations
                .into_iter()
                .flatten()
                .map(|l| l.compressed_page_size as usize)
                .collect();
            let total = result.metadata.compressed_size() as usize;
            let dictionary = total
                .checked_sub(sizes.iter().sum())
                .ok_or_else(|| Error::internal("a column chunk is smaller than its pages"))?;
            pages.extend((dictionary > 0).then_some(dictionary));
            pages.extend(sizes);
            chunk.append_to_row_group(&mut group).map_err(internal)?;
        }
        group.close().map_err(internal)?;
        self.rows = 0;
        let bytes = self.take()?;
        let mut rest = bytes.as_ref();
        // The first row group comes with the magic before it.
        if index.data_end() == 0 {
            let (magic, tail) = split(rest, 4)?;
            index.push_region(magic);
            rest = tail;
        }
        for size in pages {
            let (page, tail) = split(rest, size)?;
            index.push_region(page);
            rest = tail;
        }
        match rest.is_empty() {
            true => Ok(bytes),
            false => Err(Error::internal(
                "a row group has bytes outside of its pages",
            )),
        }
    }

    /// Appends filter, index and footer; `places` tells the footer's metadata where the index lies.
    pub(super) fn finish(
        &mut self,
        bloom: &[u8],
        index: &[u8],
        places: impl FnOnce(u64) -> String,
    ) -> Result<Bytes> {
        use std::io::Write;
        let write = |file: &mut SerializedFileWriter<Vec<u8>>, bytes: &[u8]| {
            file.write_all(bytes).map_err(|e| internal(e.into()))
        };
        write(&mut self.file, bloom)?;
        let index_at = self.bytes();
        write(&mut self.file, index)?;
        let places = KeyValue::new(PLACES_KEY.to_string(), places(index_at));
        self.file.append_key_value_metadata(places);
        self.file.finish().map_err(internal)?;
        self.file
            .inner_mut()
            .flush()
            .map_err(|e| internal(e.into()))?;
        self.take()
    }

    fn take(&mut self) -> Result<Bytes> {
        self.file.flush().map_err(|e| internal(e.into()))?;
        Ok(Bytes::from(std::mem::take(self.file.inner_mut())))
    }
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8])> {
    bytes
        .split_at_checked(at)
        .ok_or_else(|| Error::internal("a row group is shorter than its pages"))
}

fn internal(error: ParquetError) -> Error {
    Error::internal(format!("parquet cannot encode the rows: {error}")).with_source(error)
}
