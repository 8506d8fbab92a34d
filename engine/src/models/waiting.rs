//! Those who wait without a thread of the engine's: tickets for a mark, watchers for a change. In every
//! schedule all of them are woken, in order, and nothing is lost between a look and the wait.

use std::sync::Arc;
use std::task::{Poll, Waker};

use loom::thread;

use super::check;
use crate::error::{Error, ErrorKind, Result};
use crate::feed::{Feed, Scope, Subscriber, Taken, Written};
use crate::options::Durability;
use crate::parker::Parker;
use crate::segment::location::{KeyspaceId, Location, SegmentId};
use crate::segment::waiters::{Look, Place, Waiters};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The marks of a log, and who waits for them.
#[derive(Default)]
struct Marks {
    synced: AtomicU64,
    waiters: Waiters,
}

impl Marks {
    /// What a leader does after its sync.
    fn sync(&self, seq: u64) {
        self.synced.fetch_max(seq, Ordering::AcqRel);
        let synced = || self.synced.load(Ordering::Acquire);
        self.waiters.wake(|seq, _| synced() >= seq);
    }

    /// What a ticket does that is awaited.
    fn wait(&self, seq: u64) -> Result<()> {
        let (parker, mut place) = (Parker::new(), Place::default());
        let waker = Waker::from(parker.clone());
        let answer = || (self.synced.load(Ordering::Acquire) >= seq).then_some(Ok(()));
        let look = Look {
            seq,
            durability: Durability::Device,
            demands: true,
            answer: &answer,
        };
        loop {
            if let Poll::Ready(answer) = self.waiters.poll(&mut place, &look, &waker) {
                return answer;
            }
            parker.park(None);
        }
    }
}

#[test]
fn every_ticket_is_woken_when_its_mark_is_reached() {
    check(3, || {
        let marks = Arc::new(Marks::default());
        let threads: Vec<_> = (1..=2)
            .map(|seq| {
                let marks = marks.clone();
                thread::spawn(move || {
                    marks.wait(seq).expect("reached");
                    assert!(marks.synced.load(Ordering::Acquire) >= seq);
                })
            })
            .collect();
        marks.sync(1);
        marks.sync(2);
        for thread in threads {
            thread.join().expect("joined");
        }
        assert_eq!(marks.waiters.len(), 0, "who was answered has left");
    });
}

/// The sync that would answer them never comes: the store is closed, or the sync fails.
#[test]
fn the_end_and_a_failure_reach_every_ticket() {
    for ends in [true, false] {
        check(3, move || {
            let marks = Arc::new(Marks::default());
            let waiter = {
                let marks = marks.clone();
                thread::spawn(move || marks.wait(2))
            };
            marks.sync(1);
            let failed = Error::invalid("the device is gone");
            if ends {
                marks.waiters.end();
            } else {
                // Answered are those who wait; who comes later asks a store that is poisoned.
                while marks.waiters.demanded().is_none() {
                    thread::yield_now();
                }
                marks.waiters.fail(&failed, Durability::Device, |_| false);
            }
            let told = waiter.join().expect("joined").expect_err("not reached");
            let kinds = [ErrorKind::InvalidArgument, ErrorKind::Closed];
            assert_eq!(told.kind(), kinds[usize::from(ends)]);
        });
    }
}

/// A log of seqs alone: its lock orders writes, as the log lock does.
#[derive(Default)]
struct Log {
    last_seq: Mutex<u64>,
    feed: Feed,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.last_seq.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What commit does for its watchers.
    fn write(&self, keyspace: u32) {
        let mut last_seq = self.lock();
        *last_seq += 1;
        if self.feed.is_watched() {
            self.feed.push(&Written {
                keyspace: KeyspaceId(keyspace),
                seq: *last_seq,
                key: b"key",
                put: None,
                replaced: None,
                segment: SegmentId(1),
                location: Location { slot: 0, offset: 0 },
            });
        }
        drop(last_seq);
        self.feed.ring();
    }

    /// A watch from now on, and the seq that it begins after.
    fn watch(&self, keyspace: u32, scope: Scope, capacity: usize) -> (Arc<Subscriber>, u64) {
        let subscriber = Subscriber::new(KeyspaceId(keyspace), scope, capacity, false);
        let subscriber = Arc::new(subscriber);
        let last_seq = self.lock();
        subscriber.go_live(*last_seq);
        self.feed.add(subscriber.clone());
        (subscriber, *last_seq)
    }

    /// Follows up to `end`, every write told once and in its order, or counted as missed.
    fn follow(&self, (subscriber, mut seen): (Arc<Subscriber>, u64), end: u64) {
        let parker = Parker::new();
        let waker = Waker::from(parker.clone());
        while seen < end {
            match subscriber.take(&waker) {
                Taken::Event(event) => {
                    assert_eq!(event.seq, seen + 1);
                    seen = event.seq;
                }
                Taken::Lagged { missed, after } => {
                    assert_eq!(after, seen);
                    seen += missed;
                }
                Taken::Nothing => parker.park(None),
            }
        }
        self.feed.remove(&subscriber);
    }
}

/// The watch begins anywhere between the writes of two threads; with room for one event it lags.
#[test]
fn a_watch_is_told_of_every_write_after_its_beginning_or_that_it_missed_it() {
    for (capacity, scope) in [(4, Scope::Key(Box::from(&b"key"[..]))), (1, Scope::All)] {
        check(3, move || {
            let log = Arc::new(Log::default());
            let writer = {
                let log = log.clone();
                thread::spawn(move || {
                    log.write(1);
                    log.write(1);
                })
            };
            let watcher = {
                let (log, scope) = (log.clone(), scope.clone());
                thread::spawn(move || {
                    let watch = log.watch(1, scope, capacity);
                    log.follow(watch, 3);
                })
            };
            log.write(1);
            for thread in [writer, watcher] {
                thread.join().expect("joined");
            }
            assert!(!log.feed.is_watched());
        });
    }
}

/// One who comes and goes beside it, and writes that concern nobody, cost a watch no event.
#[test]
fn a_watch_is_not_disturbed_by_others_that_come_and_go() {
    check(3, || {
        let log = Arc::new(Log::default());
        let watch = log.watch(1, Scope::Prefix(Box::from(&b"k"[..])), 4);
        let other = {
            let log = log.clone();
            thread::spawn(move || {
                let (subscriber, _) = log.watch(2, Scope::All, 1);
                log.feed.remove(&subscriber);
            })
        };
        let writer = {
            let log = log.clone();
            thread::spawn(move || {
                log.write(1);
                log.write(1);
            })
        };
        log.follow(watch, 2);
        for thread in [other, writer] {
            thread.join().expect("joined");
        }
    });
}
