//! What records say about tables and columns: somebody asked for it, and it is what that makes of what was
//! there before (PROTOCOL C6).

use super::{
    log::{ALTERED, Ask, TABLES, TableLog, first_shape},
    shape::Shape,
    world::World,
};
use lakeshore::{data::schema::TableSchema, log::edit::TableId};
use std::sync::Arc;

impl World {
    pub fn created(&mut self, id: TableId, name: &str, schema: &TableSchema) -> Result<(), String> {
        let index = TABLES.iter().position(|t| *t == name);
        let index = index.ok_or_else(|| format!("a table {name:?} comes into being"))?;
        let shape = Shape::of(schema)?;
        let seq = self.log.head;
        if self.log.table(index, seq).is_some() || shape != first_shape(index) {
            return Err(format!("it creates table {name:?} with {shape:?}"));
        }
        let table = TableLog {
            name: index,
            created: seq,
            dropped: None,
            gone: 0,
            shapes: vec![(seq, Arc::new(shape))],
        };
        match self.log.tables.insert(id, table) {
            None => Ok(()),
            Some(_) => Err(format!("it gives number {id} to a second table")),
        }
    }

    /// Somebody asked for it, and the columns are what that makes of those before.
    pub fn altered_table(
        &mut self,
        id: TableId,
        name: &str,
        schema: &TableSchema,
    ) -> Result<(), String> {
        let (before, seq) = (self.shape_now(id)?, self.log.head);
        let shape = Shape::of(schema)?;
        self.note(format_args!("table {id} has {:?}", shape.columns));
        let made = |ask: &Ask| match ask {
            Ask::Alter(changes) => before.altered(changes).as_ref() == Some(&shape),
            Ask::Drop => false,
        };
        self.asked_for(made)
            .ok_or_else(|| format!("nobody asked for {shape:?} after {before:?}"))?;
        let table = self.log.tables.get_mut(&id).ok_or("no table")?;
        table.shapes.push((seq, Arc::new(shape)));
        match table.name == ALTERED && name == TABLES[ALTERED] {
            true => Ok(()),
            false => Err(format!("it alters table {name:?}")),
        }
    }

    /// Its rows die with it (PROTOCOL C6); those of the log stay for reads as of earlier (DESIGN promise 18).
    pub fn dropped_table(&mut self, id: TableId) -> Result<(), String> {
        self.shape_now(id)?;
        let (seq, now) = (self.log.head, self.now);
        self.note(format_args!("table {id} is dropped"));
        self.asked_for(|ask| *ask == Ask::Drop)
            .ok_or("nobody asked to drop a table")?;
        if let Some(table) = self.log.tables.get_mut(&id) {
            table.dropped = Some(seq);
            table.gone = now;
        }
        Ok(())
    }

    /// Notes the record at a request that explains it, if there is one.
    fn asked_for(&mut self, explains: impl Fn(&Ask) -> bool) -> Option<()> {
        let seq = self.log.head;
        let mut asked = self.log.asked.iter_mut();
        let found = asked.find(|a| a.seq.is_none() && !a.refused && explains(&a.what))?;
        found.seq = Some(seq);
        Some(())
    }

    fn shape_now(&self, id: TableId) -> Result<Arc<Shape>, String> {
        let found = self.log.tables.get(&id).filter(|_| self.log.lives(id));
        let table = found.ok_or_else(|| format!("it names table {id}, which is not there"))?;
        Ok(table.shape(self.log.head).clone())
    }

    /// The columns of a table that is there, under one of its schema versions.
    pub fn shape(&self, id: TableId, version: u32) -> Result<Arc<Shape>, String> {
        self.shape_now(id)?;
        self.shape_ever(id, version)
    }

    /// The same of one that may have been dropped since.
    pub fn shape_ever(&self, id: TableId, version: u32) -> Result<Arc<Shape>, String> {
        let table = self.log.tables.get(&id);
        let shapes = &table
            .ok_or_else(|| format!("there never was table {id}"))?
            .shapes;
        match shapes.get((version as usize).wrapping_sub(1)) {
            Some((_, shape)) => Ok(shape.clone()),
            None => Err(format!("it names schema version {version} of table {id}")),
        }
    }
}
