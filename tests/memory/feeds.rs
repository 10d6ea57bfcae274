//! Change feeds over large rows, and many that nobody asks.

use crate::{
    allocator::turn,
    reads::{MEMORIES, noise, run, within, write},
    world::{KIB, MIB, small},
};
use lakeshore::{Changes, ChangesOptions, Cursor, Db, platform::memory::Memory};

fn feed(db: &Db) -> Changes {
    let options = ChangesOptions {
        since: Some(Cursor::START),
        end_at_head: true,
        ..ChangesOptions::default()
    };
    db.changes(options).unwrap()
}

/// How many rows a feed has left, and whether each commit ended.
async fn count(mut feed: Changes) -> usize {
    let (mut rows, mut open) = (0, false);
    while let Some(change) = feed.next().await.unwrap() {
        open = change.more;
        for table in &change.tables {
            rows += table.batch.num_rows();
        }
    }
    assert!(!open, "a commit has no end");
    rows
}

#[test]
fn feeds_over_rows_of_a_megabyte_keep_within_the_bound() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let files = (0..4).map(|f| {
            let ids = f * 10..(f + 1) * 10;
            ids.map(|id| (id, noise(id, 0, MIB))).collect()
        });
        write(&store, files).await;
        for memory in MEMORIES {
            for feeds in [1, 8] {
                let what = format!("{feeds} feeds over 40 rows of 1 MiB");
                within(&turn, &what, &store, small(memory), async |_, db| {
                    let all = (0..feeds).map(|_| tokio::spawn(count(feed(&db))));
                    for one in all.collect::<Vec<_>>() {
                        assert_eq!(one.await.unwrap(), 40);
                    }
                    db
                })
                .await;
            }
        }
    });
}

#[test]
fn feeds_that_nobody_asks_keep_nothing_that_others_wait_for() {
    let turn = turn();
    run(async {
        let store = Memory::new();
        let rows = (0..100).map(|id| (id, noise(id, 0, 200 * KIB))).collect();
        write(&store, [rows]).await;
        for memory in MEMORIES {
            let what = "100 feeds that nobody asks";
            within(&turn, what, &store, small(memory), async |_, db| {
                let mut feeds: Vec<(Changes, usize)> = Vec::new();
                for _ in 0..100 {
                    let mut feed = feed(&db);
                    let mut rows = 0;
                    while rows == 0 {
                        let change = feed.next().await.unwrap().unwrap();
                        rows += change
                            .tables
                            .iter()
                            .map(|t| t.batch.num_rows())
                            .sum::<usize>();
                    }
                    feeds.push((feed, rows));
                }
                // What was taken from them comes again, and nothing twice.
                for (feed, rows) in feeds.into_iter().step_by(50) {
                    assert_eq!(rows + count(feed).await, 100);
                }
                db
            })
            .await;
        }
    });
}
