//! Stored bytes that say nothing, and damaged notes: counted, skipped, kept; never a panic.

use libp2p_kad::store::RecordStore;
use peercask::{KeyspaceOptions, Store};
use peercask_kad::{PersistentStore, Published, inspect};

use crate::support::*;

/// Does something to a store's files behind its back.
fn behind(dir: &std::path::Path, change: impl FnOnce(&Store)) {
    let store = Store::open(dir, peercask::Options::default()).expect("opened");
    change(&store);
    store.close().expect("closed");
}

#[test]
fn bytes_that_say_nothing_are_counted_skipped_and_kept() {
    let dir = dir();
    let mut store = open(dir.path());
    for number in 0..50 {
        store.put(record(number, b"good")).expect("put");
        store.add_provider(provider(number, 1)).expect("added");
    }
    drop(store);
    behind(dir.path(), |store| {
        for (name, slots) in [("kad.values", [3_u32, 60]), ("kad.providers", [7, 70])] {
            let space = store.existing_keyspace(name).expect("there");
            space
                .put(slots[0].to_le_bytes(), b"\x01\xFFnonsense")
                .expect("put");
            space.put(slots[1].to_le_bytes(), b"").expect("put");
            space.put(b"no slot at all", b"x").expect("put");
        }
    });
    let mut store = open(dir.path());
    let report = store.handle().report().clone();
    assert_eq!(report.undecodable, 6);
    assert_eq!(store.records().count(), 49);
    assert_eq!(store.handle().stats().provider_records, 49);
    assert_eq!(store.handle().health().undecodable, 6);
    // New records do not take their slots.
    for number in 100..200 {
        store.put(record(number, b"new")).expect("put");
        store.add_provider(provider(number, 1)).expect("added");
    }
    for _ in 0..2 {
        drop(store);
        let found = inspect::look(dir.path()).expect("looked");
        assert_eq!(found.undecodable.len(), 6, "kept for inspection");
        store = open(dir.path());
        assert_eq!(store.records().count(), 149);
    }
}

#[test]
fn own_records_and_publishing_times_that_say_nothing_are_skipped_and_kept() {
    let dir = dir();
    let mut store = open(dir.path());
    let handle = store.handle();
    for number in 0..20 {
        store.put(own_record(number, b"good")).expect("put");
        store.add_provider(own_provide(number)).expect("added");
        for what in [Published::Value, Published::Provide] {
            let noted = handle.mark_published(what, &key(number));
            assert!(noted.expect("open"));
        }
    }
    drop(store);
    let mut changed = 0;
    behind(dir.path(), |store| {
        for info in store.keyspaces() {
            let space = store.existing_keyspace(&info.name).expect("there");
            let put = |key: &[u8], bytes: &[u8]| space.put(key, bytes).expect("put");
            if info.name.starts_with("kad.own-") {
                put(&3_u32.to_le_bytes(), b"\x01\xFFnonsense");
                put(&60_u32.to_le_bytes(), b"");
            } else if info.name.starts_with("kad.published-") {
                put(&5_u32.to_le_bytes(), b"?");
                put(&900_u32.to_le_bytes(), &[7; 12]);
            } else {
                continue;
            }
            put(b"no slot at all", b"x");
            changed += 1;
        }
    });
    assert_eq!(changed, 4);
    let mut store = open(dir.path());
    let handle = store.handle();
    assert_eq!(handle.report().undecodable, 6);
    assert_eq!(
        (store.records().count(), store.provided().count()),
        (19, 19)
    );
    // Without its publishing time a record is due, and no other one is.
    let due = handle.due(seconds(3_600), 100).expect("open");
    assert_eq!(due.total, 2);
    for number in 100..200 {
        store.put(own_record(number, b"new")).expect("put");
        store.add_provider(own_provide(number)).expect("added");
    }
    drop(store);
    let found = inspect::look(dir.path()).expect("looked");
    assert_eq!(found.undecodable.len(), 6, "kept for inspection");
    let store = open(dir.path());
    assert_eq!(
        (store.records().count(), store.provided().count()),
        (119, 119)
    );
}

#[test]
fn bytes_that_turn_bad_behind_the_saved_index_are_met_when_read() {
    let dir = dir();
    let mut store = open(dir.path());
    for number in 0..50 {
        store.put(record(number, b"good")).expect("put");
        store.add_provider(provider(number, 1)).expect("added");
        store.add_provider(own_provide(number)).expect("added");
    }
    let handle = store.handle();
    handle.step().expect("stepped");
    for name in ["kad.values", "kad.providers"] {
        let space = handle.engine().existing_keyspace(name).expect("there");
        space
            .put(9_u32.to_le_bytes(), b"\x01\xFFnonsense")
            .expect("put");
        space.delete(11_u32.to_le_bytes()).expect("deleted");
    }
    let there = (0..50)
        .filter(|number| store.get(&key(*number)).is_some())
        .count();
    assert_eq!(there, 48);
    let providers: usize = (0..50)
        .map(|number| store.providers(&key(number)).len())
        .sum();
    assert_eq!(providers, 98);
    let stats = handle.stats();
    assert_eq!((stats.undecodable, stats.lost), (2, 2));
    assert_eq!((stats.records, stats.provider_records), (48, 48));
    let error = handle.health().last_error.expect("told");
    assert!(error.message.contains("say nothing"), "{}", error.message);
}

#[test]
fn damaged_notes_do_not_keep_the_node_from_starting() {
    let dir = dir();
    let mut store = open(dir.path());
    store.add_provider(own_provide(1)).expect("added");
    drop(store);
    behind(dir.path(), |store| {
        let meta = store
            .keyspace("kad.meta", KeyspaceOptions::hash())
            .expect("there");
        meta.put("cursor.records", b"?").expect("put");
        meta.put("local", b"not a peer").expect("put");
    });
    let store = open(dir.path());
    assert_eq!(store.provided().count(), 1);
    drop(store);
    behind(dir.path(), |store| {
        let meta = store
            .keyspace("kad.meta", KeyspaceOptions::hash())
            .expect("there");
        meta.put("session", b"?").expect("put");
    });
    // A session number that makes no sense is an error, not a guess.
    let error = PersistentStore::open(dir.path(), local(), quiet()).expect_err("told");
    assert!(error.to_string().contains("session"), "{error}");
}

#[test]
fn oversize_everything_is_refused() {
    let dir = dir();
    let mut store = open(dir.path());
    let huge = libp2p_kad::RecordKey::from(vec![7; 1 << 20]);
    assert!(
        store
            .put(libp2p_kad::Record::new(huge.clone(), vec![7; 1 << 24]))
            .is_err()
    );
    let provide = libp2p_kad::ProviderRecord::new(huge.clone(), peer(1), vec![address(1); 100_000]);
    assert!(store.add_provider(provide).is_err());
    let own = libp2p_kad::ProviderRecord::new(huge.clone(), local(), vec![]);
    assert!(store.add_provider(own).is_err());
    assert_eq!(store.get(&huge), None);
    store.remove(&huge);
    store.remove_provider(&huge, &peer(1));
    assert_eq!(store.handle().stats().refused.total(), 3);
}
