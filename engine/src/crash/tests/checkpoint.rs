//! Crash states of checkpoints: the power is cut at every operation of a first checkpoint, of one
//! that is brought up to date, and of the first open that makes one a store. What is found in the
//! copy is the old state, the new one, or a refusal; never a part.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::crash::history::Content;
use crate::crash::machine::{keyspace, options};
use crate::crash::survival::content;
use crate::crash::trace::{lock, text_of};
use crate::crash::{Cut, Failure, Fault, Operation, SimDisk};
use crate::disk::sim::{Dice, Slots, State};
use crate::error::{ErrorKind, Result};
use crate::merge::Merge;
use crate::store::Store;
use crate::sync::Mutex;

const COPY: &str = "copy";

/// What a judge lets pass.
#[derive(Clone, Default)]
struct Allowed {
    origin: Content,
    copies: Vec<Content>,
    /// No whole copy may be there yet.
    none: bool,
}

/// How much a crash takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    Everything,
    Nothing,
    Some,
}

/// One of the disks that a crash at `state` may leave.
pub(super) fn after(state: &State, dice: &mut Dice, loss: Loss) -> SimDisk {
    let slots = Slots::of(state);
    let cut = match loss {
        Loss::Everything => slots.nothing_kept(),
        Loss::Nothing => Cut::Kill,
        Loss::Some => slots.random(dice, false),
    };
    SimDisk::with_state(state.after(&cut), dice.next(), 1_700_000_000_000)
}

pub(super) fn open(disk: &SimDisk) -> Result<Store> {
    Store::open_on(disk, options())
}

pub(super) fn content_of(store: &Store) -> Content {
    content(store).expect("readable")
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
    open(&disk.in_directory(COPY))
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
            "after {}, number {} ({loss:?})",
            state
                .last
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            state.operations
        );
        let disk = after(state, dice, loss);
        let origin = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(content_of(&origin), allowed.origin, "{what}: the origin");
        let found = open_copy(&after(state, &mut dice.clone(), loss), &what);
        match found.as_ref().map(content_of) {
            None => assert!(allowed.none, "{what}: a copy was there"),
            Some(found) => assert!(allowed.copies.contains(&found), "{what}: {found:?}"),
        }
        // Where it was broken off it goes on.
        origin
            .checkpoint_to(COPY)
            .unwrap_or_else(|error| panic!("{what}: again: {error}"));
        drop(origin);
        let again = open_copy(&disk, &what).map(|store| content_of(&store));
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
pub(super) fn write(store: &Store, dice: &mut Dice, count: usize) {
    let spaces = [0, 1].map(|space| keyspace(store, space).expect("made"));
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
    let store = open(&disk).expect("opened");
    write(&store, &mut dice, 8);
    let first = content_of(&store);
    let allowed = Allowed {
        origin: first.clone(),
        copies: vec![first.clone()],
        none: true,
    };
    let mut judged = explore(&disk, seed, allowed, || {
        store.checkpoint_to(COPY).expect("made");
    });
    let copy = |disk: &SimDisk| open_copy(disk, "whole").map(|store| content_of(&store));
    let lost = after(&disk.state(), &mut dice, Loss::Everything);
    assert_eq!(copy(&lost), Some(first.clone()), "durable when it returns");

    write(&store, &mut dice, 8);
    if dice.below(2) == 0 {
        store.merge(Merge::Full).expect("merged");
    }
    write(&store, &mut dice, 3);
    let second = content_of(&store);
    let allowed = Allowed {
        origin: second.clone(),
        copies: vec![first, second.clone()],
        none: false,
    };
    judged += explore(&disk, seed, allowed, || {
        store.checkpoint_to(COPY).expect("made");
    });
    let lost = after(&disk.state(), &mut dice, Loss::Everything);
    assert_eq!(copy(&lost), Some(second.clone()), "durable when it returns");
    // To open it is what makes it a store: this one was not opened yet.
    let lost = after(&disk.state(), &mut dice, Loss::Everything);
    judged + first_open(&lost, store, &second, &mut dice)
}

/// The copy becomes a store, cut at every operation; what it acknowledges stays.
fn first_open(disk: &SimDisk, origin: Store, expected: &Content, dice: &mut Dice) -> u64 {
    drop(origin);
    let mut judged = 0;
    let base = disk.state();
    let disk = after(&base, dice, Loss::Nothing);
    let states = Arc::new(Mutex::new(Vec::new()));
    let keep = states.clone();
    disk.set_hook(Some(Box::new(move |state| lock(&keep).push(state.clone()))));
    let store = try_open_copy(&disk).expect("opened");
    assert!(store.recovery().from_checkpoint);
    disk.set_hook(None);
    for state in std::mem::take(&mut *lock(&states)) {
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some, Loss::Some] {
            let what = format!("open cut after {} ({loss:?})", state.operations);
            let left = after(&state, dice, loss);
            let store = open_copy(&left, &what).expect("it was whole");
            assert_eq!(content_of(&store), *expected, "{what}");
            let space = keyspace(&store, 0).expect("made");
            space.put([0], b"own life").expect("put");
            let with_own = content_of(&store);
            let left = after(&left.state(), dice, Loss::Everything);
            let store = open_copy(&left, &what).expect("a store");
            assert_eq!(content_of(&store), with_own, "{what}: acknowledged");
            judged += 1;
        }
    }
    judged
}

#[test]
fn a_cut_at_any_operation_of_a_checkpoint_leaves_the_old_copy_the_new_one_or_a_refusal() {
    let judged: u64 = (1..=super::times() * 5).map(run).sum();
    assert!(
        judged > 400,
        "a run that judged little is no proof: {judged}"
    );
    println!("{judged} crash states judged");
}

#[test]
fn a_checkpoint_that_fails_at_any_operation_can_be_made_again() {
    for operation in [
        Operation::Create,
        Operation::Write,
        Operation::Sync,
        Operation::Link,
        Operation::Rename,
        Operation::Remove,
        Operation::SyncDirectory,
    ] {
        for calls in 0..12 {
            let what = format!("{operation} {calls}");
            let disk = SimDisk::new(calls + 1);
            let mut dice = Dice::new(calls + 7);
            let store = open(&disk).expect("opened");
            write(&store, &mut dice, 8);
            store.checkpoint_to(COPY).expect("made");
            let old = content_of(&store);
            write(&store, &mut dice, 8);
            store.merge(Merge::Full).expect("merged");
            let new = content_of(&store);
            let fault = Fault::new(operation, Failure::StorageFull);
            disk.set_faults(&[fault.after(calls).done(calls % 2 == 0)]);
            let made = store.checkpoint_to(COPY);
            disk.set_faults(&[]);
            let copy = after(&disk.state(), &mut dice, Loss::Nothing);
            let found = content_of(&open_copy(&copy, &what).expect("a copy was there"));
            assert!(
                found == new || (found == old && made.is_err()),
                "{what}: {made:?}"
            );
            if store.stats().poisoned.is_none() {
                store.checkpoint_to(COPY).expect("made again");
                let found = content_of(&open_copy(&disk, &what).expect("whole"));
                assert_eq!(found, new, "{what}");
            }
        }
    }
}
