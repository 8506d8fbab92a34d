//! Crash-state exploration: workloads run on the simulated disk; after every disk operation the
//! power is cut in several legal ways, the store is opened on what is left, and its content must
//! be a prefix of history at or past the last acknowledged write. Recovery is cut too, and the
//! recovered store lives a second life.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::ManualClock;
use crate::core::Core;
use crate::disk::Disk;
use crate::disk::sim::{Dice, Fault, Loss, SimDisk, State};
use crate::error::{ErrorKind, Result};
use crate::handle::Handle;
use crate::keyspace::Keyspace;
use crate::merge::Merge;
use crate::options::{Durability, KeyspaceOptions, Options, Write};
use crate::segment::names;
use crate::store::Store;

type Content = BTreeMap<(u8, u8), Vec<u8>>;

/// One step of a workload.
#[derive(Clone, Debug)]
enum Step {
    Put {
        space: u8,
        key: u8,
        len: usize,
        how: Durability,
    },
    Delete {
        space: u8,
        key: u8,
        how: Durability,
    },
    Batch {
        keys: Vec<(u8, u8, bool)>,
        how: Durability,
    },
    Sync,
    Merge,
    MergeFull,
    Reopen,
}

impl Step {
    fn random(dice: &mut Dice) -> Step {
        let how = [Durability::Buffered, Durability::Kernel, Durability::Device][dice.below(3)];
        let (space, key) = (small(dice, 2), small(dice, 6));
        match dice.below(14) {
            0..=5 => Step::Put {
                space,
                key,
                len: dice.below(900),
                how,
            },
            6..=7 => Step::Delete { space, key, how },
            8..=9 => {
                let count = 1 + dice.below(5);
                let keys = (0..count).map(|_| (small(dice, 2), small(dice, 6), dice.below(4) > 0));
                Step::Batch {
                    keys: keys.collect(),
                    how,
                }
            }
            10 => Step::Sync,
            11 => Step::Merge,
            12 => Step::MergeFull,
            _ => Step::Reopen,
        }
    }
}

fn small(dice: &mut Dice, n: usize) -> u8 {
    u8::try_from(dice.below(n)).expect("small")
}

/// What may be found after a cut: the states of history from the last one acknowledged on.
#[derive(Default)]
struct History {
    states: Vec<Content>,
    acknowledged: usize,
}

impl History {
    fn now(&self) -> Content {
        self.states.last().cloned().unwrap_or_default()
    }

    fn allows(&self, found: &Content) -> bool {
        self.states
            .iter()
            .skip(self.acknowledged)
            .any(|state| state == found)
    }
}

fn options() -> Options {
    Options::default()
        .segment_bytes(4_096)
        .buffer_bytes(4_096)
        .reserve_bytes(0)
        .recovery_threads(1)
        .background(false)
        .durability(Durability::Device)
        .clock(Arc::new(ManualClock::new(1_700_000_000_000)))
}

fn open(disk: &SimDisk) -> Result<Store> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let lock = disk.lock(names::LOCK).expect("nobody else holds it");
    let core = Core::open(PathBuf::from("simulated"), &disk, lock, options())?;
    Ok(Store::of(Handle::new(core)))
}

fn spaces(store: &Store) -> Result<[Keyspace; 2]> {
    Ok([
        store.keyspace("hash", KeyspaceOptions::hash())?,
        store.keyspace("ordered", KeyspaceOptions::ordered())?,
    ])
}

fn content(store: &Store) -> Content {
    let mut content = Content::new();
    for info in store.keyspaces() {
        let space = u8::from(info.name == "ordered");
        let keyspace = store.existing_keyspace(&info.name).expect("listed");
        for entry in keyspace.walk() {
            let entry = entry.expect("readable");
            content.insert((space, entry.key[0]), entry.value.to_vec());
        }
        for key in 0..6 {
            let got = keyspace.get([key]).expect("readable");
            let walked = content.get(&(space, key));
            assert_eq!(
                got.as_deref(),
                walked.map(Vec::as_slice),
                "walk and get agree"
            );
        }
    }
    content
}

/// One workload under exploration.
struct Lab {
    history: Arc<Mutex<History>>,
    disk: SimDisk,
    store: Option<Store>,
    count: u64,
    error: Option<ErrorKind>,
}

impl Lab {
    fn new(seed: u64) -> Lab {
        Lab {
            history: Arc::new(Mutex::new(History {
                states: vec![Content::new()],
                acknowledged: 0,
            })),
            disk: SimDisk::new(seed),
            store: None,
            count: 0,
            error: None,
        }
    }

    fn begin(&self, state: Content) {
        lock(&self.history).states.push(state);
    }

    fn acknowledge(&self) {
        let mut history = lock(&self.history);
        history.acknowledged = history.states.len() - 1;
    }

    /// Runs a step; a failed one leaves the state before it, or (for a failed wait) either.
    fn run(&mut self, step: &Step) {
        if self.store.is_none() {
            match open(&self.disk) {
                Ok(store) => self.store = Some(store),
                Err(error) => {
                    self.error = Some(error.kind());
                    return;
                }
            }
        }
        if let Err(error) = self.try_step(step) {
            self.error = Some(error.kind());
        }
    }

    fn try_step(&mut self, step: &Step) -> Result<()> {
        let store = self.store.clone().expect("opened");
        match step {
            Step::Put {
                space,
                key,
                len,
                how,
            } => {
                let keyspaces = spaces(&store)?;
                let value = self.value(*len);
                let mut next = lock(&self.history).now();
                next.insert((*space, *key), value.clone());
                self.begin(next);
                let write = Write::new().durability(*how);
                let put = keyspaces[usize::from(*space)].put_with([*key], value, write);
                self.settle(put.and_then(|commit| commit.wait()).map(drop), *how)
            }
            Step::Delete { space, key, how } => {
                let keyspaces = spaces(&store)?;
                let mut next = lock(&self.history).now();
                next.remove(&(*space, *key));
                self.begin(next);
                let deleted = keyspaces[usize::from(*space)].delete_with([*key], *how);
                self.settle(
                    deleted.and_then(|(_, commit)| commit.wait()).map(drop),
                    *how,
                )
            }
            Step::Batch { keys, how } => {
                let keyspaces = spaces(&store)?;
                let mut next = lock(&self.history).now();
                let mut batch = store.batch();
                for (space, key, put) in keys {
                    let keyspace = &keyspaces[usize::from(*space)];
                    if *put {
                        let value = self.value(200);
                        batch.put(keyspace, [*key], &value);
                        next.insert((*space, *key), value);
                    } else {
                        batch.delete(keyspace, [*key]);
                        next.remove(&(*space, *key));
                    }
                }
                self.begin(next);
                let done = batch.commit_with(*how);
                self.settle(done.and_then(|commit| commit.wait()).map(drop), *how)
            }
            Step::Sync => {
                store.sync()?;
                self.acknowledge();
                Ok(())
            }
            Step::Merge => store.merge(Merge::Needed).map(drop),
            Step::MergeFull => store.merge(Merge::Full).map(drop),
            Step::Reopen => {
                drop(store);
                let closed = self.store.take().expect("opened").close();
                closed.map(|()| self.acknowledge())
            }
        }
    }

    fn settle(&self, result: Result<()>, how: Durability) -> Result<()> {
        if result.is_ok() && how == Durability::Device {
            self.acknowledge();
        }
        result
    }

    fn value(&mut self, len: usize) -> Vec<u8> {
        self.count += 1;
        let mut value = self.count.to_le_bytes().to_vec();
        value.resize(len.max(8), 0x5A);
        value
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cuts the power at `state` in several ways and judges what is left; returns how many states
/// were judged. With `depth` left, recovery is cut as well.
fn judge(state: &State, history: &History, dice: &mut Dice, ways: usize, depth: usize) -> u64 {
    let mut judged = 0;
    for way in 0..ways {
        let loss = match way {
            0 => Loss::Everything,
            1 => Loss::Nothing,
            _ => Loss::Some,
        };
        let disk = state.after_cut(dice, loss);
        let inner = Arc::new(Mutex::new((Vec::new(), dice.clone())));
        if depth > 0 {
            let keep = inner.clone();
            disk.set_hook(Some(Box::new(move |state| {
                lock(&keep).0.push(state.clone())
            })));
        }
        let what = format!("cut after {} ({loss:?})", state.last);
        let found = {
            let store = open(&disk).unwrap_or_else(|error| panic!("{what}: open: {error}"));
            disk.set_hook(None);
            let report = store.recovery();
            assert_eq!(report.damage, [], "{what}: a cut is no damage");
            content(&store)
        };
        judged += 1;
        assert!(
            history.allows(&found),
            "{what}: found {:?}, expected one of {:?}",
            brief(&found),
            history
                .states
                .iter()
                .skip(history.acknowledged)
                .map(brief)
                .collect::<Vec<_>>()
        );
        second_life(&disk, &found, &what);
        let cuts = std::mem::take(&mut lock(&inner).0);
        for cut in cuts {
            // Once recovered, the state is decided: the same again, however often it is cut.
            judged += judge(&cut, history, dice, 2, depth - 1);
        }
    }
    judged
}

/// The recovered store is opened again, written to, closed and opened once more.
fn second_life(disk: &SimDisk, found: &Content, what: &str) {
    let store = open(disk).unwrap_or_else(|error| panic!("{what}: second open: {error}"));
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
    let store = open(disk).unwrap_or_else(|error| panic!("{what}: third open: {error}"));
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
fn explore(seed: u64, steps: &[Step], ways: usize, depth: usize) -> u64 {
    let mut lab = Lab::new(seed);
    let judged = Arc::new(Mutex::new(0));
    let (history, total) = (lab.history.clone(), judged.clone());
    let mut dice = Dice::new(seed ^ 0xC0FF_EE00);
    lab.disk.set_hook(Some(Box::new(move |state| {
        *lock(&total) += judge(state, &lock(&history), &mut dice, ways, depth);
    })));
    for step in steps {
        lab.run(step);
        assert_eq!(lab.error, None, "seed {seed}: {step:?}");
    }
    lab.disk.set_hook(None);
    let judged = *lock(&judged);
    assert!(judged > 0, "a run that judged nothing is no proof");
    judged
}

fn random_steps(seed: u64, count: usize) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    (0..count).map(|_| Step::random(&mut dice)).collect()
}

fn seeds() -> u64 {
    std::env::var("PEERCASK_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(12)
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_prefix_of_history() {
    let judged: u64 = (1..=seeds())
        .map(|seed| explore(seed, &random_steps(seed, 24), 4, 0))
        .sum();
    println!("{judged} crash states judged");
}

#[test]
fn a_power_cut_within_recovery_leaves_a_prefix_of_history() {
    let judged: u64 = (100..100 + seeds() / 3)
        .map(|seed| explore(seed, &random_steps(seed, 12), 3, 1))
        .sum();
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
            how,
        },
        Step::Put {
            space: 1,
            key: 1,
            len: 20,
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
            judged += explore(seed, &[a.clone(), b.clone()], 4, 0);
        }
    }
    println!("{judged} crash states judged");
}

#[test]
fn an_operation_that_fails_is_told_and_loses_nothing_acknowledged() {
    let errors = [io::ErrorKind::StorageFull, io::ErrorKind::Other];
    for seed in 1..=seeds() * 4 {
        let mut dice = Dice::new(seed ^ 0xFA11);
        let operations = [
            "write", "sync", "create", "rename", "remove", "sync-dir", "reserve",
        ];
        let fault = Fault {
            operation: operations[dice.below(operations.len())],
            after: dice.below(25) as u64,
            for_good: dice.below(2) == 0,
            error: errors[dice.below(2)],
        };
        faulty(seed, fault);
    }
}

/// A workload with a fault in it; afterwards the disk is well again, and the store opened on
/// what a kill, and what a power cut, would have left.
fn faulty(seed: u64, fault: Fault) {
    let mut lab = Lab::new(seed);
    let mut dice = Dice::new(seed);
    lab.disk.set_fault(Some(fault));
    for step in random_steps(seed ^ 0xBAD, 24) {
        lab.run(&step);
        if lab.error.is_some() {
            // A failed call may or may not be applied after a crash; what follows is not judged.
            break;
        }
    }
    lab.disk.set_fault(None);
    let state = lab.disk.state();
    let history = lock(&lab.history);
    for loss in [Loss::Nothing, Loss::Everything, Loss::Some, Loss::Some] {
        let disk = state.after_cut(&mut dice, loss);
        let what = format!("seed {seed}, {fault:?}, {loss:?}");
        let store = open(&disk).unwrap_or_else(|error| panic!("{what}: open: {error}"));
        let found = content(&store);
        assert!(history.allows(&found), "{what}: found {:?}", brief(&found));
    }
}
