//! Runs built-in workloads on a store, step by step, and notes what may be found of them after a crash. What
//! was found is judged in `survival`.

use std::sync::Arc;
use std::time::Duration;

use super::history::{Content, History, Place, tell};
use super::open::Background;
use super::program::{Outcome, Run};
use super::steps::{Change, Step, Workload};
#[cfg(test)]
use crate::disk::sim::Cut;
use crate::error::{Error, ErrorKind, Result};
use crate::expected::Expected;
use crate::keyspace::Keyspace;
use crate::merge::Merge;
use crate::options::{Durability, KeyspaceOptions, Options, Write};
use crate::segment::format::NEVER;
use crate::segment::location::Seq;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::swap::Swap;
use crate::ticket::Commit;
use crate::value::Entry;

/// Names of the keyspaces of a workload.
pub(super) const SPACES: [&str; 3] = ["hash", "ordered", "third"];
/// Where checkpoints go.
pub(super) const COPY: &str = "copy";
/// Keys of a workload are below.
pub(super) const KEYS: u8 = 8;
/// A key that no workload uses.
pub(super) const OTHER_KEY: [u8; 1] = [9];

/// Small segments, so that few writes fill one.
pub(super) fn options() -> Options {
    let mut options = Options::default()
        .segment_bytes(4_096)
        .buffer_bytes(4_096)
        .reserve_bytes(0)
        .image_index_bytes(0);
    options.part_bytes = Some(PART_BYTES);
    options
}

/// A batch over several segments has some two records in each.
const PART_BYTES: u64 = 250;

/// The first life had other ones.
pub(super) fn other_options() -> Options {
    options()
        .segment_bytes(8_192)
        .buffer_bytes(5_000)
        .durability(Durability::Kernel)
        .sync_interval(None)
}

/// A store, driven step by step, that notes what may be found.
struct Machine<'a> {
    run: &'a Run<Arc<History>>,
    history: History,
    options: Options,
    store: Option<Store>,
    /// The last snapshot, and what it showed when it was taken.
    snapshot: Option<(Snapshot, Content)>,
    count: u64,
}

/// Runs the workload; a write that was refused leaves nothing behind, and the run goes on; any other
/// failure ends it.
pub(super) fn run(workload: &Workload, run: &Run<Arc<History>>) -> Outcome {
    run_with(workload, run, options())
}

/// The same on a store with other options.
pub(super) fn run_with(workload: &Workload, run: &Run<Arc<History>>, options: Options) -> Outcome {
    let mut machine = Machine::new(run, options);
    machine.run(workload)
}

/// As `run`; then no call fails any more and there is room, and the store is poisoned or takes writes. What
/// it does from there on is not part of the run.
#[cfg(test)]
pub(super) fn run_and_heal(workload: &Workload, run: &Run<Arc<History>>) -> Outcome {
    let mut machine = Machine::new(run, options());
    let ended = machine.run(workload);
    let disk = run.disk();
    disk.set_hook(None);
    disk.set_faults(&[]);
    disk.set_capacity(None);
    let store = match machine.store.take() {
        Some(store) => store,
        None => Store::open_on(&disk.crash(&Cut::Kill), options()).expect("opens"),
    };
    let put = || -> Result<()> {
        let write = Write::new().durability(Durability::Device);
        let put = keyspace(&store, 0)?.put_with(OTHER_KEY, b"healed", write)?;
        put.wait().map(drop)
    };
    // A panic: no fault of the disk excuses it.
    match (put(), store.stats().poisoned) {
        (Ok(()), None) => {
            let found = keyspace(&store, 0).and_then(|space| space.get(OTHER_KEY));
            let found = found.expect("read");
            assert_eq!(found.as_deref(), Some(&b"healed"[..]));
        }
        (Err(error), Some(_)) if error.kind() == ErrorKind::Poisoned => {}
        (put, poisoned) => panic!("the faults are over, but: {put:?}, {poisoned:?}"),
    }
    ended
}

impl<'a> Machine<'a> {
    fn new(run: &'a Run<Arc<History>>, options: Options) -> Machine<'a> {
        Machine {
            run,
            history: History::new(),
            options,
            store: None,
            snapshot: None,
            count: 0,
        }
    }

    fn run(&mut self, workload: &Workload) -> Outcome {
        self.note();
        for step in &workload.steps {
            self.step(step)?;
            self.look_back()?;
        }
        Ok(())
    }

    fn note(&self) {
        self.run.note(Arc::new(self.history.clone()));
    }

    fn change(&mut self, change: impl FnOnce(&mut History)) {
        change(&mut self.history);
        self.note();
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let store = self.open()?;
        match step {
            Step::Put {
                space,
                key,
                len,
                ttl_s,
                durability,
            } => self.put(&store, (*space, *key), *len, *ttl_s, *durability),
            Step::Delete {
                space,
                key,
                durability,
            } => self.delete(&store, (*space, *key), *durability),
            Step::Batch {
                changes,
                durability,
            } => self.batch(&store, changes, *durability),
            Step::Swap {
                change,
                holds,
                durability,
            } => self.swap(&store, *change, *holds, *durability),
            Step::DeletePrefix {
                space,
                key,
                durability,
            } => self.delete_prefix(&store, *space, *key, *durability),
            Step::Transaction {
                changes,
                durability,
                commit,
            } => self.transaction(&store, changes, *durability, *commit),
            Step::Snapshot => self.take_snapshot(&store),
            Step::Sync => self.note_done(store.sync(), History::acknowledge),
            Step::Rotate => store.rotate(),
            Step::Merge => store.merge(Merge::Needed).map(drop),
            Step::MergeFull => store.merge(Merge::Full).map(drop),
            Step::Drop { space } => self.drop_space(&store, *space),
            Step::Reopen => {
                drop(store);
                self.close()
            }
            Step::Resize { kib } => {
                drop(store);
                self.resize(*kib)
            }
            Step::Pass { seconds } => {
                self.pass(*seconds);
                Ok(())
            }
            Step::Flush => {
                let flushed = store.background_step(Background::Flush);
                self.note_done(flushed, History::reach_kernel)
            }
            Step::Interval => {
                let synced = store.background_step(Background::Interval);
                self.note_done(synced, History::acknowledge)
            }
            Step::Work => store.background_step(Background::Work),
            Step::Checkpoint => {
                self.change(History::begin_copy);
                self.note_done(store.checkpoint_to(COPY).map(drop), History::end_copy)
            }
        }
    }

    fn pass(&self, seconds: u32) {
        let time = Duration::from_secs(u64::from(seconds));
        self.run.disk().clock().advance(time);
    }

    fn resize(&mut self, kib: u32) -> Result<()> {
        self.close()?;
        let bytes = u64::from(kib) << 10;
        self.options = self.options.clone().segment_bytes(bytes);
        self.open().map(drop)
    }

    fn close(&mut self) -> Result<()> {
        self.snapshot = None;
        let closed = self.store.take().map_or(Ok(()), Store::close);
        self.change(History::acknowledge);
        closed
    }

    /// What is `done` makes a change of what may be found.
    fn note_done(&mut self, done: Result<()>, change: fn(&mut History)) -> Result<()> {
        done?;
        self.change(change);
        Ok(())
    }

    fn take_snapshot(&mut self, store: &Store) -> Result<()> {
        let now_ms = store.now_ms();
        let live = self.history.now();
        let live = live.into_iter().filter(|(_, (_, expiry))| *expiry > now_ms);
        let then = live.map(|(place, (value, _))| (place, value.to_vec()));
        self.snapshot = Some((store.snapshot()?, then.collect()));
        Ok(())
    }

    fn put(
        &mut self,
        store: &Store,
        (space, key): Place,
        len: u32,
        ttl_s: Option<u32>,
        how: Durability,
    ) -> Result<()> {
        let keyspace = keyspace(store, space)?;
        let value = self.value(len);
        let expiry = ttl_s.map_or(NEVER, |ttl| store.now_ms() + u64::from(ttl) * 1_000);
        let mut next = self.history.now();
        next.insert((space, key), (value.clone().into(), expiry));
        self.change(|history| history.begin(next));
        let write = Write::new().durability(how).expires_at_ms(expiry);
        self.end(keyspace.put_with([key], value, write), how)
    }

    fn delete(&mut self, store: &Store, (space, key): Place, how: Durability) -> Result<()> {
        let keyspace = keyspace(store, space)?;
        let mut next = self.history.now();
        next.remove(&(space, key));
        self.change(|history| history.begin(next));
        let deleted = keyspace.delete_with([key], how);
        self.end(deleted.map(|(_, commit)| commit), how)
    }

    fn batch(&mut self, store: &Store, changes: &[Change], how: Durability) -> Result<()> {
        let mut next = self.history.now();
        let mut batch = store.batch();
        for Change { space, key, put } in changes {
            let keyspace = keyspace(store, *space)?;
            if *put {
                let value = self.value(200);
                batch.put(&keyspace, [*key], &value);
                next.insert((*space, *key), (value.into(), NEVER));
            } else {
                batch.delete(&keyspace, [*key]);
                next.remove(&(*space, *key));
            }
        }
        self.change(|history| history.begin(next));
        self.end(batch.commit_with(how), how)
    }

    fn swap(&mut self, store: &Store, change: Change, holds: bool, how: Durability) -> Result<()> {
        let Change { space, key, put } = change;
        let keyspace = keyspace(store, space)?;
        let before = keyspace.entry([key])?;
        let expected = match &before {
            Some(_) if !holds => Expected::Absent,
            None if !holds => Expected::Value(b"never written"),
            Some(entry) if put => Expected::Seq(entry.seq),
            Some(entry) => Expected::Value(&entry.value),
            None => Expected::Absent,
        };
        let mut next = self.history.now();
        let value = self.value(200);
        if put {
            next.insert((space, key), (value.clone().into(), NEVER));
        } else {
            next.remove(&(space, key));
        }
        if holds {
            self.change(|history| history.begin(next));
        }
        let write = Write::new().durability(how).never_expires();
        let swapped = match put {
            true => keyspace.put_if([key], &value, expected, write),
            false => keyspace.delete_if([key], expected, how),
        };
        match swapped {
            Ok(Swap::Applied(commit)) if holds => self.end(Ok(commit), how),
            Ok(Swap::Refused(found)) if !holds => match seq_of(&found) == seq_of(&before) {
                true => Ok(()),
                false => Err(Error::invalid("a refused swap tells of another version")),
            },
            Ok(_) => Err(Error::invalid("a swap goes by what it was not to expect")),
            Err(error) if holds => self.end(Err(error), how),
            Err(error) if error.kind() == ErrorKind::Poisoned => Err(error),
            // It was to change nothing, and did not.
            Err(_) => Ok(()),
        }
    }

    fn delete_prefix(
        &mut self,
        store: &Store,
        space: u8,
        key: Option<u8>,
        how: Durability,
    ) -> Result<()> {
        let keyspace = keyspace(store, space)?;
        let mut next = self.history.now();
        next.retain(|(of, at), _| *of != space || key.is_some_and(|key| key != *at));
        self.change(|history| history.begin(next));
        let prefix: Vec<u8> = key.into_iter().collect();
        let deleted = keyspace.delete_prefix_with(prefix, how);
        self.end(deleted.map(|(_, commit)| commit), how)
    }

    fn transaction(
        &mut self,
        store: &Store,
        changes: &[Change],
        how: Durability,
        commit: bool,
    ) -> Result<()> {
        let mut next = self.history.now();
        let spaces = [keyspace(store, 0)?, keyspace(store, 1)?];
        let mut tx = store.begin()?;
        for Change { space, key, put } in changes {
            let keyspace = spaces.get(usize::from(*space));
            let keyspace = keyspace.ok_or_else(|| Error::invalid("a transaction of the third"))?;
            if *put {
                let value = self.value(200);
                tx.put(keyspace, [*key], &value)?;
                next.insert((*space, *key), (value.into(), NEVER));
            } else {
                tx.delete(keyspace, [*key])?;
                next.remove(&(*space, *key));
            }
            if tx.contains(keyspace, [*key])? != *put {
                return Err(Error::invalid("a transaction does not see its own write"));
            }
        }
        if !commit {
            tx.rollback();
            return Ok(());
        }
        self.change(|history| history.begin(next));
        self.end(tx.commit_with(how), how)
    }

    /// Whatever was written, merged, expired or failed since: a snapshot shows its own moment.
    fn look_back(&self) -> Outcome {
        let (Some(store), Some((snapshot, then))) = (&self.store, &self.snapshot) else {
            return Ok(());
        };
        let mut found = Content::new();
        for (space, name) in (0_u8..).zip(SPACES) {
            let Ok(keyspace) = store.existing_keyspace(name) else {
                continue;
            };
            for entry in snapshot.walk(&keyspace)? {
                let entry = entry?;
                if snapshot.get(&keyspace, &entry.key)?.as_ref() != Some(&entry.value) {
                    return Err("get and walk of a snapshot disagree".into());
                }
                let key = *entry.key.first().ok_or("a key that nobody wrote")?;
                found.insert((space, key), entry.value.to_vec());
            }
        }
        // A panic: no fault of the disk excuses it.
        assert!(
            found == *then,
            "a snapshot of {} shows {}",
            told(then),
            told(&found)
        );
        Ok(())
    }

    fn drop_space(&mut self, store: &Store, space: u8) -> Result<()> {
        if let Some((_, then)) = &mut self.snapshot {
            // What is gone with its keyspace can be asked for no more.
            then.retain(|(of, _), _| *of != space);
        }
        self.change(|history| history.begin_drop(space));
        let dropped = store.drop_keyspace(name_of(space));
        self.change(|history| history.end_drop(dropped.is_ok()));
        match dropped {
            Err(error) if error.kind() == ErrorKind::StorageFull => Ok(()),
            other => other.map(drop),
        }
    }

    fn open(&mut self) -> Result<Store> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let store = self.run.open(self.options.clone())?;
        self.store = Some(store.clone());
        Ok(store)
    }

    fn end(&mut self, begun: Result<Commit>, how: Durability) -> Result<()> {
        let commit = match begun {
            Ok(commit) => commit,
            Err(error) if error.kind() == ErrorKind::Poisoned => return Err(error),
            // Refused: the store goes on without it.
            Err(_) => {
                self.change(History::refuse);
                return Ok(());
            }
        };
        commit.wait()?;
        match how {
            Durability::Buffered => {}
            Durability::Kernel => self.change(History::reach_kernel),
            Durability::Device => self.change(History::acknowledge),
        }
        Ok(())
    }

    fn value(&mut self, len: u32) -> Vec<u8> {
        self.count += 1;
        let mut value = self.count.to_le_bytes().to_vec();
        value.resize(usize::try_from(len).unwrap_or(0).max(8), 0x5A);
        value
    }
}

fn seq_of(entry: &Option<Entry>) -> Option<Seq> {
    entry.as_ref().map(|entry| entry.seq)
}

pub(super) fn name_of(space: u8) -> &'static str {
    SPACES.get(usize::from(space)).copied().unwrap_or("third")
}

pub(super) fn keyspace(store: &Store, space: u8) -> Result<Keyspace> {
    let options = match space {
        0 => KeyspaceOptions::hash(),
        _ => KeyspaceOptions::ordered(),
    };
    store.keyspace(name_of(space), options)
}

/// A number for what may be found.
pub(super) fn note_key(notes: &[Arc<History>]) -> u64 {
    notes.last().map_or(0, |last| last.key)
}

pub(super) fn told(content: &Content) -> String {
    tell(
        content
            .iter()
            .map(|(place, value)| (*place, value.as_slice())),
    )
}
