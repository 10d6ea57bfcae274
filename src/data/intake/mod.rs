//! (being written)
use super::schema::TableSchema;
use crate::error::{Error, Result};
use arrow_array::RecordBatch;
use arrow_schema::{FieldRef, SchemaRef};
use bytes::Bytes;

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Rows to insert or replace: all columns.
    Upsert,
    /// Keys to delete: the key columns, others are ignored.
    Delete,
}

/// Bounds on what comes in.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most bytes of Arrow data in one commit, encoded or decoded.
    pub commit_bytes: usize,
    /// Most bytes of one value.
    pub value_bytes: usize,
    /// Most rows of one commit.
    pub rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            commit_bytes: 512 << 20,
            value_bytes: 16 << 20,
            rows: 1 << 27,
        }
    }
}

/// Reads an IPC stream or file.
pub fn read_ipc(
    _bytes: &Bytes,
    _schema: &TableSchema,
    _mode: Mode,
    _limits: &Limits,
) -> Result<Vec<RecordBatch>> {
    Err(Error::unsupported("being written"))
}

/// The same conversions for a batch at hand.
pub fn read_batch(
    _batch: &RecordBatch,
    _schema: &TableSchema,
    _mode: Mode,
    _limits: &Limits,
) -> Result<RecordBatch> {
    Err(Error::unsupported("being written"))
}

/// The fields of an IPC stream or file.
pub fn schema_of_ipc(_bytes: &[u8]) -> Result<Vec<FieldRef>> {
    Err(Error::unsupported("being written"))
}

/// A complete IPC stream.
pub fn write_ipc(_schema: &SchemaRef, _batches: &[RecordBatch]) -> Result<Vec<u8>> {
    Err(Error::unsupported("being written"))
}
