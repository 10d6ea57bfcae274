//! What a directory store does beyond the conformance suite: its files, locks, errors and its use of
//! the disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use bytes::Bytes;
use lakeshore::{
    ErrorKind,
    env::{PutOutcome, Storage},
    platform::native::{Directory, TokioRuntime, env},
};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, SystemTime},
};

fn body() -> Bytes {
    Bytes::from_static(b"body")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn start_of(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().nth(19).unwrap().to_owned()
}

#[tokio::test]
async fn opening_and_reading_write_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("db");
    let env = env(&root, Some(&parent.path().join("wal"))).unwrap();
    for store in [&env.data, env.wal.as_ref().unwrap()] {
        assert_eq!(store.get("CURRENT").await.unwrap(), None);
        assert_eq!(store.list("", None).await.unwrap(), []);
        assert_eq!(store.get_suffix("log/1", 8).await.unwrap(), None);
        store.delete("CURRENT").await.unwrap();
    }
    assert_eq!(names(parent.path()), Vec::<String>::new());
}

#[tokio::test]
async fn no_temporary_file_stays_and_abandoned_ones_go() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("log");
    fs::create_dir(&directory).unwrap();
    for (name, age) in [(".tmp-old", 7200), (".tmp-young", 60)] {
        let file = fs::File::create(directory.join(name)).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age);
        file.set_modified(time).unwrap();
    }
    fs::write(directory.join("not a key"), "").unwrap();
    let store = Directory::open(root.path());
    assert_eq!(store.list("", None).await.unwrap(), []);
    store.put("log/1", body()).await.unwrap();
    store.put("log/1", body()).await.unwrap();
    let created = store.put_if_absent("log/2", body()).await.unwrap();
    assert_eq!(created, PutOutcome::Created);
    let exists = store.put_if_absent("log/2", body()).await.unwrap();
    assert_eq!(exists, PutOutcome::Exists);
    drop(store.create("log/3").await.unwrap());
    assert_eq!(names(&directory), [".tmp-young", "1", "2", "not a key"]);
    assert_eq!(store.list("", None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_key_that_is_also_a_prefix_is_invalid_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = Directory::open(root.path());
    store.put("a/b", body()).await.unwrap();
    for key in ["a", "a/b/c"] {
        let errors = [
            store.put(key, body()).await.err().unwrap(),
            store.put_if_absent(key, body()).await.err().unwrap(),
            store.append(key).await.err().unwrap(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        }
    }
    assert_eq!(names(root.path()), ["a"]);
    assert_eq!(names(&root.path().join("a")), ["b"]);
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_names_the_remedy() {
    let root = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", root.path().join("segment")).unwrap();
    let store = Directory::open(root.path());
    let mut file = store.append("segment").await.unwrap();
    let error = file.write(body()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("free disk space"), "{error}");
    // What it kept is not known: it stays failed, until it is opened again.
    assert!(file.sync().await.is_err() && file.write(Bytes::new()).await.is_err());
}

#[tokio::test]
async fn a_lock_names_its_holder_and_dies_with_its_process() {
    let root = tempfile::tempdir().unwrap();
    let one = Directory::open(root.path());
    let two = Directory::open(root.path());
    let guard = one.lock("wal").await.unwrap();
    let content = fs::read_to_string(root.path().join("wal.lock")).unwrap();
    let pid = std::process::id();
    let start = format!("{pid} {} native ", start_of(pid));
    assert!(content.starts_with(&start), "{content}");
    assert!(content.ends_with(" socket\n"), "{content}");
    guard.confirm().unwrap();
    let error = two.lock("wal").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains(&format!("pid {pid}")), "{error}");
    guard.release().await.unwrap();
    assert_eq!(fs::read(root.path().join("wal.lock")).unwrap(), b"");
    drop(two.lock("wal").await.unwrap());
    assert_eq!(names(root.path()), ["wal.lock"], "what showed it is gone");

    // A killed holder cleans nothing up.
    let mut holder = holder(root.path());
    let error = one.lock("wal").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.message().contains(&holder.id().to_string()),
        "{error}"
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_ne!(fs::read(root.path().join("wal.lock")).unwrap(), b"");
    one.lock("wal").await.unwrap();
}

/// What the lock file says of a Node process on this kernel that could not listen.
fn without_socket(pid: u32, start: &str) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let space = fs::read_link("/proc/self/ns/pid").unwrap();
    format!(
        "{pid} {start} node 0a {} {} -\n",
        boot.trim(),
        space.display()
    )
}

/// DESIGN promise 13. The second container could not see the pid of the first, took its lock, and deleted the
/// segment that it went on writing to.
#[tokio::test]
async fn a_lock_of_another_container_counts_while_its_process_lives() {
    let root = tempfile::tempdir().unwrap();
    let store = Directory::open(root.path());
    let container = ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child"];
    let may = Command::new(container[0])
        .args(&container[1..])
        .arg("true")
        .output();
    if !may.is_ok_and(|done| done.status.success()) {
        println!("not checked: unshare is not permitted here");
        return;
    }
    let mut holder = holder_by(
        Command::new(container[0]).args(&container[1..]),
        root.path(),
    );
    let error = store.lock("wal").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains("in another container"), "{error}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    drop(eventually(&store).await);

    let script = r#"
        const guard = await store.lock("wal");
        say("locked");
        process.stdin.once("data", () => { guard.confirm(); say("held"); });"#;
    let Some((mut node, mut said)) = node_by(&container, root.path(), script) else {
        return;
    };
    assert_eq!(line(&mut said), "locked");
    let error = store.lock("wal").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.message().contains("(node) in another container"),
        "{error}"
    );
    node.stdin.take().unwrap().write_all(b"x").unwrap();
    assert_eq!(line(&mut said), "held");
    node.kill().unwrap();
    node.wait().unwrap();
    drop(eventually(&store).await);
}

/// The kernel ends what is in a container after the process that made it.
async fn eventually(store: &Directory) -> Box<dyn lakeshore::env::LockGuard> {
    for _ in 0..100 {
        match store.lock("wal").await {
            Err(error) if error.kind() == ErrorKind::Busy => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            locked => return locked.unwrap(),
        }
    }
    panic!("a dead holder's lock is not given");
}

#[tokio::test]
async fn a_holder_that_is_stopped_keeps_its_lock() {
    let root = tempfile::tempdir().unwrap();
    let store = Directory::open(root.path());
    let mut holder = holder(root.path());
    let signal = |name: &str| {
        let pid = holder.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    signal("-STOP");
    // Longer than any patience.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let error = store.lock("wal").await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    }
    let script = r#"
        try { await store.lock("wal"); say("locked"); } catch (error) { say(error.code); }"#;
    if let Some((mut node, mut said)) = node(root.path(), script) {
        assert_eq!(line(&mut said), "Busy");
        node.wait().unwrap();
    }
    signal("-CONT");
    holder.kill().unwrap();
    holder.wait().unwrap();
    drop(store.lock("wal").await.unwrap());
}

/// On another machine nobody sees more of a holder than its beat.
#[tokio::test]
async fn a_holder_on_another_machine_counts_while_it_beats() {
    let root = tempfile::tempdir().unwrap();
    let store = Directory::open(root.path());
    let (lock, beat) = ("wal.lock", "wal.0a.beat.lock");
    let (lock, beat) = (root.path().join(lock), root.path().join(beat));
    let there = "7 8 node 0a another-kernel pid:[1] socket\n";
    fs::write(&lock, there).unwrap();
    fs::write(&beat, "alive\n").unwrap();
    let beating = beat.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let beats = std::thread::spawn(move || {
        use std::sync::mpsc::RecvTimeoutError::Timeout;
        while let Err(Timeout) = stopped.recv_timeout(Duration::from_secs(1)) {
            fs::write(&beating, "alive\n").unwrap();
        }
    });
    let error = store.lock("wal").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error
            .message()
            .contains("process 7 (node) on another machine"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&lock).unwrap(), there);
    drop(stop);
    beats.join().unwrap();
    let guard = store.lock("wal").await.unwrap();
    guard.confirm().unwrap();
    assert!(!beat.exists(), "what a dead holder left is removed");
    // Who was slow, and not dead, is told.
    let other = root.path().join("other");
    fs::write(&other, "9 8 node 0b another-kernel pid:[1] socket\n").unwrap();
    fs::rename(&other, &lock).unwrap();
    let error = guard.confirm().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(
        error
            .message()
            .contains("process 9 (node) on another machine took it over"),
        "{error}"
    );
    drop(guard);
    let content = fs::read_to_string(&lock).unwrap();
    assert!(content.starts_with("9 "), "what is another's stays");
    fs::remove_file(&lock).unwrap();
    let guard = store.lock("wal").await.unwrap();
    fs::remove_file(&lock).unwrap();
    let error = guard.confirm().unwrap_err();
    assert!(error.message().contains("it was removed"), "{error}");
}

/// Who is killed while it waits for a lock cleans nothing up, and nobody finds its name in the lock file.
#[tokio::test]
async fn what_is_left_of_openers_that_were_killed_while_they_waited_goes_after_an_hour() {
    for by_node in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        // Whether a holder on another machine lives is not known at once.
        let there = "7 8 node 0a another-kernel pid:[1] socket\n";
        fs::write(path("wal.lock"), there).unwrap();
        fs::write(path("wal.0a.beat.lock"), "alive\n").unwrap();
        let mut native = opener_by(&mut Command::new("env"), root.path());
        let script = r#"await store.lock("wal"); say("locked"); process.stdin.resume();"#;
        let node_waits = node(root.path(), script);
        let all = if node_waits.is_some() { 3 } else { 2 };
        let shown = |kind: &str| {
            let names = names(root.path());
            names.iter().filter(|name| name.ends_with(kind)).count()
        };
        for _ in 0..800 {
            if shown(".beat.lock") == all && shown(".socket.lock") == all - 1 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!((shown(".beat.lock"), shown(".socket.lock")), (all, all - 1));
        native.kill().unwrap();
        native.wait().unwrap();
        if let Some((mut node, _)) = node_waits {
            node.kill().unwrap();
            node.wait().unwrap();
        } else if by_node {
            return;
        }
        let others = [
            "other.00000000000000aa.beat.lock",
            "wal.00000000000000aa.other.lock",
        ];
        for name in others {
            fs::write(path(name), "").unwrap();
        }
        for name in names(root.path()) {
            let aged = Command::new("touch")
                .args(["-d", "2 hours ago"])
                .arg(path(&name))
                .status();
            assert!(aged.unwrap().success());
        }
        let young = "wal.00000000000000aa.beat.lock";
        fs::write(path(young), "").unwrap();
        let store = Directory::open(root.path());
        let (mut by, mut guard) = (None, None);
        if by_node {
            let (child, mut said) = node(root.path(), script).unwrap();
            assert_eq!(line(&mut said), "locked");
            by = Some(child);
        } else {
            guard = Some(store.lock("wal").await.unwrap());
        }
        let content = fs::read_to_string(path("wal.lock")).unwrap();
        let own = content.split_whitespace().nth(3).unwrap();
        // Temporary files go when the next object is written.
        let (own, rest): (Vec<_>, Vec<_>) = (names(root.path()).into_iter())
            .filter(|name| !name.starts_with(".tmp-"))
            .partition(|name| name.contains(&format!(".{own}.")));
        assert_eq!(own.len(), 2, "{own:?}");
        assert_eq!(rest, [others[0], young, others[1], "wal.lock"]);
        drop(guard);
        if let Some(mut child) = by {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[tokio::test]
async fn a_lock_in_a_long_directory_shows_its_holder_too() {
    let root = tempfile::tempdir().unwrap();
    let deep = root.path().join("d".repeat(100)).join("e".repeat(100));
    let store = Directory::open(&deep);
    let guard = store.lock("wal").await.unwrap();
    let content = fs::read_to_string(deep.join("wal.lock")).unwrap();
    assert!(content.ends_with(" socket\n"), "{content}");
    let script = r#"
        try { await store.lock("wal"); say("locked"); } catch (error) { say(error.code); }"#;
    if let Some((mut node, mut said)) = node(&deep, script) {
        assert_eq!(line(&mut said), "Busy");
        node.wait().unwrap();
    }
    guard.release().await.unwrap();
}

#[tokio::test]
async fn an_append_file_that_was_removed_or_written_to_by_others_says_so() {
    let root = tempfile::tempdir().unwrap();
    let store = Directory::open(root.path().join("wal"));
    let mut file = store.append("1").await.unwrap();
    file.write(body()).await.unwrap();
    file.confirm().await.unwrap();
    let mut other = store.append("1").await.unwrap();
    other.write(body()).await.unwrap();
    let error = file.confirm().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.message().contains("in use twice"), "{error}");
    fs::remove_dir_all(root.path().join("wal")).unwrap();
    let error = other.confirm().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.message().contains("was removed"), "{error}");
}

/// This test binary again, as a process that takes the lock and keeps it.
fn holder(root: &Path) -> std::process::Child {
    holder_by(&mut Command::new("env"), root)
}

/// The same, started by a command.
fn holder_by(command: &mut Command, root: &Path) -> std::process::Child {
    let _ = fs::remove_file(root.join("ready"));
    let mut child = opener_by(command, root);
    let ready = root.join("ready");
    while !ready.exists() {
        assert_eq!(child.try_wait().unwrap(), None, "the holder died");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

/// The same, which may not have it yet.
fn opener_by(command: &mut Command, root: &Path) -> std::process::Child {
    command
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "directory::hold_the_lock_when_asked",
            "--nocapture",
        ])
        .env("LAKESHORE_TEST_HOLD", root)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn hold_the_lock_when_asked() {
    let Some(root) = std::env::var_os("LAKESHORE_TEST_HOLD").map(PathBuf::from) else {
        return;
    };
    let _guard = Directory::open(&root).lock("wal").await.unwrap();
    fs::write(root.join("ready"), "").unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_lock_of_a_node_process_counts_while_that_process_lives() {
    let root = tempfile::tempdir().unwrap();
    let store = Directory::open(root.path());
    let mut node = Command::new("sleep").arg("60").spawn().unwrap();
    let (pid, lock) = (node.id(), root.path().join("wal.lock"));
    fs::write(&lock, without_socket(pid, &start_of(pid))).unwrap();
    let error = store.lock("wal").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains(&pid.to_string()), "{error}");
    // The same number, another process: the machine was restarted since.
    fs::write(&lock, without_socket(pid, "17")).unwrap();
    drop(store.lock("wal").await.unwrap());
    fs::write(&lock, without_socket(pid, &start_of(pid))).unwrap();
    node.kill().unwrap();
    node.wait().unwrap();
    drop(store.lock("wal").await.unwrap());
    for garbage in ["", "garbage", "\u{0}\u{0}\u{0}", "1 2"] {
        fs::write(&lock, garbage).unwrap();
        drop(store.lock("wal").await.unwrap());
    }
}

#[tokio::test]
async fn the_store_stays_where_it_was_when_the_working_directory_changes() {
    let store = Directory::open("some/relative/path");
    assert!(
        store.describe().starts_with("directory /"),
        "{}",
        store.describe()
    );
}

#[test]
fn a_runtime_is_needed_and_its_absence_is_explained() {
    let error = TokioRuntime::current().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = env("/nowhere", None).unwrap_err();
    assert!(error.message().contains("tokio"), "{error}");
}

#[test]
fn the_runtime_works_from_threads_outside_of_tokio() {
    use lakeshore::env::Runtime;
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let runtime = TokioRuntime::new(tokio.handle().clone());
    let (sender, receiver) = std::sync::mpsc::channel();
    let sleep = runtime.sleep(Duration::from_millis(20));
    let before = runtime.monotonic();
    runtime.spawn(Box::pin(async move {
        sleep.await;
        sender.send(()).unwrap();
    }));
    receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(runtime.monotonic() - before >= Duration::from_millis(20));
    let (mut one, mut two) = ([0u8; 16], [0u8; 16]);
    runtime.random(&mut one);
    runtime.random(&mut two);
    assert_ne!(one, two);
    let year = runtime.now_micros() / 1_000_000 / 31_556_952 + 1970;
    assert!((2024..2200).contains(&year), "{year}");
}

/// Loads a TypeScript module in Node.
const TYPESCRIPT: &str = include_str!("../support/typescript.js");

/// `js/src/host/node.ts` and what it imports in a Node process that runs `script` with `store` and `say`.
fn node(root: &Path, script: &str) -> Option<(Child, BufReader<ChildStdout>)> {
    node_by(&["env"], root, script)
}

/// The same, started by a command.
fn node_by(command: &[&str], root: &Path, script: &str) -> Option<(Child, BufReader<ChildStdout>)> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !home.join("node_modules/typescript").exists() {
        println!("not checked: run `npm run setup` first");
        return None;
    }
    let load = format!(
        r#"const load = {TYPESCRIPT}
        const store = load({home:?}, "js/src/host/node.ts").nodeDirectory({root:?});
        const say = (text) => process.stdout.write(text + "\n");
        (async () => {{ {script} }})();"#
    );
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .args(["node", "-e", &load])
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    Some((child, said))
}

fn line(said: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[tokio::test]
async fn node_and_native_share_a_directory_and_its_locks() {
    let root = tempfile::tempdir().unwrap();
    let store = Directory::open(root.path());
    store.put("data/native", body()).await.unwrap();
    let script = r#"
        await store.put("data/node", new Uint8Array([1, 2, 3]));
        const file = store.append("wal/1");
        file.write(new Uint8Array([4]));
        await file.sync();
        const listed = await store.list("", undefined);
        say(JSON.stringify(listed, ["key", "size"]));
        const guard = await store.lock("wal");
        say("locked");
        process.stdin.once("data", async () => {
            guard.release();
            say("released");
            process.stdin.once("data", async () => {
                try { await store.lock("wal"); say("locked"); } catch (error) { say(error.code + " " + error.message); }
                process.stdin.once("data", async () => { await store.lock("wal"); say("locked"); });
            });
        });"#;
    let Some((mut child, mut said)) = node(root.path(), script) else {
        return;
    };
    let mut go = child.stdin.take().unwrap();
    let listed =
        r#"[{"key":"data/native","size":4},{"key":"data/node","size":3},{"key":"wal/1","size":1}]"#;
    assert_eq!(line(&mut said), listed);
    assert_eq!(
        store.get("data/node").await.unwrap().unwrap(),
        [1u8, 2, 3][..]
    );
    assert_eq!(store.append("wal/1").await.unwrap().len(), 1);

    assert_eq!(line(&mut said), "locked");
    let error = store.lock("wal").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.message().contains(&format!("{} (node)", child.id())),
        "{error}"
    );
    go.write_all(b"x").unwrap();
    assert_eq!(line(&mut said), "released");
    let guard = store.lock("wal").await.unwrap();
    go.write_all(b"x").unwrap();
    let refused = line(&mut said);
    let me = format!("{} (native)", std::process::id());
    assert!(
        refused.starts_with("Busy") && refused.contains(&me),
        "{refused}"
    );
    guard.release().await.unwrap();
    go.write_all(b"x").unwrap();
    assert_eq!(line(&mut said), "locked");
    // Killed, it leaves a lock file that counts no more.
    child.kill().unwrap();
    child.wait().unwrap();
    store.lock("wal").await.unwrap();
}

#[tokio::test]
async fn of_many_that_take_over_a_dead_holders_lock_one_gets_it() {
    let root = tempfile::tempdir().unwrap();
    let store = Directory::open(root.path());
    let script = r#"
        say("ready");
        process.stdin.once("data", async () => {
            try { await store.lock("wal"); say("locked"); } catch (error) { say(error.code); }
            process.stdin.once("data", () => {});
        });"#;
    let mut contenders = Vec::new();
    for _ in 0..5 {
        let Some(contender) = node(root.path(), script) else {
            return;
        };
        contenders.push(contender);
    }
    let dead = without_socket(999_999_999, "1");
    fs::write(root.path().join("wal.lock"), dead).unwrap();
    let mut go = Vec::new();
    for (child, said) in &mut contenders {
        assert_eq!(line(said), "ready");
        go.push(child.stdin.take().unwrap());
    }
    for go in &mut go {
        go.write_all(b"x").unwrap();
    }
    let native = store.lock("wal").await;
    let mut outcomes: Vec<String> = contenders.iter_mut().map(|(_, said)| line(said)).collect();
    outcomes.push(native.as_ref().map_or("Busy", |_| "locked").to_owned());
    let locked = outcomes
        .iter()
        .filter(|outcome| *outcome == "locked")
        .count();
    assert_eq!(locked, 1, "{outcomes:?}");
    for (mut child, _) in contenders {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
