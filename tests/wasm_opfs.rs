//! OPFS for real, in a dedicated worker of a browser: the invariants of every store, a database,
//! what other workers hold, what a dead one left, and faults of the browser's own calls.
//! `wasm-pack test --headless --chrome` (or `--firefox`) runs it; `webdriver.json` names the browsers.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(unreachable_pub)]
#[path = "support/conformance.rs"]
mod conformance;

use arrow_array::{Int64Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use conformance::Excused;
use futures_util::future::join;
use js_sys::{Date, Function, Math, Promise};
use lakeshore::{
    Db, Env, ErrorKind, Options,
    data::schema::TableSchema,
    env::{PutOutcome, Runtime, Storage},
    platform::{
        over_fusio::OverFusio,
        wasm::{Opfs, WasmRuntime},
    },
};
use std::{ops::Range, sync::Arc, time::Duration};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// A directory that no other test has.
fn fresh() -> String {
    format!("tests/{:x}", (Math::random() * 1e15) as u64)
}

fn store(name: &str) -> Arc<Opfs> {
    Opfs::new(name, false).unwrap()
}

/// What the body of an async function returns, given `name`.
async fn js(name: &str, body: &str) -> JsValue {
    let source = format!("return (async () => {{ {body} }})()");
    let promise = Function::new_with_args("name", &source)
        .call1(&JsValue::NULL, &name.into())
        .unwrap();
    JsFuture::from(promise.unchecked_into::<Promise>())
        .await
        .unwrap()
}

/// The names in the directory `name`, sorted, each followed by a space; "none" if it is not there.
async fn raw_names(name: &str) -> String {
    let body = "let found = await navigator.storage.getDirectory(); const names = [];
        try { for (const part of name.split('/')) found = await found.getDirectoryHandle(part); }
        catch { return 'none'; }
        for await (const entry of found.keys()) names.push(entry + ' ');
        return names.sort().join('')";
    js(name, body).await.as_string().unwrap()
}

/// Another worker, which runs `body` and then stays alive.
async fn worker(name: &str, body: &str) -> JsValue {
    let find = "let root = await navigator.storage.getDirectory();
        for (const part of name.split('/')) root = await root.getDirectoryHandle(part, { create: true });";
    let source = format!(
        "onmessage = async ({{ data: name }}) => {{ try {{ {find} {body}; postMessage('') }}
        catch (error) {{ postMessage(String(error)) }} }};"
    );
    let start = format!(
        "const blob = new Blob([{source:?}], {{ type: 'text/javascript' }});
        const worker = new Worker(URL.createObjectURL(blob));
        const said = await new Promise((resolve) => {{
            worker.onmessage = ({{ data }}) => resolve(data); worker.postMessage(name); }});
        if (said !== '') throw new Error(said);
        return worker"
    );
    js(name, &start).await
}

fn terminate(worker: &JsValue) {
    let end = Function::new_with_args("worker", "worker.terminate()");
    end.call1(&JsValue::NULL, worker).unwrap();
}

/// Replaces a method of all sync access handles, which `source` (given `original`) makes; until dropped.
struct Fault(JsValue);

fn fault(class: &str, method: &str, source: &str) -> Fault {
    let source = format!(
        "const type = globalThis.{class}.prototype, original = type.{method};
        type.{method} = {source}; return () => {{ type.{method} = original; }}"
    );
    Fault(
        Function::new_no_args(&source)
            .call0(&JsValue::NULL)
            .unwrap(),
    )
}

impl Drop for Fault {
    fn drop(&mut self) {
        let restore = self.0.unchecked_ref::<Function>();
        restore.call0(&JsValue::NULL).unwrap();
    }
}

async fn sleep(millis: u64) {
    let runtime = WasmRuntime::new().unwrap();
    runtime.sleep(Duration::from_millis(millis)).await;
}

#[wasm_bindgen_test]
async fn opfs_conforms() {
    let make = || store(&fresh()) as Arc<dyn Storage>;
    conformance::run(make, Excused::default()).await;
}

#[wasm_bindgen_test]
async fn opfs_as_a_fusio_store_conforms() {
    let make = || OverFusio::new((*store(&fresh())).clone()) as Arc<dyn Storage>;
    let excused = Excused {
        slow: true,
        ..Excused::default()
    };
    conformance::run(make, excused).await;
}

#[wasm_bindgen_test]
async fn reading_makes_no_directory() {
    let name = fresh();
    let opfs = store(&name);
    assert_eq!(opfs.get("a/b").await.unwrap(), None);
    assert_eq!(opfs.list("", None).await.unwrap(), []);
    opfs.delete("a/b").await.unwrap();
    assert_eq!(raw_names(&name).await, "none");
    opfs.put("a/b", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(opfs.get("c/b").await.unwrap(), None);
    assert_eq!(raw_names(&name).await, "a ");
}

#[wasm_bindgen_test]
async fn a_bad_name_is_invalid_and_a_good_one_is_described() {
    for name in ["", "/", "../x", "a//b", "a b", ".tmp-x"] {
        let error = Opfs::new(name, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?}: {error}");
        assert!(error.message().contains("opfs()"), "{error}");
    }
    let name = fresh();
    let opfs = Opfs::new(&name, true).unwrap();
    assert_eq!(opfs.describe(), format!("opfs {name}"));
    opfs.get("a").await.unwrap();
    let kept = opfs.persisted().unwrap();
    let said = if kept { "persisted" } else { "best effort" };
    assert_eq!(opfs.describe(), format!("opfs {name} ({said})"));
}

fn schema() -> TableSchema {
    let id = Arc::new(Field::new("id", DataType::Int64, false));
    let name = Arc::new(Field::new("name", DataType::Utf8, true));
    TableSchema::new(vec![id, name], &["id"]).unwrap()
}

fn rows(ids: Range<i64>) -> RecordBatch {
    let names: StringArray = ids.clone().map(|id| Some(format!("row {id}"))).collect();
    let ids: Int64Array = ids.collect();
    RecordBatch::try_new(
        schema().user().clone(),
        vec![Arc::new(ids), Arc::new(names)],
    )
    .unwrap()
}

async fn ids(db: &Db) -> Vec<i64> {
    let scan = db.table("rows").unwrap().scan();
    let batches = scan.stream().unwrap().collect().await.unwrap();
    let column = |batch: &RecordBatch| {
        batch
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    };
    batches.iter().flat_map(column).collect()
}

fn env(name: &str, wal: bool) -> Env {
    Env {
        data: store(&format!("{name}/data")),
        wal: wal.then(|| store(&format!("{name}/wal")) as _),
        runtime: WasmRuntime::new().unwrap(),
    }
}

#[wasm_bindgen_test]
async fn a_database_in_opfs_has_its_rows_after_a_reopen_with_and_without_a_close() {
    for wal in [false, true] {
        let name = fresh();
        let db = Db::open(env(&name, wal), Options::default()).await.unwrap();
        let table = db.create_table("rows", schema()).await.unwrap();
        table.ingest(&[rows(0..100)]).await.unwrap();
        db.flush().await.unwrap();
        table.ingest(&[rows(90..120)]).await.unwrap();
        table
            .delete(&[rows(5..6).project(&[0]).unwrap()])
            .await
            .unwrap();
        db.close().await.unwrap();

        let db = Db::open(env(&name, wal), Options::default()).await.unwrap();
        let mut expected: Vec<i64> = (0..120).filter(|id| *id != 5).collect();
        assert_eq!(ids(&db).await, expected, "wal: {wal}");
        db.table("rows")
            .unwrap()
            .ingest(&[rows(120..130)])
            .await
            .unwrap();
        drop(db); // As a worker that ends: nothing is synced or written any more.

        let db = Db::open(env(&name, wal), Options::default()).await.unwrap();
        expected.extend(120..130);
        assert_eq!(ids(&db).await, expected, "wal: {wal}");
        db.flush().await.unwrap();
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
        let db = Db::open(env(&name, wal), Options::default()).await.unwrap();
        assert_eq!(ids(&db).await, expected, "wal: {wal}");
        db.close().await.unwrap();
    }
}

#[wasm_bindgen_test]
async fn a_second_open_is_busy_and_names_this_worker() {
    let name = fresh();
    let db = Db::open(env(&name, true), Options::default())
        .await
        .unwrap();
    let error = Db::open(env(&name, true), Options::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    let message = error.message();
    assert!(message.contains("another handle in this worker"), "{error}");
    assert!(message.contains(&format!("opfs {name}/wal")), "{error}");
    db.close().await.unwrap();
    let db = Db::open(env(&name, true), Options::default())
        .await
        .unwrap();
    db.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn a_lock_of_another_worker_is_busy_until_that_worker_ends() {
    let name = fresh();
    let hold = "await new Promise((held) => navigator.locks.request(
        'lakeshore:lock:/' + name + '/wal', () => { held(); return new Promise(() => {}); }))";
    let other = worker(&name, hold).await;
    let before = Date::now();
    let error = store(&name).lock("wal").await.err().unwrap();
    let waited = Date::now() - before;
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    let message = error.message();
    assert!(
        message.contains("another tab or worker of this origin (client "),
        "{error}"
    );
    assert!(
        waited > 1_500.0,
        "a reloaded page's worker gets its time: {waited}"
    );

    let opfs = store(&name);
    let (lock, ()) = join(opfs.lock("wal"), async {
        sleep(300).await;
        terminate(&other);
    })
    .await;
    lock.unwrap().release().await.unwrap();
}

#[wasm_bindgen_test]
async fn an_append_file_open_in_another_worker_is_busy_until_that_worker_ends() {
    let name = fresh();
    let hold = "const file = await root.getFileHandle('segment', { create: true });
        globalThis.access = await file.createSyncAccessHandle();
        access.write(new Uint8Array([1, 2, 3]));";
    let other = worker(&name, hold).await;
    let opfs = store(&name);
    let error = opfs.append("segment").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.message().contains("segment"), "{error}");
    let (file, ()) = join(opfs.append("segment"), async {
        sleep(300).await;
        terminate(&other);
    })
    .await;
    let mut file = file.unwrap();
    assert_eq!(file.len(), 3);
    file.write(Bytes::from_static(&[4])).await.unwrap();
    file.close().await.unwrap();
    assert_eq!(
        opfs.get("segment").await.unwrap().unwrap(),
        [1, 2, 3, 4][..]
    );
}

#[wasm_bindgen_test]
async fn put_if_absent_sees_what_another_worker_made_meanwhile() {
    let name = fresh();
    let hold = "await new Promise((held) => navigator.locks.request(
        'lakeshore:put:/' + name + '/log/1', async () => { held();
            await new Promise((resolve) => setTimeout(resolve, 500));
            const log = await root.getDirectoryHandle('log', { create: true });
            await log.getFileHandle('1', { create: true }); }))";
    let other = worker(&name, hold).await;
    let outcome = store(&name)
        .put_if_absent("log/1", Bytes::from_static(b"ours"))
        .await;
    assert_eq!(outcome.unwrap(), PutOutcome::Exists);
    assert_eq!(store(&name).get("log/1").await.unwrap(), Some(Bytes::new()));
    terminate(&other);
}

#[wasm_bindgen_test]
async fn what_a_dead_writer_left_is_removed_and_a_living_ones_is_not() {
    let name = fresh();
    let leave = "for (const left of ['.tmp-dead-0', '.tmp-dead-17', '.tmp-x'])
        await root.getFileHandle(left, { create: true })";
    terminate(&worker(&name, leave).await);
    let living = store(&name);
    let mut writer = living.create("data/new").await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    let names = raw_names(&name).await;
    assert!(!names.contains("dead") && !names.contains("-x"), "{names}");
    store(&name).put("other", Bytes::new()).await.unwrap();
    writer
        .write(Bytes::from_static(b" and half"))
        .await
        .unwrap();
    writer.finish().await.unwrap();
    let body = living.get("data/new").await.unwrap().unwrap();
    assert_eq!(body, &b"half and half"[..]);
    assert_eq!(raw_names(&name).await, "data other ");
    // A dropped one removes its own.
    drop(living.create("data/never").await.unwrap());
    for _ in 0..100 {
        if raw_names(&name).await == "data other " {
            return;
        }
        sleep(10).await;
    }
    panic!("left: {}", raw_names(&name).await);
}

#[wasm_bindgen_test]
async fn what_is_being_read_can_be_replaced_and_deleted_here_and_by_others() {
    let name = fresh();
    let (reader, other) = (store(&name), store(&name));
    for body in ["one", "second"] {
        reader.put("x", Bytes::from(body)).await.unwrap();
        let tail = reader.get_suffix("x", 2).await.unwrap().unwrap();
        assert_eq!(tail.0, body[body.len() - 2..]);
        assert_eq!(tail.1, body.len() as u64);
    }
    // The other waits until the reader's handle is closed.
    other.put("x", Bytes::from("the third")).await.unwrap();
    let part = reader.get_range("x", 4..9).await.unwrap().unwrap();
    assert_eq!(part, "third");
    let kept = other.get_range("x", 0..3).await.unwrap().unwrap();
    assert_eq!(kept, "the");
    reader.delete("x").await.unwrap();
    assert_eq!(reader.get_range("x", 0..1).await.unwrap(), None);
    assert_eq!(other.get("x").await.unwrap(), None);
}

#[wasm_bindgen_test]
async fn an_evicted_store_says_so_and_does_not_begin_anew() {
    let name = fresh();
    let opfs = store(&name);
    opfs.put("log/1", Bytes::from_static(b"x")).await.unwrap();
    let evict = "const [dir, base] = name.split('/');
        const parent = await (await navigator.storage.getDirectory()).getDirectoryHandle(dir);
        await parent.removeEntry(base, { recursive: true })";
    js(&name, evict).await;
    for key in ["log/2", "data/1/x", "y"] {
        let errors = [
            opfs.put(key, Bytes::new()).await.err().unwrap(),
            opfs.put_if_absent(key, Bytes::new()).await.err().unwrap(),
            opfs.append(key).await.err().unwrap(),
            opfs.create(key).await.err().unwrap(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{key}: {error}");
            assert!(error.message().contains("is gone"), "{error}");
        }
    }
    assert_eq!(raw_names(&name).await, "none");
    // A new handle may begin anew.
    store(&name).put("log/1", Bytes::new()).await.unwrap();
}

#[wasm_bindgen_test]
async fn short_writes_are_written_on_and_no_progress_is_an_error() {
    let opfs = store(&fresh());
    let body: Bytes = (0..10_000u32).map(|i| (i % 251) as u8).collect();
    {
        let _short = fault(
            "FileSystemSyncAccessHandle",
            "write",
            "function (bytes, options) { return original.call(this, bytes.subarray(0, 777), options); }",
        );
        let mut file = opfs.append("wal/1").await.unwrap();
        file.write(body.clone()).await.unwrap();
        file.write(body.clone()).await.unwrap();
        file.sync().await.unwrap();
        file.close().await.unwrap();
        opfs.put("object", body.clone()).await.unwrap();
    }
    assert!(opfs.get("wal/1").await.unwrap().unwrap() == [&body[..], &body[..]].concat());
    assert!(opfs.get("object").await.unwrap().unwrap() == body);

    let mut file = opfs.append("wal/2").await.unwrap();
    {
        let _full = fault("FileSystemSyncAccessHandle", "write", "() => 0");
        let error = file.write(body.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("free storage"), "{error}");
    }
    // What became of the file is not known: it refuses to go on until it is opened again.
    assert_eq!(
        file.write(body.clone()).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(
        file.sync().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    file.close().await.unwrap();
    let mut file = opfs.append("wal/2").await.unwrap();
    file.write(body.clone()).await.unwrap();
    file.close().await.unwrap();
    assert!(opfs.get("wal/2").await.unwrap().unwrap() == body);
}

#[wasm_bindgen_test]
async fn exceptions_of_the_browser_have_clear_kinds_and_leave_nothing() {
    let cases = [
        (
            "QuotaExceededError",
            ErrorKind::Unavailable,
            "free storage of this origin",
        ),
        ("NotAllowedError", ErrorKind::Denied, "private browsing"),
        ("SecurityError", ErrorKind::Denied, "private browsing"),
        ("InvalidStateError", ErrorKind::Unavailable, ""),
    ];
    let places = [
        ("FileSystemSyncAccessHandle", "write"),
        ("FileSystemSyncAccessHandle", "flush"),
        ("FileSystemFileHandle", "createSyncAccessHandle"),
        ("FileSystemFileHandle", "move"),
        ("FileSystemDirectoryHandle", "getFileHandle"),
    ];
    let name = fresh();
    store(&name)
        .put("kept", Bytes::from_static(b"kept"))
        .await
        .unwrap();
    for (thrown, kind, remedy) in cases {
        for (class, method) in places {
            let source = format!("() => {{ throw new DOMException('no', '{thrown}'); }}");
            let opfs = store(&name);
            let errors = {
                let _fault = fault(class, method, &source);
                let body = || Bytes::from_static(b"lost");
                [
                    opfs.put("kept", body()).await.unwrap_err(),
                    opfs.put_if_absent("new", body()).await.unwrap_err(),
                ]
            };
            for error in errors {
                assert_eq!(error.kind(), kind, "{thrown} in {method}: {error}");
                assert!(error.message().contains(remedy), "{error}");
                assert!(error.message().contains(&format!("opfs {name}")), "{error}");
            }
            let listed = opfs.list("", None).await.unwrap();
            assert_eq!(listed.len(), 1, "{listed:?}");
            assert_eq!(opfs.get("kept").await.unwrap().unwrap(), &b"kept"[..]);
        }
    }
}

#[wasm_bindgen_test]
async fn a_full_disk_fails_a_commit_and_keeps_what_was_acknowledged() {
    let name = fresh();
    let db = Db::open(env(&name, true), Options::default())
        .await
        .unwrap();
    let table = db.create_table("rows", schema()).await.unwrap();
    table.ingest(&[rows(0..10)]).await.unwrap();
    {
        let quota = "() => { throw new DOMException('full', 'QuotaExceededError'); }";
        let _full = fault("FileSystemSyncAccessHandle", "write", quota);
        let error = table.ingest(&[rows(10..20)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("full"), "{error}");
    }
    table.ingest(&[rows(20..30)]).await.unwrap();
    drop((table, db));
    let db = Db::open(env(&name, true), Options::default())
        .await
        .unwrap();
    assert_eq!(ids(&db).await, (0..10).chain(20..30).collect::<Vec<i64>>());
    db.close().await.unwrap();
}

/// Shown, not asserted: the machine decides.
#[wasm_bindgen_test]
async fn figures_of_a_durable_commit_beside_a_raw_write_and_flush() {
    let name = fresh();
    let runtime = WasmRuntime::new().unwrap();
    let opfs = store(&format!("{name}/raw"));
    let mut file = opfs.append("file").await.unwrap();
    let db = Db::open(env(&name, true), Options::default())
        .await
        .unwrap();
    let table = db.create_table("rows", schema()).await.unwrap();
    let page = Bytes::from(vec![7; 4096]);
    let (mut raw, mut commit) = (Vec::new(), Vec::new());
    for i in 0..200 {
        let before = runtime.monotonic();
        file.write(page.clone()).await.unwrap();
        file.sync().await.unwrap();
        raw.push(runtime.monotonic() - before);
        let before = runtime.monotonic();
        table.ingest(&[rows(i..i + 1)]).await.unwrap();
        commit.push(runtime.monotonic() - before);
    }
    raw.sort();
    commit.sort();
    console_log!(
        "raw write + flush of 4 KB: p50 {:?}, p90 {:?}",
        raw[100],
        raw[180]
    );
    console_log!(
        "durable commit of one row: p50 {:?}, p90 {:?}",
        commit[100],
        commit[180]
    );
    db.close().await.unwrap();
}
