//! Schedules of opening: several threads read, scan and fill side by side, two processes' worth of openers race
//! for one directory, and readers look on while a crashed store is recovered. Thresholds below which
//! one thread works alone are small here, so that few records bring all of them to work.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use shuttle::thread;

use super::{LARGE, check_times, value};
use crate::clock::ManualClock;
use crate::core::Core;
use crate::disk::Disk;
use crate::disk::sim::{Cut, SimDisk};
use crate::error::ErrorKind;
use crate::handle::Handle;
use crate::merge::Merge;
use crate::options::{KeyspaceOptions, Options};
use crate::segment::names::{self, ImageCopy};
use crate::store::Store;

const SPACES: [&str; 2] = ["hash", "ordered"];
const KEYS: u8 = 9;

type Content = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

fn options(threads: usize) -> Options {
    Options::default()
        .segment_bytes(4_096)
        .buffer_bytes(4_096)
        .reserve_bytes(0)
        .image_index_bytes(0)
        .recovery_threads(threads)
        .background(false)
        .clock(Arc::new(ManualClock::new(1_700_000_000_000)))
}

/// `None` if somebody has it.
fn try_open(disk: &SimDisk, threads: usize) -> Option<Store> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let lock = match disk.lock(names::LOCK) {
        Ok(lock) => lock,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
            return None;
        }
    };
    let core = Core::open(PathBuf::from("simulated"), &disk, lock, options(threads));
    Some(Store::of(Handle::new(
        core.expect("a crash leaves what opens"),
    )))
}

fn open(disk: &SimDisk, threads: usize) -> Store {
    try_open(disk, threads).expect("nobody else has it")
}

fn content(store: &Store) -> Content {
    let mut content = Content::new();
    for (number, name) in SPACES.into_iter().enumerate() {
        let space = store.existing_keyspace(name).expect("there");
        for entry in space.walk() {
            let entry = entry.expect("readable");
            let got = space.get(&entry.key).expect("readable");
            assert_eq!(got.as_deref(), Some(&*entry.value), "walk and get agree");
            content.insert((number, entry.key.to_vec()), entry.value.to_vec());
        }
    }
    content
}

/// Several segments with versions, tombstones and both kinds of keydir; `merged` has some of them merged.
fn fill(store: &Store, merged: bool) {
    for (number, name) in SPACES.into_iter().enumerate() {
        let kind = [KeyspaceOptions::hash(), KeyspaceOptions::ordered()];
        let space = store.keyspace(name, kind[number]).expect("made");
        let mut batch = store.batch();
        for key in 0..KEYS {
            batch.put(&space, [key], [key; 30]);
        }
        batch.commit().expect("written");
        space.put([1], value(u64::from(KEYS))).expect("put");
        space.delete([2]).expect("deleted");
        space.put([3], [7; LARGE]).expect("put");
    }
    if merged {
        store.merge(Merge::Full).expect("merged");
        let space = store.existing_keyspace(SPACES[0]).expect("there");
        space.put([4], [9; LARGE]).expect("put");
    }
}

/// What one thread finds alone all of them find together, whoever does what: with hints and images of a closed
/// store, with scans of a crashed one.
#[test]
fn an_open_by_several_threads_finds_what_one_finds_alone() {
    check_times(8, || {
        for (seed, merged) in [(20, false), (21, true)] {
            let disk = SimDisk::new(seed);
            let store = open(&disk, 1);
            fill(&store, merged);
            let expected = content(&store);
            let crashed = disk.crash(&Cut::Kill);
            store.close().expect("closed");
            let closed = disk.crash(&Cut::Kill);
            let without_images = disk.crash(&Cut::Kill);
            for image in [ImageCopy::A, ImageCopy::B] {
                // One of the two may never have been made.
                let _absent = without_images.vanish(names::image(image));
            }
            for left in [crashed, closed, without_images] {
                let store = open(&left, 3);
                assert_eq!(store.recovery().damage, []);
                assert_eq!(content(&store), expected);
                store.close().expect("closed");
            }
        }
    });
}

/// Whoever comes second is told so at once, and finds what the first one left when it has closed.
#[test]
fn two_openers_of_a_crashed_store_take_turns() {
    check_times(15, || {
        let disk = SimDisk::new(22);
        let store = open(&disk, 1);
        fill(&store, false);
        let left = disk.crash(&Cut::Kill);
        drop(store);
        let openers: Vec<_> = [100_u8, 101]
            .into_iter()
            .map(|key| {
                let disk = left.clone();
                thread::spawn(move || {
                    loop {
                        if let Some(store) = try_open(&disk, 2) {
                            let space = store.existing_keyspace(SPACES[0]).expect("there");
                            space.put([key], [key; 20]).expect("put");
                            drop(space);
                            store.close().expect("closed");
                            break;
                        }
                        thread::yield_now();
                    }
                })
            })
            .collect();
        for opener in openers {
            opener.join().expect("joined");
        }
        let store = open(&left, 1);
        let space = store.existing_keyspace(SPACES[0]).expect("there");
        for key in [100, 101] {
            assert!(space.contains([key]).expect("read"), "{key}");
        }
    });
}

/// Readers who look at a crashed store while it is recovered, and goes on, see what recovery leaves: all
/// that it keeps, and of what is written afterwards a beginning.
#[test]
fn readers_beside_recovery_see_what_it_leaves() {
    check_times(8, || {
        let disk = SimDisk::new(23);
        let store = open(&disk, 1);
        fill(&store, true);
        let left = disk.crash_losing_all();
        drop(store);
        let expected = content(&open(&left.crash(&Cut::Kill), 1));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (disk, expected) = (left.clone(), expected.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
                        let dir = PathBuf::from("simulated");
                        let core = match Core::open_read_only(dir, &shared, options(2)) {
                            Ok(core) => core,
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                                continue;
                            }
                        };
                        let reader = Store::of(Handle::new(core));
                        let mut found = content(&reader);
                        found.remove(&(0, vec![100]));
                        assert_eq!(found, expected);
                    }
                })
            })
            .collect();
        let store = open(&left, 2);
        let space = store.existing_keyspace(SPACES[0]).expect("there");
        space.put([100], [1; LARGE]).expect("put");
        store.merge(Merge::Full).expect("merged");
        for reader in readers {
            reader.join().expect("joined");
        }
        drop(space);
        store.close().expect("closed");
    });
}
