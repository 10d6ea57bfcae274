//! What things cost over HTTP (DESIGN section 7): our counters and a counting proxy must agree, exactly.
//! What tonbo 0.4.0-a2 needed for the same (FINDINGS) is printed beside.

use crate::support::{
    engine,
    s3::{Proxy, Seen, Server, fresh_prefix, server},
};
use lakeshore::{Db, Env, Options, Requests, platform::native::TokioRuntime};

/// Counts of both sides since the last look.
struct Meter {
    proxy: Proxy,
    before: Requests,
}

impl Meter {
    /// Requests since the last look, which both sides must have counted alike.
    fn took(&mut self, db: &Db) -> u64 {
        let (seen, now) = (self.proxy.counts(), db.stats().data);
        self.proxy.reset();
        let before = std::mem::replace(&mut self.before, now);
        let ours = Seen {
            get: now.get - before.get,
            put: now.put - before.put,
            put_if_absent: now.put_if_absent - before.put_if_absent,
            list: now.list - before.list,
            delete: now.delete - before.delete,
            total: seen.total,
            bytes_up: now.bytes_written - before.bytes_written,
            bytes_down: now.bytes_read - before.bytes_read,
        };
        assert_eq!(ours, seen);
        assert_eq!(now.retries, before.retries);
        let total = ours.get + ours.put + ours.put_if_absent + ours.list + ours.delete;
        assert_eq!(total, seen.total);
        total
    }

    /// For a new handle, whose counts begin at nothing.
    fn fresh(&mut self) {
        self.proxy.reset();
        self.before = Requests::default();
    }
}

async fn open(server: &Server, prefix: &str) -> Db {
    let env = Env {
        data: server.store(prefix),
        wal: None,
        runtime: TokioRuntime::current().unwrap(),
    };
    Db::open(env, Options::default()).await.unwrap()
}

#[tokio::test]
async fn requests_are_those_of_the_design_on_both_sides() {
    let name = "requests_are_those_of_the_design_on_both_sides";
    let (Some(server), Some(proxy)) = (server(name), Proxy::start(name)) else {
        return;
    };
    let server = server.through(&proxy);
    let mut meter = Meter {
        proxy,
        before: Requests::default(),
    };
    let prefix = fresh_prefix();
    let say = |what: &str, ours: u64, most: u64, tonbo: &str| {
        println!("{what}: {ours} requests, at most {most} (tonbo: {tonbo})");
        assert!(ours <= most, "{what}: {ours} requests");
    };

    let db = open(&server, &prefix).await;
    say("open a new database", meter.took(&db), 2, "56");
    let table = engine::table(&db, "t").await;
    say("create a table", meter.took(&db), 1, "-");
    for i in 0..3 {
        let rows = engine::rows(i * 100, i * 100 + 100, 1);
        table.ingest(&[engine::batch(&rows)]).await.unwrap();
        say("small commit", meter.took(&db), 1, "11 a publish");
    }
    db.flush().await.unwrap();
    say("flush", meter.took(&db), 2, "21");
    db.refresh().await.unwrap();
    say("refresh, nothing new", meter.took(&db), 1, "-");
    db.checkpoint().await.unwrap();
    say("checkpoint", meter.took(&db), 2, "-");

    meter.fresh();
    let db = open(&server, &prefix).await;
    say("open", meter.took(&db), 2, "47");

    meter.fresh();
    let db = open(&server, &prefix).await;
    let table = db.table("t").unwrap();
    assert!(engine::get(&table, 42).await.unwrap().is_some());
    say("cold open + point read", meter.took(&db), 4, "63 to 122");
    assert!(engine::get(&table, 199).await.unwrap().is_some());
    say("warm point read", meter.took(&db), 1, "-");
}

#[tokio::test]
async fn a_lost_race_is_two_requests_more() {
    let name = "a_lost_race_is_two_requests_more";
    let (Some(server), Some(proxy)) = (server(name), Proxy::start(name)) else {
        return;
    };
    let server = server.through(&proxy);
    let mut meter = Meter {
        proxy,
        before: Requests::default(),
    };
    let prefix = fresh_prefix();
    let first = open(&server, &prefix).await;
    let mine = engine::table(&first, "t").await;
    let second = open(&server, &prefix).await;
    let theirs = second.table("t").unwrap();
    let rows = engine::rows(0, 1, 1);
    mine.ingest(&[engine::batch(&rows)]).await.unwrap();
    meter.before = second.stats().data;
    meter.proxy.reset();
    let rows = engine::rows(1, 2, 2);
    theirs.ingest(&[engine::batch(&rows)]).await.unwrap();
    assert_eq!(meter.took(&second), 3);
}

#[tokio::test]
async fn a_failed_attempt_is_counted_by_both_sides() {
    let name = "a_failed_attempt_is_counted_by_both_sides";
    let (Some(server), Some(proxy)) = (server(name), Proxy::start(name)) else {
        return;
    };
    proxy.fault(r#"{"kind":"get","times":2,"action":{"status":503}}"#);
    let db = open(&server.through(&proxy), &fresh_prefix()).await;
    let (ours, seen) = (db.stats().data, proxy.counts());
    assert_eq!((ours.get, ours.list, ours.retries), (3, 1, 2));
    assert_eq!((seen.get, seen.list), (3, 1));
}
