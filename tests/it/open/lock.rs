//! One store, one writer: a second open is refused at once, in this process and in another, and the
//! lock ends with its holder, however that ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use peercask::{ErrorKind, Options, Store};

use crate::support::{Place, child, contents, hash, refused};

const CHILD_DIR: &str = "PEERCASK_TEST_LOCK_DIR";

#[test]
fn a_second_open_in_the_same_process_is_refused_until_the_first_is_closed() {
    let place = Place::new();
    let first = place.open();
    let shown = place.path().display().to_string();
    let parts = [
        shown.as_str(),
        "open for writing elsewhere",
        "close the other",
        "LOCK",
    ];
    refused(
        Store::open(place.path(), place.options()),
        ErrorKind::Locked,
        &parts,
    );
    hash(&first, "things")
        .put("key", "value")
        .expect("the first goes on");

    let handle = first.clone();
    first.close().expect("closed");
    let second = place.open();
    assert_eq!(contents(&second).len(), 1);
    drop(handle);
    refused(
        Store::open(place.path(), place.options()),
        ErrorKind::Locked,
        &parts,
    );
}

#[test]
fn dropping_every_handle_lets_the_lock_go() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    drop(store);
    refused(
        Store::open(place.path(), place.options()),
        ErrorKind::Locked,
        &[],
    );
    drop(space);
    place.open();
}

#[test]
fn a_lock_file_that_nobody_holds_locks_nobody_out() {
    let place = Place::new();
    std::fs::write(place.file("LOCK"), "99999\n").expect("written");
    place.open();
}

/// Not a test of its own: the child of the one below. It opens a store and holds it until killed.
#[test]
fn helper_holds_a_store_open() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let store = Store::open(dir, Options::default()).expect("opened by the child");
    hash(&store, "things")
        .put("from", "the child")
        .expect("put");
    println!("\nHOLDING");
    let mut end = Vec::new();
    std::io::stdin()
        .read_to_end(&mut end)
        .expect("waits until the parent ends it");
}

/// Killed when the test ends, also by a panic.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _may_have_ended = self.0.kill();
        let _nothing_to_tell = self.0.wait();
    }
}

#[test]
fn another_process_is_locked_out_and_its_death_lets_the_lock_go() {
    let place = Place::new();
    let mut command = child("open::lock::helper_holds_a_store_open");
    command
        .env(CHILD_DIR, place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut holder = Killed(command.spawn().expect("the child starts"));
    let out = holder.0.stdout.take().expect("piped");
    let lines = BufReader::new(out).lines().map(|line| line.expect("text"));
    assert!(
        lines.into_iter().any(|line| line == "HOLDING"),
        "the child opened the store"
    );

    let opened = Store::open(place.path(), place.options());
    refused(opened, ErrorKind::Locked, &["open for writing elsewhere"]);
    let named = std::fs::read_to_string(place.file("LOCK")).expect("read");
    assert_eq!(
        named.trim(),
        holder.0.id().to_string(),
        "the file names the holder"
    );

    holder.0.kill().expect("killed");
    holder.0.wait().expect("ended");
    let store = place.open();
    assert_eq!(contents(&store).len(), 1, "what the child wrote is there");
}
