//! A real file system of one megabyte, filled to the brim: a write that finds no room is refused
//! and not applied, reads and deletes go on, a reopen loses nothing, and writes go on by themselves
//! when space returns. The file system is a tmpfs in a mount namespace of a child's own, so Linux
//! only, and only where the system lets anyone have one.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use peercask::{Durability, Entry, ErrorKind, Keyspace, Merge, Options, Store};

use crate::support::{Place, hash, skipped};

const DIR: &str = "PEERCASK_TEST_FULL_DIR";
const MOUNT: &str = r#"mount -t tmpfs -o size=1m,mode=700 none "$0" && exec "$@""#;

/// Runs one of the helpers below with a small file system mounted at its directory.
fn run_on_a_small_disk(test: &str) {
    let place = Place::on_disk();
    let exe = std::env::current_exe().expect("this test has a file");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--map-root-user", "sh", "-c", MOUNT])
        .arg(place.path());
    let can = command
        .arg("true")
        .status()
        .is_ok_and(|status| status.success());
    if !can {
        skipped(test, "this system gives no mount namespace");
        return;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--map-root-user", "sh", "-c", MOUNT])
        .arg(place.path())
        .arg(exe);
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, place.path());
    let ran = command.output().expect("unshare ran before");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let more = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && told.contains("DONE"),
        "{told}{more}"
    );
}

#[test]
fn on_a_full_disk_reads_and_deletes_go_on_and_writes_resume_when_space_returns() {
    run_on_a_small_disk("full::helper_fills_the_disk_with_a_store");
}

#[test]
fn on_a_disk_that_others_fill_nothing_acknowledged_is_lost_over_reopens() {
    run_on_a_small_disk("full::helper_reopens_on_a_full_disk");
}

struct Disk {
    store_dir: PathBuf,
    filler: PathBuf,
}

fn disk() -> Option<Disk> {
    let root = PathBuf::from(std::env::var_os(DIR)?);
    Some(Disk {
        store_dir: root.join("store"),
        filler: root.join("filler"),
    })
}

impl Disk {
    /// Takes all room that is left.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.filler);
        let file = file.as_mut().expect("the filler can be opened");
        let mut written = 0;
        while file.write_all(&[1; 512]).is_ok() {
            written += 512;
            assert!(written < 4 << 20, "the disk has one megabyte");
        }
    }

    fn free(&self) {
        fs::remove_file(&self.filler).expect("removed");
    }
}

fn options(durability: Durability) -> Options {
    Options::default()
        .background(false)
        .durability(durability)
        .segment_bytes(64 << 10)
        .reserve_bytes(160 << 10)
}

/// What was acknowledged.
type Known = BTreeMap<u32, Vec<u8>>;

fn value(key: u32, round: u8) -> Vec<u8> {
    let mut value = key.to_le_bytes().to_vec();
    value.resize(500, round);
    value
}

/// Writes until there is no room; answers with the first key that found none.
fn put_until_full(space: &Keyspace, known: &mut Known, from: u32, round: u8) -> u32 {
    for key in from..from + 20_000 {
        match space.put(key.to_le_bytes(), value(key, round)) {
            Ok(()) => drop(known.insert(key, value(key, round))),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                assert!(error.file().is_some(), "the error names a file: {error}");
                return key;
            }
        }
    }
    panic!("ten megabytes do not fit into one");
}

#[track_caller]
fn agrees(space: &Keyspace, known: &Known, what: &str) {
    for (key, value) in known {
        let found = space.get(key.to_le_bytes()).expect("readable");
        assert_eq!(
            found.as_deref(),
            Some(value.as_slice()),
            "{what}: key {key}"
        );
    }
    let walked: Vec<Entry> = space.walk().map(|entry| entry.expect("readable")).collect();
    assert_eq!(walked.len(), known.len(), "{what}");
}

fn open(dir: &Path, durability: Durability) -> Store {
    Store::open(dir, options(durability)).expect("opened")
}

/// Not a test of its own: runs as a child of the first above.
#[test]
fn helper_fills_the_disk_with_a_store() {
    let Some(disk) = disk() else { return };
    for durability in [Durability::Kernel, Durability::Device, Durability::Buffered] {
        let mut known = Known::new();
        let store = open(&disk.store_dir, durability);
        let space = hash(&store, "things");
        let first = put_until_full(&space, &mut known, 0, 1);
        assert!(first > 1_000, "most of the disk is used: {first}");
        assert_eq!(
            space.get(first.to_le_bytes()).expect("read"),
            None,
            "not applied"
        );
        agrees(&space, &known, "full");
        // A batch is refused whole.
        let mut batch = store.batch();
        for key in 0..400_u32 {
            batch.put(&space, key.to_le_bytes(), value(key, 9));
        }
        let refused = batch.commit().expect_err("there is no room for it");
        assert_eq!(refused.kind(), ErrorKind::StorageFull);
        agrees(&space, &known, "after a batch that found no room");
        assert_eq!(store.stats().poisoned, None);

        for key in 0..1_000_u32 {
            assert!(
                space
                    .delete(key.to_le_bytes())
                    .expect("the reserve is for deletes")
            );
            known.remove(&key);
        }
        agrees(&space, &known, "deleted on a full disk");
        // Whole segments are dead now; merging them needs next to no room.
        store.merge(Merge::Needed).expect("merged on a full disk");
        agrees(&space, &known, "merged on a full disk");
        let next = put_until_full(&space, &mut known, 10_000, 2);
        assert!(
            next > 10_300,
            "the space of what was deleted is back: {next}"
        );
        agrees(&space, &known, "full again");
        drop(space);
        store.close().expect("closed on a full disk");

        let store = open(&disk.store_dir, durability);
        assert_eq!(store.recovery().damage, []);
        agrees(&hash(&store, "things"), &known, "reopened on a full disk");
        drop(store);
        fs::remove_dir_all(&disk.store_dir).expect("removed");
    }
    println!("\nDONE");
}

/// Not a test of its own: runs as a child of the second above.
#[test]
fn helper_reopens_on_a_full_disk() {
    let Some(disk) = disk() else { return };
    let mut known = Known::new();
    let mut next = 0;
    for life in 0..12_u8 {
        let durability = [Durability::Device, Durability::Kernel][usize::from(life % 2)];
        let store = open(&disk.store_dir, durability);
        let space = hash(&store, "things");
        agrees(&space, &known, &format!("life {life}: opened"));
        for _ in 0..40 {
            space
                .put(u32::to_le_bytes(next), value(next, life))
                .expect("there is room");
            known.insert(next, value(next, life));
            next += 1;
        }
        disk.fill();
        next = put_until_full(&space, &mut known, next, life) + 1;
        agrees(&space, &known, &format!("life {life}: full"));
        if life % 3 == 1 {
            // What a killed process leaves, opened while the disk is full.
            let copy = Place::copy_of(&disk.store_dir);
            let store = Store::open(copy.path(), options(durability)).expect("opened");
            agrees(
                &hash(&store, "things"),
                &known,
                &format!("life {life}: the copy"),
            );
        }
        drop(space);
        let closed = store.close();
        if let Err(error) = closed {
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
        if life % 2 == 0 {
            match Store::open(&disk.store_dir, options(durability)) {
                Ok(store) => {
                    let space = hash(&store, "things");
                    agrees(&space, &known, &format!("life {life}: opened while full"));
                    let victim = *known.keys().next().expect("there are keys");
                    assert!(
                        space
                            .delete(victim.to_le_bytes())
                            .expect("the reserve is for deletes")
                    );
                    known.remove(&victim);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}"),
            }
        }
        disk.free();
        let store = open(&disk.store_dir, durability);
        let space = hash(&store, "things");
        agrees(&space, &known, &format!("life {life}: space is back"));
        space
            .put(u32::to_le_bytes(next), value(next, 77))
            .expect("writes go on");
        known.insert(next, value(next, 77));
        next += 1;
        // Room for the next life.
        let old: Vec<u32> = known.keys().copied().take(known.len() / 2).collect();
        for key in old {
            assert!(space.delete(key.to_le_bytes()).expect("deleted"));
            known.remove(&key);
        }
        store.merge(Merge::Full).expect("merged");
        agrees(&space, &known, &format!("life {life}: merged"));
    }
    println!("\nDONE");
}

/// Space comes back while the store is open, and nobody reopens anything.
#[test]
fn writes_resume_without_a_restart_when_space_returns() {
    run_on_a_small_disk("full::helper_waits_for_space");
}

/// Not a test of its own: runs as a child of the one above.
#[test]
fn helper_waits_for_space() {
    let Some(disk) = disk() else { return };
    let store = open(&disk.store_dir, Durability::Device);
    let space = hash(&store, "things");
    let mut known = Known::new();
    let mut next = 0;
    for round in 0..6_u8 {
        disk.fill();
        next = put_until_full(&space, &mut known, next, round);
        for _ in 0..20 {
            let refused = space.put(next.to_le_bytes(), value(next, round));
            assert_eq!(
                refused.expect_err("still full").kind(),
                ErrorKind::StorageFull
            );
        }
        let refused = store.keyspace(&format!("new {round}"), peercask::KeyspaceOptions::hash());
        if let Err(error) = refused {
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
        disk.free();
        for _ in 0..100 {
            space
                .put(next.to_le_bytes(), value(next, round))
                .expect("writes go on");
            known.insert(next, value(next, round));
            next += 1;
        }
        agrees(&space, &known, &format!("round {round}"));
        assert_eq!(store.stats().poisoned, None);
    }
    drop(space);
    store.close().expect("closed");
    let store = open(&disk.store_dir, Durability::Device);
    assert_eq!(store.recovery().damage, []);
    agrees(&hash(&store, "things"), &known, "reopened");
    println!("\nDONE");
}
