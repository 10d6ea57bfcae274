//! Parquet encoding, a row group at a time. Invariant: the regions pushed to the index are exactly
//! the pages of the bytes handed out, in their order.

use super::properties::Properties;
use crate::{
    data::convert::null_bytes,
    error::{Error, Result},
    sstable::{
        index::SstableIndex,
        write::{PLACES_KEY, batch_of, filled},
    },
};
use arrow_array::ArrayRef;
use arrow_schema::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_writer::{
            ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
        },
    },
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::Type,
};
use std::{io::Sink, ops::Range, sync::Arc};

/// What one open column writer may take: the table of a dictionary (73 KiB before the first value), its
/// values, a page and its levels.
const WRITER_BYTES: usize = 288 * 1024;
/// What the footer keeps of a column chunk until the file is finished.
const CHUNK_META_BYTES: usize = 1280;

/// What a part of a row group that is held takes for each column, beside its values.
const HELD_BYTES: usize = 64;
/// Most bytes of nulls that are made at once.
const NULL_BYTES: u64 = 256 * 1024;

/// Turns columns into the bytes of a Parquet file.
pub(super) struct Encoder {
    schema: SchemaRef,
    file: SerializedFileWriter<Vec<u8>>,
    properties: Properties,
    rows: usize,
    leaves: usize,
    group: Group,
}

/// The row group being written.
enum Group {
    /// All columns at once: one writer for each leaf column.
    Open {
        factory: ArrowRowGroupWriterFactory,
        columns: Vec<ArrowColumnWriter>,
    },
    /// As the rows came, if the writers of all columns would take too much: they are encoded when the
    /// row group ends, one column after the other.
    Held {
        parts: Vec<(Arc<Vec<ArrayRef>>, Range<usize>)>,
        bytes: usize,
    },
}

impl Encoder {
    /// For a file of the schema `of_file`, whose columns are those of `schema`; `memory` bytes are for the
    /// writers of all of them.
    pub(super) fn new(
        of_file: SchemaRef,
        schema: SchemaRef,
        properties: Properties,
        memory: usize,
    ) -> Result<Self> {
        // A leaf column costs something even before it has a writer: nested fields are looked at below.
        let alone = schema.fields().len().saturating_mul(WRITER_BYTES) > memory;
        let encoding = match alone {
            true => properties.of_none(),
            false => properties.of_file(&schema),
        };
        let (file, factory) = ArrowWriter::try_new(Vec::new(), of_file, Some(encoding))
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(internal)?;
        let leaves = file.schema_descr().num_columns();
        let group = match !alone && leaves.saturating_mul(WRITER_BYTES) <= memory {
            true => Group::Open {
                factory,
                columns: Vec::new(),
            },
            false => Group::Held {
                parts: Vec::new(),
                bytes: 0,
            },
        };
        Ok(Self {
            schema,
            file,
            properties,
            rows: 0,
            leaves,
            group,
        })
    }

    /// The file's columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows of the row group being written.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a row group is held until it ends.
    pub(super) fn holds(&self) -> bool {
        matches!(self.group, Group::Held { .. })
    }

    /// Number of leaf columns.
    pub(super) fn leaves(&self) -> usize {
        self.leaves
    }

    /// About how many bytes the row group being written will have; at most, if it is held as it came.
    pub(super) fn group_bytes(&self) -> usize {
        match &self.group {
            Group::Open { columns, .. } => columns
                .iter()
                .map(ArrowColumnWriter::get_estimated_total_bytes)
                .sum(),
            Group::Held { bytes, .. } => *bytes,
        }
    }

    /// Bytes of memory that the row group being written takes.
    pub(super) fn memory_bytes(&self) -> usize {
        match &self.group {
            Group::Open { columns, .. } => columns.iter().map(ArrowColumnWriter::memory_size).sum(),
            Group::Held { bytes, .. } => *bytes,
        }
    }

    /// Bytes of memory that what is known of the finished row groups takes.
    pub(super) fn meta_bytes(&self) -> usize {
        self.file.flushed_row_groups().len() * self.leaves * CHUNK_META_BYTES
    }

    /// Bytes of all that was finished.
    pub(super) fn bytes(&self) -> u64 {
        self.file.bytes_written() as u64
    }

    /// Adds some rows of `columns`, of about so many bytes.
    pub(super) fn write(
        &mut self,
        columns: &Arc<Vec<ArrayRef>>,
        rows: Range<usize>,
        size: usize,
    ) -> Result<()> {
        self.rows += rows.len();
        let (factory, writers) = match &mut self.group {
            Group::Open { factory, columns } => (factory, columns),
            Group::Held { parts, bytes } => {
                *bytes += size + columns.len() * HELD_BYTES;
                parts.push((columns.clone(), rows));
                return Ok(());
            }
        };
        if writers.is_empty() {
            let group = self.file.flushed_row_groups().len();
            *writers = factory.create_column_writers(group).map_err(internal)?;
        }
        let batch = batch_of(&self.schema, columns, &rows)?;
        let mut writers = writers.iter_mut();
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            for leaf in compute_leaves(field, column).map_err(internal)? {
                if let Some(writer) = writers.next() {
                    writer.write(&leaf).map_err(internal)?;
                }
            }
        }
        Ok(())
    }

    /// Ends the row group and gives its bytes away.
    pub(super) fn end_group(&mut self, index: &mut SstableIndex) -> Result<Bytes> {
        let mut pages = Vec::new();
        self.rows = 0;
        match &mut self.group {
            Group::Open { columns, .. } => {
                let close = |column: ArrowColumnWriter| column.close().map_err(internal);
                let chunks: Vec<_> = columns.drain(..).map(close).collect::<Result<_>>()?;
                let size = chunks.iter().map(chunk_bytes).sum::<usize>();
                self.file.inner_mut().reserve(size + 64);
                let mut group = self.file.next_row_group().map_err(internal)?;
                for chunk in chunks {
                    append(chunk, &mut group, &mut pages)?;
                }
                group.close().map_err(internal)?;
            }
            Group::Held { parts, bytes } => {
                let (parts, size) = (std::mem::take(parts), std::mem::take(bytes));
                self.file.inner_mut().reserve(size);
                let root = self.file.schema_descr().root_schema_ptr();
                let mut group = self.file.next_row_group().map_err(internal)?;
                for (at, of_field) in root.get_fields().iter().enumerate() {
                    let one = OneColumn {
                        schema: &self.schema,
                        properties: &self.properties,
                        at,
                        parquet: of_field.clone(),
                    };
                    for chunk in one.encode(&parts)? {
                        append(chunk, &mut group, &mut pages)?;
                    }
                }
                group.close().map_err(internal)?;
            }
        }
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
        let mut bytes = std::mem::take(self.file.inner_mut());
        if bytes.capacity() / 2 > bytes.len() {
            bytes.shrink_to_fit();
        }
        Ok(Bytes::from(bytes))
    }
}

/// One root column of a row group that is held.
struct OneColumn<'a> {
    schema: &'a SchemaRef,
    properties: &'a Properties,
    at: usize,
    parquet: Arc<Type>,
}

impl OneColumn<'_> {
    /// Its leaf columns, encoded: nothing but these writers is open meanwhile.
    fn encode(
        &self,
        parts: &[(Arc<Vec<ArrayRef>>, Range<usize>)],
    ) -> Result<Vec<ArrowColumnChunk>> {
        let field = self.schema.field(self.at);
        let most = (NULL_BYTES / null_bytes(field.data_type(), 1).max(1)).max(1) as usize;
        let slices = || {
            parts.iter().flat_map(|(columns, rows)| {
                let column = columns.get(self.at);
                let step = match column.map(|column| column.data_type()) {
                    Some(DataType::Null) => most,
                    _ => rows.len().max(1),
                };
                rows.clone().step_by(step).map(move |from| {
                    let column = column.ok_or_else(|| Error::internal("rows lack a column"))?;
                    let part = from..rows.end.min(from + step);
                    Ok(filled(column, field.data_type(), &part))
                })
            })
        };
        let first = slices().next().transpose()?;
        let rows = parts.iter().map(|(_, rows)| rows.len()).sum();
        let properties = self
            .properties
            .of_chunk(self.at, field, first.as_ref(), rows);
        let root = Type::group_type_builder("schema")
            .with_fields(vec![self.parquet.clone()])
            .build()
            .map_err(internal)?;
        let file = SerializedFileWriter::<Sink>::new(
            std::io::sink(),
            Arc::new(root),
            Arc::new(properties),
        )
        .map_err(internal)?;
        let alone = Arc::new(Schema::new(vec![field.clone()]));
        let factory = ArrowRowGroupWriterFactory::new(&file, alone);
        let mut writers = factory.create_column_writers(0).map_err(internal)?;
        for slice in slices() {
            let leaves = compute_leaves(field, &slice?).map_err(internal)?;
            for (leaf, writer) in leaves.iter().zip(&mut writers) {
                writer.write(leaf).map_err(internal)?;
            }
        }
        let close = |writer: ArrowColumnWriter| writer.close().map_err(internal);
        writers.into_iter().map(close).collect()
    }
}

fn chunk_bytes(chunk: &ArrowColumnChunk) -> usize {
    chunk.close().metadata.compressed_size().max(0) as usize
}

/// Adds a chunk to its row group, and the sizes of its pages to `pages`.
fn append(
    chunk: ArrowColumnChunk,
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    pages: &mut Vec<usize>,
) -> Result<()> {
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
    let dictionary = chunk_bytes(&chunk)
        .checked_sub(sizes.iter().sum())
        .ok_or_else(|| Error::internal("a column chunk is smaller than its pages"))?;
    pages.extend((dictionary > 0).then_some(dictionary));
    pages.extend(sizes);
    chunk.append_to_row_group(group).map_err(internal)
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8])> {
    bytes
        .split_at_checked(at)
        .ok_or_else(|| Error::internal("a row group is shorter than its pages"))
}

fn internal(error: ParquetError) -> Error {
    Error::internal(format!("parquet cannot encode the rows: {error}")).with_source(error)
}
