//! All rows that only this device has, in parts that keep within a bound. Invariant: they are those of one
//! state; of each key its newest version comes once.

use crate::{
    data::{bound::Bound, rows::Rows},
    error::Result,
    log::edit::TableId,
    merge::{Keep, Merge, Step},
    state::{State, TableRows, TableState},
};
use std::{collections::VecDeque, sync::Arc};

/// Rows that are given out together, as they were read: the table may be altered until they are.
pub(super) type Part = Vec<TableRows>;

/// What is left of them.
pub(super) struct Parts {
    pub(super) ts: i64,
    /// Each is held until it is done: its rows count as long.
    tables: VecDeque<Arc<TableState>>,
    merging: Option<(Arc<TableState>, Merge)>,
    bound: Bound,
    ahead: Option<Part>,
}

impl Parts {
    /// Those of the tables that are `wanted`.
    pub(super) fn new(state: &State, bound: Bound, wanted: &dyn Fn(TableId) -> bool) -> Self {
        let tables = state.tables.values();
        let tables = tables.filter(|t| wanted(t.id) && pending_runs(t).next().is_some());
        Self {
            ts: state.last_stamp,
            tables: tables.cloned().collect(),
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
            let Some((table, merge)) = &mut self.merging else {
                let Some(table) = self.tables.pop_front() else {
                    break;
                };
                let runs: Vec<Rows> = pending_runs(&table).cloned().collect();
                let mut merge = Merge::new(runs.len(), Keep::Newest, false, true);
                for (source, rows) in runs.into_iter().enumerate() {
                    merge.feed(source, Some(rows));
                    merge.feed(source, None);
                }
                self.merging = Some((table, merge));
                continue;
            };
            match merge.step(left)? {
                Step::Rows(rows) => {
                    left.rows = left.rows.saturating_sub(rows.len());
                    left.bytes = left.bytes.saturating_sub(rows.memory_bytes());
                    part.push(TableRows {
                        table: table.id,
                        schema_version: table.entry.schema_version,
                        rows,
                    });
                }
                Step::Done | Step::Need(_) => self.merging = None,
            }
        }
        Ok(part)
    }
}

fn pending_runs(table: &TableState) -> impl Iterator<Item = &Rows> {
    let runs = table.memories().flat_map(|m| m.pending.runs());
    runs.map(|rows| rows.as_ref())
}
