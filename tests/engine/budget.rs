//! The byte budget: fair, bounded, without circles, and safe to give up on.

use futures_executor::block_on;
use futures_util::{FutureExt, poll};
use lakeshore::{
    ErrorKind,
    env::{Budget, Memory, Reservation, Runtime, Yields},
    platform::native::TokioRuntime,
};
use std::{
    pin::pin,
    sync::{Arc, Mutex, Weak},
};

#[test]
fn who_asks_for_more_than_there_is_is_refused_by_name() {
    let budget = Budget::new("reads", 100);
    let error = block_on(budget.reserve("a row", 101)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    for word in ["a row", "101", "reads", "100", "memory_bytes"] {
        assert!(error.message().contains(word), "{error}");
    }
    assert_eq!(budget.used(), 0);
}

#[test]
fn who_waits_is_served_in_the_order_of_asking() {
    block_on(async {
        let budget = Budget::new("reads", 100);
        let held = budget.reserve("first", 80).await.unwrap();
        let (mut large, mut small) = (
            pin!(budget.reserve("large", 90)),
            pin!(budget.reserve("small", 10)),
        );
        assert!(poll!(&mut large).is_pending());
        // It would fit, but who asked before would starve.
        assert!(poll!(&mut small).is_pending());
        assert!(budget.try_reserve(1).is_none());
        assert!(budget.contended());
        drop(held);
        let large = large.now_or_never().unwrap().unwrap();
        let small = small.now_or_never().unwrap().unwrap();
        assert_eq!(large.bytes() + small.bytes(), budget.used());
        assert!(!budget.contended());
        drop((large, small));
        assert_eq!((budget.used(), budget.peak()), (0, 100));
    });
}

#[test]
fn who_gives_up_keeps_nobody_waiting() {
    block_on(async {
        let budget = Budget::new("reads", 100);
        let held = budget.reserve("first", 80).await.unwrap();
        let mut small = pin!(budget.reserve("small", 20));
        {
            let mut large = Box::pin(budget.reserve("large", 90));
            assert!(poll!(&mut large).is_pending());
            assert!(poll!(&mut small).is_pending());
        }
        // The one before is gone; nothing was freed, but there is room.
        assert_eq!(small.await.unwrap().bytes(), 20);
        drop(held);
        assert_eq!(budget.used(), 0);
    });
}

#[test]
fn a_reservation_splits_merges_and_shrinks_without_losing_a_byte() {
    let budget = Budget::new("writes", 100);
    let mut one = budget.try_reserve(60).unwrap();
    let mut two = one.split(25);
    assert_eq!((one.bytes(), two.bytes(), budget.used()), (35, 25, 60));
    assert!(two.try_grow(40));
    assert!(!two.try_grow(1));
    one.shrink_to(5);
    assert_eq!(budget.used(), 70);
    one.take(1000);
    assert_eq!(budget.used(), 1070);
    one.merge(two);
    one.set(10);
    assert_eq!(budget.used(), 10);
    drop(one);
    assert_eq!(budget.used(), 0);
}

struct Idle(Mutex<Option<Reservation>>);

impl Yields for Idle {
    fn give_back(&self) {
        drop(self.0.lock().unwrap().take());
    }
}

#[test]
fn an_idle_holder_gives_back_what_somebody_waits_for() {
    let budget = Budget::new("reads", 100);
    let holders: Vec<Arc<Idle>> = (0..2)
        .map(|_| Arc::new(Idle(Mutex::new(budget.try_reserve(50)))))
        .collect();
    for holder in &holders {
        let weak: Weak<dyn Yields> = Arc::downgrade(&(holder.clone() as Arc<dyn Yields>));
        budget.register(weak);
    }
    let got = block_on(budget.reserve("a scan", 40)).unwrap();
    assert_eq!(got.bytes(), 40);
    // No more than was needed.
    assert!(
        holders
            .iter()
            .any(|holder| holder.0.lock().unwrap().is_some())
    );
}

/// In Workers a call may not be woken by another request's.
#[tokio::test]
async fn where_calls_may_not_wake_each_other_they_look_again() {
    let runtime: Arc<dyn Runtime> = TokioRuntime::current().unwrap();
    let memory = Memory::without_waiting(8 << 20, &runtime);
    let reads = memory.reads.clone();
    let held = reads.reserve("one", reads.total()).await.unwrap();
    let mut other = pin!(reads.reserve("two", 1));
    assert!(poll!(&mut other).is_pending());
    assert!(!reads.contended());
    drop(held);
    assert_eq!(other.await.unwrap().bytes(), 1);
}
