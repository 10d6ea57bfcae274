//! What of an sstable need not be read. Pure functions of its index.

pub use super::index::GroupRows;
use std::ops::Range;

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
