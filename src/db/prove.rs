//! Whether a store keeps what the log stands on: that of several who create one object, one does. A store that
//! lets both pass would acknowledge commits and lose them, so no database is created in it. And the whole suite
//! of what is needed, for people who want to know of a bucket ([`probe`]). Invariants: nothing but objects below
//! `probe/` is touched, each run has a prefix of its own there, and it leaves none behind if the store lets it.

use crate::{
    env::{BoxFuture, PutOutcome, Runtime, Storage},
    error::{Error, ErrorKind, Result},
};
use bytes::Bytes;
use futures_util::future::join_all;
use std::sync::Arc;

/// Below it there is nothing of a database.
const PLACE: &str = "probe/";
/// How often the proof is begun anew where an outcome stays unknown.
const ROUNDS: usize = 3;
/// So many create one object at once.
const RIVALS: u8 = 16;
const LARGE: usize = 6 << 20;
/// A difference of clocks that nothing depends on (PROTOCOL T1).
const TOLERATED: i64 = 5 * 60 * 1_000_000;

/// What [`probe`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// Whether every check passed.
    pub ok: bool,
    /// One for each thing that is needed.
    pub checks: Vec<ProbeCheck>,
}

/// One thing that Lakeshore needs of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeCheck {
    /// What was tried.
    pub name: &'static str,
    /// Whether the store does it.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
}

/// `Unsupported` unless the store refuses to create an object that is there. Four requests.
pub(super) async fn prove(store: &dyn Storage, runtime: &dyn Runtime) -> Result<()> {
    let mut last = None;
    for _ in 0..ROUNDS {
        let key = [PLACE, &name(runtime)].concat();
        let proved = create_twice(store, &key).await;
        // What stays is in nobody's way.
        let _ = store.delete(&key).await;
        match proved {
            Err(e) if matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) => {
                last = Some(e);
            }
            known => return known,
        }
    }
    Err(last.unwrap_or_else(|| Error::internal("a store was tried without an outcome")))
}

async fn create_twice(store: &dyn Storage, key: &str) -> Result<()> {
    let first = Bytes::from_static(b"the first, who must win");
    let second = Bytes::from_static(b"the second, who must not");
    // Refused, it may be our own of an attempt whose answer was lost: what is there tells.
    store.put_if_absent(key, first.clone()).await?;
    let again = store.put_if_absent(key, second).await?;
    let there = store.get(key).await?;
    let why = match (again, there) {
        (PutOutcome::Exists, Some(there)) if there == first => return Ok(()),
        (PutOutcome::Created, _) => "it lets two writers create one object",
        (_, Some(_)) => "it says that the object is there, and replaces it nonetheless",
        (_, None) => "it says that the object is there, and does not give it",
    };
    Err(Error::unsupported(format!(
        "{} cannot hold a database: {why}, so that acknowledged commits would be lost. Lakeshore needs \
         If-None-Match: * on PUT, or the like. Known not to have it are Google Cloud Storage by its XML API, \
         Garage, and MinIO, Ceph and SeaweedFS in releases from before they had conditional writes; a proxy \
         between may drop the header, too. probe() tells more",
        store.describe()
    )))
}

/// A name nobody else uses.
fn name(runtime: &dyn Runtime) -> String {
    let mut random = [0; 16];
    runtime.random(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tries whether a store does what Lakeshore needs of it, in a prefix of its own below `probe/`, which it empties at
/// the end: some 90 requests, 13 MiB. What fails is told in the report. It may be dropped at any moment, and then
/// leaves its objects behind.
pub async fn probe(store: Arc<dyn Storage>, runtime: Arc<dyn Runtime>) -> ProbeReport {
    let trial = Trial {
        prefix: [PLACE, &name(runtime.as_ref()), "/"].concat(),
        store,
        runtime,
    };
    let tried: [(&'static str, BoxFuture<'_, Outcome>); 9] = [
        ("write and read", Box::pin(trial.objects())),
        ("missing objects", Box::pin(trial.missing())),
        ("ranges", Box::pin(trial.ranges())),
        ("listing", Box::pin(trial.listing())),
        ("create if absent", Box::pin(trial.creating())),
        ("create if absent, many at once", Box::pin(trial.racing())),
        ("delete", Box::pin(trial.deleting())),
        ("large objects", Box::pin(trial.large())),
        ("clock", Box::pin(trial.clock())),
    ];
    let mut checks = Vec::new();
    for (name, outcome) in tried {
        checks.push(check(name, outcome.await));
    }
    checks.push(check("clean up", trial.clean_up().await));
    ProbeReport {
        ok: checks.iter().all(|check| check.ok),
        checks,
    }
}

/// What was seen, or what is wrong with it.
type Outcome = Result<String, Wrong>;

/// Why a check failed: as it is said.
struct Wrong(String);

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

fn check(name: &'static str, outcome: Outcome) -> ProbeCheck {
    let (ok, detail) = match outcome {
        Ok(detail) => (true, detail),
        Err(Wrong(detail)) => (false, detail),
    };
    ProbeCheck { name, ok, detail }
}

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Wrong> {
    match holds {
        true => Ok(()),
        false => Err(Wrong(otherwise())),
    }
}

fn bytes(length: usize, seed: u8) -> Bytes {
    let byte = |i: usize| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8) ^ seed;
    (0..length).map(byte).collect()
}

struct Trial {
    store: Arc<dyn Storage>,
    runtime: Arc<dyn Runtime>,
    prefix: String,
}

impl Trial {
    fn key(&self, name: &str) -> String {
        [&self.prefix, name].concat()
    }

    async fn keys(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>> {
        let listed = self.store.list(prefix, after).await?;
        Ok(listed.into_iter().map(|object| object.key).collect())
    }

    async fn objects(&self) -> Outcome {
        let key = self.key("object");
        for (length, seed) in [(1000, 1), (10, 2), (0, 3), (5000, 4)] {
            let body = bytes(length, seed);
            self.store.put(&key, body.clone()).await?;
            let found = self.store.get(&key).await?;
            must(found.as_ref() == Some(&body), || {
                let seen = found.map_or("nothing".to_owned(), |f| format!("{} others", f.len()));
                format!("{length} bytes were written, and {seen} read at once afterwards")
            })?;
        }
        Ok("what is written is read at once, also in place of what was there".to_owned())
    }

    async fn missing(&self) -> Outcome {
        let key = self.key("missing");
        let whole = self.store.get(&key).await?.is_none();
        let part = self.store.get_range(&key, 0..1).await?.is_none();
        let end = self.store.get_suffix(&key, 8).await?.is_none();
        must(whole && part && end, || {
            "an object that was never written is there".to_owned()
        })?;
        Ok("they are told from what cannot be read".to_owned())
    }

    async fn ranges(&self) -> Outcome {
        let (key, body) = (self.key("ranges"), bytes(1000, 5));
        self.store.put(&key, body.clone()).await?;
        for (start, end) in [(0, 1), (17, 400), (999, 1000), (0, 1000)] {
            let part = self.store.get_range(&key, start as u64..end as u64).await?;
            must(part.as_deref() == body.get(start..end), || {
                format!("bytes {start} to {end} are others than were written")
            })?;
        }
        for length in [1, 64, 1000, 5000] {
            let tail = self.store.get_suffix(&key, length as u64).await?;
            let expected = body.slice(1000_usize.saturating_sub(length)..);
            must(tail == Some((expected, 1000)), || {
                format!("the last {length} bytes are others than were written")
            })?;
        }
        let beyond = self.store.get_range(&key, 990..1010).await;
        must(beyond.is_err(), || {
            "bytes beyond the end of an object are given".to_owned()
        })?;
        Ok("parts and ends of objects are read".to_owned())
    }

    async fn listing(&self) -> Outcome {
        let place = self.key("list/");
        // In a directory no object is a prefix of others.
        let mut keys: Vec<String> = [
            "a-b", "a.b", "a/b", "a/b-c", "a0", "B", "_", "log/2", "log/10",
        ]
        .iter()
        .map(|name| [&place, *name].concat())
        .collect();
        for (key, length) in keys.iter().zip(1..) {
            self.store.put(key, bytes(length, 0)).await?;
        }
        let listed = self.store.list(&place, None).await?;
        let sizes = listed.iter().all(|object| {
            let written = keys.iter().position(|key| *key == object.key);
            written.is_some_and(|at| object.size == at as u64 + 1)
        });
        keys.sort_unstable();
        let names: Vec<&String> = listed.iter().map(|object| &object.key).collect();
        must(names == keys.iter().collect::<Vec<_>>(), || {
            format!(
                "of {} objects, listed at once after they were written, {} came, or in another order than \
                 that of their bytes",
                keys.len(),
                names.len()
            )
        })?;
        must(sizes, || "sizes are others than were written".to_owned())?;
        for after in [0, 4, keys.len() - 1] {
            let rest = self
                .keys(&place, keys.get(after).map(String::as_str))
                .await?;
            must(Some(rest.as_slice()) == keys.get(after + 1..), || {
                "a listing that starts after a key has others".to_owned()
            })?;
        }
        let below = [&place, "a/"].concat();
        let expected: Vec<String> =
            (keys.iter().filter(|k| k.starts_with(&below)).cloned()).collect();
        must(self.keys(&below, None).await? == expected, || {
            "a listing of a prefix has others".to_owned()
        })?;
        Ok(
            match listed.iter().all(|object| object.modified.is_some()) {
                true => "complete and in order, with the time of each object".to_owned(),
                false => "complete and in order; ages of objects are not told".to_owned(),
            },
        )
    }

    async fn creating(&self) -> Outcome {
        create_twice(self.store.as_ref(), &self.key("twice")).await?;
        Ok("an object that is there is not created again".to_owned())
    }

    async fn racing(&self) -> Outcome {
        let key = self.key("race");
        let attempts = (0..RIVALS).map(|who| self.store.put_if_absent(&key, bytes(100, who)));
        let mut winners = Vec::new();
        for (who, outcome) in (0..RIVALS).zip(join_all(attempts).await) {
            if outcome? == PutOutcome::Created {
                winners.push(who);
            }
        }
        must(winners.len() == 1, || {
            format!(
                "of {RIVALS} who create one object at once {} are told that they did",
                winners.len()
            )
        })?;
        let there = self.store.get(&key).await?;
        must(there == winners.first().map(|who| bytes(100, *who)), || {
            "the object is not that of whoever was told that he created it".to_owned()
        })?;
        Ok(format!("of {RIVALS} one creates it"))
    }

    async fn deleting(&self) -> Outcome {
        let key = self.key("gone/object");
        self.store.delete(&key).await?;
        self.store.put(&key, bytes(3, 1)).await?;
        self.store.delete(&key).await?;
        let listed = self.keys(&self.key("gone/"), None).await?;
        must(
            self.store.get(&key).await?.is_none() && listed.is_empty(),
            || "a deleted object is still there".to_owned(),
        )?;
        let again = self.store.put_if_absent(&key, bytes(3, 2)).await?;
        must(again == PutOutcome::Created, || {
            "the name of a deleted object cannot be used again".to_owned()
        })?;
        Ok("deleted objects are gone at once".to_owned())
    }

    async fn large(&self) -> Outcome {
        let (key, body) = (self.key("large"), bytes(LARGE, 7));
        let mut writer = self.store.create(&key).await?;
        let mut rest = body.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(1 << 20));
            writer.write(piece).await?;
        }
        must(self.store.get(&key).await?.is_none(), || {
            "an object is there before all of it is written".to_owned()
        })?;
        writer.finish().await?;
        let whole = self.store.get(&key).await?;
        let (start, end) = (LARGE / 3, LARGE / 3 + (1 << 20));
        let part = self.store.get_range(&key, start as u64..end as u64).await?;
        must(
            whole.as_ref() == Some(&body) && part.as_deref() == body.get(start..end),
            || format!("{LARGE} bytes were written, and others read"),
        )?;
        Ok(format!("{} MiB are read as they were written", LARGE >> 20))
    }

    async fn clock(&self) -> Outcome {
        let Some(clock) = self.store.clock() else {
            return Ok("it tells no time of its own: this device's is used".to_owned());
        };
        let since = self.runtime.monotonic().saturating_sub(clock.heard);
        let now = clock.date.saturating_add(since.as_micros() as i64);
        let off = self.runtime.now_micros().saturating_sub(now);
        let seconds = off / 1_000_000;
        Ok(match off.saturating_abs() > TOLERATED {
            true => format!(
                "this device's clock is {seconds} s ahead of the store's: set it; the store's is used"
            ),
            false => format!(
                "this device's is within {} s of it",
                seconds.saturating_abs() + 1
            ),
        })
    }

    async fn clean_up(&self) -> Outcome {
        let keys = self.keys(&self.prefix, None).await?;
        for key in &keys {
            self.store.delete(key).await?;
        }
        let left = self.keys(&self.prefix, None).await?;
        must(left.is_empty(), || {
            format!("{} objects below {} stay", left.len(), self.prefix)
        })?;
        Ok(format!("{} objects were made and deleted", keys.len()))
    }
}
