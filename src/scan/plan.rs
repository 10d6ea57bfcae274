//! Plans a scan of one table in one state. Sources whose key ranges overlap are merged; a file that
//! nothing overlaps streams straight through, and only there may value statistics skip anything
//! (DESIGN promise 3).

use crate::{
    data::{
        bound::Bound,
        key::KeyRange,
        predicate::{BoundPredicate, Bounds},
        rows::Rows,
        schema::TableSchema,
    },
    error::Result,
    log::{catalog::TableEntry, version::LiveFile},
    state::TableState,
};
use arrow_array::RecordBatch;
use std::{collections::BTreeMap, sync::Arc};

/// What a caller asks of one table.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// Table columns to give out, in this order.
    pub columns: Vec<usize>,
    /// Rows must satisfy this.
    pub filter: Option<BoundPredicate>,
    /// Keys must lie in this.
    pub range: KeyRange,
    /// At most so many rows.
    pub limit: Option<u64>,
    /// Descending by key.
    pub reverse: bool,
    /// Versions above this are not seen: microseconds since the Unix epoch.
    pub as_of: i64,
    /// Most rows and bytes of a batch.
    pub bound: Bound,
}

/// Sources that must be read together.
#[derive(Clone, Debug)]
pub enum Group {
    /// One file that nothing overlaps and whose keys have one version each.
    File(LiveFile),
    /// Several sources, to be merged.
    Merge {
        /// Parts of memtable runs, projected to the plan's columns.
        rows: Vec<Rows>,
        /// Files.
        files: Vec<LiveFile>,
    },
}

/// How to run a scan: groups in the order of the result.
#[derive(Debug)]
pub struct Plan {
    /// Their key ranges are disjoint and ordered.
    pub groups: Vec<Group>,
    /// Columns to read: those given out and those the filter needs, ascending.
    pub read: Vec<usize>,
    /// The request's range, narrowed by the filter.
    pub range: KeyRange,
}

/// Decides what a scan reads.
pub fn plan(table: &TableState, request: &ScanRequest) -> Result<Plan> {
    let schema = &table.entry.schema;
    let mut read = request.columns.clone();
    let mut range = request.range.clone();
    if let Some(filter) = &request.filter {
        read.extend(filter.columns());
        range = range.intersect(&filter.key_range(schema));
    }
    read.sort_unstable();
    read.dedup();
    let mut items = memory_items(table, &range, &read)?;
    items.extend(
        table
            .files
            .iter()
            .filter(|f| f.meta.overlaps(&range))
            .map(|file| Item {
                min: file.meta.min_key.clone(),
                max: file.meta.max_key.clone(),
                source: ItemSource::File(file.clone()),
            }),
    );
    let layouts = Layouts::of(table, request.filter.is_some())?;
    let mut groups: Vec<Group> = (group_overlapping(items).into_iter())
        .map(to_group)
        .filter(|group| may_hold_result(group, request, &layouts))
        .collect();
    if request.reverse {
        groups.reverse();
    }
    Ok(Plan {
        groups,
        read,
        range,
    })
}

struct Item {
    min: Vec<u8>,
    max: Vec<u8>,
    source: ItemSource,
}

enum ItemSource {
    Rows(Rows),
    File(LiveFile),
}

fn memory_items(table: &TableState, range: &KeyRange, read: &[usize]) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for memory in table.memories() {
        for rows in memory
            .inline
            .slices(range)
            .into_iter()
            .chain(memory.pending.slices(range))
        {
            items.push(Item {
                min: rows.keys.get(0).to_vec(),
                max: rows.keys.get(rows.len() - 1).to_vec(),
                source: ItemSource::Rows(project_rows(rows, read)?),
            });
        }
    }
    Ok(items)
}

fn project_rows(rows: Rows, read: &[usize]) -> Result<Rows> {
    let batch = project(&rows.batch, read)?;
    Ok(Rows { batch, ..rows })
}

/// Columns of a batch by position.
pub fn project(batch: &RecordBatch, columns: &[usize]) -> Result<RecordBatch> {
    batch
        .project(columns)
        .map_err(|e| crate::Error::internal(format!("a projection does not fit its batch: {e}")))
}

/// Connected components of overlapping key ranges, ascending.
fn group_overlapping(mut items: Vec<Item>) -> Vec<Vec<Item>> {
    items.sort_by(|a, b| a.min.cmp(&b.min));
    let mut groups: Vec<(Vec<u8>, Vec<Item>)> = Vec::new();
    for item in items {
        match groups.last_mut() {
            Some((max, group)) if item.min <= *max => {
                if item.max > *max {
                    max.clone_from(&item.max);
                }
                group.push(item);
            }
            _ => groups.push((item.max.clone(), vec![item])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn to_group(items: Vec<Item>) -> Group {
    let (mut rows, mut files) = (Vec::new(), Vec::new());
    for item in items {
        match item.source {
            ItemSource::Rows(r) => rows.push(r),
            ItemSource::File(f) => files.push(f),
        }
    }
    match (rows.is_empty(), files.as_slice()) {
        (true, [only]) if !only.meta.multi_version => Group::File(only.clone()),
        _ => Group::Merge { rows, files },
    }
}

/// The schemas that a table's files were written under.
struct Layouts<'a> {
    entry: &'a TableEntry,
    older: BTreeMap<u32, Arc<TableSchema>>,
}

impl<'a> Layouts<'a> {
    /// `filtered`: whether bounds will be asked for.
    fn of(table: &'a TableState, filtered: bool) -> Result<Self> {
        let entry = &table.entry;
        let mut older = BTreeMap::new();
        for file in table.files.iter().filter(|_| filtered) {
            let version = file.schema_version;
            if version != entry.schema_version && !older.contains_key(&version) {
                older.insert(version, entry.schema_at(version)?);
            }
        }
        Ok(Self { entry, older })
    }

    /// What the log knows of a table column in a file; `None`: nothing. One that was added after the
    /// file was written is null in every row; the bounds of one that was widened since are encoded as
    /// another type's.
    fn bounds(&self, file: &LiveFile, column: usize) -> Option<Bounds> {
        let (now, meta) = (&self.entry.schema, &file.meta);
        let id = now.column_ids().get(column)?;
        let rows = meta.rows - meta.tombstones.min(meta.rows);
        if let Some(then) = self.older.get(&file.schema_version) {
            let Some(at) = then.column_ids().iter().position(|i| i == id) else {
                return Some(Bounds {
                    nulls: rows,
                    rows,
                    ..Bounds::default()
                });
            };
            if then.user().field(at).data_type() != now.user().field(column).data_type() {
                return None;
            }
        }
        let stats = meta.columns.iter().find(|c| c.column_id == *id)?;
        Some(Bounds {
            min: stats.min.clone(),
            max: stats.max.clone(),
            nulls: stats.nulls,
            nans: stats.nans,
            rows,
        })
    }
}

/// Whether statistics in the log leave room for a row of the result.
fn may_hold_result(group: &Group, request: &ScanRequest, layouts: &Layouts<'_>) -> bool {
    let Group::File(file) = group else {
        return true;
    };
    if file.inherited().is_some_and(|ts| ts > request.as_of) {
        return false;
    }
    let Some(filter) = &request.filter else {
        return true;
    };
    filter.may_match(&|column| layouts.bounds(file, column))
}

/// How many of some files overlap at most at one key: so many are open at once while they are merged.
pub fn depth(files: &[LiveFile]) -> usize {
    // At one key what begins comes before what ends.
    let mut edges: Vec<(&[u8], bool)> = Vec::with_capacity(files.len() * 2);
    for file in files {
        edges.push((&file.meta.min_key, false));
        edges.push((&file.meta.max_key, true));
    }
    edges.sort_unstable();
    let (mut open, mut most) = (0usize, 0);
    for (_, ends) in edges {
        match ends {
            false => open += 1,
            true => open = open.saturating_sub(1),
        }
        most = most.max(open);
    }
    most
}

/// The groups' files that `count` may take from the log alone: nothing overlaps them, no tombstones,
/// wholly inside the range.
pub fn counted_without_reading(group: &Group, plan: &Plan, request: &ScanRequest) -> Option<u64> {
    let Group::File(file) = group else {
        return None;
    };
    let meta = &file.meta;
    let whole = plan.range.contains(&meta.min_key) && plan.range.contains(&meta.max_key);
    let plain = request.filter.is_none() && meta.tombstones == 0 && file.max_ts() <= request.as_of;
    (whole && plain).then_some(meta.rows)
}
