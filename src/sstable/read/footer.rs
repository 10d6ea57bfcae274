//! The suffix of an sstable, checked and parsed. Invariant: nothing is parsed before its checksum,
//! which the log holds, was found right.

use crate::{
    error::{Error, Result},
    sstable::{bloom::Bloom, index::SstableIndex, meta::SstableMeta, write::PLACES_KEY},
};
use bytes::Bytes;
use parquet::{
    DecodeResult,
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder},
    schema::types::SchemaDescPtr,
};
use std::{ops::Range, sync::Arc};

/// What an open sstable knows.
pub(super) struct Footer {
    pub(super) arrow: ArrowReaderMetadata,
    pub(super) index: SstableIndex,
    /// Where the bloom filter lies, if there is one.
    pub(super) bloom: Option<Range<u64>>,
    /// The filter, if it came with the footer.
    pub(super) inline_bloom: Option<Bloom>,
    bytes: usize,
}

impl Footer {
    pub(super) fn parse(object: &str, meta: &SstableMeta, bytes: Bytes, size: u64) -> Result<Self> {
        let corrupt = |what: String| Error::corrupt(format!("{object}: {what}"));
        if size != meta.bytes {
            let expected = meta.bytes;
            return Err(corrupt(format!("it has {size} bytes, expected {expected}")));
        }
        let start = size.saturating_sub(bytes.len() as u64);
        let found = crc32c::crc32c(&bytes);
        if bytes.len() as u64 != meta.footer_bytes || found != meta.footer_crc {
            return Err(corrupt(format!(
                "the footer at offset {start}, {} bytes, has crc32c {found:08x}, expected {} bytes with {:08x}",
                bytes.len(),
                meta.footer_bytes,
                meta.footer_crc
            )));
        }
        let parquet = parse_parquet(size, start, &bytes).map_err(corrupt)?;
        let places = Places::find(&parquet)
            .ok_or_else(|| corrupt(format!("the footer does not say where {PLACES_KEY:?} lies")))?;
        let part = |place: &Range<u64>| -> Option<Bytes> {
            let range =
                place.start.checked_sub(start)? as usize..place.end.checked_sub(start)? as usize;
            bytes.get(range.clone())?;
            Some(bytes.slice(range))
        };
        let index_bytes = part(&places.index).ok_or_else(|| {
            corrupt(format!(
                "the index at {:?} is not in the footer",
                places.index
            ))
        })?;
        let index = SstableIndex::decode(object, places.index.start, &index_bytes)?;
        let groups = parquet.row_groups().iter().map(|g| g.num_rows() as usize);
        if !groups.eq(index.groups().iter().copied()) {
            return Err(corrupt(
                "index and Parquet footer differ in row groups".into(),
            ));
        }
        let bloom = (!places.bloom.is_empty()).then_some(places.bloom);
        let inline_bloom = bloom.as_ref().and_then(part).and_then(Bloom::from_bytes);
        let arrow = ArrowReaderMetadata::try_new(Arc::new(parquet), ArrowReaderOptions::new())
            .map_err(|e| corrupt(format!("unreadable Parquet schema: {e}")))?;
        Ok(Self {
            arrow,
            index,
            bloom,
            inline_bloom,
            bytes: bytes.len(),
        })
    }

    /// The Parquet schema.
    pub(super) fn descriptor(&self) -> SchemaDescPtr {
        self.arrow.metadata().file_metadata().schema_descr_ptr()
    }

    /// About the memory it holds.
    pub(super) fn memory_bytes(&self) -> usize {
        // The filter, if it came along, is a part of the bytes.
        self.bytes + self.arrow.metadata().memory_size() + self.index.memory_bytes()
    }
}

fn parse_parquet(size: u64, start: u64, bytes: &Bytes) -> Result<ParquetMetaData, String> {
    let text = |e: parquet::errors::ParquetError| format!("unreadable Parquet footer: {e}");
    let mut decoder = ParquetMetaDataPushDecoder::try_new(size)
        .map_err(text)?
        .with_page_index_policy(PageIndexPolicy::Required);
    decoder
        .push_range(start..size, bytes.clone())
        .map_err(text)?;
    match decoder.try_decode().map_err(text)? {
        DecodeResult::Data(metadata) => Ok(metadata),
        _ => Err("the Parquet footer is longer than the log says".into()),
    }
}

/// `1;bloom=<offset>,<length>;index=<offset>,<length>`
struct Places {
    bloom: Range<u64>,
    index: Range<u64>,
}

impl Places {
    fn find(parquet: &ParquetMetaData) -> Option<Self> {
        let entries = parquet.file_metadata().key_value_metadata()?;
        let text = entries
            .iter()
            .find(|e| e.key == PLACES_KEY)?
            .value
            .as_deref()?;
        let (bloom, index) = text.strip_prefix("1;bloom=")?.split_once(";index=")?;
        Some(Self {
            bloom: place(bloom)?,
            index: place(index)?,
        })
    }
}

fn place(text: &str) -> Option<Range<u64>> {
    let (offset, length) = text.split_once(',')?;
    let offset: u64 = offset.parse().ok()?;
    Some(offset..offset.checked_add(length.parse().ok()?)?)
}
