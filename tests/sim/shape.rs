//! What columns a table has, followed by the test's own rules: columns go by ids that are given once, names
//! and types are only how they are shown (PROTOCOL C6). The key `k` comes first and may be renamed; `v` is
//! second, and may be widened and renamed; columns that were added may go, too.

use crate::support::random::Random;
use arrow_schema::{DataType, Field, FieldRef};
use lakeshore::{Alteration, data::schema::TableSchema};
use std::sync::Arc;

/// Names of added columns: few, so that devices meet on them, and a name comes again with another id.
const NAMES: [&str; 4] = ["w", "x", "y", "z"];
/// Names of `v`, of its own: an alteration goes by name at its turn in the log, and must not drop this one
/// because somebody renamed it meanwhile.
const NAMES_OF_V: [&str; 2] = ["u", "v"];
const NAMES_OF_K: [&str; 2] = ["k", "q"];
/// The most columns, and ids: a row says by one bit each which are not null.
const MOST: (usize, u32) = (6, 62);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub id: u32,
    pub name: String,
    /// int64, or int32.
    pub wide: bool,
}

impl Column {
    fn data_type(wide: bool) -> DataType {
        match wide {
            true => DataType::Int64,
            false => DataType::Int32,
        }
    }

    pub fn field(&self) -> FieldRef {
        let nullable = self.id != 1;
        Arc::new(Field::new(&self.name, Self::data_type(self.wide), nullable))
    }

    /// Whether the field says so.
    pub fn is(&self, field: &Field) -> bool {
        *field.name() == self.name
            && *field.data_type() == Self::data_type(self.wide)
            && field.is_nullable() == (self.id != 1)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub columns: Vec<Column>,
    /// The id that the next column gets.
    pub next: u32,
}

/// One change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Add(String),
    Rename(String, String),
    Widen(String),
    Drop(String),
}

impl Change {
    pub fn alteration(&self) -> Alteration {
        match self {
            Self::Add(name) => {
                Alteration::AddColumn(Arc::new(Field::new(name, DataType::Int32, true)))
            }
            Self::Rename(from, to) => Alteration::RenameColumn {
                from: from.clone(),
                to: to.clone(),
            },
            Self::Widen(column) => Alteration::Widen {
                column: column.clone(),
                to: DataType::Int64,
            },
            Self::Drop(column) => Alteration::DropColumn(column.clone()),
        }
    }
}

impl Shape {
    /// `(k int64, v)`.
    pub fn first(wide: bool) -> Self {
        let column = |id, name: &str, wide| Column {
            id,
            name: name.to_owned(),
            wide,
        };
        Self {
            columns: vec![column(1, "k", true), column(2, "v", wide)],
            next: 3,
        }
    }

    /// As a table that is to be created.
    pub fn schema(&self) -> TableSchema {
        let columns = self.columns.iter().map(Column::field).collect();
        TableSchema::new(columns, &["k"]).unwrap()
    }

    pub fn of(schema: &TableSchema) -> Result<Self, String> {
        let fields = schema.user().fields().iter();
        let columns = fields.zip(schema.column_ids()).map(|(field, id)| {
            let column = Column {
                id: *id,
                name: field.name().clone(),
                wide: *field.data_type() == DataType::Int64,
            };
            match column.is(field) {
                true => Ok(column),
                false => Err(format!("a column {field:?}")),
            }
        });
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            next: schema.next_column_id(),
        })
    }

    /// The bits of the columns that were added.
    pub fn mask(&self) -> u64 {
        self.columns[2..].iter().fold(0, |mask, c| mask | 1 << c.id)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// The shape after the changes; nothing if they cannot be made.
    pub fn altered(&self, changes: &[Change]) -> Option<Self> {
        let mut next = self.clone();
        for change in changes {
            match change {
                Change::Add(name) | Change::Rename(_, name) if next.find(name).is_some() => {
                    return None;
                }
                Change::Add(name) => {
                    next.columns.push(Column {
                        id: next.next,
                        name: name.clone(),
                        wide: false,
                    });
                    next.next += 1;
                }
                Change::Rename(from, to) => {
                    let at = next.find(from)?;
                    next.columns[at].name.clone_from(to);
                }
                Change::Widen(name) => {
                    let at = next.find(name)?;
                    next.columns[at].wide = true;
                }
                Change::Drop(name) => {
                    let at = next.find(name)?;
                    next.columns.remove(at);
                }
            }
        }
        Some(next)
    }

    /// One or two changes that can be made.
    pub fn changes(&self, random: &mut Random) -> Vec<Change> {
        let (mut changes, mut shape) = (Vec::new(), self.clone());
        for _ in 0..1 + random.below(2) {
            let any = shape.columns[random.below(shape.columns.len())].clone();
            let free = (*random.pick(&NAMES)).to_owned();
            let other = match any.id {
                1 => (*random.pick(&NAMES_OF_K)).to_owned(),
                2 => (*random.pick(&NAMES_OF_V)).to_owned(),
                _ => free.clone(),
            };
            let change = match random.below(10) {
                0..4 if shape.columns.len() < MOST.0 && shape.next < MOST.1 => Change::Add(free),
                4..6 => Change::Rename(any.name, other),
                6..8 if any.id != 1 => Change::Widen(any.name),
                _ if any.id > 2 => Change::Drop(any.name),
                _ => continue,
            };
            if let Some(next) = shape.altered(std::slice::from_ref(&change)) {
                changes.push(change);
                shape = next;
            }
        }
        changes
    }
}
