//! Alterations, made for the schema there is when it is their turn; and tables that are dropped and created
//! again.

use crate::{
    history::MARK,
    ops::{Change, TABLES},
    support::{
        altering::{Shape, rename, value_types, wider},
        engine,
    },
    world::World,
};
use arrow_schema::{DataType, Field};
use lakeshore::Alteration;
use std::sync::Arc;

const MOST_COLUMNS: usize = 9;

impl Change {
    /// The alterations that make it of a schema; none where there is nothing of that kind.
    fn of(&self, shape: &Shape) -> Vec<Alteration> {
        let made = match *self {
            Self::Add(t) => add(shape, t),
            Self::Rename(c) => {
                let name = &shape.columns[c % shape.columns.len()].1.name().clone();
                let to = format!("r{}", c % 4);
                free(shape, &to).then(|| vec![rename(name, &to)])
            }
            Self::Widen(c) => widen(shape, c),
            Self::Drop(c) => value(shape, c).map(|name| vec![Alteration::DropColumn(name)]),
            Self::Replace(c, t) => value(shape, c).map(|name| {
                let new = field(&name, t);
                vec![Alteration::DropColumn(name), new]
            }),
            Self::Swap(a, b) => swap(shape, a, b),
        };
        made.unwrap_or_default()
    }
}

fn free(shape: &Shape, name: &str) -> bool {
    shape.columns.iter().all(|(_, f)| f.name() != name)
}

fn field(name: &str, t: usize) -> Alteration {
    let types = value_types();
    let data_type = types[t % types.len()].clone();
    Alteration::AddColumn(Arc::new(Field::new(name, data_type, true)))
}

fn add(shape: &Shape, t: usize) -> Option<Vec<Alteration>> {
    let name = (0..4)
        .map(|n| format!("c{}", (t + n) % 5))
        .find(|name| free(shape, name))?;
    (shape.columns.len() < MOST_COLUMNS).then(|| vec![field(&name, t)])
}

/// The name of a column that may be dropped.
fn value(shape: &Shape, c: usize) -> Option<String> {
    let may = |id: &u32| !shape.key.contains(id) && *id != *MARK;
    let columns: Vec<_> = shape.columns.iter().filter(|(id, _)| may(id)).collect();
    let at = c.checked_rem(columns.len())?;
    Some(columns[at].1.name().clone())
}

fn widen(shape: &Shape, c: usize) -> Option<Vec<Alteration>> {
    let values = (shape.columns.iter()).filter(|(id, _)| !shape.key.contains(id));
    let all: Vec<(String, DataType)> = values
        .flat_map(|(_, f)| {
            wider(f.data_type())
                .into_iter()
                .map(|to| (f.name().clone(), to))
        })
        .collect();
    let (column, to) = all[c.checked_rem(all.len())?].clone();
    Some(vec![Alteration::Widen { column, to }])
}

fn swap(shape: &Shape, a: usize, b: usize) -> Option<Vec<Alteration>> {
    let n = shape.columns.len();
    let name = |c: usize| shape.columns[c % n].1.name();
    let (a, b) = (name(a), name(b));
    (a != b).then(|| vec![rename(a, "between"), rename(b, a), rename("between", b)])
}

impl World {
    pub async fn alter(&mut self, table: usize, change: &Change) {
        let before = self.shape(table).clone();
        let changes = change.of(&before);
        if changes.is_empty() {
            return;
        }
        let was = self.newest().await;
        let done = self.db.alter_table(TABLES[table], &changes).await.unwrap();
        let after = before.altered(&changes);
        let made = Shape::of(&done.schema().unwrap());
        assert_eq!(made, after, "{changes:?}: {}", self.now);
        let place = self.names[table];
        self.history.tables[place].shape = after.clone();
        self.era(table, was, Some((place, after))).await;
        self.count("alterations");
    }

    pub async fn anew(&mut self, table: usize) {
        let name = TABLES[table];
        let old = self.table(table);
        let was = self.newest().await;
        assert!(self.db.drop_table(name).await.unwrap());
        assert!(!self.db.drop_table(name).await.unwrap());
        let gone = old.scan().stream().map(drop).unwrap_err();
        assert!(gone.message().contains("dropped"), "{gone}: {}", self.now);
        self.era(table, was, None).await;
        let was = self.newest().await;
        engine::table(&self.db, name).await;
        let place = self.history.create();
        self.names[table] = place;
        let shape = self.history.tables[place].shape.clone();
        self.era(table, was, Some((place, shape))).await;
        self.count("tables dropped and created again");
    }
}
