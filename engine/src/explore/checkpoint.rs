//! Crash states of checkpoints: the power is cut at every operation of a first checkpoint, of one
//! that is brought up to date, and of the first open that makes one a store. What is found in the
//! copy is the old state, the new one, or a refusal; never a part.

use crate::sync::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::text_of;
use super::workload::{Content, content, lock, open, options, spaces};
use crate::clock::ManualClock;
use crate::core::Core;
use crate::disk::Disk;
use crate::disk::sim::{Dice, Fault, Loss, SimDisk, State};
use crate::error::{ErrorKind, Result};
use crate::handle::Handle;
use crate::merge::Merge;
use crate::segment::names;
use crate::store::Store;

const COPY: &str = "copy";

/// What a judge lets pass.
#[derive(Clone, Default)]
struct Allowed {
    origin: Content,
    copies: Vec<Content>,
    /// No whole copy may be there yet.
    none: bool,
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(1_700_000_000_000))
}

/// Opens the copy as a store; `None` if it is refused as unfinished, or nothing is there.
fn open_copy(disk: &SimDisk, what: &str) -> Option<Store> {
    match try_open_copy(disk) {
        Ok(store) if store.recovery().created => None,
        Ok(store) => {
            assert_eq!(store.recovery().damage, [], "{what}: a cut is no damage");
            Some(store)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{what}: {error}");
            None
        }
    }
}

fn try_open_copy(disk: &SimDisk) -> Result<Store> {
    let copy = disk.directory(Path::new(COPY)).expect("always there");
    let lock = copy.lock(names::LOCK).expect("free");
    let core = Core::open(PathBuf::from(COPY), &copy, lock, options(&clock()))?;
    Ok(Store::of(Handle::new(core)))
}

/// Judges some of the disks that a cut at `state` may leave; returns how many.
fn judge(state: &State, allowed: &Allowed, dice: &mut Dice) -> u64 {
    let ways = [
        Loss::Everything,
        Loss::Nothing,
        Loss::Some,
        Loss::Some,
        Loss::Some,
    ];
    for loss in ways {
        let what = format!(
            "after {} number {} ({loss:?})",
            state.last, state.operations
        );
        let disk = state.after_cut(dice, loss);
        let origin = open(&disk, &clock()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(content(&origin), allowed.origin, "{what}: the origin");
        let found = open_copy(&state.after_cut(&mut dice.clone(), loss), &what);
        match found.as_ref().map(content) {
            None => assert!(allowed.none, "{what}: a copy was there"),
            Some(found) => assert!(allowed.copies.contains(&found), "{what}: {found:?}"),
        }
        // Where it was broken off it goes on.
        origin
            .checkpoint_to(COPY)
            .unwrap_or_else(|error| panic!("{what}: again: {error}"));
        drop(origin);
        let again = open_copy(&disk, &what).map(|store| content(&store));
        assert_eq!(again.as_ref(), Some(&allowed.origin), "{what}: made again");
    }
    ways.len() as u64
}

/// Runs `work` with a cut after each disk operation.
fn explore(disk: &SimDisk, seed: u64, allowed: Allowed, work: impl FnOnce()) -> u64 {
    let verdict = Arc::new(Mutex::new((0, None)));
    let (told, mut dice) = (verdict.clone(), Dice::new(seed));
    disk.set_hook(Some(Box::new(move |state| {
        let mut verdict = lock(&told);
        if verdict.1.is_none() {
            match catch_unwind(AssertUnwindSafe(|| judge(state, &allowed, &mut dice))) {
                Ok(judged) => verdict.0 += judged,
                Err(panic) => verdict.1 = Some(text_of(&*panic)),
            }
        }
    })));
    work();
    disk.set_hook(None);
    let (judged, violation) = std::mem::take(&mut *lock(&verdict));
    assert_eq!(violation, None, "seed {seed}");
    judged
}

/// Some puts and deletes, all of them durable.
fn write(store: &Store, dice: &mut Dice, count: usize) {
    let spaces = spaces(store).expect("keyspaces");
    for _ in 0..count {
        let (space, key) = (
            &spaces[dice.below(2)],
            [u8::try_from(dice.below(6)).expect("small")],
        );
        if dice.below(4) == 0 {
            space.delete(key).expect("deleted");
        } else {
            let value = vec![u8::try_from(dice.below(256)).expect("a byte"); dice.below(1_500)];
            space.put(key, value).expect("put");
        }
    }
}

fn run(seed: u64) -> u64 {
    let (disk, mut dice) = (SimDisk::new(seed), Dice::new(seed));
    let store = open(&disk, &clock()).expect("opened");
    write(&store, &mut dice, 8);
    let first = content(&store);
    let allowed = Allowed {
        origin: first.clone(),
        copies: vec![first.clone()],
        none: true,
    };
    let mut judged = explore(&disk, seed, allowed, || {
        store.checkpoint_to(COPY).expect("made");
    });
    let copy = |disk: &SimDisk| open_copy(disk, "whole").map(|store| content(&store));
    let lost = disk.state().after_cut(&mut dice, Loss::Everything);
    assert_eq!(copy(&lost), Some(first.clone()), "durable when it returns");

    write(&store, &mut dice, 8);
    if dice.below(2) == 0 {
        store.merge(Merge::Full).expect("merged");
    }
    write(&store, &mut dice, 3);
    let second = content(&store);
    let allowed = Allowed {
        origin: second.clone(),
        copies: vec![first, second.clone()],
        none: false,
    };
    judged += explore(&disk, seed, allowed, || {
        store.checkpoint_to(COPY).expect("made");
    });
    let lost = disk.state().after_cut(&mut dice, Loss::Everything);
    assert_eq!(copy(&lost), Some(second.clone()), "durable when it returns");
    // To open it is what makes it a store: this one was not opened yet.
    let lost = disk.state().after_cut(&mut dice, Loss::Everything);
    judged + first_open(&lost, store, &second, &mut dice)
}

/// The copy becomes a store, cut at every operation; what it acknowledges stays.
fn first_open(disk: &SimDisk, origin: Store, expected: &Content, dice: &mut Dice) -> u64 {
    drop(origin);
    let mut judged = 0;
    let base = disk.state();
    let disk = base.after_cut(dice, Loss::Nothing);
    let states = Arc::new(Mutex::new(Vec::new()));
    let keep = states.clone();
    disk.set_hook(Some(Box::new(move |state| lock(&keep).push(state.clone()))));
    let store = try_open_copy(&disk).expect("opened");
    assert!(store.recovery().from_checkpoint);
    disk.set_hook(None);
    for state in std::mem::take(&mut *lock(&states)) {
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some, Loss::Some] {
            let what = format!("open cut after {} ({loss:?})", state.operations);
            let after = state.after_cut(dice, loss);
            let store = open_copy(&after, &what).expect("it was whole");
            assert_eq!(content(&store), *expected, "{what}");
            let [space, _] = spaces(&store).expect("keyspaces");
            space.put([0], b"own life").expect("put");
            let with_own = content(&store);
            let after = after.state().after_cut(dice, Loss::Everything);
            let store = open_copy(&after, &what).expect("a store");
            assert_eq!(content(&store), with_own, "{what}: acknowledged");
            judged += 1;
        }
    }
    judged
}

#[test]
fn a_cut_at_any_operation_of_a_checkpoint_leaves_the_old_copy_the_new_one_or_a_refusal() {
    let judged: u64 = (1..=super::seeds().div_ceil(2)).map(run).sum();
    assert!(
        judged > 400,
        "a run that judged little is no proof: {judged}"
    );
    println!("{judged} crash states judged");
}

#[test]
fn a_checkpoint_that_fails_at_any_operation_can_be_made_again() {
    for operation in [
        "create", "write", "sync", "link", "rename", "remove", "sync-dir",
    ] {
        for after in 0..12 {
            let what = format!("{operation} {after}");
            let disk = SimDisk::new(after + 1);
            let mut dice = Dice::new(after + 7);
            let store = open(&disk, &clock()).expect("opened");
            write(&store, &mut dice, 8);
            store.checkpoint_to(COPY).expect("made");
            let old = content(&store);
            write(&store, &mut dice, 8);
            store.merge(Merge::Full).expect("merged");
            let new = content(&store);
            disk.set_fault(Some(Fault {
                operation,
                after,
                for_good: false,
                done: after % 2 == 0,
                error: std::io::ErrorKind::StorageFull,
            }));
            let made = store.checkpoint_to(COPY);
            disk.set_fault(None);
            let copy = disk.state().after_cut(&mut dice, Loss::Nothing);
            let found = content(&open_copy(&copy, &what).expect("a copy was there"));
            assert!(
                found == new || (found == old && made.is_err()),
                "{what}: {made:?}"
            );
            if store.stats().poisoned.is_none() {
                store.checkpoint_to(COPY).expect("made again");
                let found = content(&open_copy(&disk, &what).expect("whole"));
                assert_eq!(found, new, "{what}");
            }
        }
    }
}
