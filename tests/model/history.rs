//! The model: a plain map of versions. Each key has all its versions with the number of the commit that
//! wrote it, and the log says which commits each of its timestamps had (PROTOCOL T3, T5): without a WAL a
//! record has one commit, or a group; over a WAL, all that were uploaded by then.

use crate::support::{
    altering::{Shape, Values},
    cells::{self, Cell},
    engine,
    random::Random,
};
use std::{collections::BTreeMap, sync::LazyLock};

/// What a scan should give, by key.
pub type Rows = BTreeMap<i64, Vec<Cell>>;

/// One row of a commit; without values it deletes.
#[derive(Clone, Debug)]
pub struct Write {
    /// Its table, by place in [`History::tables`].
    pub table: usize,
    pub key: i64,
    pub values: Option<Values>,
}

/// Every table there ever was, dropped ones included.
pub struct Versions {
    /// As it is now, or was at last.
    pub shape: Shape,
    keys: BTreeMap<i64, Vec<(u64, Option<Values>)>>,
}

#[derive(Default)]
pub struct History {
    pub tables: Vec<Versions>,
    /// What each commit wrote: table and key.
    commits: Vec<Vec<(usize, i64)>>,
    /// Timestamps of the log, ascending, and the last commit that each of them has.
    pub log: Vec<(i64, u64)>,
}

impl History {
    /// Another table; its place.
    pub fn create(&mut self) -> usize {
        let shape = Shape::of(&engine::schema());
        let keys = BTreeMap::new();
        self.tables.push(Versions { shape, keys });
        self.tables.len() - 1
    }

    /// The number of the last commit.
    pub fn last(&self) -> u64 {
        self.commits.len() as u64
    }

    /// After a commit; its number.
    pub fn commit(&mut self, writes: Vec<Write>) -> u64 {
        let touched = writes.iter().map(|write| (write.table, write.key));
        self.commits.push(touched.collect());
        let number = self.last();
        for write in writes {
            let versions = self.tables[write.table].keys.entry(write.key).or_default();
            versions.push((number, write.values));
        }
        number
    }

    /// The log has all commits up to `number` at `ts`.
    pub fn logged(&mut self, ts: i64, number: u64) {
        if let Some((before, then)) = self.log.last() {
            assert!(ts >= *before, "{ts} after {before}");
            assert!(number >= *then, "commit {number} after {then}");
        }
        self.log.push((ts, number));
    }

    /// The last commit that the log has at `ts`.
    pub fn at(&self, ts: i64) -> u64 {
        let after = self.log.partition_point(|(of, _)| *of <= ts);
        self.log[..after].last().map_or(0, |(_, number)| *number)
    }

    /// The newest timestamp with a commit.
    pub fn head(&self) -> Option<i64> {
        self.log.last().map(|(ts, _)| *ts)
    }

    /// A table after commit `number`, as a schema shows it.
    pub fn rows(&self, table: usize, number: u64, shape: &Shape) -> Rows {
        let newest = |versions: &Vec<(u64, Option<Values>)>| {
            let after = versions.partition_point(|(of, _)| *of <= number);
            let (_, values) = versions[..after].last()?;
            values.as_ref().map(|values| shape.view(values))
        };
        let keys = self.tables[table].keys.iter();
        keys.filter_map(|(key, versions)| Some((*key, newest(versions)?)))
            .collect()
    }

    /// Rows after more writes.
    pub fn over<'a>(
        mut rows: Rows,
        writes: impl IntoIterator<Item = &'a Write>,
        table: usize,
        shape: &Shape,
    ) -> Rows {
        for write in writes.into_iter().filter(|w| w.table == table) {
            match &write.values {
                Some(values) => rows.insert(write.key, shape.view(values)),
                None => rows.remove(&write.key),
            };
        }
        rows
    }

    /// Tables and keys that commits after `number` wrote.
    pub fn touched_after(&self, number: u64) -> impl Iterator<Item = (usize, i64)> {
        self.commits[number as usize..].iter().flatten().copied()
    }
}

/// The column that carries the mark: it is never dropped, so that every version can be told apart.
pub static MARK: LazyLock<u32> = LazyLock::new(|| Shape::of(&engine::schema()).columns[2].0);

/// The row of a key that an operation writes: everything else follows from its mark.
pub fn row(shape: &Shape, key: i64, mark: i64) -> Vec<Cell> {
    let of = |id: u32| (key as u64) << 40 ^ (mark as u64) << 8 ^ u64::from(id);
    let columns = shape.columns.iter();
    columns
        .map(|(id, field)| match *id {
            id if shape.key.contains(&id) => Cell::Int(key.into()),
            id if id == *MARK => Cell::Int(mark.into()),
            id => cells::of_field(field, &mut Random::new(of(id))),
        })
        .collect()
}
