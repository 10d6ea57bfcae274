//! tmp
#![allow(missing_docs, clippy::all, unused)]
use super::meta::*;
use crate::{
    data::{rows::Rows, schema::TableSchema},
    env::Storage,
    error::Result,
    options::Options,
};
use std::sync::Arc;
pub struct SstableWriter;
impl SstableWriter {
    pub async fn create(
        storage: &Arc<dyn Storage>,
        table: u32,
        id: Ulid,
        schema: Arc<TableSchema>,
        options: &Options,
        fresh: bool,
    ) -> Result<SstableWriter> {
        Err(crate::Error::unsupported("sstables are not there yet"))
    }
    pub async fn write(&mut self, rows: &Rows) -> Result<()> {
        Err(crate::Error::unsupported("sstables are not there yet"))
    }
    pub fn estimated_bytes(&self) -> usize {
        0
    }
    pub async fn finish(self) -> Result<SstableMeta> {
        Err(crate::Error::unsupported("sstables are not there yet"))
    }
}
