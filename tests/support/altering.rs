//! A table whose schema changes, and its naive model: rows keep every value as it was written, by
//! column id, and are seen through a schema. Nothing of the engine's mapping is used here.

use super::{
    cells::{self, Cell},
    query::Key,
    random::Random,
};
use arrow_schema::{DataType, Field, FieldRef, TimeUnit};
use lakeshore::{Alteration, data::schema::TableSchema};
use std::{collections::BTreeMap, sync::Arc};

/// Values by column id, with the types they were written in.
pub type Values = BTreeMap<u32, (DataType, Cell)>;

/// What a table should hold.
pub type Model = BTreeMap<Key, Values>;

/// A schema as the tests see it: id and field of each column, in order.
#[derive(Clone, Debug)]
pub struct Shape {
    pub columns: Vec<(u32, FieldRef)>,
    /// Ids, in key order.
    pub key: Vec<u32>,
    pub next: u32,
}

/// How many ids were given out does not count: a column may be added and dropped in one commit.
impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        (&self.columns, &self.key) == (&other.columns, &other.key)
    }
}

impl Shape {
    pub fn of(schema: &TableSchema) -> Self {
        let ids = schema.column_ids().iter().copied();
        let fields = schema.user().fields().iter().cloned();
        Self {
            columns: ids.zip(fields).collect(),
            key: schema
                .key()
                .iter()
                .map(|&i| schema.column_ids()[i])
                .collect(),
            next: schema.next_column_id(),
        }
    }

    pub fn fields(&self) -> arrow_schema::Fields {
        self.columns.iter().map(|(_, f)| f.clone()).collect()
    }

    pub fn key_fields(&self) -> arrow_schema::Fields {
        let key = self.key.iter();
        key.map(|id| self.columns[self.at(*id)].1.clone()).collect()
    }

    pub fn at(&self, id: u32) -> usize {
        self.columns.iter().position(|(i, _)| *i == id).unwrap()
    }

    fn named(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(_, f)| f.name() == name)
    }

    /// A row as this schema shows it.
    pub fn view(&self, row: &Values) -> Vec<Cell> {
        let columns = self.columns.iter();
        columns
            .map(|(id, field)| match row.get(id) {
                None => Cell::Null,
                Some((from, cell)) => carried(from, field.data_type(), cell),
            })
            .collect()
    }

    /// A row written under this schema.
    pub fn written(&self, row: &[Cell]) -> Values {
        let columns = self.columns.iter().zip(row);
        columns
            .map(|((id, f), cell)| (*id, (f.data_type().clone(), cell.clone())))
            .collect()
    }

    pub fn altered(&self, changes: &[Alteration]) -> Self {
        let made = self.try_altered(changes);
        made.unwrap_or_else(|| panic!("{changes:?} of {self:?}"))
    }

    /// `None` where a change names a column that is not there.
    pub fn try_altered(&self, changes: &[Alteration]) -> Option<Self> {
        let mut next = self.clone();
        for change in changes {
            match change {
                Alteration::AddColumn(field) => {
                    next.columns.push((next.next, field.clone()));
                    next.next += 1;
                }
                Alteration::Widen { column, to } => {
                    let at = next.named(column)?;
                    let field = next.columns[at].1.as_ref().clone();
                    next.columns[at].1 = Arc::new(field.with_data_type(to.clone()));
                }
                Alteration::RenameColumn { from, to } => {
                    let at = next.named(from)?;
                    let field = next.columns[at].1.as_ref().clone();
                    next.columns[at].1 = Arc::new(field.with_name(to));
                }
                Alteration::DropColumn(column) => drop(next.columns.remove(next.named(column)?)),
                Alteration::RenameTable(_) => {}
            }
        }
        Some(next)
    }

    /// Changes that can be made of it, one after the other.
    pub fn random_changes(&self, random: &mut Random) -> Vec<Alteration> {
        let (mut shape, mut changes) = (self.clone(), Vec::new());
        for _ in 0..1 + random.below(3) {
            let some = shape.random_change(random);
            shape = shape.altered(&some);
            changes.extend(some);
        }
        changes
    }

    fn random_change(&self, random: &mut Random) -> Vec<Alteration> {
        let free = |random: &mut Random| -> String {
            loop {
                let name = format!("c{}", random.below(12));
                if self.columns.iter().all(|(_, f)| *f.name() != name) {
                    return name;
                }
            }
        };
        let values: Vec<&FieldRef> = (self.columns.iter())
            .filter(|(id, _)| !self.key.contains(id))
            .map(|(_, f)| f)
            .collect();
        let add = |random: &mut Random| {
            let data_type = random.pick(&value_types()).clone();
            Alteration::AddColumn(Arc::new(Field::new(free(random), data_type, true)))
        };
        match random.below(8) {
            _ if self.columns.len() > 9 => {
                vec![Alteration::DropColumn(random.pick(&values).name().clone())]
            }
            0 | 1 => vec![add(random)],
            2 | 3 if !values.is_empty() => {
                let wide: Vec<(&FieldRef, Vec<DataType>)> = (values.iter())
                    .map(|f| (*f, wider(f.data_type())))
                    .filter(|(_, to)| !to.is_empty())
                    .collect();
                if wide.is_empty() {
                    return vec![add(random)];
                }
                let (field, to) = random.pick(&wide);
                vec![Alteration::Widen {
                    column: field.name().clone(),
                    to: random.pick(to).clone(),
                }]
            }
            4 => vec![rename(random.pick(&self.columns).1.name(), &free(random))],
            // Two columns change names.
            5 if self.columns.len() > 1 => {
                let a = random.below(self.columns.len());
                let b = (a + 1 + random.below(self.columns.len() - 1)) % self.columns.len();
                let (a, b) = (self.columns[a].1.name(), self.columns[b].1.name());
                vec![rename(a, "between"), rename(b, a), rename("between", b)]
            }
            6 if !values.is_empty() => {
                vec![Alteration::DropColumn(random.pick(&values).name().clone())]
            }
            // The same name, another column.
            7 if !values.is_empty() => {
                let name = random.pick(&values).name().clone();
                let data_type = random.pick(&value_types()).clone();
                let new = Arc::new(Field::new(&name, data_type, true));
                vec![Alteration::DropColumn(name), Alteration::AddColumn(new)]
            }
            _ => vec![add(random)],
        }
    }
}

pub fn rename(from: &str, to: &str) -> Alteration {
    Alteration::RenameColumn {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

/// A value in a wider type.
fn carried(from: &DataType, to: &DataType, cell: &Cell) -> Cell {
    use DataType::*;
    let times = match (from, to) {
        (Date32, Date64) => 86_400_000,
        (Time32(a), Time64(b)) => per_second(b) / per_second(a),
        _ => 1,
    };
    match cell {
        Cell::Int(v) => Cell::Int(v * times),
        other => other.clone(),
    }
}

fn per_second(unit: &TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// What a type may be widened to: the tests' own list.
pub fn wider(from: &DataType) -> Vec<DataType> {
    use DataType::*;
    match from {
        Int8 => vec![Int16, Int32, Int64],
        Int16 => vec![Int32, Int64],
        Int32 => vec![Int64],
        UInt8 => vec![UInt16, UInt32, UInt64, Int16, Int32, Int64],
        UInt16 => vec![UInt32, UInt64, Int32, Int64],
        UInt32 => vec![UInt64, Int64],
        Float16 => vec![Float32, Float64],
        Float32 => vec![Float64],
        Date32 => vec![Date64],
        Time32(_) => vec![Time64(TimeUnit::Microsecond), Time64(TimeUnit::Nanosecond)],
        Decimal32(p, s) => vec![
            Decimal32((*p + 1).min(9), *s),
            Decimal64((*p).max(12), *s),
            Decimal128((*p).max(20), *s),
        ],
        Decimal64(p, s) => vec![Decimal64((*p + 1).min(18), *s), Decimal128(20, *s)],
        Decimal128(p, s) => vec![Decimal128((*p + 1).min(37), *s)],
        _ => vec![],
    }
    .into_iter()
    .filter(|to| to != from)
    .collect()
}

pub fn value_types() -> Vec<DataType> {
    use DataType::*;
    let item = |t| Arc::new(Field::new("item", t, true));
    vec![
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        Float16,
        Float32,
        Float64,
        Date32,
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Decimal32(7, 2),
        Decimal64(12, 3),
        Decimal128(20, 1),
        Utf8,
        Boolean,
        FixedSizeBinary(3),
        Timestamp(TimeUnit::Microsecond, None),
        Dictionary(Box::new(Int32), Box::new(Utf8)),
        List(item(Int32)),
        Struct(vec![Field::new("a", Int32, true), Field::new("b", Utf8, true)].into()),
    ]
}

/// A random table.
pub fn schema(random: &mut Random) -> TableSchema {
    let keys = [
        DataType::Int64,
        DataType::Int16,
        DataType::Utf8,
        DataType::Date32,
        DataType::Decimal64(9, 2),
    ];
    let key = 1 + random.below(2);
    let mut fields: Vec<FieldRef> = (0..key)
        .map(|i| {
            Arc::new(Field::new(
                format!("k{i}"),
                random.pick(&keys).clone(),
                false,
            ))
        })
        .collect();
    for i in 0..random.below(4) {
        let data_type = random.pick(&value_types()).clone();
        let field = Arc::new(Field::new(format!("c{i}"), data_type, random.chance(0.8)));
        fields.insert(random.below(fields.len() + 1), field);
    }
    let names: Vec<String> = (0..key).rev().map(|i| format!("k{i}")).collect();
    TableSchema::new(fields, &names).unwrap()
}

/// Keys that rows are given, so that they meet.
pub fn keys(shape: &Shape, random: &mut Random) -> Vec<Key> {
    let fields = shape.key_fields();
    (0..4 + random.below(80))
        .map(|_| Key(fields.iter().map(|f| cells::of_field(f, random)).collect()))
        .collect()
}

/// A row with one of these keys.
pub fn row(shape: &Shape, pool: &[Key], random: &mut Random) -> (Key, Vec<Cell>) {
    let key = random.pick(pool).clone();
    let cells =
        shape
            .columns
            .iter()
            .map(|(id, field)| match shape.key.iter().position(|k| k == id) {
                Some(at) => key.0[at].clone(),
                None => cells::of_field(field, random),
            });
    let cells = cells.collect();
    (key, cells)
}
