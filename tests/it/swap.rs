//! Compare-and-swap: put if absent, put and delete if seq or value is as expected; the refusal
//! holds what is there; of many threads one wins; batches depend on versions as a whole.

use std::thread;
use std::time::Duration;

use peercask::{Durability, Entry, ErrorKind, Expected, Keyspace, Swap, Write};

use crate::support::{Place, contents, hash, ordered, refused, rounds};

fn applied(swap: peercask::Result<Swap>) {
    assert!(swap.expect("no error").applied().expect("durable"));
}

#[track_caller]
fn stands(swap: peercask::Result<Swap>) -> Option<Entry> {
    match swap.expect("no error") {
        Swap::Refused(entry) => entry,
        Swap::Applied(_) => panic!("it was to be refused"),
    }
}

fn both(place: &Place) -> (peercask::Store, [Keyspace; 2]) {
    let store = place.open();
    let spaces = [hash(&store, "flat"), ordered(&store, "sorted")];
    (store, spaces)
}

#[test]
fn put_if_absent_stores_once_and_answers_with_what_stands() {
    let place = Place::new();
    let (store, spaces) = both(&place);
    for space in &spaces {
        applied(space.put_if_absent("key", "first"));
        let seq = space.entry("key").expect("read").expect("there").seq;
        let before = store.stats().written_bytes;
        let entry = stands(space.put_if_absent("key", "second")).expect("it stands there");
        assert_eq!((&*entry.key, &*entry.value), (&b"key"[..], &b"first"[..]));
        assert_eq!((entry.seq, entry.expires_at_ms), (seq, None));
        assert_eq!(
            store.stats().written_bytes,
            before,
            "a refusal writes nothing"
        );
        space.delete("key").expect("deleted");
        applied(space.put_if_absent("key", "third"));
    }
    let held = contents(&store);
    drop(spaces);
    store.close().expect("closed");
    assert_eq!(contents(&place.open()), held, "it is a write like others");
}

#[test]
fn a_seq_is_matched_by_the_very_version_and_a_value_by_its_bytes() {
    let place = Place::new();
    let (_store, spaces) = both(&place);
    for space in &spaces {
        space.put("key", "same").expect("put");
        let old = space.entry("key").expect("read").expect("there").seq;
        space.put("key", "same").expect("put");
        let new = space.entry("key").expect("read").expect("there").seq;

        let by_old = space.put_if("key", "x", Expected::Seq(old), Write::new());
        assert_eq!(stands(by_old).expect("there").seq, new);
        let other = Expected::Value(b"other");
        assert_eq!(
            stands(space.put_if("key", "x", other, Write::new()))
                .expect("there")
                .value,
            b"same"
        );
        applied(space.put_if("key", "by value", Expected::Value(b"same"), Write::new()));
        let now = space.entry("key").expect("read").expect("there").seq;
        applied(space.put_if("key", "by seq", Expected::Seq(now), Write::new()));

        assert!(stands(space.put_if("none", "x", Expected::Seq(now), Write::new())).is_none());
        assert!(stands(space.put_if("none", "x", Expected::Value(b""), Write::new())).is_none());
    }
}

#[test]
fn a_delete_happens_only_to_the_expected_version() {
    let place = Place::new();
    let (store, spaces) = both(&place);
    for space in &spaces {
        space.put("key", "value").expect("put");
        let how = Durability::Kernel;
        assert_eq!(
            stands(space.delete_if("key", Expected::Absent, how))
                .expect("there")
                .value,
            b"value"
        );
        assert!(stands(space.delete_if("key", Expected::Value(b"other"), how)).is_some());
        let seq = space.entry("key").expect("read").expect("there").seq;
        applied(space.delete_if("key", Expected::Seq(seq), how));
        assert_eq!(space.get("key").expect("read"), None);
        assert!(stands(space.delete_if("key", Expected::Seq(seq), how)).is_none());
        let bytes = store.stats().written_bytes;
        applied(space.delete_if("key", Expected::Absent, how));
        assert_eq!(store.stats().written_bytes, bytes, "nothing to write");
    }
}

#[test]
fn what_has_expired_is_absent_to_a_comparison() {
    let place = Place::new();
    let (_store, spaces) = both(&place);
    for space in &spaces {
        let second = Write::new().ttl(Duration::from_secs(1));
        drop(space.put_with("key", "short", second).expect("put"));
        assert!(stands(space.put_if_absent("key", "long")).is_some());
        place.clock.advance(Duration::from_secs(1));
        assert!(
            stands(space.put_if("key", "x", Expected::Value(b"short"), Write::new())).is_none()
        );
        applied(space.put_if_absent("key", "long"));
        assert_eq!(space.get("key").expect("read").expect("there"), b"long");
    }
}

#[test]
fn of_threads_that_expect_the_same_version_one_succeeds() {
    let place = Place::new();
    let (store, spaces) = both(&place);
    let turns = rounds(200);
    for space in &spaces {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..turns {
                        count_up(space);
                    }
                });
            }
        });
        let count = space.get("count").expect("read").expect("there");
        assert_eq!(
            u64::from_le_bytes(count[..].try_into().expect("eight")),
            3 * turns
        );
    }
    assert_eq!(
        store.stats().puts,
        6 * turns,
        "each number was written once"
    );
}

fn count_up(space: &Keyspace) {
    let mut current = space.entry("count").expect("read");
    loop {
        let (count, expected) = match &current {
            Some(entry) => {
                let count = u64::from_le_bytes(entry.value[..].try_into().expect("eight"));
                (count, Expected::Seq(entry.seq))
            }
            None => (0, Expected::Absent),
        };
        match space.put_if("count", (count + 1).to_le_bytes(), expected, Write::new()) {
            Ok(Swap::Applied(_)) => return,
            Ok(Swap::Refused(now)) => current = now,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_batch_with_an_expectation_that_fails_changes_nothing() {
    let place = Place::new();
    let (store, [flat, sorted]) = both(&place);
    flat.put("guard", "open").expect("put");
    let seq = flat.entry("guard").expect("read").expect("there").seq;
    let run = |expected: Expected<'_>, late: &str| {
        let mut batch = store.batch();
        batch.put(&flat, "a", "1");
        batch.put(&sorted, "b", "2");
        batch.expect(&flat, "guard", expected);
        // About the moment before the batch, although the batch writes it.
        batch.expect(&sorted, late, Expected::Absent);
        batch.put(&sorted, late, "3");
        batch.commit()
    };
    refused(
        run(Expected::Absent, "c"),
        ErrorKind::Conflict,
        &["\"guard\"", "'flat'", "absent", &format!("seq {seq}")],
    );
    refused(
        run(Expected::Value(b"shut"), "c"),
        ErrorKind::Conflict,
        &["value of 4 bytes"],
    );
    assert_eq!(contents(&store).len(), 1);
    run(Expected::Seq(seq), "c").expect("all hold");
    assert_eq!(contents(&store).len(), 4);
    refused(
        run(Expected::Seq(seq), "c"),
        ErrorKind::Conflict,
        &["\"c\"", "'sorted'"],
    );
    // An expectation alone is a question.
    let mut batch = store.batch();
    batch.expect(&flat, "none", Expected::Absent);
    batch.commit().expect("it holds");
}

#[test]
fn a_comparison_on_a_dropped_keyspace_or_a_closed_store_says_so() {
    let place = Place::new();
    let (store, [flat, sorted]) = both(&place);
    store.drop_keyspace("flat").expect("dropped");
    refused(
        flat.put_if_absent("key", "value"),
        ErrorKind::NotFound,
        &["'flat' was dropped"],
    );
    let mut batch = store.batch();
    batch.expect(&flat, "key", Expected::Absent);
    refused(batch.commit(), ErrorKind::NotFound, &["'flat' was dropped"]);
    let long = vec![0; peercask::KEY_LEN_MAX + 1];
    refused(
        sorted.put_if_absent(long, "value"),
        ErrorKind::InvalidArgument,
        &["65535"],
    );
    store.close().expect("closed");
    refused(sorted.put_if_absent("key", "value"), ErrorKind::Closed, &[]);
}

#[test]
fn a_damaged_version_is_an_error_and_never_a_match() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    space.put("key", "the value that is hit").expect("put");
    let name = crate::support::segments(place.path()).pop().expect("one");
    let path = place.file(&name);
    let mut bytes = std::fs::read(&path).expect("read");
    let at = bytes
        .windows(9)
        .position(|w| w == b"the value")
        .expect("found");
    bytes[at] ^= 1;
    // In place: the store has the file mapped.
    std::os::unix::fs::FileExt::write_all_at(
        &std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .expect("open"),
        &bytes[at..=at],
        at as u64,
    )
    .expect("written");
    refused(
        space.put_if_absent("key", "x"),
        ErrorKind::Corrupted,
        &["checksum"],
    );
}
