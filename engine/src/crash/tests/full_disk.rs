//! A disk that runs full and gets space back: contract 6, step by step.

use crate::crash::{Background, Cut, Failure, Fault, Operation, SimDisk};
use crate::error::ErrorKind;
use crate::keyspace::Keyspace;
use crate::merge::Merge;
use crate::options::{Durability, KeyspaceOptions, Options, Write};
use crate::segment::names::{self, FileName};
use crate::store::Store;

const CAPACITY: usize = 600 << 10;

fn open(disk: &SimDisk) -> Store {
    let options = Options::default()
        .segment_bytes(64 << 10)
        .buffer_bytes(4_096)
        .reserve_bytes(96 << 10);
    Store::open_on(disk, options).expect("opens")
}

fn key(i: usize) -> String {
    format!("key-{i:05}")
}

/// Puts until the disk is full; how many were taken.
fn fill(keyspace: &Keyspace, from: usize, how: Durability) -> usize {
    for i in from.. {
        let put = keyspace.put_with(key(i), [7; 900], Write::new().durability(how));
        match put.and_then(|commit| commit.wait()) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                return i;
            }
        }
    }
    unreachable!("the disk has an end")
}

fn check(keyspace: &Keyspace, present: std::ops::Range<usize>, absent: std::ops::Range<usize>) {
    for i in present {
        assert!(keyspace.contains(key(i)).expect("readable"), "{i} is there");
    }
    for i in absent {
        assert!(!keyspace.contains(key(i)).expect("readable"), "{i} is not");
    }
}

fn full_and_back(how: Durability) {
    let disk = SimDisk::new(3);
    let store = open(&disk);
    let keyspace = store.keyspace("k", KeyspaceOptions::hash()).expect("made");
    disk.set_capacity(Some(CAPACITY));
    let taken = fill(&keyspace, 0, how);
    assert!(taken > 100, "{taken}");
    // What was refused is not there, what was taken is, and it stays so when asked again.
    check(&keyspace, 0..taken, taken..taken + 3);
    assert_eq!(fill(&keyspace, taken, how), taken);

    // Deletes go on, merge gives the space back, writes resume without a reopen.
    let gone = taken / 2;
    for i in 0..gone {
        assert!(
            keyspace.delete(key(i)).expect("the reserve is for deletes"),
            "{i}"
        );
    }
    store.merge(Merge::Needed).expect("merge goes on");
    check(&keyspace, gone..taken, 0..gone);
    let more = fill(&keyspace, taken, how);
    assert!(more > taken + 50, "writes resume: {taken} then {more}");
    check(&keyspace, gone..more, more..more + 3);

    // A kill on the full disk, and a reopen on the full disk.
    store.sync().expect("synced");
    let after = disk.crash(&Cut::Kill);
    after.set_capacity(Some(CAPACITY));
    let store = open(&after);
    let keyspace = store.existing_keyspace("k").expect("there");
    check(&keyspace, gone..more, 0..gone);
}

#[test]
fn a_full_disk_refuses_puts_takes_deletes_and_heals_with_buffered_writes() {
    full_and_back(Durability::Buffered);
}

#[test]
fn a_full_disk_refuses_puts_takes_deletes_and_heals_with_kernel_writes() {
    full_and_back(Durability::Kernel);
}

#[test]
fn a_full_disk_refuses_puts_takes_deletes_and_heals_with_device_writes() {
    full_and_back(Durability::Device);
}

/// A put whose append finds no room, although its segment could be begun, leaves no file behind, however often
/// it is tried; what a manifest lists keeps its name.
#[test]
fn puts_that_are_refused_again_and_again_leave_no_files() {
    for listed in [false, true] {
        let disk = SimDisk::new(3);
        let store = open(&disk);
        let keyspace = store.keyspace("k", KeyspaceOptions::hash()).expect("made");
        keyspace.put(key(0), [7; 900]).expect("room");
        store.rotate().expect("sealed");
        let segments = || {
            let files = disk.files().into_iter();
            let is_segment = |name: &str| matches!(names::parse(name), FileName::Segment(_));
            files.filter(|(name, _)| is_segment(name)).count()
        };
        let before = segments();
        for _ in 0..20 {
            // The header of a new segment finds room, the record does not.
            let full = Fault::new(Operation::Write, Failure::StorageFull).after(1);
            disk.set_faults(&[full]);
            let refused = keyspace.put(key(1), [7; 900]).expect_err("no room");
            assert_eq!(refused.kind(), ErrorKind::StorageFull);
            disk.set_faults(&[]);
            if listed {
                store.background_step(Background::Work).expect("worked");
            }
        }
        assert_eq!(segments(), before, "{listed}: {:?}", disk.files());
        keyspace.put(key(2), [7; 900]).expect("room again");
        for crashed in [disk.crash(&Cut::Kill), disk.crash_losing_all()] {
            let store = open(&crashed);
            assert_eq!(store.recovery().damage, []);
            assert_eq!(store.recovery().foreign_files, [""; 0]);
            let keyspace = store.existing_keyspace("k").expect("there");
            check(&keyspace, 2..3, 1..2);
            check(&keyspace, 0..1, 3..4);
        }
    }
}
