//! Calls that fail: each kind of call, each kind of failure, the n-th call, once or for good; disks
//! that run full at every size; syncs that fail once. Whatever is told to the caller must be true.

use super::{Trial, flat, try_out};
use crate::crash::machine::{keyspace, options};
use crate::crash::{Cut, Failure, Fault, Operation, SimDisk, Workload};
use crate::disk::sim::State;
use crate::error::ErrorKind;
use crate::merge::Merge;
use crate::options::{Durability, Options, Reads, Write};
use crate::store::Store;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Runs the workload on a disk that fails so, crashes it at its end and at some points before,
/// and judges what is left; returns how many states were judged.
pub(super) fn survives(workload: &Workload, faults: &[Fault], capacity: Option<usize>) -> u64 {
    let trial = Trial {
        capacity,
        ..Trial::new(workload, 1, faults)
    };
    let (states, bad) = try_out(&trial, flat(4), 12);
    if let Some(bad) = bad {
        panic!("{workload} with {faults:?} and room for {capacity:?}: {bad}");
    }
    states
}

/// Puts, a batch, a roll, a merge, a reopen: every kind of call.
fn all_kinds() -> Workload {
    "p0.1.700d,p1.2.400k,b+0.3+1.3-0.1d,r,p0.1.900b,s,M,d1.2d,c,o,p0.5.40d"
        .parse()
        .expect("steps")
}

#[test]
fn each_call_fails_once_and_for_good_in_each_way() {
    let mut judged = 0;
    for operation in Operation::ALL {
        for failure in Failure::ALL {
            let interrupts = matches!(operation, Operation::Read | Operation::Write);
            if failure == Failure::Interrupted && !interrupts {
                continue;
            }
            for after in [0, 1, 2, 3, 5, 8, 12, 17, 23, 31] {
                let once = Fault::new(operation, failure).after(after);
                judged += survives(&all_kinds(), &[once], None);
                if failure != Failure::Interrupted {
                    judged += survives(&all_kinds(), &[once.for_good(true)], None);
                }
            }
        }
    }
    println!("{judged} states judged");
    assert!(judged > 5_000, "{judged}");
}

#[test]
fn a_call_that_is_done_and_fails_nevertheless_loses_nothing() {
    let mut judged = 0;
    for operation in Operation::ALL.into_iter().filter(|op| op.changes()) {
        for after in 0..24 {
            let fault = Fault::new(operation, Failure::Io).after(after).done(true);
            judged += survives(&all_kinds(), &[fault], None);
        }
    }
    assert!(judged > 500, "{judged}");
}

#[test]
fn a_disk_that_runs_full_at_any_size_loses_nothing() {
    let mut judged = 0;
    for capacity in (0..14_000).step_by(173) {
        judged += survives(&all_kinds(), &[], Some(capacity));
    }
    assert!(judged > 300, "{judged}");
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_although_the_next_sync_would_succeed() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let store = Store::open_on(&disk, options()).expect("opened");
        let space = keyspace(&store, 0).expect("made");
        space.put("before", "kept").expect("acknowledged");
        let operation = [Operation::Sync, Operation::SyncDirectory][usize::from(seed % 4 == 0)];
        if operation == Operation::SyncDirectory {
            store.rotate().expect("so that the directory changes");
        }
        disk.set_faults(&[Fault::new(operation, Failure::Io)]);
        let put = space.put("during", "doubtful");
        assert_eq!(put.expect_err("the sync failed").kind(), ErrorKind::Io);
        let later = space.put("after", "refused").expect_err("poisoned");
        assert_eq!(later.kind(), ErrorKind::Poisoned);
        assert_eq!(
            space.get("before").expect("reads go on").as_deref(),
            Some(&b"kept"[..])
        );
        let closed = store.close().expect_err("close tells it too");
        assert!(
            matches!(closed.kind(), ErrorKind::Poisoned | ErrorKind::Io),
            "{closed}"
        );
        drop(space);
        for after in [disk.crash_losing_all(), disk.crash(&Cut::Kill)] {
            let store = Store::open_on(&after, options()).expect("opens");
            let space = keyspace(&store, 0).expect("there");
            assert_eq!(
                space.get("before").expect("read").as_deref(),
                Some(&b"kept"[..])
            );
            assert_eq!(space.get("after").expect("read"), None, "never taken");
        }
    }
}

#[test]
fn a_drop_after_an_error_acknowledges_nothing_and_hides_nothing() {
    for closes in [true, false] {
        let disk = SimDisk::new(1);
        let store = Store::open_on(&disk, options()).expect("opened");
        let space = keyspace(&store, 0).expect("made");
        space.put("before", "kept").expect("acknowledged");
        let buffered = Write::new().durability(Durability::Buffered);
        let in_memory = space.put_with("k", "v", buffered).expect("in memory");
        drop(in_memory);
        disk.set_faults(&[Fault::new(Operation::Sync, Failure::Io)]);
        let first = space.put("l", "w").expect_err("cannot be synced");
        assert_eq!(first.kind(), ErrorKind::Io, "{first}");
        let full = Fault::new(Operation::Write, Failure::StorageFull).for_good(true);
        disk.set_faults(&[full]);
        let second = space.put("m", "x").expect_err("refused");
        assert_eq!(second.kind(), ErrorKind::Poisoned, "{second}");
        let cause = first.to_string();
        assert!(second.to_string().contains(&cause), "{second}");
        let poisoned = store.stats().poisoned.expect("it is");
        assert!(poisoned.contains(&cause), "{poisoned}");

        let syncs = Arc::new(AtomicU64::new(0));
        let seen = syncs.clone();
        disk.set_hook(Some(Box::new(move |state: &State| {
            let last = state.last.as_ref().map(|call| call.operation);
            if matches!(last, Some(Operation::Sync | Operation::SyncDirectory)) {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        })));
        drop(space);
        if closes {
            let told = store.close().expect_err("close tells it");
            assert!(told.to_string().contains(&cause), "the first cause: {told}");
        } else {
            drop(store);
        }
        disk.set_hook(None);
        assert_eq!(syncs.load(Ordering::Relaxed), 0, "nothing is synced again");
        disk.set_faults(&[]);
        for after in [disk.crash_losing_all(), disk.crash(&Cut::Kill), disk] {
            let store = Store::open_on(&after, options()).expect("opens");
            assert_eq!(store.recovery().damage, []);
            let space = keyspace(&store, 0).expect("there");
            let get = |key: &str| space.get(key).expect("read").map(|value| value.to_vec());
            assert_eq!(get("before").as_deref(), Some(&b"kept"[..]));
            assert!(matches!(get("k").as_deref(), None | Some(b"v")));
            assert!(matches!(get("l").as_deref(), None | Some(b"w")));
            assert_eq!(get("m"), None, "refused for good");
        }
    }
}

#[test]
fn a_sector_that_cannot_be_read_costs_its_key_alone_and_merge_keeps_both_inputs() {
    let positional = || {
        Options::default()
            .segment_bytes(4_096)
            .reads(Reads::Positional)
    };
    let disk = SimDisk::new(1);
    let store = Store::open_on(&disk, positional()).expect("opened");
    let space = keyspace(&store, 0).expect("made");
    for key in 0..6_u8 {
        space.put([key], [key; 700]).expect("put");
    }
    for key in 0..3_u8 {
        space.put([key + 10], [key; 700]).expect("put");
        space.delete([key]).expect("deleted");
    }
    store.rotate().expect("sealed");
    let segments: Vec<String> = disk.files().into_iter().map(|(name, _)| name).collect();
    let first = segments
        .iter()
        .find(|name| name.starts_with("seg-"))
        .expect("a segment");
    disk.set_unreadable(first, 5).expect("there");
    let (mut failed, mut readable) = (0, Vec::new());
    for key in 3..6_u8 {
        match space.get([key]) {
            Ok(value) => {
                assert_eq!(value.as_deref(), Some(&[key; 700][..]));
                readable.push(key);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                assert_eq!(error.file(), Some(first.as_str()), "{error}");
                failed += 1;
            }
        }
    }
    assert!((1..=2).contains(&failed), "{failed} keys lie in the sector");
    let inputs = segments_of(&disk);
    assert!(inputs.len() >= 2, "{inputs:?}");
    let told = store
        .merge(Merge::Full)
        .expect_err("a live record cannot be read");
    assert_eq!(told.file(), Some(first.as_str()), "{told}");
    let files = segments_of(&disk);
    assert!(
        inputs.iter().all(|input| files.contains(input)),
        "all inputs are kept: {inputs:?} of {files:?}"
    );
    let others = |store: &Store, when: &str| {
        let space = keyspace(store, 0).expect("there");
        for key in readable.iter().copied().chain(10..13) {
            let value = space.get([key]).unwrap_or_else(|e| panic!("{when}: {e}"));
            let written = if key < 10 { key } else { key - 10 };
            assert_eq!(value.as_deref(), Some(&[written; 700][..]), "{when}: {key}");
        }
        for key in 0..3_u8 {
            assert_eq!(space.get([key]).expect("read"), None, "{when}: deleted");
        }
    };
    others(&store, "after the merge");
}

fn segments_of(disk: &SimDisk) -> Vec<String> {
    let names = disk.files().into_iter().map(|(name, _)| name);
    names.filter(|name| name.starts_with("seg-")).collect()
}
