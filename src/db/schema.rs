//! Changes of the catalog (PROTOCOL C6): alter and drop a table. Each is planned on the newest state
//! and committed as a log record, with either durability: it needs the object store. Whoever loses
//! the slot plans again on the winner's catalog: an equal change is adopted, another one is made on
//! top of it if it still can be, and is `Invalid` if not.

use super::{
    Db, Table, check_name,
    log::{IfFreed, Plan, dropped},
    no_such_table,
};
use crate::{
    data::{alter::Alteration, schema::TableSchema},
    error::{Error, ErrorKind, Result},
    log::{
        catalog::TableEntry,
        edit::{Edit, TableId},
        version::Version,
    },
    state::State,
};
use std::sync::Arc;

impl Db {
    /// Alters a table, all `changes` in one commit, and gives its handle; handles that are there go on
    /// working. No row is rewritten: what was written before is read through the column ids, as the
    /// table is today; a read as of an earlier time sees it as it was then. Other handles see it when they next refresh or
    /// commit; rows that they validated before are taken as they are.
    ///
    /// # Errors
    /// `Invalid` with the reason if a change cannot be made (what can: [`Alteration`]), on the newest
    /// schema, whoever made that; `Unavailable` if the object store does not answer, with a WAL, too.
    pub async fn alter_table(&self, name: &str, changes: &[Alteration]) -> Result<Table> {
        self.inner.check_open()?;
        let mut altering = Altering::new(name, changes)?;
        self.look_and_commit(&mut |state| altering.plan(state))
            .await?;
        match altering.wanted {
            Some(wanted) => Ok(Table::new(self.inner.clone(), wanted.table)),
            None => Err(Error::internal(
                "an alteration was committed without a plan",
            )),
        }
    }

    /// Drops a table with all its rows; whether there was one of that name. Its handles say so from
    /// then on; a scan under way ends as it began, and reads as of an earlier time see it for as long as
    /// the retention, or a tag, keeps that time. Rows that a device has acknowledged and not yet
    /// uploaded die with the table, whoever dropped it: `stats().dropped_rows` counts them there.
    ///
    /// # Errors
    /// `Invalid` if another handle renames it meanwhile; `Unavailable` if the object store does not
    /// answer, with a WAL, too.
    pub async fn drop_table(&self, name: &str) -> Result<bool> {
        self.inner.check_open()?;
        let mut found = None;
        self.look_and_commit(&mut |state| plan_drop(state, name, &mut found))
            .await?;
        Ok(found.is_some())
    }

    /// Plans on what this handle knows, so that the plan sees what others do from then on; then looks
    /// what there is now, and commits. The look is a request more, but a store out of reach is then
    /// `Unavailable`, with nothing sent, and not `Unknown`; and nothing is refused for being behind.
    async fn look_and_commit(&self, plan: Plan<'_>) -> Result<()> {
        // What is refused here may be right on the newest state.
        let _ = plan(&self.inner.state());
        self.inner.refresh().await?;
        self.inner.commit_record(IfFreed::Replan, plan).await?;
        Ok(())
    }

    /// Commits what `plan` makes of the newest state; asks for that only where it refuses the state at
    /// hand.
    pub(super) async fn commit_or_look(&self, plan: Plan<'_>) -> Result<()> {
        match self.inner.commit_record(IfFreed::Replan, plan).await {
            Err(refused) if refused.kind() == ErrorKind::Invalid => {
                match self.inner.refresh().await {
                    Ok(true) => self.inner.commit_record(IfFreed::Replan, plan).await,
                    _ => Err(refused),
                }
            }
            other => other,
        }
        .map(drop)
    }
}

/// An alteration under way.
struct Altering<'a> {
    name: &'a str,
    changes: &'a [Alteration],
    /// The table's new name, if it gets one.
    rename: Option<&'a str>,
    wanted: Option<Wanted>,
}

/// The table, and its schema version when the alteration first met it.
struct Wanted {
    table: TableId,
    base: u32,
}

impl<'a> Altering<'a> {
    fn new(name: &'a str, changes: &'a [Alteration]) -> Result<Self> {
        let mut rename = None;
        for change in changes {
            if let Alteration::RenameTable(to) = change {
                check_name("table", to)?;
                rename = Some(to.as_str());
            }
        }
        Ok(Self {
            name,
            changes,
            rename,
            wanted: None,
        })
    }

    fn plan(&mut self, state: &State) -> Result<Vec<Edit>> {
        let version: &Version = &state.version;
        let Some(wanted) = &self.wanted else {
            let (table, entry) =
                (version.table(self.name)).ok_or_else(|| no_such_table(state, self.name))?;
            let (name, schema) = self.apply(version, table, entry)?;
            let edits = edits(table, entry, name, &schema)?;
            self.wanted = Some(Wanted {
                table,
                base: entry.schema_version,
            });
            return Ok(edits);
        };
        let (table, base) = (wanted.table, wanted.base);
        let entry = version.tables.get(&table).ok_or_else(dropped)?;
        if entry.schema_version == base {
            let (name, schema) = self.apply(version, table, entry)?;
            return edits(table, entry, name, &schema);
        }
        if self.is_made(entry, base)? {
            return Ok(Vec::new());
        }
        let altered = |e: Error| e.context("the table was altered meanwhile");
        let (name, schema) = self.apply(version, table, entry).map_err(altered)?;
        edits(table, entry, name, &schema).map_err(altered)
    }

    /// Name and schema after the changes.
    fn apply(
        &self,
        version: &Version,
        table: TableId,
        entry: &TableEntry,
    ) -> Result<(String, TableSchema)> {
        let name = self.rename.unwrap_or(&entry.name);
        if version.table(name).is_some_and(|(id, _)| id != table) {
            return Err(Error::invalid(format!(
                "there is a table {name:?} already: choose another name, or rename or drop that one \
                 first"
            )));
        }
        Ok((name.to_owned(), entry.schema.altered(self.changes)?))
    }

    /// Whether another writer, or a record of ours whose outcome was not known, made the same
    /// alteration since: these changes lead from some schema version to the next. What came before or
    /// after does not matter.
    fn is_made(&self, entry: &TableEntry, base: u32) -> Result<bool> {
        if self.rename.is_some_and(|name| name != entry.name) {
            return Ok(false);
        }
        let mut before = entry.schema_at(base)?;
        for version in base + 1..=entry.schema_version {
            let after = entry.schema_at(version)?;
            let made = before.altered(self.changes);
            if made.is_ok_and(|made| made.same_columns(&after)) {
                return Ok(true);
            }
            before = after;
        }
        Ok(false)
    }
}

/// The edit that makes `entry` so; none if it is.
fn edits(
    table: TableId,
    entry: &TableEntry,
    name: String,
    schema: &TableSchema,
) -> Result<Vec<Edit>> {
    if entry.name == name && entry.schema.same_columns(schema) {
        return Ok(Vec::new());
    }
    let schema = Arc::new(schema.clone());
    // What `Version::apply` will check of the record.
    (entry.altered(name.clone(), schema.clone(), i64::MAX)).map_err(Error::invalid)?;
    Ok(vec![Edit::AlterTable {
        table,
        name,
        schema,
    }])
}

fn plan_drop(state: &State, name: &str, found: &mut Option<TableId>) -> Result<Vec<Edit>> {
    let version: &Version = &state.version;
    let now = version.table(name).map(|(id, _)| id);
    let table = match *found {
        None => now,
        // The same table as before, not one that was created under its name meanwhile.
        Some(first) => match version.tables.get(&first) {
            None => return Ok(Vec::new()),
            Some(entry) if entry.name != name => {
                return Err(Error::invalid(format!(
                    "table {name:?} was renamed to {:?} meanwhile: drop it by that name",
                    entry.name
                )));
            }
            Some(_) => Some(first),
        },
    };
    *found = table;
    if table.is_some() {
        version.check_drop()?;
    }
    Ok(table
        .map(|table| Edit::DropTable { table })
        .into_iter()
        .collect())
}
