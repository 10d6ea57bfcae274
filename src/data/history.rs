//! What the columns of a table were under each of its schema versions, so that rows written then can
//! be read. Kept as spans, one for each way a column ever was: it grows by what alterations change,
//! not by the width of the table. Invariants: a column's spans follow one another without a gap, each
//! readable under the next; the key's columns are there from version 1 on.

use super::{alter::widens, schema::TableSchema};
use crate::error::{Error, Result};
use arrow_schema::FieldRef;
use std::collections::HashSet;

/// Most spans that are over; each is in every checkpoint.
pub const MAX_PAST_COLUMNS: usize = 16 * 1024;

/// A column as it was from schema version `first` to `last`.
#[derive(Clone, Debug, PartialEq)]
pub struct PastColumn {
    /// Its id.
    pub id: u32,
    /// The first schema version under which it was so.
    pub first: u32,
    /// The last.
    pub last: u32,
    /// Name, type and nullability then.
    pub field: FieldRef,
}

/// The schema versions of a table before its current one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnHistory {
    /// Since which schema version each column of the current schema has been as it is.
    since: Vec<u32>,
    /// What was before; by id, then by version.
    past: Vec<PastColumn>,
}

impl ColumnHistory {
    /// That of a new table.
    pub fn new(schema: &TableSchema) -> Self {
        Self {
            since: vec![1; schema.column_ids().len()],
            past: Vec::new(),
        }
    }

    /// One read back from the log, of a table whose schema `version` is `schema`; checks every
    /// invariant again.
    pub fn from_parts(
        schema: &TableSchema,
        version: u32,
        since: Vec<u32>,
        past: Vec<PastColumn>,
    ) -> Result<Self, String> {
        let history = Self { since, past };
        history.check(schema, version)?;
        Ok(history)
    }

    /// Parallel to the columns: since which schema version each has been as it is.
    pub fn since(&self) -> &[u32] {
        &self.since
    }

    /// What was before.
    pub fn past(&self) -> &[PastColumn] {
        &self.past
    }

    /// The history after `old`, schema `version`, became `new`.
    pub fn after(&self, old: &TableSchema, version: u32, new: &TableSchema) -> Self {
        let mut past = self.past.clone();
        let mut since = vec![version + 1; new.column_ids().len()];
        let columns = old.user().fields().iter().zip(old.column_ids());
        for ((field, id), first) in columns.zip(&self.since) {
            let now = new.column_ids().iter().position(|i| i == id);
            match now {
                Some(at) if new.user().fields()[at] == *field => since[at] = *first,
                _ => past.push(PastColumn {
                    id: *id,
                    first: *first,
                    last: version,
                    field: field.clone(),
                }),
            }
        }
        past.sort_by_key(|p| (p.id, p.first));
        Self { since, past }
    }

    /// The schema that was number `version` of a table whose number `current` is `schema`.
    pub fn schema_at(
        &self,
        schema: &TableSchema,
        current: u32,
        version: u32,
    ) -> Result<TableSchema> {
        let unknown = |what: String| {
            Error::corrupt(format!(
                "schema version {version} of a table that is at version {current}{what}"
            ))
        };
        if version == 0 || version > current {
            return Err(unknown(": there was none".into()));
        }
        let past = (self.past.iter()).map(|p| (p.id, p.first, p.last, &p.field));
        let now = (schema.column_ids().iter())
            .zip(schema.user().fields())
            .zip(&self.since);
        let now = now.map(|((id, field), since)| (*id, *since, current, field));
        // Every column there was by then, and of these the ones that were still there.
        let by_then = past.chain(now).filter(|(_, first, ..)| *first <= version);
        let next = by_then
            .clone()
            .map(|(id, ..)| id)
            .max()
            .map_or(1, |id| id + 1);
        let mut columns: Vec<(u32, &FieldRef)> = by_then
            .filter(|(_, _, last, _)| version <= *last)
            .map(|(id, _, _, field)| (id, field))
            .collect();
        columns.sort_by_key(|(id, _)| *id);
        let at = |&i: &usize| {
            let id = schema.column_ids()[i];
            columns.iter().position(|(c, _)| *c == id)
        };
        let key: Option<Vec<usize>> = schema.key().iter().map(at).collect();
        let key = key.ok_or_else(|| unknown(" lacks a key column".into()))?;
        let (ids, fields) = columns.iter().map(|(id, f)| (*id, (*f).clone())).unzip();
        TableSchema::from_parts(fields, ids, key, next).map_err(|e| unknown(format!(": {e}")))
    }

    /// The history that there was at schema version `version`, which is `then`; `schema` is the current one.
    pub fn at_version(&self, schema: &TableSchema, then: &TableSchema, version: u32) -> Self {
        let spans = || self.past.iter().filter(|p| p.first <= version);
        let since = |id: &u32| {
            let over = spans().find(|p| p.id == *id && version <= p.last);
            let first = over.map(|p| p.first);
            first.or_else(|| self.current(schema, *id).map(|(first, _)| first))
        };
        Self {
            since: (then.column_ids().iter())
                .map(|id| since(id).unwrap_or(version))
                .collect(),
            past: spans().filter(|p| p.last < version).cloned().collect(),
        }
    }

    fn check(&self, schema: &TableSchema, version: u32) -> Result<(), String> {
        if self.since.len() != schema.column_ids().len() {
            return Err("the history does not fit the columns".into());
        }
        if self.since.iter().any(|s| !(1..=version).contains(s)) {
            return Err("a column is newer than its table".into());
        }
        if self.past.len() > MAX_PAST_COLUMNS {
            return Err(format!("{} columns of the past", self.past.len()));
        }
        for (at, span) in self.past.iter().enumerate() {
            if span.id >= schema.next_column_id() {
                return Err(format!("column {} of the past was never given", span.id));
            }
            if span.first == 0 || span.first > span.last || span.last >= version {
                return Err(format!("column {} of the past has no time", span.id));
            }
            let next = self.past.get(at + 1);
            if next.is_some_and(|n| (n.id, n.first) <= (span.id, span.first)) {
                return Err("columns of the past are out of order".into());
            }
            let follower = match next.filter(|n| n.id == span.id) {
                Some(n) => Some((n.first, &n.field)),
                None => self.current(schema, span.id),
            };
            if let Some((first, field)) = follower {
                check_pair(span, first, field)?;
            }
        }
        for &index in schema.key() {
            let id = schema.column_ids()[index];
            let mut spans = self.past.iter().filter(|p| p.id == id);
            let data_type = schema.user().field(index).data_type();
            if spans.clone().any(|p| p.field.data_type() != data_type) {
                return Err("the type of a key column changed".into());
            }
            let first = spans
                .next()
                .map(|p| p.first)
                .or(self.since.get(index).copied());
            if first != Some(1) {
                return Err("a key column was added".into());
            }
        }
        self.check_added(schema)
    }

    /// Columns that were not there at first are null in the rows before them.
    fn check_added(&self, schema: &TableSchema) -> Result<(), String> {
        let past = self.past.iter().map(|p| (p.id, p.first, &p.field));
        let now = schema.column_ids().iter().zip(schema.user().fields());
        let now = (now.zip(&self.since)).map(|((id, field), since)| (*id, *since, field));
        let mut seen = HashSet::new();
        for (id, first, field) in past.chain(now) {
            if seen.insert(id) && first > 1 && !field.is_nullable() {
                return Err(format!("column {id} was added and is not nullable"));
            }
        }
        Ok(())
    }

    fn current<'a>(&self, schema: &'a TableSchema, id: u32) -> Option<(u32, &'a FieldRef)> {
        let at = schema.column_ids().iter().position(|i| *i == id)?;
        Some((*self.since.get(at)?, schema.user().fields().get(at)?))
    }
}

/// Whether a column that was `span` may be `field` from schema version `first` on.
fn check_pair(span: &PastColumn, first: u32, field: &FieldRef) -> Result<(), String> {
    let (from, to) = (span.field.data_type(), field.data_type());
    if span.last.checked_add(1) != Some(first) {
        return Err(format!("column {} was away for a while", span.id));
    }
    if from != to && !widens(from, to) {
        return Err(format!("column {} went from {from} to {to}", span.id));
    }
    match span.field.is_nullable() && !field.is_nullable() {
        true => Err(format!("column {} is no longer nullable", span.id)),
        false => Ok(()),
    }
}
