//! What has to be true of what a feed gives: the rows of each record as the log has them, in its order.

use super::{
    device::Open,
    feed::{Feed, Reading, seq_of},
    log::{Fresh, TABLES, Writes},
    rows::{self, Row},
    world::World,
};
use lakeshore::{Change, TableChange, log::edit::TableId, merge::Kind};

impl World {
    /// A cursor as the engine writes it.
    pub fn cursor(&self, seq: u64) -> String {
        let digest = self.log.digests[seq as usize];
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{seq}-{hex}")
    }

    /// Whether a feed gives rows of a table: of one that was dropped it may or may not.
    fn gives(&self, feed: &Feed, table: TableId) -> bool {
        let name = self.log.tables[&table].name;
        self.log.lives(table) && (!feed.narrow || name == 0)
    }

    /// A record after the feed's position and before `seq` that it should have given.
    pub fn left_out(&self, feed: &Feed, seq: u64) -> Option<u64> {
        let gives = |seq: &u64| {
            let mut rows = self.log.fresh[*seq as usize].keys();
            rows.any(|(table, _)| self.gives(feed, *table))
        };
        (feed.at + 1..seq).find(gives)
    }

    /// Whether a record after `seq` has rows of a table that was dropped: gc may have taken its files.
    pub fn has_dead_rows(&self, seq: u64) -> bool {
        let later = self.log.fresh.iter().skip(seq as usize + 1);
        later
            .flat_map(|fresh| fresh.keys())
            .any(|(table, _)| !self.log.lives(*table))
    }

    pub fn changed(
        &self,
        open: &Open,
        reading: &mut Reading,
        head: u64,
        change: &Change,
    ) -> Result<(), String> {
        if !change.uploaded {
            return self.previewed(open, head, change);
        }
        let seq = self.log.ts.binary_search(&change.ts);
        let seq = seq.map_err(|_| format!("no record has timestamp {}", change.ts))? as u64;
        match &reading.part {
            Some((open, _)) if *open != seq => {
                return Err(format!("after a part of {open} comes {seq}"));
            }
            None if seq <= reading.feed.at => return Err(format!("{seq} comes again")),
            _ => {}
        }
        if let Some(left) = self.left_out(&reading.feed, seq) {
            return Err(format!("{left} is left out, {seq} comes"));
        }
        let (_, said) = reading.part.get_or_insert_with(|| (seq, Fresh::new()));
        for part in &change.tables {
            let (table, rows) = self.rows_of(head, part)?;
            for (key, row) in rows {
                if said.insert((table, key), row).is_some() {
                    return Err(format!("{seq} has row {key} twice"));
                }
            }
        }
        let cursor = change.cursor.to_string();
        let at = seq_of(&cursor);
        reading.feed.cursor = Some(cursor.clone());
        if change.more {
            let before = reading.feed.at <= at && at < seq;
            return before
                .then_some(())
                .ok_or_else(|| format!("a part of {seq} says {cursor}"));
        }
        if cursor != self.cursor(seq) {
            return Err(format!("the end of {seq} says {cursor}"));
        }
        let said = reading
            .part
            .take()
            .map(|(_, said)| said)
            .unwrap_or_default();
        reading.feed.at = seq;
        self.compare(&reading.feed, head, seq, &said)
    }

    /// All rows of a record, but perhaps those of tables that were dropped; and no others.
    fn compare(&self, feed: &Feed, head: u64, seq: u64, said: &Fresh) -> Result<(), String> {
        let cut = |(at, row): (&(TableId, i64), &Option<Row>)| {
            let mask = self.log.tables[&at.0].shape(head).mask();
            (*at, row.map(|row| row.only(mask)))
        };
        let said: Fresh = said.iter().map(cut).collect();
        let expected: Fresh = self.log.fresh[seq as usize].iter().map(cut).collect();
        let missing = expected.iter().find(|(at, row)| {
            said.get(at) != Some(row) && (self.gives(feed, at.0) || said.contains_key(at))
        });
        let other = said.keys().find(|at| {
            let narrow = feed.narrow && self.log.tables[&at.0].name != 0;
            narrow || !expected.contains_key(at)
        });
        match (missing, other) {
            (None, None) => Ok(()),
            _ => Err(format!("{seq} comes as {said:?}, it has {expected:?}")),
        }
    }

    /// The table as the handle knows it, and what is said of it.
    fn rows_of(&self, head: u64, part: &TableChange) -> Result<(TableId, Writes), String> {
        let name = TABLES.iter().position(|t| *t == part.table);
        let known = name.and_then(|name| self.log.table(name, head));
        let (id, shape) = known.ok_or_else(|| format!("it names table {:?}", part.table))?;
        let rows = match part.kind {
            Kind::Upsert => {
                let rows = rows::unpack(&shape, &part.batch)?.into_iter();
                rows.map(|(key, row)| (key, Some(row))).collect()
            }
            Kind::Delete => {
                let keys = rows::unpack_keys(&shape, &part.batch)?.into_iter();
                keys.map(|key| (key, None)).collect()
            }
        };
        Ok((id, rows))
    }

    /// What only this device has is what it committed.
    fn previewed(&self, open: &Open, head: u64, change: &Change) -> Result<(), String> {
        let device = &self.devices[self.processes[open.pid].device];
        let own = |id: usize| {
            let commit = &self.log.commits[id];
            let here = device.sessions.get(&commit.pid);
            commit.local && here.is_some_and(|until| until.is_none_or(|until| id < until))
        };
        for part in &change.tables {
            let (table, rows) = self.rows_of(head, part)?;
            let mask = self.log.tables[&table].shape(head).mask();
            for (key, row) in rows {
                let wrote = |id: usize| {
                    let writes = self.log.commits[id].writes.get(&table);
                    let row_of = |w: &(i64, Option<Row>)| (w.0, w.1.map(|r| r.only(mask)));
                    own(id) && writes.is_some_and(|w| w.iter().any(|w| row_of(w) == (key, row)))
                };
                let known = match row {
                    Some(row) => wrote(row.commit as usize),
                    None => (0..self.log.commits.len()).any(wrote),
                };
                if !known {
                    return Err(format!(
                        "it shows {key} {row:?} of table {table} as its own"
                    ));
                }
            }
        }
        Ok(())
    }
}
