//! Random schedules of the whole engine on the simulated disk: shuttle decides at each lock and
//! atomic which thread goes on. `cargo test -p peercask --features shuttle --lib schedules`;
//! `PEERCASK_SCHEDULES=n` runs more of them, a failure prints the schedule that repeats it.
//!
//! What is asked: a read gives a value that was current at some moment of the call, whatever
//! rotation, merge and expiry do meanwhile; an acknowledged `Device` write survives a power cut at
//! the moment of its acknowledgement, whoever led the sync; snapshots show one moment, transactions
//! take turns and miss no plain write; tickets and watches wake, a cap holds (`waiting`); recovery finds the same
//! whoever works at it and looks on (`opening`); nothing waits for ever.

mod opening;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;

use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;

use crate::clock::ManualClock;
use crate::core::Core;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::error::{ErrorKind, Result};
use crate::handle::Handle;
use crate::keyspace::Keyspace;
use crate::merge::Merge;
use crate::options::{Durability, KeyspaceOptions, Options, Write};
use crate::segment::names;
use crate::store::Store;

/// So large that three of them fill a segment.
const LARGE: usize = 1_300;
/// How many versions of a key a writer writes.
const VERSIONS: u64 = 5;

fn open(disk: &SimDisk) -> Result<Store> {
    let options = Options::default()
        .segment_bytes(4_096)
        .buffer_bytes(4_096)
        .reserve_bytes(0)
        .recovery_threads(1)
        .background(false)
        .clock(Arc::new(ManualClock::new(1_700_000_000_000)));
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let lock = disk.lock(names::LOCK).expect("nobody else holds it");
    let core = Core::open(PathBuf::from("simulated"), &disk, lock, options)?;
    Ok(Store::of(Handle::new(core)))
}

/// Half of the schedules by chance, half with few but deep preemptions (PCT), which find the
/// orders that chance rarely does.
fn check(body: impl Fn() + Send + Sync + Clone + 'static) {
    check_times(150, body);
}

/// The same with so many of each kind, unless the environment asks for another number.
fn check_times(times: usize, body: impl Fn() + Send + Sync + Clone + 'static) {
    let runs = std::env::var("PEERCASK_SCHEDULES").ok();
    let runs = runs.and_then(|n| n.parse().ok()).unwrap_or(times);
    let mut config = shuttle::Config::new();
    // Recovery goes deeper than the small stacks that are the default.
    config.stack_size = 4 << 20;
    let random = shuttle::scheduler::RandomScheduler::new(runs);
    shuttle::Runner::new(random, config.clone()).run(body.clone());
    let pct = shuttle::scheduler::PctScheduler::new(3, runs);
    shuttle::Runner::new(pct, config).run(body);
}

fn value(version: u64) -> Vec<u8> {
    let mut value = version.to_le_bytes().to_vec();
    value.resize(LARGE, 0x5A);
    value
}

fn version(value: &[u8]) -> u64 {
    assert_eq!(value.len(), LARGE, "a whole value");
    assert!(
        value[8..].iter().all(|byte| *byte == 0x5A),
        "a value of one write"
    );
    u64::from_le_bytes(value[..8].try_into().expect("eight bytes"))
}

/// The versions of one key, as the writer counts them: `begun` before a put, `ended` after.
#[derive(Default)]
struct Counted {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Counted {
    fn write(&self, keyspace: &Keyspace, how: Durability) {
        for version in 1..=VERSIONS {
            self.begun.store(version, Ordering::SeqCst);
            let write = Write::new().durability(how);
            let commit = keyspace.put_with("k", value(version), write).expect("put");
            commit.wait().expect("durable");
            self.ended.store(version, Ordering::SeqCst);
        }
    }

    /// Reads until the last version is seen; each read must give one that was current meanwhile.
    fn read(&self, keyspace: &Keyspace) {
        let mut last = 0;
        while last < VERSIONS {
            let least = self.ended.load(Ordering::SeqCst).max(last);
            let got = keyspace.get("k").expect("read");
            let most = self.begun.load(Ordering::SeqCst);
            let got = got.as_deref().map_or(0, version);
            assert!(
                (least..=most).contains(&got),
                "read version {got}, but {least} to {most} were current"
            );
            last = got;
            thread::yield_now();
        }
    }
}

fn readers_beside(kind: KeyspaceOptions, how: Durability, merging: bool) {
    check(move || {
        let store = open(&SimDisk::new(1)).expect("open");
        let keyspace = store.keyspace("k", kind.clone()).expect("keyspace");
        // Something that lives on, so that merge has what to move.
        keyspace.put("still", value(7)).expect("put");
        let counted = Arc::new(Counted::default());
        let mut threads = Vec::new();
        for _ in 0..2 {
            let (keyspace, counted) = (keyspace.clone(), counted.clone());
            threads.push(thread::spawn(move || counted.read(&keyspace)));
        }
        if merging {
            let (store, keyspace) = (store.clone(), keyspace.clone());
            threads.push(thread::spawn(move || {
                for _ in 0..2 {
                    store.merge(Merge::Full).expect("merge");
                    let still = keyspace.get("still").expect("read").expect("there");
                    assert_eq!(version(&still), 7);
                }
            }));
        }
        counted.write(&keyspace, how);
        for thread in threads {
            thread.join().expect("joined");
        }
        drop(keyspace);
        store.close().expect("closed");
    });
}

#[test]
fn a_read_beside_rotation_gives_what_was_current() {
    readers_beside(KeyspaceOptions::hash(), Durability::Kernel, false);
    readers_beside(KeyspaceOptions::ordered(), Durability::Buffered, false);
}

#[test]
fn a_read_beside_merge_gives_what_was_current() {
    readers_beside(KeyspaceOptions::hash(), Durability::Buffered, true);
    readers_beside(KeyspaceOptions::ordered(), Durability::Kernel, true);
}

#[test]
fn a_walk_beside_merge_meets_each_standing_key_once() {
    for kind in [KeyspaceOptions::hash(), KeyspaceOptions::ordered()] {
        check(move || {
            let store = open(&SimDisk::new(2)).expect("open");
            let keyspace = store.keyspace("k", kind.clone()).expect("keyspace");
            for key in 0..6_u8 {
                keyspace.put([key], value(u64::from(key))).expect("put");
            }
            keyspace.delete([5]).expect("deleted");
            let merging = store.clone();
            let merger = thread::spawn(move || merging.merge(Merge::Full).expect("merge"));
            let mut met = Vec::new();
            for entry in keyspace.walk() {
                let entry = entry.expect("readable");
                assert_eq!(version(&entry.value), u64::from(entry.key[0]));
                met.push(entry.key[0]);
            }
            met.sort_unstable();
            assert_eq!(met, [0, 1, 2, 3, 4]);
            merger.join().expect("joined");
        });
    }
}

#[test]
fn an_acknowledged_write_survives_a_cut_whoever_led_the_sync() {
    check(|| {
        let disk = SimDisk::new(3);
        let store = open(&disk).expect("open");
        let keyspace = store
            .keyspace("k", KeyspaceOptions::hash())
            .expect("keyspace");
        let mut threads = Vec::new();
        for writer in 0..3_u8 {
            let (disk, keyspace) = (disk.clone(), keyspace.clone());
            threads.push(thread::spawn(move || {
                for turn in 0..2_u8 {
                    keyspace.put([writer, turn], [turn; 40]).expect("put");
                    let cut = disk.crash_losing_all();
                    let store = open(&cut).expect("open after the cut");
                    let found = store.existing_keyspace("k").expect("there");
                    for turn in 0..=turn {
                        let got = found.get([writer, turn]).expect("read");
                        assert_eq!(got.as_deref(), Some(&[turn; 40][..]), "acknowledged");
                    }
                }
            }));
        }
        for thread in threads {
            thread.join().expect("joined");
        }
    });
}

#[test]
fn close_beside_writers_refuses_or_keeps_each_write() {
    check(|| {
        let disk = SimDisk::new(4);
        let store = open(&disk).expect("open");
        let keyspace = store
            .keyspace("k", KeyspaceOptions::hash())
            .expect("keyspace");
        let writer = {
            let keyspace = keyspace.clone();
            thread::spawn(move || {
                let mut kept = 0_u8;
                for key in 0..4_u8 {
                    let write = Write::new().durability(Durability::Buffered);
                    match keyspace.put_with([key], [key; 20], write) {
                        Ok(_) => {
                            assert_eq!(kept, key, "no write is taken after one was refused");
                            kept = key + 1;
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
                    }
                }
                kept
            })
        };
        store.close().expect("closed");
        let kept = writer.join().expect("joined");
        drop(keyspace);
        let store = open(&disk).expect("open again");
        let keyspace = store.existing_keyspace("k").expect("there");
        for key in 0..4_u8 {
            let got = keyspace.get([key]).expect("read");
            assert_eq!(got.is_some(), key < kept, "key {key} of {kept} taken");
        }
    });
}

#[test]
fn a_keyspace_dropped_beside_its_users_is_gone_and_hurts_no_other() {
    check(|| {
        let store = open(&SimDisk::new(5)).expect("open");
        let doomed = store
            .keyspace("doomed", KeyspaceOptions::hash())
            .expect("keyspace");
        let other = store
            .keyspace("other", KeyspaceOptions::ordered())
            .expect("keyspace");
        other.put("k", value(1)).expect("put");
        doomed.put("k", value(2)).expect("put");
        let user = {
            let doomed = doomed.clone();
            thread::spawn(move || {
                for _ in 0..3 {
                    match doomed.get("k") {
                        Ok(Some(got)) => assert_eq!(version(&got), 2),
                        Ok(None) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
                    }
                    if let Err(error) = doomed.put("k", value(2)) {
                        assert_eq!(error.kind(), ErrorKind::NotFound);
                    }
                }
            })
        };
        let merger = {
            let store = store.clone();
            thread::spawn(move || store.merge(Merge::Full).expect("merge"))
        };
        store.drop_keyspace("doomed").expect("dropped");
        user.join().expect("joined");
        merger.join().expect("joined");
        assert_eq!(version(&other.get("k").expect("read").expect("there")), 1);
        assert_eq!(
            doomed.get("k").map(|_| ()).map_err(|e| e.kind()),
            Err(ErrorKind::NotFound)
        );
    });
}

/// A writer keeps two keys of two keyspaces at one number; a snapshot never sees two, and goes on
/// showing the one that it saw when another snapshot ends beside it.
#[test]
fn a_snapshot_beside_a_writer_merge_and_another_snapshot_shows_one_moment() {
    check(|| {
        let store = open(&SimDisk::new(6)).expect("open");
        let spaces = [
            store
                .keyspace("h", KeyspaceOptions::hash())
                .expect("keyspace"),
            store
                .keyspace("o", KeyspaceOptions::ordered())
                .expect("keyspace"),
        ];
        let write = {
            let (store, spaces) = (store.clone(), spaces.clone());
            move |number: u64| {
                let mut batch = store.batch();
                for space in &spaces {
                    if number % 3 == 2 {
                        batch.delete(space, "k");
                    } else {
                        batch.put(space, "k", value(number));
                    }
                }
                drop(batch.commit_with(Durability::Buffered).expect("committed"));
            }
        };
        write(0);
        let mut threads = Vec::new();
        for _ in 0..2 {
            let (store, spaces) = (store.clone(), spaces.clone());
            threads.push(thread::spawn(move || {
                for _ in 0..2 {
                    let snapshot = store.snapshot().expect("open");
                    let look = || {
                        spaces.each_ref().map(|space| {
                            let got = snapshot.get(space, "k").expect("read");
                            let walked = snapshot.walk(space).expect("walk").count();
                            assert_eq!(walked, usize::from(got.is_some()));
                            got.map(|got| version(&got))
                        })
                    };
                    let [hash, ordered] = look();
                    assert_eq!(hash, ordered, "one moment");
                    thread::yield_now();
                    assert_eq!(look(), [hash, ordered], "and the same again");
                }
            }));
        }
        threads.push(thread::spawn({
            let store = store.clone();
            move || store.merge(Merge::Full).map(|_| ()).expect("merge")
        }));
        (1..5).for_each(write);
        for thread in threads {
            thread.join().expect("joined");
        }
        let stats = store.stats();
        assert_eq!((stats.snapshots, stats.kept_versions), (0, 0));
    });
}

/// Two threads count up in transactions, one counts by plain writes of another key, which it also
/// lets the transactions read: no step is lost, and every refusal had a reason.
#[test]
fn transactions_take_turns_and_notice_plain_writes() {
    check(|| {
        let store = open(&SimDisk::new(7)).expect("open");
        let space = store
            .keyspace("k", KeyspaceOptions::ordered())
            .expect("keyspace");
        let number = |got: Option<crate::value::Value>| got.map_or(0, |got| got[0]);
        let mut threads = Vec::new();
        for _ in 0..2 {
            let (store, space) = (store.clone(), space.clone());
            threads.push(thread::spawn(move || {
                let mut done = 0_u8;
                for _ in 0..2 {
                    let counted = store.transaction(|tx| {
                        let count = number(tx.get(&space, "count")?);
                        let plain = number(tx.get(&space, "plain")?);
                        tx.put(&space, "count", [count + 1])?;
                        tx.put(&space, "seen", [plain])
                    });
                    match counted {
                        Ok(()) => done += 1,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                    }
                }
                done
            }));
        }
        for plain in 1..3_u8 {
            let write = Write::new().durability(Durability::Buffered);
            drop(space.put_with("plain", [plain], write).expect("put"));
            // What a transaction saw is never newer than what there is.
            assert!(number(space.get("seen").expect("read")) <= plain);
        }
        let done: u8 = threads.into_iter().map(|t| t.join().expect("joined")).sum();
        assert_eq!(
            number(space.get("count").expect("read")),
            done,
            "none lost, none twice"
        );
        drop(store.try_begin().expect("open").expect("the turn is free"));
    });
}
