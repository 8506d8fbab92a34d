//! Calls that fail: each kind of call, each kind of failure, the n-th call, once or for good; disks
//! that run full at every size; syncs that fail once. Whatever is told to the caller must be true.

use super::{Trial, flat, tell, times};
use crate::crash::machine::{keyspace, options};
use crate::crash::{Cut, Failure, Fault, Operation, SimDisk, Workload};
use crate::disk::sim::State;
use crate::error::ErrorKind;
use crate::options::{Durability, Write};
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
    survives_and_meets(&trial).0
}

/// How many states were judged, and how often a fault was met.
fn survives_and_meets(trial: &Trial<'_>) -> (u64, u64) {
    let tried = tell(trial, flat(4), 12);
    if let Some(bad) = tried.bad {
        let (workload, faults) = (trial.workload, trial.faults);
        panic!(
            "{workload} with {faults:?} and room for {:?}: {bad}",
            trial.capacity
        );
    }
    (tried.states, tried.met)
}

/// Puts, a batch, a roll, a merge, a reopen: every kind of call.
fn all_kinds() -> Workload {
    "p0.1.700d,p1.2.400k,b+0.3+1.3-0.1d,r,p0.1.900b,s,M,d1.2d,c,o,p0.5.40d"
        .parse()
        .expect("steps")
}

#[test]
fn each_call_fails_once_and_for_good_in_each_way() {
    let workload = all_kinds();
    let (mut judged, mut calls) = (0, 0);
    for operation in Operation::ALL {
        for failure in Failure::ALL {
            let interrupts = matches!(operation, Operation::Read | Operation::Write);
            if failure == Failure::Interrupted && !interrupts {
                continue;
            }
            // To the end of the calls of that kind: every one, if there is time.
            let spread = |after: u64| if times() > 1 { 1 } else { 1 + after / 2 };
            for after in std::iter::successors(Some(0), |after| Some(after + spread(*after))) {
                let once = [Fault::new(operation, failure).after(after)];
                let few = |faults| Trial {
                    states_max: 8 * times(),
                    ..Trial::new(&workload, 1, faults)
                };
                let (states, met) = survives_and_meets(&few(&once));
                if met == 0 {
                    assert!(
                        after > 0 || operation == Operation::Link,
                        "{operation} is made"
                    );
                    break;
                }
                judged += states;
                calls += 1;
                if failure != Failure::Interrupted {
                    let for_good = [once[0].for_good(true)];
                    judged += survives_and_meets(&few(&for_good)).0;
                }
            }
        }
    }
    println!("{calls} calls failed, {judged} states judged");
    assert!(judged > 5_000 && calls > 200, "{judged} {calls}");
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
