//! Schedules of those who wait: tickets that are awaited while somebody else leads the sync, a watch
//! beside its writers, and writers at a space cap beside a merge.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::{future, thread};

use super::{check, check_times, open, value};
use crate::clock::ManualClock;
use crate::core::Core;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::error::ErrorKind;
use crate::event::Notice;
use crate::handle::Handle;
use crate::merge::Merge;
use crate::options::{Durability, KeyspaceOptions, Options, Write};
use crate::segment::location::Seq;
use crate::segment::names;
use crate::store::Store;
use crate::watch::WatchOptions;

/// Two tickets are awaited as futures, a third by its thread; the flusher's work is done beside them.
/// All of them end, each with its write on the device.
#[test]
fn tickets_are_woken_by_whoever_leads_the_sync() {
    check_times(40, || {
        let disk = SimDisk::new(8);
        let store = open(&disk).expect("open");
        let space = store
            .keyspace("k", KeyspaceOptions::hash())
            .expect("keyspace");
        let left = Arc::new(AtomicUsize::new(3));
        let mut threads = Vec::new();
        for number in 0..3_u8 {
            let (disk, store, space) = (disk.clone(), store.clone(), space.clone());
            let left = left.clone();
            threads.push(thread::spawn(move || {
                let soft = Write::new().durability(Durability::Buffered);
                let ticket = space.put_with([number], [number; 40], soft).expect("put");
                let ticket = ticket.upgrade(Durability::Device);
                let seq = match number {
                    0 => ticket.wait(),
                    _ => future::block_on(ticket),
                };
                let seq = seq.expect("durable");
                assert!(store.stats().synced_seq >= seq.0);
                let cut = open(&disk.crash_losing_all()).expect("open after the cut");
                let found = cut.existing_keyspace("k").expect("there");
                let got = found.get([number]).expect("read");
                assert_eq!(got.as_deref(), Some(&[number; 40][..]), "acknowledged");
                left.fetch_sub(1, Ordering::SeqCst);
            }));
        }
        while left.load(Ordering::SeqCst) > 0 {
            store.core().flusher_work(false).expect("flushed");
            thread::yield_now();
        }
        for thread in threads {
            thread.join().expect("joined");
        }
    });
}

/// Two writers, and a watch with room for two events that follows them on a thread of its own: every write
/// is told once and in order, or counted as missed and then read from the log.
#[test]
fn a_watch_beside_its_writers_misses_nothing_that_it_is_not_told_of() {
    check(|| {
        let store = open(&SimDisk::new(9)).expect("open");
        let space = store
            .keyspace("k", KeyspaceOptions::ordered())
            .expect("keyspace");
        let mut watch = space
            .watch(WatchOptions::all().capacity(2))
            .expect("watched");
        let follower = thread::spawn(move || {
            let (mut last, mut told) = (Seq(0), BTreeSet::new());
            while told.len() < 6 {
                match watch.recv().expect("the store is open") {
                    Notice::Event(event) => {
                        assert!(event.seq() > last, "in order, once");
                        last = event.seq();
                        assert!(told.insert(event.key().to_vec()), "each key once");
                    }
                    Notice::Lagged(gap) => {
                        assert!(gap.missed > 0 && gap.after >= last);
                        watch.resume_after(last).expect("the log is whole");
                    }
                }
            }
            watch
        });
        let mut writers = Vec::new();
        for writer in 0..2_u8 {
            let space = space.clone();
            writers.push(thread::spawn(move || {
                for number in 0..3_u8 {
                    let soft = Write::new().durability(Durability::Buffered);
                    drop(space.put_with([writer, number], [7; 9], soft).expect("put"));
                }
            }));
        }
        for writer in writers {
            writer.join().expect("joined");
        }
        let mut watch = follower.join().expect("all six were told");
        assert!(watch.try_recv().expect("open").is_none(), "and no more");
        store.close().expect("closed");
        let ended = watch.recv().expect_err("it ends with the store");
        assert_eq!(ended.kind(), ErrorKind::Closed);
    });
}

/// Two writers and a merge at a cap: no call takes the files over it, and what was taken is there.
#[test]
fn writers_at_a_cap_beside_a_merge_stay_below_it() {
    const CAP: u64 = 160_000;
    check_times(20, || {
        let disk = SimDisk::new(10);
        disk.set_hook(Some(Box::new(|state| {
            let bytes = state.named_bytes() as u64;
            assert!(bytes <= CAP, "{bytes} bytes after {:?}", state.last);
        })));
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let lock = shared.lock(names::LOCK).expect("free");
        let options = Options::default()
            .segment_bytes(4_096)
            .reserve_bytes(1_000)
            .recovery_threads(1)
            .background(false)
            .durability(Durability::Buffered)
            .space_cap(Some(CAP))
            .clock(Arc::new(ManualClock::new(1_700_000_000_000)));
        let core = Core::open(PathBuf::from("sim"), &shared, lock, options).expect("open");
        let store = Store::of(Handle::new(core));
        let space = store
            .keyspace("k", KeyspaceOptions::hash())
            .expect("keyspace");
        // Overwritten again and again: nearly all of it is dead.
        let mut filled = 0;
        while space.put([0], value(7)).is_ok() {
            filled += 1;
        }
        assert!(filled > 20, "{filled}");
        let merger = {
            let store = store.clone();
            thread::spawn(move || store.merge(Merge::Needed).map(drop))
        };
        let mut writers = Vec::new();
        for writer in 1..3_u8 {
            let space = space.clone();
            writers.push(thread::spawn(move || {
                let mut taken = 0_u8;
                for number in 0..6 {
                    match space.put([writer, number], value(8)) {
                        Ok(()) => taken |= 1 << number,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull),
                    }
                    thread::yield_now();
                }
                taken
            }));
        }
        merger.join().expect("joined").expect("merge goes on");
        for (writer, thread) in (1..3_u8).zip(writers) {
            let taken = thread.join().expect("joined");
            for number in 0..6 {
                let there = space.contains([writer, number]).expect("read");
                assert_eq!(there, taken & (1 << number) != 0);
            }
        }
    });
}
