//! Segments that merge retires, in every schedule: a reader finds its key in the old segment or in the new one
//! and keeps what it found open; a checkpoint that pinned a segment has its file until it lets go, and
//! then the file goes, whoever is last. The pins are tried with steps in the wrong order too, which must show.

use loom::sync::Arc as Counted;
use loom::thread;
use std::sync::Arc;
// Told across schedules, so loom must not know of it.
use std::sync::atomic::AtomicU64 as PlainU64;

use super::{at, check, hash};
use crate::keydir::hash::HashKeydir;
use crate::segment::location::{Location, SegmentId};
use crate::segment::pins::Pins;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many schedules showed something that must not be.
#[derive(Clone, Default)]
struct Seen(Arc<PlainU64>);

impl Seen {
    fn unless(&self, right: bool) {
        if !right {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether the steps come as the engine does them, or what is wrong with them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Right,
    /// Pins are taken when it is no longer sure that the segment lives.
    PinnedLate,
    /// The file goes, and its death is forgotten, while the segment is in the table. The engine did so.
    ForgottenEarly,
}

/// A segment as readers hold it; its map goes with the last of them.
struct File {
    unmapped: Arc<AtomicBool>,
}

impl Drop for File {
    fn drop(&mut self) {
        self.unmapped.store(true, Ordering::Release);
    }
}

type Slots = Vec<Option<Counted<File>>>;

/// The table of segments: swapped as a whole, loaded without waiting for who changes it. A lock held for
/// the copy stands for arc-swap, which knows nothing of loom.
struct Table {
    current: Mutex<Counted<Slots>>,
}

impl Table {
    fn load(&self) -> Counted<Slots> {
        Counted::clone(&lock(&self.current))
    }

    fn set(&self, slot: usize, file: Option<Counted<File>>) {
        let mut slots = Slots::clone(&self.load());
        slots[slot] = file;
        let old = std::mem::replace(&mut *lock(&self.current), Counted::new(slots));
        // What ends with it may take a while; not under the lock.
        drop(old);
    }
}

fn place(slot: u16) -> Location {
    Location { slot, ..at(8) }
}

/// As `lookup::find` does it: the table first, then the keydir, and once more for a segment that is not in
/// that table. Twice is enough while the key stands.
fn find(table: &Table, keydir: &HashKeydir) -> Option<Counted<File>> {
    for _ in 0..2 {
        let slots = table.load();
        for location in keydir.candidates(hash(1)).iter() {
            if let Some(file) = &slots[usize::from(location.slot)] {
                return Some(file.clone());
            }
        }
        thread::yield_now();
    }
    None
}

/// One reader beside one merge of its segment.
fn a_reader_beside_a_merge(seen: &Seen) {
    let unmapped = [0, 1].map(|_| Arc::new(AtomicBool::new(false)));
    let file = |slot: usize| {
        let unmapped = unmapped[slot].clone();
        Some(Counted::new(File { unmapped }))
    };
    let table = Arc::new(Table {
        current: Mutex::new(Counted::new(vec![file(0), None])),
    });
    let keydir = Arc::new(HashKeydir::new());
    assert!(keydir.change(hash(1), None, Some(place(0))));
    let reader = {
        let (table, keydir, seen) = (table.clone(), keydir.clone(), seen.clone());
        thread::spawn(move || {
            let lent = find(&table, &keydir);
            seen.unless(lent.is_some());
            // It is kept for a while, whatever becomes of the segment.
            thread::yield_now();
            if let Some(lent) = lent {
                seen.unless(!lent.unmapped.load(Ordering::Acquire));
            }
        })
    };
    table.set(1, file(1));
    // Published before retired.
    assert!(keydir.change(hash(1), Some(place(0)), Some(place(1))));
    table.set(0, None);
    reader.join().expect("joined");
    seen.unless(unmapped[0].load(Ordering::Acquire));
    seen.unless(!unmapped[1].load(Ordering::Acquire));
}

#[test]
fn a_reader_beside_a_merge_holds_the_old_segment_or_the_new_one_and_the_old_one_goes() {
    let seen = Seen::default();
    let told = seen.clone();
    check(3, move || a_reader_beside_a_merge(&told));
    assert_eq!(seen.count(), 0, "schedules that showed otherwise");
}

const ID: SegmentId = SegmentId(7);

/// One segment's file and its place in the table, the ids that the catalog declares dead, and the pins: the
/// steps are those of `Log` and of merge.
struct Directory {
    order: Order,
    seen: Seen,
    dead: Mutex<Vec<SegmentId>>,
    pins: Pins,
    in_table: AtomicBool,
    removed: AtomicBool,
    linked: AtomicU64,
}

impl Directory {
    fn new(order: Order, seen: Seen) -> Directory {
        Directory {
            order,
            seen,
            dead: Mutex::new(Vec::new()),
            pins: Pins::default(),
            in_table: AtomicBool::new(true),
            removed: AtomicBool::new(false),
            linked: AtomicU64::new(0),
        }
    }

    /// Declares it dead, takes it out of the table, removes the file.
    fn merge(&self) {
        lock(&self.dead).push(ID);
        self.in_table.store(false, Ordering::Release);
        self.remove_files();
    }

    fn remove_files(&self) {
        let mut gone = lock(&self.dead).clone();
        let is_out = !self.in_table.load(Ordering::Acquire);
        gone.retain(|_| is_out || self.order == Order::ForgottenEarly);
        gone.retain(|id| !self.pins.holds(*id));
        if gone.is_empty() {
            return;
        }
        self.removed.store(true, Ordering::Release);
        lock(&self.dead).retain(|id| !gone.contains(id));
    }

    /// Freezes, links and lets go. What was declared dead is no part of it: pins are taken under the lock under
    /// which that is looked up.
    fn checkpoint(&self) {
        let dead = lock(&self.dead);
        if dead.contains(&ID) || !self.in_table.load(Ordering::Acquire) {
            return;
        }
        if self.order == Order::PinnedLate {
            drop(dead);
            self.pins.add(&[ID]);
        } else {
            self.pins.add(&[ID]);
            drop(dead);
        }
        for _ in 0..2 {
            self.seen.unless(!self.removed.load(Ordering::Acquire));
            self.linked.fetch_add(1, Ordering::AcqRel);
        }
        self.pins.release(&[ID]);
        self.remove_files();
    }
}

/// So many checkpoints, and one that comes to its end, beside a merge.
fn checkpoints_beside_a_merge(checkpoints: usize, order: Order, seen: &Seen) {
    let directory = Arc::new(Directory::new(order, seen.clone()));
    let mut others: Vec<_> = (0..checkpoints)
        .map(|_| {
            let directory = directory.clone();
            thread::spawn(move || directory.checkpoint())
        })
        .collect();
    if checkpoints == 1 {
        let directory = directory.clone();
        others.push(thread::spawn(move || directory.remove_files()));
    }
    directory.merge();
    for other in others {
        other.join().expect("joined");
    }
    // Nobody is left who could remove it.
    seen.unless(directory.removed.load(Ordering::Acquire));
    seen.unless(lock(&directory.dead).is_empty());
}

#[test]
fn a_pinned_segment_keeps_its_file_until_the_last_pin_goes_and_then_it_goes() {
    let ways = [
        (1, Order::Right, false),
        (2, Order::Right, false),
        (1, Order::PinnedLate, true),
        (1, Order::ForgottenEarly, true),
    ];
    for (checkpoints, order, shows) in ways {
        let seen = Seen::default();
        let told = seen.clone();
        check(2, move || {
            checkpoints_beside_a_merge(checkpoints, order, &told);
        });
        assert_eq!(seen.count() > 0, shows, "in {} schedules", seen.count());
    }
}
