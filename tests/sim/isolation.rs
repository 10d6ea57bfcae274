//! What transactions are safe from: nothing that one depends on was written since it began (PROTOCOL C1,
//! C4, W5).

use super::{
    log::{Fresh, Status, Written},
    world::World,
};
use lakeshore::log::edit::TableId;

impl World {
    /// Nothing that a transaction depends on was written since it began, neither in records nor in its own
    /// before it (PROTOCOL C1, C4).
    pub fn conflicts(&self, id: usize, before: &Fresh) -> Result<(), String> {
        let commit = &self.log.commits[id];
        let Some(transaction) = commit.transaction.as_ref().filter(|_| !commit.local) else {
            return Ok(());
        };
        let touched = |(table, key): &(TableId, i64)| transaction.depends(*table, *key);
        if let Some(row) = before.keys().find(|row| touched(row)) {
            return Err(format!(
                "#{id} depends on {row:?}, which its own group wrote before it"
            ));
        }
        let later = |versions: &[Written]| versions.iter().any(|v| v.0 > transaction.since);
        let history = self.log.history.iter();
        match history
            .filter(|(_, versions)| later(versions))
            .find(|(row, _)| touched(row))
        {
            None => Ok(()),
            Some((row, _)) => {
                let since = transaction.since;
                Err(format!(
                    "#{id} read at {since} and depends on {row:?}, which was written since"
                ))
            }
        }
    }

    /// Transactions of one device are isolated from each other (PROTOCOL W5).
    pub fn check_local_transactions(&mut self) {
        let commits = &self.log.commits;
        let broken = commits.iter().enumerate().find_map(|(id, commit)| {
            let transaction = commit.transaction.as_ref()?;
            if !commit.local || commit.status != Status::Acked {
                return None;
            }
            let between =
                commits
                    .iter()
                    .enumerate()
                    .skip(transaction.commits)
                    .find(|(_, other)| {
                        let rows = || {
                            other
                                .writes
                                .iter()
                                .flat_map(|(t, w)| w.iter().map(|(k, _)| (*t, *k)))
                        };
                        other.pid == commit.pid
                            && other.status == Status::Acked
                            && other.order < commit.order
                            && rows().any(|(table, key)| transaction.depends(table, key))
                    });
            between.map(|(other, _)| (id, other))
        });
        if let Some((id, other)) = broken {
            self.violation(format_args!(
                "#{id} depends on what #{other} wrote while it ran"
            ));
        }
    }
}
