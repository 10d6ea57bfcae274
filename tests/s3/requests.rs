//! What things cost over HTTP (DESIGN section 7), exactly: our counters, and the requests with their answers as
//! a proxy sees them. tests/engine/requests.rs has the same by our counters alone. What tonbo 0.4.0-a2 needed
//! (FINDINGS) is printed beside.

use crate::support::{
    engine,
    s3::{Proxy, Seen, Server, fresh_prefix, server},
};
use lakeshore::{Db, Env, Options, Requests, Table, platform::native::TokioRuntime};

const PUT: &str = "put 200";
const RECORD: &str = "putIfAbsent 200";
const TAKEN: &str = "putIfAbsent 412";
const GET: &str = "get 200";
const PART: &str = "get 206";
const MISSING: &str = "get 404";
const GONE: &str = "delete 204";
const LIST: &str = "list 200";

/// Counts of both sides since the last look.
struct Meter {
    proxy: Proxy,
    before: Requests,
}

impl Meter {
    /// A proxy before the server, and what reaches it by that.
    fn start(test: &str) -> Option<(Self, Server)> {
        let (server, proxy) = (server(test)?, Proxy::start(test)?);
        let server = server.through(&proxy);
        let before = Requests::default();
        Some((Self { proxy, before }, server))
    }

    /// The requests since the last look, which both sides must have counted alike.
    fn took(&mut self, db: &Db) -> Vec<String> {
        let (seen, now) = (self.proxy.counts(), db.stats().data);
        let requests = self.proxy.requests();
        self.proxy.reset();
        let before = std::mem::replace(&mut self.before, now);
        let ours = Seen {
            get: now.get - before.get,
            put: now.put - before.put,
            put_if_absent: now.put_if_absent - before.put_if_absent,
            list: now.list - before.list,
            delete: now.delete - before.delete,
            total: requests.len() as u64,
            bytes_up: now.bytes_written - before.bytes_written,
            bytes_down: now.bytes_read - before.bytes_read,
        };
        assert_eq!(ours, seen);
        assert_eq!(now.retries, before.retries);
        let total = ours.get + ours.put + ours.put_if_absent + ours.list + ours.delete;
        assert_eq!(total, seen.total);
        requests
    }

    /// Says what it took, which must be these requests in this order.
    fn takes(&mut self, db: &Db, what: &str, expected: &[&str], tonbo: &str) {
        let took = self.took(db);
        let few = &took[..took.len().min(6)];
        println!("{what}: {} requests (tonbo: {tonbo}): {few:?}", took.len());
        assert_eq!(took, expected, "{what}");
    }

    /// For a new handle, whose counts begin at nothing.
    fn fresh(&mut self) {
        self.proxy.reset();
        self.before = Requests::default();
    }
}

async fn open(server: &Server, prefix: &str) -> Db {
    open_with(server, prefix, Options::default()).await
}

async fn open_with(server: &Server, prefix: &str, options: Options) -> Db {
    let env = Env {
        data: server.store(prefix),
        wal: None,
        runtime: TokioRuntime::current().unwrap(),
    };
    Db::open(env, options).await.unwrap()
}

async fn ingest(table: &Table, from: i64, to: i64) {
    let rows = engine::batch(&engine::rows(from, to, 1));
    table.ingest(&[rows]).await.unwrap();
}

#[tokio::test]
async fn requests_are_those_of_the_design_on_both_sides() {
    let Some((mut meter, server)) = Meter::start("requests_are_those_of_the_design_on_both_sides")
    else {
        return;
    };
    let prefix = fresh_prefix();
    let db = open(&server, &prefix).await;
    meter.takes(&db, "open a new database", &[MISSING, LIST], "56");
    let table = engine::table(&db, "t").await;
    // The first table of a database proves its store.
    let proof = [RECORD, TAKEN, GET, GONE, RECORD];
    meter.takes(&db, "create a table", &proof, "-");
    engine::table(&db, "second").await;
    meter.takes(&db, "create another", &[RECORD], "-");
    for i in 0..3 {
        ingest(&table, i * 100, i * 100 + 100).await;
        meter.takes(&db, "small commit", &[RECORD], "11 a publish");
    }
    db.flush().await.unwrap();
    meter.takes(&db, "flush of one table", &[PUT, RECORD], "21");
    assert!(!db.refresh().await.unwrap());
    meter.takes(&db, "refresh, nothing new", &[MISSING], "-");
    db.checkpoint().await.unwrap();
    meter.takes(&db, "checkpoint", &[PUT, PUT], "-");

    meter.fresh();
    let db = open(&server, &prefix).await;
    meter.takes(&db, "open, no commit outstanding", &[GET, LIST], "47");
    // A look at another's commit: the record, and that there is no next.
    ingest(&table, 300, 301).await;
    meter.proxy.reset();
    assert!(db.refresh().await.unwrap());
    meter.takes(&db, "refresh, one commit", &[GET, MISSING], "-");
}

#[tokio::test]
async fn a_cold_open_with_a_point_read_is_four_requests_and_a_warm_read_one() {
    let Some((mut meter, server)) =
        Meter::start("a_cold_open_with_a_point_read_is_four_requests_and_a_warm_read_one")
    else {
        return;
    };
    let prefix = fresh_prefix();
    let db = open(&server, &prefix).await;
    ingest(&engine::table(&db, "t").await, 0, 50_000).await;
    db.flush().await.unwrap();
    db.checkpoint().await.unwrap();

    meter.fresh();
    let db = open(&server, &prefix).await;
    let table = db.table("t").unwrap();
    assert!(engine::get(&table, 31_415).await.unwrap().is_some());
    let cold = [GET, LIST, PART, PART];
    meter.takes(&db, "cold open + point read", &cold, "63 to 122");
    assert!(engine::get(&table, 2_718).await.unwrap().is_some());
    meter.takes(&db, "warm point read", &[PART], "-");
    assert!(engine::get(&table, 60_000).await.unwrap().is_none());
    meter.takes(&db, "a key outside every file's range", &[], "-");
}

/// Records have copies of those before them, so four GETs read 64 of them (PROTOCOL N3).
#[tokio::test]
async fn an_open_with_64_commits_outstanding_is_six_requests() {
    let Some((mut meter, server)) =
        Meter::start("an_open_with_64_commits_outstanding_is_six_requests")
    else {
        return;
    };
    let prefix = fresh_prefix();
    let options = Options {
        checkpoint_records: 1000,
        ..Options::default()
    };
    let db = open_with(&server, &prefix, options).await;
    let table = engine::table(&db, "t").await;
    db.checkpoint().await.unwrap();
    meter.took(&db);
    for i in 0..64 {
        ingest(&table, i, i + 1).await;
    }
    meter.takes(&db, "64 small commits", &[RECORD; 64], "11 each");

    meter.fresh();
    let db = open(&server, &prefix).await;
    let expected = [GET, LIST, GET, GET, GET, GET];
    meter.takes(&db, "open, 64 commits outstanding", &expected, "-");
    let rows = engine::content(&db.table("t").unwrap()).await.unwrap();
    assert_eq!(rows.len(), 64);
    meter.takes(&db, "reading them", &[], "-");
}

#[tokio::test]
async fn a_lost_race_is_a_refused_put_a_get_and_a_put() {
    let Some((mut meter, server)) = Meter::start("a_lost_race_is_a_refused_put_a_get_and_a_put")
    else {
        return;
    };
    let prefix = fresh_prefix();
    let first = open(&server, &prefix).await;
    let mine = engine::table(&first, "t").await;
    let second = open(&server, &prefix).await;
    ingest(&mine, 0, 1).await;
    meter.before = second.stats().data;
    meter.proxy.reset();
    ingest(&second.table("t").unwrap(), 1, 2).await;
    meter.takes(&second, "lost race", &[TAKEN, GET, RECORD], "-");
    let rows = engine::content(&second.table("t").unwrap()).await.unwrap();
    assert_eq!(rows.len(), 2);
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
    let expected = ["get 503", "get 503", MISSING, LIST];
    assert_eq!(proxy.requests(), expected);
}
