//! A full disk under the store, in a mount namespace of a child's own: it refuses, says so, reads
//! on, and goes on by itself when space returns. Linux only, and only where it may be had.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use libp2p_kad::store::{Error, RecordStore};
use peercask_kad::{Options, PersistentStore, State};

use crate::skip::skipped;
use crate::support::*;

const DIR: &str = "PEERCASK_KAD_FULL_DIR";
const MOUNT: &str = r#"mount -t tmpfs -o size=4m,mode=700 none "$0" && exec "$@""#;

fn unshared(place: &std::path::Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--map-root-user", "sh", "-c", MOUNT])
        .arg(place);
    command
}

#[test]
fn on_a_full_disk_it_refuses_reads_on_shows_red_and_recovers_by_itself() {
    let place = dir();
    let can = unshared(place.path()).arg("true").status();
    if !can.is_ok_and(|status| status.success()) {
        skipped("a full disk", "this system gives no mount namespace");
        return;
    }
    let ran = unshared(place.path())
        .arg(std::env::current_exe().expect("this test has a file"))
        .args(["full::helper_fills_the_disk", "--exact", "--nocapture"])
        .env(DIR, place.path())
        .output()
        .expect("unshare ran before");
    let told = String::from_utf8_lossy(&ran.stdout);
    let more = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && told.contains("DONE"),
        "{told}{more}"
    );
}

struct Filler(PathBuf);

impl Filler {
    fn fill(&self) {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.0)
            .expect("the filler can be opened");
        let mut written = 0;
        while file.write_all(&[1; 512]).is_ok() {
            written += 512;
            assert!(written < 1 << 30, "the file system is a small one");
        }
    }

    fn free(&self) {
        fs::remove_file(&self.0).expect("removed");
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn put_until_refused(store: &mut PersistentStore, from: u64) -> u64 {
    for number in from.. {
        match store.put(record(number, &[7; 500])) {
            Ok(()) => {}
            Err(Error::MaxRecords) => return number,
            Err(other) => panic!("{other}"),
        }
    }
    from
}

/// With the trait's word for it, and are not there.
fn own_intents_are_refused(store: &mut PersistentStore) {
    let mut number = 50_000;
    while store.add_provider(own_provide(number)).is_ok() {
        number += 1;
        assert!(number < 80_000, "a full disk takes no more");
    }
    assert!(matches!(
        store.add_provider(own_provide(number)),
        Err(Error::MaxProvidedKeys)
    ));
    assert_eq!(store.providers(&key(number)), []);
}

/// Not a test of its own: runs as the child of the one above.
#[test]
fn helper_fills_the_disk() {
    let Some(root) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let filler = Filler(root.join("filler"));
    let engine = peercask::Options::default()
        .segment_bytes(256 << 10)
        .reserve_bytes(64 << 10);
    let options = Options::default().engine(engine);
    let mut store = open_with(&root.join("store"), options.clone());
    let handle = store.handle();
    store.add_provider(own_provide(1)).expect("added");
    store.put(record(0, &[7; 500])).expect("put");
    filler.fill();
    let first = put_until_refused(&mut store, 1);
    assert_eq!(handle.health().state, State::Red);
    let error = handle.health().last_error.expect("told");
    assert!(
        error.message.contains("full") || error.message.contains("space"),
        "{}",
        error.message
    );
    own_intents_are_refused(&mut store);
    // Foreign ones wait in their queue until it is full, then are refused; none is lost.
    let mut waiting = 0;
    while store
        .add_provider(provider(100_000 + waiting, waiting))
        .is_ok()
    {
        waiting += 1;
    }
    assert!(waiting > 1_000);
    for number in 0..first {
        assert!(store.get(&key(number)).is_some(), "reads go on: {number}");
    }
    assert_eq!(
        store.providers(&key(100_000)).len(),
        1,
        "what waits is read too"
    );
    store.remove(&key(0));
    assert_eq!(store.get(&key(0)), None);
    assert_eq!(handle.health().poisoned, None);

    filler.free();
    until("the queue drains by itself", || {
        handle.stats().queue_records == 0
    });
    until("health recovers by itself", || {
        handle.health().state == State::Green
    });
    store.put(record(1_000_000, b"goes on")).expect("put");
    for number in 0..waiting {
        assert_eq!(store.providers(&key(100_000 + number)).len(), 1);
    }
    drop(store);
    let store = open_with(&root.join("store"), options);
    assert_eq!(store.handle().stats().provider_records, waiting);
    assert_eq!(store.get(&key(0)), None);
    assert!(store.get(&key(first - 1)).is_some());
    println!("\nDONE");
}
