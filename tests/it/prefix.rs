//! Deleting by prefix: all keys that start with it and no other, together, at any size; whole or
//! not at all after a kill, and in snapshots.
#![expect(
    clippy::cast_possible_truncation,
    reason = "counts of a test are small"
)]

use std::thread;
use std::time::Duration;

use peercask::{Durability, ErrorKind, Merge, Write};

use crate::support::{
    Place, SMALL_SEGMENT, assert_same, contents, delete_hints, hash, ordered, refused, rounds,
};

#[test]
fn all_keys_with_the_prefix_go_and_no_other() {
    let place = Place::new();
    let store = place.open();
    let (space, other) = (ordered(&store, "sorted"), ordered(&store, "other"));
    let keys: [&[u8]; 9] = [
        b"",
        b"a",
        b"a/",
        b"a/1",
        b"a/\xFF",
        b"a0",
        b"b",
        b"\xFF",
        b"\xFF\xFF",
    ];
    let cases: [(&[u8], usize); 6] = [
        (b"a/", 3),
        (b"a", 5),
        (b"c", 0),
        (b"\xFF", 2),
        (b"\xFF\xFF\xFF", 0),
        (b"", 9),
    ];
    for (prefix, removed) in cases {
        for key in keys {
            space.put(key, "value").expect("put");
            other.put(key, "value").expect("put");
        }
        assert_eq!(
            space.delete_prefix(prefix).expect("deleted"),
            removed as u64
        );
        let left: Vec<_> = space
            .iter()
            .expect("ordered")
            .map(|entry| entry.expect("read").key.to_vec())
            .collect();
        let wanted = keys.iter().filter(|key| !key.starts_with(prefix));
        assert!(
            left.iter().map(Vec::as_slice).eq(wanted.copied()),
            "{prefix:?}"
        );
        assert_eq!(other.iter().expect("ordered").count(), 9);
    }
    let before = store.stats();
    assert_eq!(space.delete_prefix("a").expect("deleted"), 0);
    assert_eq!(
        store.stats().written_bytes,
        before.written_bytes,
        "nothing to write"
    );
}

#[test]
fn what_was_deleted_stays_deleted_through_merges_and_reopens() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    for n in 0..900_u32 {
        space
            .put(format!("{}/{n:04}", n % 3), vec![7; 40])
            .expect("put");
    }
    // More tombstones than a segment has room for.
    assert_eq!(space.delete_prefix("1/").expect("deleted"), 300);
    space.put("1/0001", "anew").expect("put");
    let expected = contents(&store);
    assert_eq!(expected.len(), 601);
    let copy = Place::copy_of(place.path());
    delete_hints(copy.path());
    assert_same(
        &contents(&copy.open()),
        &expected,
        "as after a kill, without hints",
    );
    store.merge(Merge::Needed).expect("merged");
    assert_same(&contents(&store), &expected, "merged");
    store.merge(Merge::Full).expect("merged");
    let stats = store.stats();
    assert_eq!((stats.dead_bytes, stats.tombstone_bytes), (0, 0));
    drop(space);
    store.close().expect("closed");
    assert_same(&contents(&place.open()), &expected, "reopened");
}

#[test]
fn a_copy_taken_at_any_moment_has_all_or_none() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    for round in 0..rounds(12) {
        for n in 0..50 + round * 10 {
            space.put(format!("p{n:04}"), [1; 30]).expect("put");
        }
        let whole = contents(&store).len();
        let before = Place::copy_of(place.path());
        let durability = [Durability::Buffered, Durability::Kernel][(round % 2) as usize];
        let (removed, _commit) = space.delete_prefix_with("p", durability).expect("deleted");
        assert_eq!(removed as usize, whole);
        let after = Place::copy_of(place.path());
        assert_eq!(contents(&before.open()).len(), whole);
        let left = contents(&after.open()).len();
        assert!(
            left == 0 || (left == whole && durability == Durability::Buffered),
            "{left}"
        );
    }
}

#[test]
fn snapshots_see_all_or_nothing_of_it_and_transactions_notice_it() {
    let place = Place::new();
    let store = place.open_with(place.options().segment_bytes(SMALL_SEGMENT * 16));
    let space = ordered(&store, "sorted");
    let fill = || {
        let mut batch = store.batch();
        for n in 0..80_u8 {
            batch.put(&space, [b'p', n], [n; 20]);
        }
        drop(batch.commit_with(Durability::Buffered).expect("committed"));
    };
    fill();
    let snapshot = store.snapshot().expect("open");
    let mut tx = store.begin().expect("its turn");
    tx.get(&space, [b'p', 7]).expect("read");
    tx.put(&space, "other", "mine").expect("put");
    assert_eq!(space.delete_prefix("p").expect("deleted"), 80);
    refused(tx.commit(), ErrorKind::Conflict, &["touched key"]);
    assert_eq!(snapshot.prefix(&space, "p").expect("ordered").count(), 80);
    drop(snapshot);
    let turns = rounds(60);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..turns {
                fill();
                let how = Durability::Buffered;
                drop(space.delete_prefix_with("p", how).expect("deleted"));
            }
        });
        while !writer.is_finished() {
            let snapshot = store.snapshot().expect("open");
            let count = snapshot.prefix(&space, "p").expect("ordered").rev().count();
            assert!(count == 0 || count == 80, "{count} of 80");
        }
    });
}

#[test]
fn expired_keys_are_not_counted_and_do_not_come_back() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    let second = Write::new().ttl(Duration::from_secs(1));
    drop(space.put_with("p1", "short", second).expect("put"));
    space.put("p2", "long").expect("put");
    place.clock.advance(Duration::from_secs(2));
    assert_eq!(space.delete_prefix("p").expect("deleted"), 1);
    place.clock.step_wall_ms(-3_600_000);
    assert_eq!(contents(&store).len(), 0);
}

#[test]
fn wrong_uses_are_refused_with_a_reason() {
    let place = Place::new();
    let store = place.open();
    let (flat, sorted) = (hash(&store, "flat"), ordered(&store, "sorted"));
    refused(
        flat.delete_prefix("p"),
        ErrorKind::InvalidArgument,
        &["needs an ordered keyspace"],
    );
    store.drop_keyspace("sorted").expect("dropped");
    refused(
        sorted.delete_prefix("p"),
        ErrorKind::NotFound,
        &["'sorted' was dropped"],
    );
    store.close().expect("closed");
    refused(flat.delete_prefix("p"), ErrorKind::Closed, &[]);
}
