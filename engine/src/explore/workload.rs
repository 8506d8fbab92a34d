//! Workloads of the crash exploration, and the history that a run writes down: what the store may
//! hold after a cut.

use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, ManualClock};
use crate::core::Core;
use crate::disk::Disk;
use crate::disk::sim::{Dice, SimDisk};
use crate::error::{ErrorKind, Result};
use crate::handle::Handle;
use crate::keyspace::Keyspace;
use crate::merge::Merge;
use crate::options::{Durability, KeyspaceOptions, Options, Write};
use crate::segment::format::NEVER;
use crate::segment::names;
use crate::store::Store;
use crate::ticket::Commit;

/// Values by keyspace and key, as they are found.
pub(super) type Content = BTreeMap<(u8, u8), Vec<u8>>;
/// The same with the moment of expiry, as they were written.
type Written = BTreeMap<(u8, u8), (Vec<u8>, u64)>;

/// One step of a workload.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Put {
        space: u8,
        key: u8,
        len: usize,
        ttl_s: Option<u64>,
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
    Pass {
        seconds: u64,
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
        match dice.below(16) {
            0..=5 => {
                let ttl_s = (dice.below(3) == 0).then(|| 1 + dice.below(100) as u64);
                Step::Put {
                    space,
                    key,
                    len: dice.below(900),
                    ttl_s,
                    how,
                }
            }
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
            11..=12 => Step::Merge,
            13 => Step::MergeFull,
            14 => Step::Pass {
                seconds: dice.below(80) as u64,
            },
            _ => Step::Reopen,
        }
    }
}

pub(super) fn random_steps(seed: u64, count: usize) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    (0..count).map(|_| Step::random(&mut dice)).collect()
}

fn small(dice: &mut Dice, n: usize) -> u8 {
    u8::try_from(dice.below(n)).expect("small")
}

/// What may be found after a cut.
pub(super) struct History {
    states: Vec<Written>,
    /// States before this one are past.
    acknowledged: usize,
    /// States with a write that failed: a crash soon after may leave it whole all the same.
    failed: Vec<Written>,
    clock: Arc<ManualClock>,
}

impl History {
    fn now(&self) -> Written {
        self.states.last().cloned().unwrap_or_default()
    }

    fn visible(&self, state: &Written) -> Content {
        let now = self.clock.wall_ms();
        let live = state.iter().filter(|(_, (_, expiry))| *expiry > now);
        live.map(|(key, (value, _))| (*key, value.clone()))
            .collect()
    }

    /// All that may be found now.
    pub(super) fn allowed(&self) -> Vec<Content> {
        let states = self
            .states
            .iter()
            .skip(self.acknowledged)
            .chain(&self.failed);
        states.map(|state| self.visible(state)).collect()
    }
}

/// A store on a simulated disk, driven step by step.
pub(super) struct Lab {
    pub(super) history: Arc<Mutex<History>>,
    pub(super) disk: SimDisk,
    pub(super) clock: Arc<ManualClock>,
    /// Why the run cannot go on.
    pub(super) error: Option<ErrorKind>,
    store: Option<Store>,
    count: u64,
}

impl Lab {
    pub(super) fn new(seed: u64) -> Lab {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let history = History {
            states: vec![Written::new()],
            acknowledged: 0,
            failed: Vec::new(),
            clock: clock.clone(),
        };
        Lab {
            history: Arc::new(Mutex::new(history)),
            disk: SimDisk::new(seed),
            clock,
            error: None,
            store: None,
            count: 0,
        }
    }

    /// Runs a step. A write that was refused leaves nothing behind, and the run goes on; any
    /// other failure ends it.
    pub(super) fn run(&mut self, step: &Step) {
        if self.error.is_some() {
            return;
        }
        if let Err(error) = self.try_step(step) {
            self.error = Some(error.kind());
        }
    }

    fn try_step(&mut self, step: &Step) -> Result<()> {
        let store = self.open()?;
        match step {
            Step::Put {
                space,
                key,
                len,
                ttl_s,
                how,
            } => {
                let keyspaces = spaces(&store)?;
                let (value, mut next) = (self.value(*len), lock(&self.history).now());
                let expiry = ttl_s.map_or(NEVER, |ttl| store.now_ms() + ttl * 1_000);
                next.insert((*space, *key), (value.clone(), expiry));
                self.begin(next);
                let write = Write::new().durability(*how).expires_at_ms(expiry);
                self.end(
                    keyspaces[usize::from(*space)].put_with([*key], value, write),
                    *how,
                )
            }
            Step::Delete { space, key, how } => {
                let keyspaces = spaces(&store)?;
                let mut next = lock(&self.history).now();
                next.remove(&(*space, *key));
                self.begin(next);
                let deleted = keyspaces[usize::from(*space)].delete_with([*key], *how);
                self.end(deleted.map(|(_, commit)| commit), *how)
            }
            Step::Batch { keys, how } => self.batch(&store, keys, *how),
            Step::Pass { seconds } => {
                self.clock.advance(Duration::from_secs(*seconds));
                Ok(())
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
                let closed = self.store.take().map_or(Ok(()), Store::close);
                closed.map(|()| self.acknowledge())
            }
        }
    }

    fn batch(&mut self, store: &Store, keys: &[(u8, u8, bool)], how: Durability) -> Result<()> {
        let keyspaces = spaces(store)?;
        let mut next = lock(&self.history).now();
        let mut batch = store.batch();
        for (space, key, put) in keys {
            let keyspace = &keyspaces[usize::from(*space)];
            if *put {
                let value = self.value(200);
                batch.put(keyspace, [*key], &value);
                next.insert((*space, *key), (value, NEVER));
            } else {
                batch.delete(keyspace, [*key]);
                next.remove(&(*space, *key));
            }
        }
        self.begin(next);
        self.end(batch.commit_with(how), how)
    }

    fn open(&mut self) -> Result<Store> {
        if self.store.is_none() {
            self.store = Some(open(&self.disk, &self.clock)?);
        }
        Ok(self.store.clone().expect("opened just now"))
    }

    fn begin(&self, state: Written) {
        lock(&self.history).states.push(state);
    }

    fn end(&self, begun: Result<Commit>, how: Durability) -> Result<()> {
        let commit = match begun {
            Ok(commit) => commit,
            Err(error) if error.kind() == ErrorKind::Poisoned => return Err(error),
            // Refused: the store goes on without it.
            Err(_) => {
                let mut history = lock(&self.history);
                let state = history.states.pop();
                history.failed.extend(state);
                return Ok(());
            }
        };
        commit.wait()?;
        if how == Durability::Device {
            self.acknowledge();
        }
        Ok(())
    }

    fn acknowledge(&self) {
        let mut history = lock(&self.history);
        history.acknowledged = history.states.len() - 1;
        history.failed.clear();
    }

    fn value(&mut self, len: usize) -> Vec<u8> {
        self.count += 1;
        let mut value = self.count.to_le_bytes().to_vec();
        value.resize(len.max(8), 0x5A);
        value
    }
}

pub(super) fn options(clock: &Arc<ManualClock>) -> Options {
    Options::default()
        .segment_bytes(4_096)
        .buffer_bytes(4_096)
        .reserve_bytes(0)
        .recovery_threads(1)
        .background(false)
        .clock(clock.clone())
}

/// Opens the store on a simulated disk; small segments, nothing in the background.
pub(super) fn open(disk: &SimDisk, clock: &Arc<ManualClock>) -> Result<Store> {
    let options = options(clock);
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let lock = disk.lock(names::LOCK).expect("nobody else holds it");
    let core = Core::open(PathBuf::from("simulated"), &disk, lock, options)?;
    Ok(Store::of(Handle::new(core)))
}

pub(super) fn spaces(store: &Store) -> Result<[Keyspace; 2]> {
    Ok([
        store.keyspace("hash", KeyspaceOptions::hash())?,
        store.keyspace("ordered", KeyspaceOptions::ordered())?,
    ])
}

/// All that the store holds; walk and get must agree on it.
pub(super) fn content(store: &Store) -> Content {
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
