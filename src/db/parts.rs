//! All rows that only this device has, in parts that keep within a bound. Invariant: they are those of one
//! state; of each key its newest version comes once.

use crate::{
    data::{bound::Bound, rows::Rows},
    error::Result,
    log::edit::TableId,
    merge::{Keep, Merge, Step},
    state::{State, TableRows},
};
use std::collections::VecDeque;

/// Rows that are given out together, as they were read: the table may be altered until they are.
pub(super) type Part = Vec<TableRows>;

/// What is left of them.
pub(super) struct Parts {
    pub(super) ts: i64,
    tables: VecDeque<(TableId, u32, Vec<Rows>)>,
    merging: Option<(TableId, u32, Merge)>,
    bound: Bound,
    ahead: Option<Part>,
}

impl Parts {
    /// Those of the tables that are `wanted`.
    pub(super) fn new(state: &State, bound: Bound, wanted: &dyn Fn(TableId) -> bool) -> Self {
        let mut tables = VecDeque::new();
        for (id, table) in state.tables.iter().filter(|(id, _)| wanted(**id)) {
            let runs = table.memories().flat_map(|m| m.pending.runs());
            let runs: Vec<Rows> = runs.map(|rows| rows.as_ref().clone()).collect();
            if !runs.is_empty() {
                tables.push_back((*id, table.entry.schema_version, runs));
            }
        }
        Self {
            ts: state.last_stamp,
            tables,
            merging: None,
            bound,
            ahead: None,
        }
    }

    /// The next part, and whether another follows.
    pub(super) fn next(&mut self) -> Result<Option<(Part, bool)>> {
        let next = match self.ahead.take() {
            Some(part) => part,
            None => self.gather()?,
        };
        if next.is_empty() {
            return Ok(None);
        }
        let following = self.gather()?;
        let more = !following.is_empty();
        self.ahead = more.then_some(following);
        Ok(Some((next, more)))
    }

    fn gather(&mut self) -> Result<Part> {
        let (mut part, mut left) = (Part::new(), self.bound);
        while left.rows > 0 && left.bytes > 0 {
            let Some((table, schema_version, merge)) = &mut self.merging else {
                let Some((table, schema_version, runs)) = self.tables.pop_front() else {
                    break;
                };
                let mut merge = Merge::new(runs.len(), Keep::Newest, false, true);
                for (source, rows) in runs.into_iter().enumerate() {
                    merge.feed(source, Some(rows));
                    merge.feed(source, None);
                }
                self.merging = Some((table, schema_version, merge));
                continue;
            };
            match merge.step(left)? {
                Step::Rows(rows) => {
                    left.rows = left.rows.saturating_sub(rows.len());
                    left.bytes = left.bytes.saturating_sub(rows.memory_bytes());
                    part.push(TableRows {
                        table: *table,
                        schema_version: *schema_version,
                        rows,
                    });
                }
                Step::Done | Step::Need(_) => self.merging = None,
            }
        }
        Ok(part)
    }
}
