//! The wasm side of the seam, under Node: the runtime, and hosts in JavaScript, which keep the same
//! invariants as native stores do.

use crate::conformance;

use bytes::Bytes;
use conformance::Excused;
use js_sys::{Array, Function, Reflect};
use lakeshore::{
    ErrorKind,
    env::{Runtime, Storage},
    platform::{
        over_fusio::OverFusio,
        wasm::{Host, WasmRuntime},
    },
};
use std::{sync::Arc, time::Duration};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::wasm_bindgen_test;

fn eval(source: &str) -> JsValue {
    js_sys::eval(&format!("({source})")).unwrap()
}

/// A host in memory, `without` some methods.
fn memory_host(without: &[&str]) -> JsValue {
    let source = include_str!("../support/memory_host.js");
    // Comments first, the function after them.
    let make = js_sys::eval(source).unwrap().unchecked_into::<Function>();
    let without: Array = without.iter().map(|name| JsValue::from(*name)).collect();
    make.apply(&JsValue::NULL, &without).unwrap()
}

fn with(host: JsValue, method: &str, source: &str) -> Arc<Host> {
    Reflect::set(&host, &method.into(), &eval(source)).unwrap();
    Host::new(host).unwrap()
}

/// `js/src/host/node.ts`, without its types.
fn node_directory() -> Arc<Host> {
    let make = format!(
        r#"() => {{
            const load = {typescript}
            const {{ nodeDirectory }} = load({manifest:?}, "js/src/host/node.ts");
            const fs = process.getBuiltinModule("fs");
            const root = fs.mkdtempSync(process.getBuiltinModule("os").tmpdir() + "/lakeshore-");
            process.on("exit", () => fs.rmSync(root, {{ recursive: true, force: true }}));
            return nodeDirectory(root + "/not/yet/there");
        }}"#,
        typescript = include_str!("../support/typescript.js"),
        manifest = env!("CARGO_MANIFEST_DIR")
    );
    let make = eval(&make).unchecked_into::<Function>();
    Host::new(make.call0(&JsValue::NULL).unwrap()).unwrap()
}

#[wasm_bindgen_test]
async fn a_host_conforms() {
    let make = || Host::new(memory_host(&[])).unwrap() as Arc<dyn Storage>;
    conformance::run(make, Excused::default()).await;
}

#[wasm_bindgen_test]
async fn a_host_as_a_fusio_store_conforms() {
    let make =
        || OverFusio::new((*Host::new(memory_host(&[])).unwrap()).clone()) as Arc<dyn Storage>;
    conformance::run(make, Excused::default()).await;
}

#[wasm_bindgen_test]
async fn a_directory_of_node_conforms() {
    conformance::run(|| node_directory(), Excused::default()).await;
}

#[wasm_bindgen_test]
async fn a_host_may_tell_when_objects_were_written() {
    let telling = |modified: &str| {
        let list = format!("() => [{{ key: 'log/1', size: 3, modified: {modified} }}]");
        with(memory_host(&[]), "list", &list)
    };
    for (modified, expected) in [
        ("new Date(1700000000007)", Some(1_700_000_000_007_000)),
        ("undefined", None),
        ("null", None),
        // A Date of another realm.
        ("{ getTime: () => 5 }", Some(5000)),
    ] {
        let listed = telling(modified).list("", None).await.unwrap();
        assert_eq!(listed[0].modified, expected, "{modified}");
    }
    for modified in ["1700000000007", "'now'", "new Date(NaN)", "new Date(-1)"] {
        let error = telling(modified).list("", None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{modified}");
        assert!(error.message().contains("modified"), "{error}");
    }
}

#[wasm_bindgen_test]
async fn a_missing_method_is_named() {
    let error = Host::new(memory_host(&["putIfAbsent"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("putIfAbsent"), "{error}");
    assert_eq!(
        Host::new(JsValue::from(7)).unwrap_err().kind(),
        ErrorKind::Invalid
    );

    let host = Host::new(memory_host(&["append", "lock", "create", "describe"])).unwrap();
    let error = host.append("wal/1").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("host.append()"), "{error}");
    let error = host.lock("wal").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("host.lock()"), "{error}");
    // Pieces gather in memory instead.
    conformance::pieces_appear_whole_at_finish(host).await;
}

#[wasm_bindgen_test]
async fn errors_of_a_host_keep_their_meaning() {
    let cases = [
        ("{ code: 'Expired' }", ErrorKind::Expired),
        ("{ code: 'Unknown' }", ErrorKind::Unknown),
        ("{ code: 'ENOSPC' }", ErrorKind::Unavailable),
        ("{ code: 'EACCES' }", ErrorKind::Denied),
        ("{ code: 'EISDIR' }", ErrorKind::Invalid),
        ("{ code: 'EIO' }", ErrorKind::Unavailable),
        ("{ name: 'QuotaExceededError' }", ErrorKind::Unavailable),
        ("{ name: 'NotAllowedError' }", ErrorKind::Denied),
        ("{ name: 'NoModificationAllowedError' }", ErrorKind::Busy),
        ("{}", ErrorKind::Unavailable),
    ];
    let why = "it did https://bucket/key?X-Amz-Signature=secret not";
    for (properties, kind) in cases {
        for way in ["() => { throw error; }", "async () => { throw error; }"] {
            let source =
                format!("((error) => {way})(Object.assign(new Error({why:?}), {properties}))");
            let host = with(memory_host(&[]), "put", &source);
            let error = host.put("a/b", Bytes::from_static(b"x")).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{properties}: {error}");
            assert!(
                error.message().contains("it did https://bucket/key not"),
                "{error}"
            );
            assert!(!error.message().contains("secret"), "{error}");
        }
    }
    let host = with(memory_host(&[]), "get", "() => { throw 'a string' }");
    let error = host.get("a").await.unwrap_err();
    assert!(error.message().contains("a string"), "{error}");
    let host = with(memory_host(&[]), "get", "async () => { throw undefined }");
    assert_eq!(
        host.get("a").await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[wasm_bindgen_test]
async fn answers_of_a_host_are_checked() {
    let whole = "() => new Uint8Array(100)";
    let error = with(memory_host(&[]), "getRange", whole)
        .get_range("a", 0..10)
        .await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt);
    for wrong in [
        "() => 'text'",
        "() => 7",
        "() => ({})",
        "async () => [1, 2]",
    ] {
        let error = with(memory_host(&[]), "get", wrong)
            .get("a")
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}: {error}");
        assert!(
            error.message().contains("host.get() must return"),
            "{error}"
        );
    }
    for wrong in [
        "() => ({ bytes: new Uint8Array(3), size: 10 })",
        "() => ({ size: 10 })",
    ] {
        let host = with(memory_host(&[]), "getSuffix", wrong);
        assert!(host.get_suffix("a", 5).await.is_err(), "{wrong}");
    }
    for wrong in [
        "() => ({ bytes: new Uint8Array(3), size: -1 })",
        "() => new Uint8Array(9)",
    ] {
        let host = with(memory_host(&[]), "getSuffix", wrong);
        assert_eq!(
            host.get_suffix("a", 5).await.unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    let host = with(memory_host(&[]), "putIfAbsent", "() => undefined");
    let error = host.put_if_absent("a", Bytes::new()).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unknown,
        "it may have been created: {error}"
    );
    for wrong in ["() => 7", "() => [{ key: 'a' }]", "() => [null]"] {
        let error = with(memory_host(&[]), "list", wrong).list("", None).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid, "{wrong}");
    }
    let unordered = "() => ['b', '../x', 'a', 'wal.lock'].map((key) => ({ key, size: 1n }))";
    let listed = with(memory_host(&[]), "list", unordered)
        .list("", None)
        .await
        .unwrap();
    let keys: Vec<&str> = listed.iter().map(|meta| meta.key.as_str()).collect();
    assert_eq!(keys, ["a", "b"]);
    // Other kinds of buffers are taken too.
    for buffer in [
        "Buffer.from('xyz').subarray(1)",
        "new Uint8Array([121, 122]).buffer",
        "new DataView(new Uint8Array([0, 121, 122]).buffer, 1)",
    ] {
        let host = with(memory_host(&[]), "get", &format!("() => {buffer}"));
        assert_eq!(
            host.get("a").await.unwrap().unwrap(),
            Bytes::from_static(b"yz"),
            "{buffer}"
        );
    }
}

#[wasm_bindgen_test]
async fn what_a_dropped_owner_held_is_given_up() {
    let source = "(() => { const calls = []; const method = (name) => async () => { calls.push(name); throw 1; };
        return { calls, abort: method('abort'), close: method('close'), release: method('release'), size: 0 }; })()";
    let resource = eval(source);
    let host = memory_host(&[]);
    let give = Function::new_with_args("resource", "return () => resource");
    let give = give.call1(&JsValue::NULL, &resource).unwrap();
    for method in ["create", "append", "lock"] {
        Reflect::set(&host, &method.into(), &give).unwrap();
    }
    let host = Host::new(host).unwrap();
    drop(host.create("a").await.unwrap());
    drop(host.append("a").await.unwrap());
    drop(host.lock("a").await.unwrap());
    let calls = Array::from(&Reflect::get(&resource, &"calls".into()).unwrap());
    assert_eq!(calls.join(" ").as_string().unwrap(), "abort close release");
}

#[wasm_bindgen_test]
async fn bytes_given_to_a_host_are_its_own() {
    let host = memory_host(&[]);
    let store = Host::new(host.clone()).unwrap();
    let body = Bytes::from(vec![7; 1000]);
    store.put("a", body).await.unwrap();
    // Grow wasm memory, which detaches every view on it.
    let large = vec![1u8; 64 << 20];
    assert_eq!(store.get("a").await.unwrap().unwrap(), vec![7; 1000]);
    drop(large);
}

#[wasm_bindgen_test]
async fn the_runtime_tells_time_sleeps_spawns_and_is_random() {
    let runtime = WasmRuntime::new().unwrap();
    let year = runtime.now_micros() / 1_000_000 / 31_556_952 + 1970;
    assert!((2024..2200).contains(&year), "{year}");
    let before = runtime.monotonic();
    runtime.sleep(Duration::from_millis(20)).await;
    let slept = runtime.monotonic() - before;
    assert!(slept >= Duration::from_millis(18), "{slept:?}"); // timers round
    let (sender, receiver) = futures_channel::oneshot::channel();
    let sleep = runtime.sleep(Duration::ZERO);
    runtime.spawn(Box::pin(async move {
        sleep.await;
        sender.send(7).unwrap();
    }));
    assert_eq!(receiver.await.unwrap(), 7);
    // A dropped sleep leaves no timer: this one would keep the process for a month.
    let mut sleep = runtime.sleep(Duration::from_secs(30 * 86_400));
    assert!(futures_util::poll!(&mut sleep).is_pending());
    drop(sleep);
    let mut one = vec![0; 100_000];
    let mut two = vec![0; 100_000];
    runtime.random(&mut one);
    runtime.random(&mut two);
    assert_ne!(one, two);
    assert!(one[70_000..].iter().any(|byte| *byte != 0));
}
