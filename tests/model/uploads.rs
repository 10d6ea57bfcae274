//! What went up when: over a WAL the log has all commits of the device up to one, as of each of its records
//! (PROTOCOL T5, W3), and between them those of others.

use crate::{history::History, ops::TABLES, read::read, support::altering::Shape, world::World};
use lakeshore::{AsOf, UploadOptions};

impl World {
    /// Looks at the log until nothing has changed since.
    pub async fn settle(&mut self) {
        self.observe().await;
        while self.local() && self.db.stats().head != self.observed {
            self.observe().await;
        }
    }

    /// Over a WAL, what the log says now: the records since the last look, those of the other handle and
    /// uploads, and how many commits each of these has. The newest has those that the device says are
    /// uploaded; those before it, as many as it shows.
    pub async fn observe(&mut self) {
        if !self.local() {
            return;
        }
        let stats = self.db.stats();
        let is_up = |c: &&lakeshore::Committed| self.db.is_uploaded(c);
        let done = self.acknowledged.iter().take_while(is_up).count();
        let more = self.acknowledged[done..].iter().filter(is_up).count();
        assert_eq!(more, 0, "uploaded out of order, after {}", self.now);
        let mut left = done - (self.acknowledged.len() - self.pending.len());
        let new = stats.head - self.observed;
        let versions = match new {
            0 => Vec::new(),
            _ => self.db.versions(new as usize + 8).await.unwrap(),
        };
        let mut records: Vec<_> = (versions.iter())
            .filter(|v| v.seq > self.observed && v.seq <= stats.head)
            .collect();
        records.reverse();
        assert_eq!(records.len() as u64, new, "{}", self.now);
        let own = |ts: i64| !self.foreign.contains_key(&ts);
        let newest = (records.iter().filter(|r| own(r.ts))).map(|r| r.ts).max();
        for record in records {
            if let Some(writes) = self.foreign.remove(&record.ts) {
                self.history.commit(writes);
                self.count("foreign commits beside a WAL");
            } else {
                let commits = match newest == Some(record.ts) {
                    true => left,
                    false => self.shown(record.ts, left).await,
                };
                left -= commits;
                for writes in self.pending.drain(..commits) {
                    self.history.commit(writes);
                }
                if commits > 0 {
                    self.count("uploads");
                }
            }
            self.history.logged(record.ts, self.history.last());
        }
        assert_eq!(left, 0, "uploaded without a record, after {}", self.now);
        self.observed = stats.head;
    }

    /// How many of the pending commits the log has as of `ts`: whole ones, oldest first.
    async fn shown(&self, ts: i64, most: usize) -> usize {
        let snapshot = self.db.snapshot_at(AsOf::Timestamp(ts)).await.unwrap();
        // Of the tables there were then.
        let mut found = Vec::new();
        for (name, table) in TABLES.iter().enumerate() {
            if let Some((place, shape)) = self.met(name, ts, &snapshot) {
                let scan = snapshot.table(table).unwrap().scan();
                found.push((place, shape, read(&scan, false).await.unwrap()));
            }
        }
        let last = self.history.last();
        let after = |n: usize, place: usize, shape: &Shape| {
            let rows = self.history.rows(place, last, shape);
            History::over(rows, self.pending[..n].iter().flatten(), place, shape)
        };
        let is = |n: &usize| (found.iter()).all(|(t, shape, rows)| *rows == after(*n, *t, shape));
        let commits = (0..=most).find(is);
        commits.unwrap_or_else(|| panic!("as of {ts}: {found:?} after {}", self.now))
    }

    pub async fn flush(&mut self) {
        self.db.flush().await.unwrap();
        let dropped = self.db.stats().dropped_rows;
        let mut all = self.acknowledged.iter();
        assert!(
            dropped > 0 || all.all(|c| self.db.is_uploaded(c)),
            "{}",
            self.now
        );
    }

    pub async fn upload(&mut self) {
        let one = UploadOptions {
            max_bytes: Some(0),
            max_millis: None,
        };
        self.db.upload(one).await.unwrap();
    }
}
