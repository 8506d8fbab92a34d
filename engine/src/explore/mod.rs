//! Crash-state exploration: workloads run on the simulated disk; after every disk operation the
//! power is cut in several legal ways, the store is opened on what is left, and its content must
//! be a prefix of history at or past the last acknowledged write. Recovery is cut too, and the
//! recovered store lives a second life. Mutants of the engine prove that all of this notices.
//!
//! `PEERCASK_SEEDS=n` runs more workloads.

mod checkpoint;
mod full_disk;
mod workload;

use crate::sync::Mutex;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::clock::ManualClock;
use crate::disk::sim::{Dice, Fault, Loss, SimDisk, State};
use crate::merge::Merge;
use crate::mutant::{self, Mutant};
use crate::options::Durability;
use workload::{Content, History, Lab, Step, content, lock, open, random_steps, spaces};

/// How hard a state is looked at.
#[derive(Clone, Copy)]
struct Effort {
    /// Ways to cut at each operation: all lost, nothing lost, then by the dice.
    ways: usize,
    /// How often recovery is cut within recovery.
    depth: usize,
}

/// Cuts the power at `state` in several ways and judges what is left; returns how many states
/// were judged.
fn judge(
    state: &State,
    history: &History,
    clock: &Arc<ManualClock>,
    dice: &mut Dice,
    effort: Effort,
) -> u64 {
    let mut judged = 0;
    for way in 0..effort.ways {
        let loss = match way {
            0 => Loss::Everything,
            1 => Loss::Nothing,
            _ => Loss::Some,
        };
        let what = format!(
            "cut after {} number {} ({loss:?})",
            state.last, state.operations
        );
        let disk = state.after_cut(dice, loss);
        let cuts = Arc::new(Mutex::new(Vec::new()));
        if effort.depth > 0 {
            let keep = cuts.clone();
            disk.set_hook(Some(Box::new(move |state| lock(&keep).push(state.clone()))));
        }
        let found = recover(&disk, clock, &what);
        judged += 1;
        let allowed = history.allowed();
        assert!(
            allowed.contains(&found),
            "{what}: found {:?}, expected one of {:?}",
            brief(&found),
            allowed.iter().map(brief).collect::<Vec<_>>()
        );
        second_life(&disk, clock, &found, &what);
        for cut in std::mem::take(&mut *lock(&cuts)) {
            let effort = Effort {
                ways: 2,
                depth: effort.depth - 1,
            };
            judged += judge(&cut, history, clock, dice, effort);
        }
    }
    judged
}

/// Opens on what a cut left; the operations of this open alone are told to a hook.
fn recover(disk: &SimDisk, clock: &Arc<ManualClock>, what: &str) -> Content {
    let store = open(disk, clock).unwrap_or_else(|error| panic!("{what}: open: {error}"));
    disk.set_hook(None);
    assert_eq!(store.recovery().damage, [], "{what}: a cut is no damage");
    assert_eq!(
        store.recovery().foreign_files,
        [""; 0],
        "{what}: every file is known"
    );
    content(&store)
}

/// The recovered store is opened again, written to, closed and opened once more.
fn second_life(disk: &SimDisk, clock: &Arc<ManualClock>, found: &Content, what: &str) {
    let again = || open(disk, clock).unwrap_or_else(|error| panic!("{what}: open again: {error}"));
    let store = again();
    assert_eq!(
        content(&store),
        *found,
        "{what}: the second open equals the first"
    );
    let [keyspace, _] = spaces(&store).expect("keyspaces");
    keyspace.put([9], b"second life").expect("written");
    store.merge(Merge::Needed).expect("merged");
    drop(keyspace);
    store.close().expect("closed");
    let store = again();
    let keyspace = store.existing_keyspace("hash").expect("there");
    assert_eq!(
        keyspace.get([9]).expect("read").as_deref(),
        Some(&b"second life"[..]),
        "{what}"
    );
    keyspace.delete([9]).expect("deleted");
    assert_eq!(content(&store), *found, "{what}: the second life kept all");
}

/// Keys and the number in front of each value: enough to tell states apart.
fn brief(content: &Content) -> Vec<(u8, u8, u8)> {
    let first = |value: &Vec<u8>| value.first().copied().unwrap_or(0);
    content
        .iter()
        .map(|((space, key), value)| (*space, *key, first(value)))
        .collect()
}

/// Runs a workload with a cut after each disk operation.
fn explore(seed: u64, steps: &[Step], effort: Effort, fault: Option<Fault>) -> u64 {
    let mut lab = Lab::new(seed);
    let verdict = Arc::new(Mutex::new(Verdict::default()));
    let (history, clock, told) = (lab.history.clone(), lab.clock.clone(), verdict.clone());
    let mut dice = Dice::new(seed ^ 0xC0FF_EE00);
    lab.disk.set_fault(fault);
    lab.disk.set_hook(Some(Box::new(move |state| {
        let mut verdict = lock(&told);
        if verdict.violation.is_none() {
            let judge = || judge(state, &lock(&history), &clock, &mut dice, effort);
            match catch_unwind(AssertUnwindSafe(judge)) {
                Ok(judged) => verdict.judged += judged,
                Err(panic) => verdict.violation = Some(text_of(&*panic)),
            }
        }
    })));
    for step in steps {
        lab.run(step);
        // Told here and not in the hook, where the engine would be torn down half-way.
        if let Some(violation) = &lock(&verdict).violation {
            panic!("seed {seed}, {fault:?}, at {step:?}: {violation}");
        }
        assert!(
            lab.error.is_none() || fault.is_some(),
            "seed {seed}: {step:?}: {:?}",
            lab.error
        );
    }
    lab.disk.set_hook(None);
    lock(&verdict).judged
}

/// What the judge has said so far.
#[derive(Default)]
struct Verdict {
    judged: u64,
    violation: Option<String>,
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

fn seeds() -> u64 {
    std::env::var("PEERCASK_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(9)
}

/// A fault by the dice: at some operation of some kind, once or for good, done or not.
fn random_fault(dice: &mut Dice) -> Fault {
    let operations = [
        "write", "write", "sync", "create", "rename", "remove", "sync-dir", "reserve",
    ];
    let errors = [io::ErrorKind::StorageFull, io::ErrorKind::Other];
    Fault {
        operation: operations[dice.below(operations.len())],
        after: dice.below(25) as u64,
        for_good: dice.below(2) == 0,
        done: dice.below(2) == 0,
        error: errors[dice.below(2)],
    }
}

/// A workload with one fault in it, and a cut after each operation.
fn explore_faulty(seed: u64, effort: Effort) -> u64 {
    let fault = random_fault(&mut Dice::new(seed ^ 0xFA11));
    explore(seed, &random_steps(seed ^ 0xBAD, 20), effort, Some(fault))
}

/// Small writes of which one is done and fails nevertheless; what it left must never be found
/// beside what came after it. A put as long as a batch's first member would lay bare the second.
fn explore_failed_append(seed: u64) -> u64 {
    let how = Durability::Kernel;
    let put = |key, len| Step::Put {
        space: 0,
        key,
        len,
        ttl_s: None,
        how,
    };
    let batch = Step::Batch {
        keys: vec![(0, 4, true), (0, 5, true)],
        how,
    };
    let steps = [
        put(0, 30),
        put(1, 30),
        batch,
        put(2, 204),
        put(3, 30),
        put(1, 30),
    ];
    explore(
        seed,
        &steps,
        Effort { ways: 40, depth: 0 },
        Some(one_done_fault("write", seed, 30)),
    )
}

/// Durable puts of which one meets a failing sync.
fn explore_failed_sync(seed: u64) -> u64 {
    let how = Durability::Device;
    let put = |key| Step::Put {
        space: 0,
        key,
        len: 30,
        ttl_s: None,
        how,
    };
    let steps: Vec<Step> = (0..6).map(put).collect();
    let fault = Fault {
        done: false,
        ..one_done_fault("sync", seed, 20)
    };
    explore(seed, &steps, Effort { ways: 4, depth: 0 }, Some(fault))
}

fn one_done_fault(operation: &'static str, seed: u64, within: u64) -> Fault {
    let after = 3 + (seed / 4) % within;
    Fault {
        operation,
        after,
        for_good: false,
        done: true,
        error: io::ErrorKind::Other,
    }
}

#[test]
fn what_a_failed_append_left_is_never_found_beside_later_writes() {
    let judged: u64 = (0..30).map(|run| explore_failed_append(run * 4)).sum();
    assert!(judged > 1_000, "a run that judged little is no proof");
}

#[test]
fn a_failed_sync_is_never_acknowledged() {
    let judged: u64 = (0..20).map(|run| explore_failed_sync(run * 4)).sum();
    assert!(judged > 1_000, "a run that judged little is no proof");
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_prefix_of_history() {
    let effort = Effort { ways: 4, depth: 0 };
    let run = |seed| explore(seed, &random_steps(seed, 24), effort, None);
    let judged: u64 = (1..=seeds()).map(run).sum();
    assert!(judged > 1_000, "a run that judged little is no proof");
    println!("{judged} crash states judged");
}

#[test]
fn a_power_cut_within_recovery_leaves_a_prefix_of_history() {
    let effort = Effort { ways: 3, depth: 1 };
    let run = |seed| explore(seed, &random_steps(seed, 12), effort, None);
    let judged: u64 = (100..100 + seeds() / 3).map(run).sum();
    assert!(judged > 1_000, "a run that judged little is no proof");
    println!("{judged} crash states judged");
}

#[test]
fn every_short_workload_survives_every_cut() {
    let how = Durability::Device;
    let menu = [
        Step::Put {
            space: 0,
            key: 1,
            len: 700,
            ttl_s: None,
            how,
        },
        Step::Put {
            space: 1,
            key: 1,
            len: 20,
            ttl_s: Some(5),
            how: Durability::Kernel,
        },
        Step::Delete {
            space: 0,
            key: 1,
            how,
        },
        Step::Batch {
            keys: vec![(0, 1, true), (1, 1, false), (1, 2, true)],
            how,
        },
        Step::MergeFull,
        Step::Reopen,
    ];
    let mut judged = 0;
    for (i, a) in menu.iter().enumerate() {
        for (j, b) in menu.iter().enumerate() {
            let seed = 1_000 + (i * menu.len() + j) as u64;
            let effort = Effort { ways: 4, depth: 0 };
            judged += explore(seed, &[a.clone(), b.clone()], effort, None);
        }
    }
    assert!(judged > 1_000, "a run that judged little is no proof");
    println!("{judged} crash states judged");
}

#[test]
fn an_operation_that_fails_is_told_and_loses_nothing_acknowledged() {
    let effort = Effort { ways: 3, depth: 0 };
    let judged: u64 = (1..=seeds() * 3)
        .map(|seed| explore_faulty(seed, effort))
        .sum();
    assert!(judged > 1_000, "a run that judged little is no proof");
    println!("{judged} crash states judged");
}

/// How many runs it may take to notice a mutant.
const MUTANT_RUNS_MAX: u64 = 300;

/// The number of the run that noticed the mutant.
fn killed_by(mutant: Mutant) -> Option<u64> {
    let effort = Effort { ways: 4, depth: 0 };
    mutant::switch(Some(mutant));
    let noticed = (1..=MUTANT_RUNS_MAX).find(|run| {
        let run = *run;
        let body = || match run % 4 {
            0 => explore_faulty(run, effort),
            1 => explore_failed_append(run),
            2 => explore_failed_sync(run),
            _ => explore(run, &random_steps(run, 24), effort, None),
        };
        catch_unwind(AssertUnwindSafe(body)).is_err()
    });
    mutant::switch(None);
    noticed
}

#[test]
fn every_mutant_is_killed() {
    let mut alive = Vec::new();
    for mutant in mutant::ALL {
        match killed_by(mutant) {
            Some(run) => println!("{mutant:?}: killed in run {run}"),
            None => alive.push(mutant),
        }
    }
    assert_eq!(alive, [], "mutants that nothing noticed");
}
