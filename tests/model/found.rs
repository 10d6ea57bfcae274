//! Cases that failed once, shrunk, and kept.

use crate::{
    ops::{Case, Op::*, Step::*},
    shrink::holds,
};

/// It said that the table has to be created again; the snapshot is too old (PROTOCOL G4).
#[test]
fn a_held_snapshot_of_a_dropped_table_expires_with_its_files() {
    let ops = vec![
        Delete(1, vec![6]),
        Flush,
        Beyond,
        Anew(1),
        Foreign(1, 6, 1),
        Age(2),
        Gc,
    ];
    holds(Case::of(false, ops));
}

/// It was `Unavailable`, for the sstable of the dropped table was asked for ever.
#[test]
fn what_a_transaction_read_of_a_dropped_table_conflicts() {
    let ops = vec![
        Begin(1, true),
        Within(1, All(0)),
        Ingest(0, 14, 1),
        Within(1, Put(1, 14)),
        Anew(0),
        Commit(1),
    ];
    holds(Case {
        inline_commit_bytes: 64,
        ..Case::of(false, ops)
    });
}

/// A flush in the background put its record between the look at the log and the comparison: of the model.
#[test]
fn a_time_beyond_the_head_may_become_that_of_an_upload_under_way() {
    let mut ops = vec![AsOfTag(1), Tag(1, Some(29)), AsOf(0, 1)];
    let commits = (0..9).map(|key| Ingest(0, key, 1));
    ops.splice(1..1, commits);
    holds(Case {
        stall: 3,
        ..Case::of(true, ops)
    });
}
