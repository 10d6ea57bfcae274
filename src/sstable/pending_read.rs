//! tmp
#![allow(missing_docs, clippy::all, unused)]
use super::meta::SstableMeta;
use crate::{
    data::{key::KeyRange, predicate::BoundPredicate, rows::Rows, schema::TableSchema},
    env::Storage,
    error::Result,
    options::Options,
};
use std::sync::Arc;
pub struct ScanRequest {
    pub columns: Vec<usize>,
    pub range: KeyRange,
    pub prune: Option<BoundPredicate>,
    pub reverse: bool,
    pub batch_rows: usize,
    pub as_of: Option<i64>,
}
#[derive(Debug)]
pub struct SstableReader(SstableMeta);
#[derive(Debug)]
pub struct SstableScan;
impl SstableScan {
    pub async fn next(&mut self) -> Result<Option<Rows>> {
        Err(crate::Error::unsupported("sstables are not there yet"))
    }
}
impl SstableReader {
    pub async fn open(
        storage: Arc<dyn Storage>,
        table: u32,
        meta: Arc<SstableMeta>,
        schema: Arc<TableSchema>,
        inherited: Option<i64>,
        options: &Options,
    ) -> Result<SstableReader> {
        Err(crate::Error::unsupported("sstables are not there yet"))
    }
    pub fn scan(&self, r: ScanRequest) -> SstableScan {
        SstableScan
    }
    pub async fn get(&self, key: &[u8], columns: &[usize]) -> Result<Option<Rows>> {
        Err(crate::Error::unsupported("sstables are not there yet"))
    }
    pub fn meta(&self) -> &SstableMeta {
        &self.0
    }
}
