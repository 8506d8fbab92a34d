//! Writers and readers on eight threads against rotation and background merge. Every read gives a
//! value that was written for that key, whole, and never one older than the reader knows to have
//! been acknowledged before it asked; in the end, and after a reopen, the store is what the writers
//! left.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use peercask::{Durability, Keyspace, Merge, Store};

use crate::support::{
    Contents, Place, Rng, SetAtEnd, assert_same, contents, delete_hints, hash, ordered, rounds,
};

const WRITERS: u64 = 4;
const READERS: u64 = 4;
const KEYS: u64 = 40;

/// What the writer of a key has done to it: twice the number of the last change that has begun,
/// plus one if that change was acknowledged.
struct Progress {
    started: AtomicU64,
    acknowledged: AtomicU64,
}

struct Shared {
    spaces: [Keyspace; 2],
    /// By keyspace and key.
    progress: Vec<Progress>,
    done: AtomicBool,
}

/// Change number `number` of a key: every fifth is a delete.
fn is_delete(number: u64) -> bool {
    number % 5 == 4
}

fn value(key: u64, number: u64) -> Vec<u8> {
    let mut value = [key.to_le_bytes(), number.to_le_bytes()].concat();
    let filler = u8::try_from((key + number) % 251).expect("below 251");
    value.resize(
        16 + usize::try_from(number * 13 % 150).expect("small"),
        filler,
    );
    value
}

/// The change that wrote this value; panics if no change can have.
fn number_of(key: u64, found: &[u8]) -> u64 {
    let number = found.get(8..16).and_then(|bytes| bytes.try_into().ok());
    let number = u64::from_le_bytes(number.expect("as long as a value"));
    assert!(!is_delete(number) && number > 0);
    assert_eq!(found, value(key, number), "a value of key {key}, whole");
    number
}

impl Shared {
    fn progress(&self, space: usize, key: u64) -> &Progress {
        let at = usize::try_from(key).expect("small");
        &self.progress[space * usize::try_from(KEYS).expect("small") + at]
    }

    /// Each key has one writer, so that its changes have one order. It goes on until some merges
    /// were done beside it.
    fn write(&self, store: &Store, writer: u64, changes: u64) {
        let mut rng = Rng::new(0x78EA + writer);
        for step in 0..changes * 40 {
            if step >= changes && step.is_multiple_of(100) && store.stats().merges >= 3 {
                break;
            }
            let key = rng.below(KEYS / WRITERS) * WRITERS + writer;
            if step % 9 == 8 {
                self.write_batch(store, key);
                continue;
            }
            let space = rng.index(2);
            let progress = self.progress(space, key);
            let number = progress.started.fetch_add(1, Ordering::SeqCst) + 1;
            if is_delete(number) {
                assert!(
                    self.spaces[space]
                        .delete(key.to_le_bytes())
                        .expect("deleted")
                );
            } else {
                self.spaces[space]
                    .put(key.to_le_bytes(), value(key, number))
                    .expect("put");
            }
            progress.acknowledged.store(number, Ordering::SeqCst);
        }
    }

    /// Both keyspaces change together.
    fn write_batch(&self, store: &Store, key: u64) {
        let mut batch = store.batch();
        let mut numbers = Vec::new();
        for (space, keyspace) in self.spaces.iter().enumerate() {
            let progress = self.progress(space, key);
            let number = progress.started.fetch_add(1, Ordering::SeqCst) + 1;
            if is_delete(number) {
                batch.delete(keyspace, key.to_le_bytes());
            } else {
                batch.put(keyspace, key.to_le_bytes(), value(key, number));
            }
            numbers.push(number);
        }
        batch.commit().expect("committed");
        for (space, number) in numbers.into_iter().enumerate() {
            self.progress(space, key)
                .acknowledged
                .store(number, Ordering::SeqCst);
        }
    }

    /// What is read lies between what was acknowledged before and what was begun by the end.
    fn judge(&self, space: usize, key: u64, before: u64, found: Option<&[u8]>) {
        let after = self.progress(space, key).started.load(Ordering::SeqCst);
        match found {
            Some(found) => {
                let number = number_of(key, found);
                assert!(
                    (before..=after).contains(&number),
                    "key {key}: change {number} read, {before} acknowledged, {after} begun"
                );
            }
            None => assert!(
                before == 0 || (before..=after).any(is_delete),
                "key {key} is missing: {before} acknowledged, {after} begun, no delete"
            ),
        }
    }

    fn read(&self, reader: u64) -> u64 {
        let mut rng = Rng::new(0x4EAD + reader);
        let mut reads = 0;
        while !self.done.load(Ordering::SeqCst) {
            let (space, key) = (rng.index(2), rng.below(KEYS));
            let before = self
                .progress(space, key)
                .acknowledged
                .load(Ordering::SeqCst);
            let found = self.spaces[space].get(key.to_le_bytes()).expect("readable");
            self.judge(space, key, before, found.as_deref());
            reads += 1;
            if reads % 50 == 0 {
                self.walk(space);
            }
        }
        reads
    }

    fn walk(&self, space: usize) {
        let known: Vec<u64> = (0..KEYS)
            .map(|key| {
                self.progress(space, key)
                    .acknowledged
                    .load(Ordering::SeqCst)
            })
            .collect();
        for entry in self.spaces[space].walk() {
            let entry = entry.expect("readable");
            let key = u64::from_le_bytes((&*entry.key).try_into().expect("eight bytes"));
            let before = known[usize::try_from(key).expect("small")];
            self.judge(space, key, before, Some(&entry.value));
        }
    }

    /// What the writers left.
    fn expected(&self) -> Contents {
        let mut expected = BTreeMap::new();
        for (space, keyspace) in self.spaces.iter().enumerate() {
            for key in 0..KEYS {
                let number = self
                    .progress(space, key)
                    .acknowledged
                    .load(Ordering::SeqCst);
                if number > 0 && !is_delete(number) {
                    let place = (keyspace.name().to_owned(), key.to_le_bytes().to_vec());
                    expected.insert(place, value(key, number));
                }
            }
        }
        expected
    }
}

fn run(durability: Durability, changes: u64, merges_by_call: bool) {
    let place = Place::new();
    let options = place
        .options()
        .background(true)
        .durability(durability)
        .merge_rate(None);
    let store = place.open_with(options);
    let keys = usize::try_from(KEYS).expect("small");
    let progress = || Progress {
        started: AtomicU64::new(0),
        acknowledged: AtomicU64::new(0),
    };
    let shared = Shared {
        spaces: [hash(&store, "flat"), ordered(&store, "sorted")],
        progress: (0..2 * keys).map(|_| progress()).collect(),
        done: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let (shared, store) = (&shared, &store);
        let readers: Vec<_> = (0..READERS)
            .map(|reader| scope.spawn(move || shared.read(reader)))
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || shared.write(store, writer, changes)))
            .collect();
        let beside = scope.spawn(move || {
            while !shared.done.load(Ordering::SeqCst) {
                if merges_by_call {
                    store.merge(Merge::Full).expect("merged");
                } else {
                    let report = store.verify(&mut |_| {}).expect("verified");
                    assert!(report.is_clean(), "{:?}", report.damage);
                }
            }
        });
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        shared.done.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok), "a writer failed");
        for reader in readers {
            assert!(reader.join().expect("a reader failed") > 0);
        }
        beside.join().expect("the merge or verify failed");
    });
    let stats = store.stats();
    assert!(stats.rotations > 10 && stats.merges >= 3, "{stats:?}");
    assert_eq!(
        (&stats.poisoned, &stats.last_background_error),
        (&None, &None)
    );

    let expected = shared.expected();
    assert_same(&contents(&store), &expected, "in the end");
    drop(shared);
    store.close().expect("closed");
    assert_same(&contents(&place.open()), &expected, "reopened");
    delete_hints(place.path());
    let store = place.open();
    assert_same(&contents(&store), &expected, "reopened without hints");
    let report = store.verify(&mut |_| {}).expect("verified");
    assert!(report.is_clean(), "{:?}", report.damage);
}

#[test]
fn eight_threads_against_rotation_and_merge_with_kernel_writes() {
    run(Durability::Kernel, rounds(8_000), false);
}

#[test]
fn eight_threads_against_rotation_and_merge_with_buffered_writes() {
    run(Durability::Buffered, rounds(8_000), false);
}

#[test]
fn eight_threads_against_rotation_and_full_merges_called_without_end() {
    run(Durability::Kernel, rounds(1_500), true);
}

/// Keyspaces come and go while others write.
#[test]
fn keyspaces_made_and_dropped_beside_writers_disturb_nobody() {
    let place = Place::new();
    let store = place.open_with(place.options().background(true));
    let steady = hash(&store, "steady");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (store, steady, done) = (&store, &steady, &done);
        let writer = scope.spawn(move || {
            let _set_at_end = SetAtEnd(done);
            for key in 0..2_000_u32 {
                steady.put(key.to_le_bytes(), [b's'; 40]).expect("put");
            }
        });
        for thread in 0..3 {
            scope.spawn(move || {
                let name = format!("comes and goes {}", thread % 2);
                while !done.load(Ordering::SeqCst) {
                    let Ok(space) = store.keyspace(&name, peercask::KeyspaceOptions::hash()) else {
                        continue;
                    };
                    for key in 0..10_u8 {
                        match space.put([key], [b'g'; 20]) {
                            Ok(()) => {}
                            Err(e) => assert_eq!(e.kind(), peercask::ErrorKind::NotFound, "{e}"),
                        }
                    }
                    store.drop_keyspace(&name).expect("dropped");
                }
            });
        }
        writer.join().expect("the writer failed");
    });
    for info in store.keyspaces() {
        if info.name != "steady" {
            store.drop_keyspace(&info.name).expect("dropped");
        }
    }
    assert_eq!(contents(&store).len(), 2_000);
    drop(steady);
    store.merge(Merge::Full).expect("merged");
    assert_eq!(store.stats().dead_bytes, 0);
    store.close().expect("closed");
    assert_eq!(contents(&place.open()).len(), 2_000);
}
