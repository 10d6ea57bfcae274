//! What of an sstable need not be read. Pure functions of its index. Invariant: a row group that
//! holds a row for which the filter is true is never left out.

pub use super::index::GroupRows;
use super::index::GroupStats;
use crate::data::predicate::{BoundPredicate, Bounds};
use std::ops::Range;

/// What is known of a table column in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It has this id there, and the same type.
    Same(u32),
    /// It is not there: null in every row.
    Missing,
    /// It has another type there, so that its bounds are encoded otherwise.
    Other,
}

/// Leaves out row groups in which the filter can be true for no row. Allowed only where nothing
/// overlaps the file and it holds one version of each key (DESIGN promise 3).
pub fn matching(
    groups: Vec<GroupRows>,
    stats: &[GroupStats],
    source: &dyn Fn(usize) -> Source,
    filter: &BoundPredicate,
) -> Vec<GroupRows> {
    let may_match = |group: &GroupRows| {
        stats
            .get(group.row_group)
            .is_none_or(|stats| filter.may_match(&|column| bounds(stats, source(column))))
    };
    groups.into_iter().filter(may_match).collect()
}

fn bounds(stats: &GroupStats, source: Source) -> Option<Bounds> {
    let id = match source {
        Source::Same(id) => id,
        Source::Missing => {
            return Some(Bounds {
                nulls: stats.live,
                rows: stats.live,
                ..Bounds::default()
            });
        }
        Source::Other => return None,
    };
    let column = stats.columns.iter().find(|c| c.column_id == id)?;
    Some(Bounds {
        min: column.min.clone(),
        max: column.max.clone(),
        nulls: column.nulls,
        nans: column.nans,
        rows: stats.live,
    })
}

/// Cuts the rows of each row group into pieces of at most `rows` rows that end at multiples of it.
pub fn pieces(groups: Vec<GroupRows>, rows: usize) -> Vec<GroupRows> {
    let rows = rows.max(1);
    let mut out = Vec::new();
    for group in groups {
        for Range { mut start, end } in group.rows {
            while start < end {
                let next = end.min((start / rows + 1) * rows);
                out.push(GroupRows {
                    row_group: group.row_group,
                    rows: std::iter::once(start..next).collect(),
                });
                start = next;
            }
        }
    }
    out
}
