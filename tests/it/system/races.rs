//! Processes that open one directory at the same time: one at a time has it, the others are
//! refused, nothing of what any of them wrote is lost. Killed while it makes the store, a process
//! leaves what the next one can go on with.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use peercask::{Durability, ErrorKind, Options, Store};

use crate::support::{Place, Rng, child, hash, rounds};

const DIR: &str = "PEERCASK_TEST_RACES_DIR";
const NAME: &str = "PEERCASK_TEST_RACES_NAME";
const PROCESSES: u32 = 6;
const TURNS: u32 = 8;

fn options() -> Options {
    Options::default()
        .durability(Durability::Kernel)
        .reserve_bytes(0)
        .segment_bytes(4_096)
}

/// Not a test of its own: one of the processes that race. It counts in the store each time that it
/// gets hold of it.
#[test]
fn helper_races() {
    let (Some(dir), Ok(name)) = (std::env::var_os(DIR), std::env::var(NAME)) else {
        return;
    };
    let mut turns = 0;
    while turns < TURNS {
        let store = match Store::open(Path::new(&dir), options()) {
            Ok(store) => store,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
        };
        let space = hash(&store, "counts");
        let number = |key: &str| {
            let value = space.get(key).expect("read");
            value.map_or(0, |v| {
                u32::from_le_bytes(v[..].try_into().expect("four bytes"))
            })
        };
        for key in ["all", name.as_str()] {
            space
                .put(key, (number(key) + 1).to_le_bytes())
                .expect("put");
        }
        turns += 1;
    }
    println!("\nDONE");
}

#[test]
fn processes_that_race_to_open_take_turns() {
    let place = Place::new();
    let dir = place.path().join("made by the first");
    let children: Vec<Child> = (0..PROCESSES)
        .map(|n| {
            child("system::races::helper_races")
                .env(DIR, &dir)
                .env(NAME, format!("process {n}"))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the child starts")
        })
        .collect();
    for child in children {
        let ran = child.wait_with_output().expect("the child ends");
        let told = String::from_utf8_lossy(&ran.stdout).into_owned();
        let more = String::from_utf8_lossy(&ran.stderr);
        assert!(
            ran.status.success() && told.contains("DONE"),
            "{told}{more}"
        );
    }
    let store = Store::open(&dir, options()).expect("opened");
    let space = hash(&store, "counts");
    let number = |key: &str| space.get(key).expect("read").expect("there").to_vec();
    assert_eq!(number("all"), (PROCESSES * TURNS).to_le_bytes());
    for n in 0..PROCESSES {
        assert_eq!(number(&format!("process {n}")), TURNS.to_le_bytes());
    }
}

/// A child process holds none of its parent's descriptors, so it cannot hold the lock either.
#[test]
fn a_child_that_outlives_the_store_does_not_keep_it_locked() {
    let place = Place::new();
    let store = place.open();
    let mut sleeper = std::process::Command::new("sleep")
        .arg("30")
        .spawn()
        .expect("sleep starts");
    store.close().expect("closed");
    let again = Store::open(place.path(), place.options());
    sleeper.kill().expect("ended");
    sleeper.wait().expect("ended");
    again.expect("the lock went with the store that held it");
}

/// Not a test of its own: makes a store and says so.
#[test]
fn helper_makes_a_store() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let store = Store::open(Path::new(&dir), options()).expect("opened by the child");
    hash(&store, "things").put("made", "yes").expect("put");
    println!("\nMADE");
}

#[test]
fn a_store_whose_making_was_killed_is_made_by_the_next() {
    let mut rng = Rng::new(0x4ACE);
    let (mut before, mut after) = (0, 0);
    for round in 0..rounds(30) {
        let place = Place::new();
        let dir = place.path().join("new").join("ancestors");
        let mut maker = child("system::races::helper_makes_a_store")
            .env(DIR, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        std::thread::sleep(Duration::from_micros(500 + rng.below(6_000)));
        let _may_have_ended = maker.kill();
        let ran = maker.wait_with_output().expect("the child ends");
        let made = String::from_utf8_lossy(&ran.stdout).contains("MADE");
        let store = Store::open(&dir, options());
        let store = store.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(store.recovery().damage, [], "round {round}");
        let there = hash(&store, "things").get("made").expect("read").is_some();
        assert!(there || !made, "round {round}: acknowledged, so there");
        *(if made { &mut after } else { &mut before }) += 1;
        hash(&store, "things").put("then", "yes").expect("put");
        store.close().expect("closed");
    }
    assert!(
        before + after == rounds(30),
        "{before} before, {after} after"
    );
}
