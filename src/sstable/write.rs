//! Writes an sstable. Invariants: a rejected batch changes nothing; a finished row group leaves
//! memory at once; every byte before the index is covered by a checksum in it; the object is durable
//! when [`SstableWriter::finish`] returns, and not visible before.

use super::{
    bloom::{self, Bloom},
    columns::file_schema,
    index::SstableIndex,
    meta::{SstableMeta, Ulid, object_key},
    stats::StatsBuilder,
};
use crate::{
    data::{
        convert::{null_bytes, slice_bytes},
        rows::{Rows, Stamps},
        schema::{OP_COLUMN, TS_COLUMN, TableSchema},
    },
    env::{ObjectWriter, Storage},
    error::{Error, Result},
    options::Options,
};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use std::{cmp::Ordering, ops::Range, sync::Arc};

mod encoder;
mod properties;

use encoder::Encoder;
use properties::Properties;

/// A bloom filter of at most this many bytes is read with the footer.
pub(super) const INLINE_BLOOM_BYTES: u64 = 64 * 1024;
/// Footer metadata: where our index and the bloom filter lie.
pub(super) const PLACES_KEY: &str = "lakeshore";
/// Between two separators of the index lie at most so many rows, and about so many bytes.
const BLOCK_ROWS: usize = 1024;
const BLOCK_BYTES: usize = 64 * 1024;
/// Most rows, and about the most bytes, that are encoded between two looks at the size of the row group.
const STEP_ROWS: usize = 4096;
const STEP_BYTES: usize = 256 * 1024;
/// A row group is closed at about this size, so that a point read is one small request …
const GROUP_BYTES: usize = 1024 * 1024;
/// … but a column chunk should not be smaller than this.
const CHUNK_BYTES: usize = 32 * 1024;

/// An sstable being written.
pub struct SstableWriter {
    output: Box<dyn ObjectWriter>,
    schema: Arc<TableSchema>,
    fresh: bool,
    group_rows: usize,
    page_rows: usize,
    sstable_bytes: usize,
    /// What the row group being written, and what is known of those before it, may take.
    memory: usize,
    bloom_fpp: f64,
    /// Begun with the first rows, which decide how columns are encoded.
    encoder: Option<Encoder>,
    index: SstableIndex,
    stats: StatsBuilder,
    hashes: Vec<u64>,
    last: Option<(Vec<u8>, i64)>,
    meta: SstableMeta,
}

impl std::fmt::Debug for SstableWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SstableWriter")
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

/// What the order check learns of a batch.
struct Checked {
    multi_version: bool,
    stamps: (i64, i64),
}

impl SstableWriter {
    /// Starts the sstable `id` of `table`. `fresh`: rows carry no timestamps of their own and keys
    /// are unique.
    pub async fn create(
        storage: &Arc<dyn Storage>,
        table: u32,
        id: Ulid,
        schema: Arc<TableSchema>,
        options: &Options,
        fresh: bool,
    ) -> Result<SstableWriter> {
        Ok(Self {
            output: storage.create(&object_key(table, id)).await?,
            fresh,
            group_rows: options.row_group_rows.max(1),
            page_rows: options.page_rows.max(1),
            sstable_bytes: options.sstable_bytes,
            memory: options.writer_bytes(),
            bloom_fpp: options.bloom_fpp,
            encoder: None,
            index: SstableIndex::new(options.page_rows.min(BLOCK_ROWS)),
            stats: StatsBuilder::new(&schema),
            hashes: Vec::new(),
            last: None,
            schema,
            meta: SstableMeta {
                id,
                rows: 0,
                tombstones: 0,
                bytes: 0,
                footer_bytes: 0,
                footer_crc: 0,
                min_key: Vec::new(),
                max_key: Vec::new(),
                stamps: None,
                multi_version: false,
                columns: Vec::new(),
            },
        })
    }

    /// Adds rows, which must follow those before: keys ascend, timestamps of one key descend.
    pub async fn write(&mut self, rows: &Rows) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let checked = self.check(rows)?;
        self.note(rows, checked);
        let columns = Arc::new(self.columns(rows)?);
        if self.encoder.is_none() {
            let columns_of = plain_schema(&self.schema, self.fresh);
            let page_rows = self.page_rows;
            let block_rows = block_rows(&columns_of, &columns, rows.len());
            self.index = SstableIndex::new(block_rows.min(page_rows));
            let properties = Properties::new(&self.schema, &columns, page_rows);
            let file_schema = file_schema(&self.schema, self.fresh);
            let open = self.memory / 2;
            self.encoder = Some(Encoder::new(file_schema, columns_of, properties, open)?);
        }
        let mut from = 0;
        while from < rows.len() {
            from = self.step(rows, &columns, from)?;
            if let Some(encoder) = &self.encoder
                && (encoder.rows() >= self.group_rows
                    || encoder.group_bytes() >= self.group_limit()
                    || encoder.memory_bytes() >= self.memory / 2)
            {
                self.end_group().await?;
            }
        }
        let last = rows.len() - 1;
        self.last = Some((rows.keys.get(last).to_vec(), rows.stamps.get(last)));
        Ok(())
    }

    /// About how large the object would be if it were finished now.
    pub fn estimated_bytes(&self) -> usize {
        self.encoder
            .as_ref()
            .map_or(0, |e| e.bytes() as usize + e.group_bytes())
    }

    /// Whether the next rows should go into another sstable: this one is large, or what its footer takes
    /// in memory is.
    pub fn is_full(&self) -> bool {
        let meta = self.encoder.as_ref().map_or(0, Encoder::meta_bytes);
        self.estimated_bytes() >= self.sstable_bytes || meta >= self.memory / 2
    }

    /// Number of rows written so far.
    pub fn rows(&self) -> u64 {
        self.meta.rows
    }

    /// Writes the rest; the object is durable when this returns.
    pub async fn finish(mut self) -> Result<SstableMeta> {
        self.end_group().await?;
        let Some(mut encoder) = self.encoder.take() else {
            return Err(Error::internal("an sstable needs at least one row"));
        };
        let bloom_at = encoder.bytes();
        let mut bloom_bytes = Bytes::new();
        if self.bloom_fpp > 0.0 {
            bloom_bytes = Bloom::build(&self.hashes, self.bloom_fpp)
                .as_bytes()
                .clone();
            self.index.push_region(&bloom_bytes);
        }
        self.hashes = Vec::new();
        let bloom_len = bloom_bytes.len() as u64;
        let index_bytes = self.index.encode();
        let tail = encoder.finish(&bloom_bytes, &index_bytes, |index_at| {
            format!(
                "1;bloom={bloom_at},{bloom_len};index={index_at},{}",
                index_bytes.len()
            )
        })?;
        let footer = match bloom_len > INLINE_BLOOM_BYTES {
            true => tail.slice(bloom_len as usize..),
            false => tail.clone(),
        };
        let mut meta = self.meta;
        meta.bytes = bloom_at + tail.len() as u64;
        meta.footer_bytes = footer.len() as u64;
        meta.footer_crc = crc32c::crc32c(&footer);
        meta.columns = self.stats.finish();
        if let Some((key, _)) = self.last {
            meta.max_key = key;
        }
        self.output.write(tail).await?;
        self.output.finish().await?;
        Ok(meta)
    }

    fn group_limit(&self) -> usize {
        let leaves = self.encoder.as_ref().map_or(1, Encoder::leaves);
        let most = (self.sstable_bytes / 4).max(64 * 1024);
        GROUP_BYTES
            .max(leaves * CHUNK_BYTES)
            .min(most)
            .min(self.memory / 4)
    }

    /// Checks shape and order, and looks for keys with several versions.
    fn check(&self, rows: &Rows) -> Result<Checked> {
        if rows.batch.schema().fields().len() != self.schema.storage().fields().len()
            || rows.batch.num_rows() != rows.len()
        {
            return Err(Error::internal(
                "rows for an sstable lack columns of the table",
            ));
        }
        let mut multi_version = false;
        let mut compare = |order: Ordering, older: bool| match order {
            Ordering::Less => Ok(()),
            Ordering::Equal if older && !self.fresh => {
                multi_version = true;
                Ok(())
            }
            _ => Err(Error::internal("rows for an sstable are out of order")),
        };
        let (keys, stamps) = (&rows.keys, &rows.stamps);
        if let Some((key, ts)) = &self.last {
            compare(key.as_slice().cmp(keys.get(0)), *ts > stamps.get(0))?;
        }
        for row in 1..rows.len() {
            match keys.get(row - 1).cmp(keys.get(row)) {
                Ordering::Less => {}
                order => compare(order, stamps.get(row - 1) > stamps.get(row))?,
            }
        }
        let stamps = match stamps {
            Stamps::All(ts) => (*ts, *ts),
            Stamps::Each(values) => values
                .values()
                .iter()
                .fold((i64::MAX, i64::MIN), |(a, b), t| (a.min(*t), b.max(*t))),
        };
        Ok(Checked {
            multi_version,
            stamps,
        })
    }

    /// Takes the batch into filter and description.
    fn note(&mut self, rows: &Rows, checked: Checked) {
        if self.bloom_fpp > 0.0 {
            self.hashes.reserve(rows.len());
            let mut before = self.last.as_ref().map(|(key, _)| key.as_slice());
            for row in 0..rows.len() {
                let key = rows.keys.get(row);
                if before != Some(key) {
                    self.hashes.push(bloom::hash(key));
                }
                before = Some(key);
            }
        }
        let meta = &mut self.meta;
        if meta.rows == 0 {
            meta.min_key = rows.keys.get(0).to_vec();
        }
        meta.rows += rows.len() as u64;
        meta.tombstones += rows.tombstones.count(rows.len()) as u64;
        meta.multi_version |= checked.multi_version;
        if !self.fresh {
            let (low, high) = checked.stamps;
            let (a, b) = meta.stamps.unwrap_or((low, high));
            meta.stamps = Some((a.min(low), b.max(high)));
        }
    }

    /// The batch as the file's columns.
    fn columns(&self, rows: &Rows) -> Result<Vec<ArrayRef>> {
        let mut columns = rows.batch.columns().to_vec();
        if !self.fresh {
            columns.push(match &rows.stamps {
                Stamps::All(ts) => Arc::new(Int64Array::from_value(*ts, rows.len())),
                Stamps::Each(values) => Arc::new(values.clone()),
            });
        }
        columns.push(Arc::new(rows.tombstones.to_array(rows.len())));
        Ok(columns)
    }

    /// Encodes some rows from row `from`; returns the row after them.
    fn step(&mut self, rows: &Rows, columns: &Arc<Vec<ArrayRef>>, from: usize) -> Result<usize> {
        let Some(encoder) = &mut self.encoder else {
            return Err(Error::internal("an sstable has no encoder"));
        };
        let left = self.group_rows.saturating_sub(encoder.rows()).max(1);
        let most = rows.len().min(from + left.min(STEP_ROWS));
        let bytes = STEP_BYTES.min(self.memory / 32);
        let (to, size) = step_end(encoder, columns, from..most, bytes);
        for row in blocks_in(encoder.rows(), self.index.block_rows(), from..to) {
            let before = match row.checked_sub(1) {
                Some(before) => Some(rows.keys.get(before)),
                None => self.last.as_ref().map(|(key, _)| key.as_slice()),
            };
            self.index.push_block(before, rows.keys.get(row));
        }
        self.stats.add(rows, from..to)?;
        encoder.write(columns, from..to, size)?;
        Ok(to)
    }

    /// Hands the finished row group to the store.
    async fn end_group(&mut self) -> Result<()> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(());
        };
        if encoder.rows() == 0 {
            return Ok(());
        }
        self.index.end_group(encoder.rows(), self.stats.end_group());
        let chunk = encoder.end_group(&mut self.index)?;
        self.output.write(chunk).await
    }
}

/// The rows of a batch at which a block begins, if row `rows.start` is row `done` of its row group.
fn blocks_in(done: usize, block_rows: usize, rows: Range<usize>) -> impl Iterator<Item = usize> {
    let first = done.next_multiple_of(block_rows) - done;
    (rows.start + first..rows.end).step_by(block_rows)
}

/// The columns of the file, as [`file_schema`] has them, without what only the file's own schema needs:
/// the table's fields are not copied.
fn plain_schema(schema: &TableSchema, fresh: bool) -> SchemaRef {
    let own = |name, data_type| Arc::new(Field::new(name, data_type, false));
    let stamps = (!fresh).then(|| own(TS_COLUMN, DataType::Int64));
    let fields = schema.storage().fields().iter().cloned();
    let fields = fields
        .chain(stamps)
        .chain([own(OP_COLUMN, DataType::Boolean)]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows of a block, so that one has about [`BLOCK_BYTES`] if all rows are like the first.
fn block_rows(schema: &SchemaRef, columns: &[ArrayRef], rows: usize) -> usize {
    let sample = rows.clamp(1, BLOCK_ROWS);
    let bytes = bytes_of(schema, columns, &(0..sample.min(rows)), false);
    (sample.saturating_mul(BLOCK_BYTES) / bytes.max(1)).clamp(1, BLOCK_ROWS)
}

/// Where the first of `rows` end that have about so many bytes, but at least one row; and their bytes.
fn step_end(
    encoder: &Encoder,
    columns: &[ArrayRef],
    rows: Range<usize>,
    most: usize,
) -> (usize, usize) {
    let (mut low, mut high) = (rows.start + 1, rows.end);
    let nulls = !encoder.holds();
    let of = |end: usize| bytes_of(encoder.schema(), columns, &(rows.start..end), nulls);
    let all = of(high);
    if all <= most || high <= low {
        return (high, all);
    }
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match of(middle) <= most {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    (low, of(low))
}

/// About how many bytes some rows have before they are encoded; with what bare tombstones lack as `nulls`,
/// or without.
fn bytes_of(schema: &SchemaRef, columns: &[ArrayRef], rows: &Range<usize>, nulls: bool) -> usize {
    let of = |(column, field): (&ArrayRef, &FieldRef)| match column.data_type() {
        DataType::Null if nulls => null_bytes(field.data_type(), rows.len()) as usize,
        DataType::Null => 0,
        _ => slice_bytes(column, rows.start, rows.len()) as usize,
    };
    columns.iter().zip(schema.fields()).map(of).sum()
}

/// A column of the file for some rows: what bare tombstones lack is null.
fn filled(column: &ArrayRef, to: &DataType, rows: &Range<usize>) -> ArrayRef {
    match (column.data_type(), to) {
        (DataType::Null, to) if *to != DataType::Null => new_null_array(to, rows.len()),
        _ => column.slice(rows.start, rows.len()),
    }
}

/// Slices columns into a batch of the file's schema.
fn batch_of(schema: &SchemaRef, columns: &[ArrayRef], rows: &Range<usize>) -> Result<RecordBatch> {
    let slices = columns.iter().zip(schema.fields());
    let slices = slices.map(|(column, field)| filled(column, field.data_type(), rows));
    RecordBatch::try_new(schema.clone(), slices.collect())
        .map_err(|e| Error::internal(format!("rows do not fit the table's storage schema: {e}")))
}
