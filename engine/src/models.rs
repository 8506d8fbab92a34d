//! Every schedule, and every outcome that weak memory allows, of the small parts on which the rest
//! leans: the hand-over of group commit, the words of the hash keydir under a reader, those who
//! wait for a mark or a change (`waiting`), and segments that retire under readers and pins (`retired`).
//! `cargo test -p peercask --features loom --lib models`.
//!
//! What is let go when a segment retires is counted by std's `Arc` and swapped by arc-swap, for which loom's own
//! stand here; the engine's whole calls are tried by `schedules`.

mod retired;
mod waiting;

use std::sync::Arc;

use loom::thread;

use crate::keydir::hash::HashKeydir;
use crate::segment::location::Location;
use crate::segment::sync_gate::SyncGate;
use crate::sync::atomic::{AtomicU64, Ordering};

/// All schedules with up to so many preemptions: bugs need few, and the number of schedules grows
/// with it beyond measure.
fn check(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(body);
}

/// What a sync covers, as the log counts it.
#[derive(Default)]
struct Counters {
    appended: AtomicU64,
    synced: AtomicU64,
    leaders: AtomicU64,
}

impl Counters {
    /// Appends a write, and returns when it is synced by whoever leads.
    fn write(&self, gate: &SyncGate) {
        let mine = self.appended.fetch_add(1, Ordering::AcqRel) + 1;
        let is_done = || self.synced.load(Ordering::Acquire) >= mine;
        while !is_done() {
            let Some(turn) = gate.lead_or_wait(mine, is_done, || 0) else {
                continue;
            };
            assert_eq!(self.leaders.fetch_add(1, Ordering::AcqRel), 0, "one leads");
            let covered = self.appended.load(Ordering::Acquire);
            self.leaders.fetch_sub(1, Ordering::AcqRel);
            self.synced.fetch_max(covered, Ordering::AcqRel);
            turn.end(covered);
        }
    }
}

/// Nobody leads beside another, nobody waits for ever, nobody returns before a sync that began
/// after its append.
#[test]
fn group_commit_hands_over_to_all_who_wait() {
    for writers in [2, 3] {
        check(if writers == 2 { 4 } else { 2 }, move || {
            let gate = Arc::new(SyncGate::default());
            let counters = Arc::new(Counters::default());
            let threads: Vec<_> = (1..writers)
                .map(|_| {
                    let (gate, counters) = (gate.clone(), counters.clone());
                    thread::spawn(move || counters.write(&gate))
                })
                .collect();
            counters.write(&gate);
            for thread in threads {
                thread.join().expect("joined");
            }
            assert_eq!(counters.synced.load(Ordering::Acquire), writers);
        });
    }
}

/// A merge that asks for a turn of its own beside two writers gets it, and takes none from them.
#[test]
fn who_asks_for_a_turn_gets_one_beside_writers() {
    check(2, || {
        let gate = Arc::new(SyncGate::default());
        let counters = Arc::new(Counters::default());
        let asker = {
            let (gate, counters) = (gate.clone(), counters.clone());
            thread::spawn(move || {
                let turn = gate.lead();
                assert_eq!(counters.leaders.fetch_add(1, Ordering::AcqRel), 0);
                counters.leaders.fetch_sub(1, Ordering::AcqRel);
                drop(turn);
            })
        };
        let writer = {
            let (gate, counters) = (gate.clone(), counters.clone());
            thread::spawn(move || counters.write(&gate))
        };
        counters.write(&gate);
        for thread in [asker, writer] {
            thread.join().expect("joined");
        }
        assert_eq!(counters.synced.load(Ordering::Acquire), 2);
    });
}

fn hash(number: u64) -> u128 {
    u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 64
}

fn at(offset: u32) -> Location {
    Location { slot: 1, offset }
}

/// What a location names is written before the location is put into the keydir, and a reader who
/// finds the location sees it; one key's change never hides another key.
#[test]
fn a_reader_finds_what_stands_and_sees_what_it_names() {
    check(3, || {
        let keydir = Arc::new(HashKeydir::new());
        let record = Arc::new(AtomicU64::new(0));
        for number in 0..3 {
            assert!(keydir.change(hash(number), None, Some(at(8))));
        }
        let writer = {
            let (keydir, record) = (keydir.clone(), record.clone());
            thread::spawn(move || {
                record.store(1, Ordering::Relaxed);
                assert!(keydir.change(hash(1), Some(at(8)), Some(at(16))));
                assert!(keydir.change(hash(7), None, Some(at(24))));
                assert!(keydir.change(hash(2), Some(at(8)), None));
            })
        };
        let found = keydir.candidates(hash(1));
        assert!(found.contains(at(8)) || found.contains(at(16)));
        if found.contains(at(16)) {
            assert_eq!(
                record.load(Ordering::Relaxed),
                1,
                "written before it was named"
            );
        }
        assert!(
            keydir.candidates(hash(0)).contains(at(8)),
            "nobody touched it"
        );
        writer.join().expect("joined");
        assert!(keydir.candidates(hash(7)).contains(at(24)));
        assert!(!keydir.candidates(hash(2)).contains(at(8)));
    });
}

/// A page is split while a reader looks for a key that goes to the new one, and for one that stays.
#[test]
fn a_split_hides_no_key() {
    check(2, || {
        let keydir = Arc::new(HashKeydir::new());
        for number in 0..4 {
            assert!(keydir.change(hash(number), None, Some(at(8))));
        }
        let writer = {
            let keydir = keydir.clone();
            thread::spawn(move || {
                assert!(keydir.change(hash(4), None, Some(at(8))));
                keydir.tend(&|_| panic!("tags have bits enough"));
            })
        };
        for number in 0..4 {
            assert!(
                keydir.candidates(hash(number)).contains(at(8)),
                "key {number}"
            );
        }
        writer.join().expect("joined");
        assert!(keydir.pages() > 1, "it was split");
    });
}
