//! Batches: whole or not at all, over keyspaces, segments and crashes; the later entry of a key
//! wins; an empty one is nothing.

use std::collections::BTreeMap;

use peercask::{Durability, ErrorKind, Merge, Write};

use crate::history::records;
use crate::support::{
    Place, SMALL_SEGMENT, assert_same, contents, delete_hints, hash, ordered, refused, segments,
    write_image,
};

#[test]
fn all_entries_of_a_batch_apply_together_over_several_keyspaces() {
    let place = Place::new();
    let store = place.open();
    let (flat, sorted) = (hash(&store, "flat"), ordered(&store, "sorted"));
    flat.put("gone", "old").expect("put");
    sorted.put("replaced", "old").expect("put");
    let mut batch = store.batch();
    assert!(batch.is_empty());
    batch.put(&flat, "new", "1");
    batch.put(&sorted, "new", "2");
    batch.put(&sorted, "replaced", "3");
    batch.delete(&flat, "gone");
    batch.delete(&flat, "never was");
    assert_eq!(batch.len(), 5);
    assert_eq!(
        flat.get("new").expect("read"),
        None,
        "nothing before the commit"
    );
    let seq = batch.commit().expect("committed");
    assert_eq!(seq.0, store.stats().last_seq);

    let text = |text: &str| text.as_bytes().to_vec();
    let expected = BTreeMap::from([
        (("flat".to_owned(), text("new")), text("1")),
        (("sorted".to_owned(), text("new")), text("2")),
        (("sorted".to_owned(), text("replaced")), text("3")),
    ]);
    assert_same(&contents(&store), &expected, "committed");
    drop((flat, sorted));
    store.close().expect("closed");
    assert_same(&contents(&place.open()), &expected, "reopened");
    delete_hints(place.path());
    assert_same(
        &contents(&place.open()),
        &expected,
        "reopened without hints",
    );
}

#[test]
fn a_batch_that_is_dropped_or_refused_applies_nothing() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    let seq = store.stats().last_seq;
    let mut batch = store.batch();
    batch.put(&space, "key", "value");
    drop(batch);
    let mut batch = store.batch();
    batch.put(&space, "key", "value");
    batch.put(&space, vec![0; peercask::KEY_LEN_MAX + 1], "value");
    refused(
        batch.commit(),
        ErrorKind::InvalidArgument,
        &["limit of 65535 bytes"],
    );
    assert_eq!((contents(&store).len(), store.stats().last_seq), (0, seq));
}

#[test]
fn the_later_entry_of_a_key_wins() {
    let place = Place::new();
    let store = place.open();
    let (flat, sorted) = (hash(&store, "flat"), ordered(&store, "sorted"));
    flat.put("was there", "0").expect("put");
    let mut batch = store.batch();
    batch.put(&flat, "put put", "1");
    batch.put(&flat, "put delete", "1");
    batch.delete(&flat, "delete put");
    batch.delete(&flat, "was there");
    batch.put(&sorted, "put put", "other keyspace");
    batch.put(&flat, "put put", "2");
    batch.delete(&flat, "put delete");
    batch.put(&flat, "delete put", "2");
    batch.put(&flat, "was there", "2");
    assert_eq!(batch.len(), 9);
    batch.commit().expect("committed");
    let check = || {
        for (key, value) in [
            ("put put", Some(&b"2"[..])),
            ("put delete", None),
            ("delete put", Some(b"2")),
            ("was there", Some(b"2")),
        ] {
            assert_eq!(flat.get(key).expect("read").as_deref(), value, "{key}");
        }
        assert_eq!(
            sorted.get("put put").expect("read").expect("there"),
            b"other keyspace"
        );
    };
    check();
    store.merge(Merge::Full).expect("merged");
    check();
}

#[test]
fn an_empty_batch_and_one_that_deletes_nothing_write_nothing() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    space.put("key", "value").expect("put");
    let before = store.stats();
    let seq = store.batch().commit().expect("committed");
    assert_eq!(seq.0, before.last_seq);
    let mut batch = store.batch();
    batch.delete(&space, "never was");
    batch.delete(&space, "nor this");
    batch
        .commit_with(Durability::Device)
        .expect("committed")
        .wait()
        .expect("durable");
    let after = store.stats();
    assert_eq!(
        (after.last_seq, after.written_bytes),
        (before.last_seq, before.written_bytes)
    );
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    space.put("before", "1").expect("put");
    let mut batch = store.batch();
    let len = usize::try_from(SMALL_SEGMENT).expect("small") / 5;
    for key in 0..40_u8 {
        batch.put(&space, [key], vec![key; len]);
    }
    batch.commit().expect("committed");
    space.put("after", "2").expect("put");
    let expected = contents(&store);
    assert_eq!(expected.len(), 42);
    let copy = Place::copy_of(place.path());
    let in_one: Vec<usize> = segments(copy.path())
        .iter()
        .map(|name| {
            records(copy.path(), name)
                .iter()
                .filter(|r| r.key.len() == 1)
                .count()
        })
        .filter(|members| *members > 0)
        .collect();
    assert_eq!(in_one, [40], "a batch never spans segments");
    assert_same(&contents(&copy.open()), &expected, "as after a kill");
    drop(space);
    store.close().expect("closed");
    let store = place.open();
    assert_same(&contents(&store), &expected, "reopened");
    store.merge(Merge::Full).expect("merged");
    assert_same(&contents(&store), &expected, "merged");
}

/// Batches of every size around the end of a segment: none is ever split, each is whole in every
/// copy taken after it.
#[test]
fn a_batch_at_the_end_of_a_segment_goes_whole_into_the_next() {
    let place = Place::new();
    let store = place.open();
    let (flat, sorted) = (hash(&store, "flat"), ordered(&store, "sorted"));
    for round in 0..120_usize {
        let mut batch = store.batch();
        for member in 0..=round % 7 {
            let key = format!("{round} {member}");
            batch.put(
                if member % 2 == 0 { &flat } else { &sorted },
                &key,
                vec![b'v'; round * 5 % 230],
            );
        }
        batch.commit().expect("committed");
    }
    assert!(store.stats().rotations >= 5, "{:?}", store.stats());
    let expected = contents(&store);
    let copy = Place::copy_of(place.path());
    for name in segments(copy.path()) {
        let records = records(copy.path(), &name);
        let follow: Vec<u32> = records.iter().map(|record| record.batch_follow).collect();
        assert_eq!(
            follow.last(),
            Some(&0),
            "{name} ends with the end of a batch: {follow:?}"
        );
        let counts_down = |pair: &[u32]| pair[0] == 0 || pair[1] == pair[0] - 1;
        assert!(follow.windows(2).all(counts_down), "{name}: {follow:?}");
    }
    assert_same(&contents(&copy.open()), &expected, "as after a kill");
}

#[test]
fn members_have_seqs_in_the_order_of_their_entries_and_ttls_of_their_own() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    let mut batch = store.batch();
    let at = store.now_ms() + 1_000;
    batch.put(&space, "c", "1");
    batch.put_with(&space, "a", "2", Write::new().expires_at_ms(at));
    batch.put(&space, "b", "3");
    let last = batch.commit().expect("committed");
    let entry = |key: &str| space.entry(key).expect("read").expect("there");
    let seqs = ["c", "a", "b"].map(|key| entry(key).seq.0);
    assert_eq!(seqs, [last.0 - 2, last.0 - 1, last.0]);
    let expiries = ["c", "a", "b"].map(|key| entry(key).expires_at_ms);
    assert_eq!(expiries, [None, Some(at), None]);
    place.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(contents(&store).len(), 2);
}

/// A batch that is held in memory reaches the kernel whole.
#[test]
fn a_buffered_batch_is_whole_or_absent_in_a_copy() {
    let place = Place::new();
    let store = place.open_with(place.options().segment_bytes(1 << 20).buffer_bytes(4_096));
    let space = hash(&store, "things");
    let mut seen = Vec::new();
    for round in 0..60_u32 {
        let mut batch = store.batch();
        for member in 0..10_u32 {
            batch.put(
                &space,
                member.to_le_bytes(),
                [round.to_le_bytes(), [7; 4]].concat(),
            );
        }
        drop(batch.commit_with(Durability::Buffered).expect("committed"));
        let copy = Place::new();
        write_image(copy.path(), &place.image());
        let store = copy.open();
        let found = contents(&store);
        assert!(found.is_empty() || found.len() == 10, "{}", found.len());
        let rounds: std::collections::BTreeSet<_> = found.values().collect();
        assert!(
            rounds.len() <= 1,
            "all members are of one batch: {rounds:?}"
        );
        seen.extend(found.values().next().cloned());
    }
    seen.dedup();
    assert!(
        seen.len() > 2,
        "the buffer went out now and then: {}",
        seen.len()
    );
}
