//! A table in the catalog: what it is, and for reads of the past what it was when (DESIGN promise 18).
//! Invariants: eras ascend by schema version and by time, and the last is the table as it is; of those that
//! began at or below the watermark only the newest need be there, for nobody reads as of less.

use crate::{
    data::{
        history::{ColumnHistory, MAX_PAST_COLUMNS},
        schema::TableSchema,
    },
    error::Result,
};
use std::sync::Arc;

/// Most eras that a table keeps; each is in every checkpoint.
const MAX_ERAS: usize = 16 * 1024;

/// Since when a table has had a name and a schema version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Era {
    /// The schema version.
    pub version: u32,
    /// Timestamp of the record that began it.
    pub since: i64,
    /// The table's name in it.
    pub name: String,
}

/// A table in the catalog.
#[derive(Clone, Debug, PartialEq)]
pub struct TableEntry {
    /// Its name.
    pub name: String,
    /// Its schema.
    pub schema: Arc<TableSchema>,
    /// Counts up at each alteration, from 1.
    pub schema_version: u32,
    /// The schema versions before it: what was written under them is still there.
    pub history: Arc<ColumnHistory>,
    /// When it was what, as far as that can be read.
    pub eras: Arc<Vec<Era>>,
}

/// A table that was dropped, and that reads as of an earlier time still see.
#[derive(Clone, Debug, PartialEq)]
pub struct DroppedTable {
    /// What it was at last.
    pub entry: TableEntry,
    /// Timestamp of the record that dropped it.
    pub ts: i64,
}

impl TableEntry {
    /// That of a new table, which a record of that timestamp creates.
    pub fn new(name: String, schema: Arc<TableSchema>, since: i64) -> Self {
        let era = Era {
            version: 1,
            since,
            name: name.clone(),
        };
        Self {
            name,
            history: Arc::new(ColumnHistory::new(&schema)),
            schema,
            schema_version: 1,
            eras: Arc::new(vec![era]),
        }
    }

    /// The schema that was number `version`; `Corrupt` if there was none.
    pub fn schema_at(&self, version: u32) -> Result<Arc<TableSchema>> {
        if version == self.schema_version {
            return Ok(self.schema.clone());
        }
        let (schema, now) = (&self.schema, self.schema_version);
        (self.history.schema_at(schema, now, version)).map(Arc::new)
    }

    /// The entry after an alteration by a record of that timestamp, if what was written before it can
    /// still be read.
    pub fn altered(
        &self,
        name: String,
        schema: Arc<TableSchema>,
        since: i64,
    ) -> Result<Self, String> {
        schema.follows(&self.schema)?;
        let history = (self.history).after(&self.schema, self.schema_version, &schema);
        if history.past().len() > MAX_PAST_COLUMNS {
            return Err(format!(
                "its columns were changed {MAX_PAST_COLUMNS} times, the most there may be: copy it \
                 into a new table"
            ));
        }
        if self.eras.len() >= MAX_ERAS {
            return Err(format!(
                "it was altered {MAX_ERAS} times within the retention, the most there may be: run gc"
            ));
        }
        let schema_version = (self.schema_version.checked_add(1)).ok_or_else(|| {
            "its schema versions are used up: copy it into a new table".to_owned()
        })?;
        let mut eras = self.eras.as_ref().clone();
        eras.push(Era {
            version: schema_version,
            since,
            name: name.clone(),
        });
        Ok(Self {
            name,
            schema,
            schema_version,
            history: Arc::new(history),
            eras: Arc::new(eras),
        })
    }

    /// Whether it was there at `ts`, as far as its beginning tells.
    pub fn began_by(&self, ts: i64) -> bool {
        self.eras.first().is_some_and(|first| first.since <= ts)
    }

    /// The schema version that it had at `ts`; for what was before the eras that are kept, the first of
    /// these.
    pub fn version_at(&self, ts: i64) -> u32 {
        let after = self.eras.partition_point(|era| era.since <= ts);
        let era = self.eras.get(after.saturating_sub(1));
        era.map_or(self.schema_version, |era| era.version)
    }

    /// When that schema version began, if that is kept.
    pub fn since(&self, version: u32) -> Option<i64> {
        let at = (self.eras).binary_search_by_key(&version, |era| era.version);
        at.ok().and_then(|at| self.eras.get(at)).map(|e| e.since)
    }

    /// The entry when it was at that schema version, one of its eras.
    pub fn at_version(&self, version: u32) -> Result<Self> {
        if version == self.schema_version {
            return Ok(self.clone());
        }
        let schema = self.schema_at(version)?;
        let after = self.eras.partition_point(|era| era.version <= version);
        let eras: Vec<Era> = self.eras.iter().take(after).cloned().collect();
        Ok(Self {
            name: eras.last().map_or(&self.name, |era| &era.name).clone(),
            history: Arc::new(self.history.at_version(&self.schema, &schema, version)),
            schema,
            schema_version: version,
            eras: Arc::new(eras),
        })
    }

    /// The entry as it was at `ts`; `None` if there was none yet.
    pub fn as_of(&self, ts: i64) -> Result<Option<Self>> {
        match self.began_by(ts) {
            true => self.at_version(self.version_at(ts)).map(Some),
            false => Ok(None),
        }
    }

    /// Forgets what no read as of `watermark` or later needs.
    pub(super) fn forget_before(&mut self, watermark: i64) {
        let first = self.eras.partition_point(|era| era.since <= watermark);
        if first > 1 {
            self.eras = Arc::new(self.eras.iter().skip(first - 1).cloned().collect());
        }
    }

    /// What is wrong with an entry that was read back, given the head's timestamp.
    pub(super) fn check_eras(&self, head: i64) -> Result<(), &'static str> {
        let pairs = || self.eras.iter().zip(self.eras.iter().skip(1));
        let ascend = pairs().all(|(a, b)| a.version < b.version && a.since <= b.since);
        let first = self.eras.first().is_some_and(|era| era.version > 0);
        let last = self.eras.last().is_some_and(|era| {
            era.version == self.schema_version && era.name == self.name && era.since <= head
        });
        match ascend && first && last && self.eras.len() <= MAX_ERAS {
            true => Ok(()),
            false => Err("a table's eras do not lead to what it is"),
        }
    }
}
