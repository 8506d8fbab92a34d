//! Limits and options: what is at a limit works, what is over it is refused by name, and nothing
//! of it is written.

use std::time::Duration;

use peercask::{
    BATCH_BYTES_MAX, ErrorKind, KEY_LEN_MAX, KEYSPACE_NAME_LEN_MAX, KEYSPACES_MAX, Keyspace,
    KeyspaceOptions, Options, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, Store,
};

use crate::support::{Place, contents, files, hash, ordered, refused, skipped};

const BAD: ErrorKind = ErrorKind::InvalidArgument;

// ---- keys, values, batches

#[test]
fn a_key_over_the_limit_is_refused_and_nothing_is_written() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    let key = vec![7; KEY_LEN_MAX + 1];
    let seq = store.stats().last_seq;
    let parts = ["65536 bytes", "limit of 65535 bytes"];
    refused(space.put(&key, "value"), BAD, &parts);
    refused(space.delete(&key), BAD, &parts);
    let mut batch = store.batch();
    batch.put(&space, "fine", "value");
    batch.put(&space, &key, "value");
    refused(batch.commit(), BAD, &parts);
    assert_eq!(
        space.get(&key).expect("a key that cannot exist is absent"),
        None
    );
    assert_eq!(
        space.get("fine").expect("read"),
        None,
        "no part of the batch was applied"
    );
    assert_eq!(store.stats().last_seq, seq);
}

#[test]
fn a_key_at_the_limit_and_an_empty_key_and_an_empty_value_are_stored() {
    let place = Place::new();
    let long = vec![7; KEY_LEN_MAX];
    {
        let store = place.open();
        for space in [hash(&store, "hashed"), ordered(&store, "sorted")] {
            space.put(&long, "long").expect("put");
            space.put("", "nothing").expect("put");
            space.put("k", "").expect("put");
        }
    }
    let store = place.open();
    assert_eq!(contents(&store).len(), 6);
    for space in [hash(&store, "hashed"), ordered(&store, "sorted")] {
        assert_eq!(space.get(&long).expect("read").expect("there"), b"long");
        assert_eq!(space.get("").expect("read").expect("there"), b"nothing");
        assert_eq!(space.get("k").expect("read").expect("there"), b"");
        assert!(space.delete("").expect("deleted"));
        assert_eq!(space.get("").expect("read"), None);
    }
}

#[test]
fn a_value_larger_than_a_segment_gets_one_of_its_own() {
    let place = Place::new();
    let value = vec![0xAB; 100_000];
    {
        let store = place.open();
        let space = hash(&store, "things");
        space.put("before", "1").expect("put");
        space.put("large", &value).expect("put");
        space.put("after", "2").expect("put");
        assert_eq!(space.get("large").expect("read").expect("there"), value);
    }
    let store = place.open();
    let space = hash(&store, "things");
    assert_eq!(space.get("large").expect("read").expect("there"), value);
    assert_eq!(space.get("before").expect("read").expect("there"), b"1");
    assert_eq!(space.get("after").expect("read").expect("there"), b"2");
}

/// Takes over 1 GiB of memory, so only where it is asked for.
#[test]
fn a_batch_over_the_limit_is_refused_whole() {
    if std::env::var_os("PEERCASK_LARGE").is_none() {
        skipped(
            "a batch over the limit",
            "set PEERCASK_LARGE to let it take over 1 GiB of memory",
        );
        return;
    }
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    let half = vec![1; usize::try_from(BATCH_BYTES_MAX / 2).expect("fits")];
    let mut batch = store.batch();
    batch.put(&space, "a", &half);
    batch.put(&space, "b", &half);
    refused(
        batch.commit(),
        BAD,
        &["limit of 1073741824 bytes", "split it"],
    );
    assert_eq!(contents(&store).len(), 0);
}

// ---- keyspaces

#[test]
fn a_keyspace_without_a_name_is_refused() {
    let place = Place::new();
    let store = place.open();
    refused(
        store.keyspace("", KeyspaceOptions::hash()),
        BAD,
        &["name", "at least one byte"],
    );
    refused(
        store.existing_keyspace(""),
        ErrorKind::NotFound,
        &["keyspace ''"],
    );
    assert_eq!(store.keyspaces(), []);
}

#[test]
fn a_keyspace_name_over_the_limit_is_refused_and_one_at_it_works() {
    let place = Place::new();
    let longest = "n".repeat(KEYSPACE_NAME_LEN_MAX);
    {
        let store = place.open();
        let name = "n".repeat(KEYSPACE_NAME_LEN_MAX + 1);
        let parts = ["256 bytes", "limit of 255 bytes"];
        refused(store.keyspace(&name, KeyspaceOptions::hash()), BAD, &parts);
        hash(&store, &longest).put("key", "value").expect("put");
    }
    let store = place.open();
    assert_eq!(
        hash(&store, &longest)
            .get("key")
            .expect("read")
            .expect("there"),
        b"value"
    );
}

#[test]
fn more_keyspaces_than_the_limit_are_refused_and_dropping_one_makes_room() {
    let place = Place::new();
    {
        let store = place.open();
        for number in 0..KEYSPACES_MAX {
            hash(&store, &format!("space-{number}"));
        }
        let over = || store.keyspace("one-more", KeyspaceOptions::hash());
        refused(over(), BAD, &["1024 keyspaces"]);
        hash(&store, "space-1023")
            .put("key", "value")
            .expect("those that exist still open");
        assert!(store.drop_keyspace("space-7").expect("dropped"));
        over().expect("there is room now");
    }
    let store = place.open();
    assert_eq!(store.keyspaces().len(), KEYSPACES_MAX);
    assert_eq!(contents(&store).len(), 1);
}

#[test]
fn an_unknown_keyspace_is_not_found_and_not_made() {
    let place = Place::new();
    let store = place.open();
    let parts = ["no keyspace 'ghost'", "Store::keyspaces"];
    refused(
        store.existing_keyspace("ghost"),
        ErrorKind::NotFound,
        &parts,
    );
    assert!(!store.drop_keyspace("ghost").expect("nothing to drop"));
    assert_eq!(store.keyspaces(), []);
}

#[test]
fn every_ordered_call_on_a_hash_keyspace_is_refused_with_the_way_out() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "flat");
    space.put("key", "value").expect("put");
    let parts = [
        "'flat'",
        "hash keyspace",
        "walk()",
        "KeyspaceOptions::ordered()",
    ];
    refused(space.range("a".."b"), BAD, &parts);
    refused(space.prefix("a"), BAD, &parts);
    refused(space.iter(), BAD, &parts);
    refused(space.first(), BAD, &parts);
    refused(space.last(), BAD, &parts);
    refused(space.count("a".."b"), BAD, &parts);
    assert_eq!(space.walk().count(), 1);
}

#[test]
fn a_keyspace_reopened_with_another_kind_or_ttl_is_refused_and_stays_as_it_was() {
    let hour = Some(Duration::from_secs(3_600));
    let timed = KeyspaceOptions::ordered().default_ttl(hour);
    let try_others = |store: &Store| {
        let flat = KeyspaceOptions::hash().default_ttl(hour);
        let parts = ["'timed'", "ordered kind, not hash", "fixed when"];
        refused(store.keyspace("timed", flat), BAD, &parts);
        let parts = [
            "'timed'",
            "3600000 ms, not 0 ms",
            "fixed when",
            "Write::ttl",
        ];
        refused(
            store.keyspace("timed", KeyspaceOptions::ordered()),
            BAD,
            &parts,
        );
        let longer = KeyspaceOptions::ordered().default_ttl(Some(Duration::from_secs(7_200)));
        refused(store.keyspace("timed", longer), BAD, &["not 7200000 ms"]);
    };
    let place = Place::new();
    {
        let store = place.open();
        store
            .keyspace("timed", timed)
            .expect("made")
            .put("key", "value")
            .expect("put");
        try_others(&store);
    }
    let store = place.open();
    try_others(&store);
    let space: Keyspace = store.keyspace("timed", timed).expect("as it was made");
    assert_eq!(space.get("key").expect("read").expect("there"), b"value");
    assert_eq!(space.info().expect("listed").default_ttl, hour);
}

#[test]
fn a_default_ttl_of_nothing_is_refused() {
    let place = Place::new();
    let store = place.open();
    let options = KeyspaceOptions::hash().default_ttl(Some(Duration::ZERO));
    refused(
        store.keyspace("short", options),
        BAD,
        &["default_ttl", "one millisecond"],
    );
    assert_eq!(store.keyspaces(), []);
}

#[test]
fn a_dropped_keyspace_made_anew_starts_empty_with_another_id() {
    let place = Place::new();
    let (old, new) = {
        let store = place.open();
        let first = hash(&store, "things");
        first.put("key", "value").expect("put");
        assert!(store.drop_keyspace("things").expect("dropped"));
        let second = ordered(&store, "things");
        assert_eq!(second.get("key").expect("read"), None);
        (first.id(), second.id())
    };
    assert_ne!(old, new);
    let store = place.open();
    let space = ordered(&store, "things");
    assert_eq!((space.id(), space.get("key").expect("read")), (new, None));
}

// ---- options

#[test]
fn an_option_out_of_range_is_refused_by_its_name_before_anything_is_made() {
    let place = Place::new();
    let missing = place.file("store");
    let options = || place.options();
    let cases: [(Options, &str); 12] = [
        (
            options().segment_bytes(SEGMENT_BYTES_MIN - 1),
            "segment_bytes must be from 4096",
        ),
        (
            options().segment_bytes(SEGMENT_BYTES_MAX + 1),
            "segment_bytes must be from 4096",
        ),
        (
            options().buffer_bytes(4_095),
            "buffer_bytes must be from 4096 to 67108864",
        ),
        (
            options().buffer_bytes((64 << 20) + 1),
            "buffer_bytes must be from 4096 to 67108864",
        ),
        (
            options().merge_dead_share(0.0),
            "merge_dead_share must be above 0",
        ),
        (
            options().merge_dead_share(1.1),
            "merge_dead_share must be above 0",
        ),
        (
            options().merge_dead_share(f64::NAN),
            "merge_dead_share must be above 0",
        ),
        (
            options().merge_space_amplification(1.0),
            "merge_space_amplification must be above 1",
        ),
        (
            options().merge_space_amplification(f64::NAN),
            "merge_space_amplification must be",
        ),
        (
            options().merge_space_amplification(f64::INFINITY),
            "merge_space_amplification must be",
        ),
        (
            options().merge_rate(Some(0)),
            "merge_rate must be above 0; use None",
        ),
        (
            options().sync_interval(Some(Duration::ZERO)),
            "sync_interval must be above 0",
        ),
    ];
    for (options, part) in cases {
        refused(Store::open(&missing, options), BAD, &["Options:", part]);
        assert_eq!(files(place.path()), [""; 0], "{part}");
    }
}

#[test]
fn options_at_their_limits_work() {
    let cases: [fn(Options) -> Options; 4] = [
        |options| options.segment_bytes(SEGMENT_BYTES_MIN).buffer_bytes(4_096),
        |options| {
            options
                .segment_bytes(SEGMENT_BYTES_MAX)
                .buffer_bytes(64 << 20)
        },
        |options| {
            options
                .merge_dead_share(1.0)
                .merge_rate(Some(1))
                .recovery_threads(1)
        },
        |options| {
            options
                .merge_rate(None)
                .sync_interval(None)
                .recovery_threads(1_000)
        },
    ];
    for change in cases {
        let place = Place::new();
        for round in 0..2_u8 {
            let store = place.open_with(change(place.options()));
            hash(&store, "things").put([round], "value").expect("put");
            assert_eq!(contents(&store).len(), usize::from(round) + 1);
        }
    }
}
