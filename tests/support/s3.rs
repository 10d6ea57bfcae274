//! The S3 server and the fault proxies that scripts/test.mjs starts, for tests over HTTP. Without them
//! (`LAKESHORE_S3_ENDPOINT`, `AWS_*`, `LAKESHORE_PROXY_CONTROL`) a test says that it is skipped.

use lakeshore::platform::{
    native,
    s3::{Access, Credentials, S3, S3Options},
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// A server to test with.
#[derive(Clone)]
pub struct Server {
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    pub keys: Credentials,
}

pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the environment names, or `None` with a word about it.
pub fn server(test: &str) -> Option<Server> {
    let found = (|| {
        let mut keys = Credentials::new(
            variable("AWS_ACCESS_KEY_ID")?,
            variable("AWS_SECRET_ACCESS_KEY")?,
        );
        keys.session_token = variable("AWS_SESSION_TOKEN");
        Some(Server {
            endpoint: variable("LAKESHORE_S3_ENDPOINT")?,
            bucket: variable("LAKESHORE_S3_BUCKET").unwrap_or("lakeshore".into()),
            region: variable("AWS_REGION").unwrap_or("us-east-1".into()),
            keys,
        })
    })();
    if found.is_none() {
        eprintln!(
            "SKIPPED {test}: LAKESHORE_S3_ENDPOINT and AWS_* name no server (node scripts/test.mjs starts one)"
        );
    }
    found
}

/// A prefix nobody else uses.
pub fn fresh_prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test-{:x}-{}-{n}", nanos.as_nanos(), std::process::id())
}

impl Server {
    /// Options for a prefix of its bucket.
    pub fn options(&self, prefix: &str) -> S3Options {
        S3Options {
            prefix: prefix.to_owned(),
            region: self.region.clone(),
            endpoint: Some(self.endpoint.clone()),
            access: Access::Credentials(self.keys.clone()),
            ..S3Options::new(&self.bucket)
        }
    }

    pub fn store(&self, prefix: &str) -> Arc<S3> {
        native::s3(self.options(prefix)).unwrap()
    }

    pub fn fresh(&self) -> Arc<S3> {
        self.store(&fresh_prefix())
    }

    /// The same through a fault proxy.
    pub fn through(&self, proxy: &Proxy) -> Self {
        Self {
            endpoint: proxy.endpoint.clone(),
            ..self.clone()
        }
    }
}

/// A counting fault proxy (tests/support/proxy.mjs) of its own, which goes when it is dropped.
pub struct Proxy {
    control: String,
    id: String,
    pub endpoint: String,
}

/// Requests as the proxy saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub get: u64,
    pub put: u64,
    pub put_if_absent: u64,
    pub list: u64,
    pub delete: u64,
    pub total: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
}

impl Proxy {
    /// A new one before the server, or `None` with a word about it.
    pub fn start(test: &str) -> Option<Self> {
        let Some(control) = variable("LAKESHORE_PROXY_CONTROL") else {
            eprintln!(
                "SKIPPED {test}: LAKESHORE_PROXY_CONTROL names no fault proxy (node scripts/test.mjs starts one)"
            );
            return None;
        };
        let control = control.trim_start_matches("http://").to_owned();
        let made = post(&control, "new", "{}");
        Some(Self {
            control,
            id: text(&made, "id"),
            endpoint: text(&made, "endpoint"),
        })
    }

    fn command(&self, what: &str, body: &str) -> String {
        post(&self.control, &format!("{}/{what}", self.id), body)
    }

    /// Adds a rule, in JSON as proxy.mjs takes it.
    pub fn fault(&self, rule: &str) {
        self.command("fault", rule);
    }

    pub fn clear(&self) {
        self.command("clear", "{}");
    }

    pub fn down(&self) {
        self.command("down", "{}");
    }

    pub fn up(&self) {
        self.command("up", "{}");
    }

    pub fn reset(&self) {
        self.command("reset", "{}");
    }

    pub fn latency(&self, ms: u64) {
        self.command("latency", &format!(r#"{{"ms":{ms}}}"#));
    }

    pub fn most_at_once(&self) -> u64 {
        let counts = self.command("counts", "{}");
        let rest = counts.split("\"mostAtOnce\":").nth(1).unwrap();
        let digits = rest.split([',', '}']).next().unwrap();
        digits.parse().unwrap()
    }

    pub fn log(&self) -> String {
        self.command("log", "{}")
    }

    /// Kind and status of each request since `reset`, in order: "putIfAbsent 412".
    pub fn requests(&self) -> Vec<String> {
        let log = self.log();
        let entries = log.split("{\"method\":").skip(1);
        let request = |entry: &str| {
            let status = entry.split("\"status\":").nth(1).unwrap();
            let status = status.split([',', '}']).next().unwrap();
            format!("{} {status}", text(entry, "kind"))
        };
        entries.map(request).collect()
    }

    pub fn counts(&self) -> Seen {
        let counts = self.command("counts", "{}");
        let number = |name: &str| {
            let at = counts.find(&format!("\"{name}\":")).expect(name) + name.len() + 3;
            let rest = &counts[at..];
            let end = rest.find([',', '}']).unwrap();
            rest[..end].parse().unwrap()
        };
        Seen {
            get: number("get"),
            put: number("put"),
            put_if_absent: number("putIfAbsent"),
            list: number("list"),
            delete: number("delete"),
            total: number("total"),
            bytes_up: number("bytesUp"),
            bytes_down: number("bytesDown"),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.command("stop", "{}");
        }
    }
}

/// Commands the S3 server itself, `down` or `up`. False if it is not ours to command.
pub fn command_server(what: &str) -> bool {
    let Some(control) = variable("LAKESHORE_PROXY_CONTROL") else {
        return false;
    };
    let host = control.trim_start_matches("http://");
    send(host, &format!("server/{what}"), "{}").0
}

/// The text of a field of flat JSON.
fn text(json: &str, name: &str) -> String {
    let at = json.find(&format!("\"{name}\":\"")).expect(name) + name.len() + 4;
    json[at..].split('"').next().unwrap().to_owned()
}

fn post(host: &str, path: &str, body: &str) -> String {
    let (done, answer) = send(host, path, body);
    assert!(done, "POST {path}: {answer}");
    answer
}

/// A POST as simple as it gets: whether it was done, and the answer's body.
fn send(host: &str, path: &str, body: &str) -> (bool, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.contains(" 200 "), body.to_owned())
}
