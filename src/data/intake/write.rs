//! Arrow out: complete, uncompressed IPC streams, 8-byte aligned.

use crate::{
    data::convert::slice_bytes,
    error::{Error, Result},
};
use arrow_array::{Array, RecordBatch};
use arrow_ipc::{
    MetadataVersion,
    writer::{IpcWriteOptions, StreamWriter},
};
use arrow_schema::{ArrowError, SchemaRef};

/// `batches`, which have the schema `schema`, as one IPC stream. Batches may differ in their
/// dictionaries: each that differs is sent again before its batch.
pub fn write_ipc(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let failed = |e: ArrowError| Error::internal(format!("writing Arrow IPC: {e}"));
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).map_err(failed)?;
    let columns = batches.iter().flat_map(|b| b.columns());
    let bytes: u64 = columns.map(|c| slice_bytes(c, 0, c.len())).sum();
    let out = Vec::with_capacity(bytes.min(64 << 20) as usize + 1024);
    let mut writer = StreamWriter::try_new_with_options(out, schema, options).map_err(failed)?;
    for batch in batches {
        writer.write(batch).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    writer.into_inner().map_err(failed)
}
