//! Handles that outlive what they stand for: a closed store, a dropped keyspace, a keyspace of
//! another store. Each call answers with an error that says so; none panics, none writes.

use peercask::{Durability, ErrorKind, Keyspace, KeyspaceOptions, Merge, Write};

use crate::support::{Place, contents, hash, ordered, refused};

/// Every call of a keyspace is refused alike.
fn every_call_is_refused(space: &Keyspace, kind: ErrorKind, parts: &[&str]) {
    refused(space.info(), kind, parts);
    refused(space.put("key", "new"), kind, parts);
    refused(space.put_with("key", "new", Write::new()), kind, parts);
    refused(space.delete("key"), kind, parts);
    refused(space.delete_with("key", Durability::Buffered), kind, parts);
    refused(space.get("key"), kind, parts);
    refused(space.contains("key"), kind, parts);
    refused(space.entry("key"), kind, parts);
    refused(space.get_many(&["key", "other"]), kind, parts);
    refused(space.get_range("key", 0..1), kind, parts);
    refused(space.reader("key"), kind, parts);
    refused(space.range("a".."z"), kind, parts);
    refused(space.prefix("k"), kind, parts);
    refused(space.iter(), kind, parts);
    refused(space.first(), kind, parts);
    refused(space.last(), kind, parts);
    refused(space.count("a".."z"), kind, parts);
    let walked = space
        .walk()
        .next()
        .expect("a walk that cannot be done says so");
    refused(walked, kind, parts);
}

#[test]
fn after_close_every_call_says_that_the_store_is_closed() {
    let place = Place::new();
    let store = place.open();
    let spaces = [hash(&store, "flat"), ordered(&store, "sorted")];
    for space in &spaces {
        space.put("key", "value").expect("put");
        space.put("other", "value").expect("put");
    }
    let mut batch = store.batch();
    batch.put(&spaces[0], "key", "new");
    let mut iter = spaces[1].iter().expect("ordered");
    let mut walk = spaces[0].walk();
    let value = spaces[0].get("key").expect("read").expect("there");
    let commit = spaces[0].put_with("late", "value", Write::new().durability(Durability::Device));
    let commit = commit.expect("visible");
    store.clone().close().expect("closed");

    let (kind, parts) = (ErrorKind::Closed, &["the store is closed"][..]);
    every_call_is_refused(&spaces[0], kind, parts);
    every_call_is_refused(&spaces[1], kind, parts);
    refused(store.keyspace("flat", KeyspaceOptions::hash()), kind, parts);
    refused(store.keyspace("new", KeyspaceOptions::hash()), kind, parts);
    refused(store.existing_keyspace("flat"), kind, parts);
    refused(store.drop_keyspace("flat"), kind, parts);
    refused(store.sync(), kind, parts);
    refused(store.merge(Merge::Needed), kind, parts);
    refused(store.merge(Merge::Full), kind, parts);
    refused(store.verify(&mut |_| {}), kind, parts);
    refused(store.confirm_clock(), kind, parts);
    refused(batch.commit(), kind, parts);
    refused(iter.next().expect("an item"), kind, parts);
    refused(iter.next_back().expect("an item"), kind, parts);
    refused(walk.next().expect("an item"), kind, parts);
    commit.wait().expect("close brought it to the device");
    assert_eq!(value, b"value", "what was lent stays");
    store.close().expect("closing twice is no error");

    let store = place.open();
    assert_eq!(contents(&store).len(), 5);
}

#[test]
fn a_handle_of_a_dropped_keyspace_says_so() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "gone");
    space.put("key", "value").expect("put");
    let value = space.get("key").expect("read").expect("there");
    let mut iter = space.iter().expect("ordered");
    let mut batch = store.batch();
    batch.put(&space, "key", "new");
    batch.put(&hash(&store, "kept"), "key", "new");
    assert!(store.drop_keyspace("gone").expect("dropped"));

    let (kind, parts) = (ErrorKind::NotFound, &["'gone'", "dropped"][..]);
    every_call_is_refused(&space, kind, parts);
    refused(batch.commit(), kind, parts);
    if let Some(entry) = iter.next() {
        refused(entry, kind, parts);
    }
    assert_eq!(value, b"value", "what was lent stays");
    assert_eq!(
        contents(&store).len(),
        0,
        "no part of the batch was applied"
    );
}

#[test]
fn a_batch_with_a_keyspace_of_another_store_is_refused_whole() {
    let (here, there) = (Place::new(), Place::new());
    let (first, second) = (here.open(), there.open());
    let (own, other) = (hash(&first, "own"), hash(&second, "other"));
    let mut batch = first.batch();
    batch.put(&own, "key", "value");
    batch.delete(&other, "key");
    batch.put(&own, "more", "value");
    refused(
        batch.commit(),
        ErrorKind::InvalidArgument,
        &["'other'", "another store"],
    );
    assert_eq!(contents(&first).len() + contents(&second).len(), 0);
}
