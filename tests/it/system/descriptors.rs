//! Descriptors used up: an error of the call that needed one, nothing lost, and work goes on once
//! there are some again. And a store of many segments needs few.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::path::Path;
use std::process::Command;

use peercask::{Durability, ErrorKind, Options, Store};

use crate::support::{Place, hash};

const DIR: &str = "PEERCASK_TEST_DESCRIPTORS_DIR";
const LIMIT: u32 = 48;

fn run(test: &str) {
    let place = Place::new();
    let exe = std::env::current_exe().expect("this test has a file");
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {LIMIT} && exec \"$0\" \"$@\"")])
        .arg(exe)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, place.path());
    let ran = command.output().expect("a shell");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let more = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && told.contains("DONE"),
        "{told}{more}"
    );
}

fn open(dir: &Path) -> Store {
    let options = Options::default()
        .background(false)
        .reserve_bytes(0)
        .durability(Durability::Kernel)
        .segment_bytes(4_096);
    Store::open(dir, options).expect("opened")
}

#[test]
fn a_store_of_a_hundred_segments_lives_within_few_descriptors() {
    run("system::descriptors::helper_has_many_segments");
}

#[test]
fn helper_has_many_segments() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    for life in 0..2_u32 {
        let store = open(dir);
        let space = hash(&store, "flat");
        for key in 0..300_u32 {
            space.put(key.to_le_bytes(), vec![1; 1_300]).expect("put");
            // A segment keeps its descriptor until it is synced, no longer.
            if key % 32 == 31 {
                store.sync().expect("synced");
            }
        }
        assert!(store.stats().segments > 100, "life {life}");
        for key in 0..300_u32 {
            assert!(space.get(key.to_le_bytes()).expect("read").is_some());
        }
        store.merge(peercask::Merge::Full).expect("merged");
        store.close().expect("closed");
    }
    println!("DONE");
}

#[test]
fn without_descriptors_calls_fail_and_afterwards_go_on() {
    run("system::descriptors::helper_runs_out_of_descriptors");
}

/// Takes all descriptors that are left.
fn take_all() -> Vec<File> {
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
        assert!(taken.len() <= LIMIT as usize, "there is a limit");
    }
    taken
}

#[test]
fn helper_runs_out_of_descriptors() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let store = open(dir);
    let space = hash(&store, "flat");
    let mut kept: Vec<u32> = (0..20).collect();
    for key in &kept {
        space.put(key.to_le_bytes(), vec![2; 900]).expect("put");
    }
    for round in 0..3_u32 {
        let taken = take_all();
        let mut refused = 0;
        for key in 0..20_u32 {
            let key = 100 * (round + 1) + key;
            match space.put(key.to_le_bytes(), vec![3; 900]) {
                Ok(_) => kept.push(key),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                    assert_eq!(space.get(key.to_le_bytes()).expect("read"), None);
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "a new segment needs a descriptor");
        let second = Store::open(dir.join("other"), Options::default());
        assert!(second.is_err(), "no descriptor, no second store");
        for key in &kept {
            assert!(space.get(key.to_le_bytes()).expect("read").is_some());
        }
        drop(taken);
        for key in 0..20_u32 {
            let key = 10_000 + 100 * round + key;
            space.put(key.to_le_bytes(), vec![4; 900]).expect("goes on");
            kept.push(key);
        }
    }
    store.close().expect("closed");
    drop(space);
    let store = open(dir);
    assert_eq!(store.recovery().damage, []);
    let space = hash(&store, "flat");
    for key in &kept {
        assert!(space.get(key.to_le_bytes()).expect("read").is_some());
    }
    assert_eq!(space.walk().count(), kept.len());
    println!("DONE");
}
