//! What a clean end leaves, a second open, another identity, a newer format; a kill is in
//! `kill.rs`, damage in `damage.rs`, a full disk in `full.rs`.

use std::borrow::Cow;
use std::time::Instant;

use libp2p_kad::store::RecordStore;
use libp2p_kad::{ProviderRecord, Record};
use peercask::{ErrorKind, KeyspaceOptions, Store};
use peercask_kad::{Error, PersistentStore};

use crate::support::*;

/// A store with some of everything; the number of each.
fn filled(dir: &std::path::Path) -> PersistentStore {
    let mut store = open(dir);
    for number in 0..300 {
        store
            .put(record(number, &number.to_le_bytes()))
            .expect("put");
        store.add_provider(own_provide(number)).expect("added");
        for who in 0..3 {
            store.add_provider(provider(number, who)).expect("added");
        }
    }
    store
}

fn assert_filled(store: &PersistentStore, what: &str) {
    assert_eq!(store.records().count(), 300, "{what}");
    assert_eq!(store.provided().count(), 300, "{what}");
    for number in 0..300 {
        let found = store.get(&key(number)).expect(what);
        assert_eq!(found.value, number.to_le_bytes(), "{what}");
        let providers = store.providers(&key(number));
        let who: Vec<_> = providers.iter().map(|record| record.provider).collect();
        assert_eq!(who, [local(), peer(0), peer(1), peer(2)], "{what}");
    }
    let stats = store.handle().stats();
    assert_eq!(
        (stats.provider_records, stats.own_keys, stats.lost),
        (900, 300, 0),
        "{what}"
    );
}

#[test]
fn after_a_clean_end_everything_is_back_with_or_without_the_saved_index() {
    let dir = dir();
    drop(filled(dir.path()));
    let copy = copy_of(dir.path());
    let store = open(dir.path());
    assert!(store.handle().report().index_from_image);
    assert_filled(&store, "with the saved index");
    drop(store);

    std::fs::remove_file(copy.path().join("kad-index")).expect("it was saved");
    let store = open(copy.path());
    assert!(!store.handle().report().index_from_image);
    assert_filled(&store, "without it");
    drop(store);

    // One that is not this log's, or damaged at any byte, is left out.
    let image = std::fs::read(dir.path().join("kad-index")).expect("saved");
    let stale = copy_of(dir.path());
    let mut store = open(stale.path());
    store.put(record(5_000, b"later")).expect("put");
    drop(store);
    std::fs::write(stale.path().join("kad-index"), &image).expect("the old one is back");
    let store = open(stale.path());
    assert!(!store.handle().report().index_from_image);
    assert!(store.get(&key(5_000)).is_some());
    drop(store);
    for at in (0..image.len()).step_by(image.len() / 40) {
        let damaged = copy_of(dir.path());
        let mut bytes = image.clone();
        bytes[at] ^= 0x10;
        std::fs::write(damaged.path().join("kad-index"), &bytes).expect("written");
        assert_filled(&open(damaged.path()), &format!("flipped at {at}"));
        bytes.truncate(at);
        let cut = copy_of(dir.path());
        std::fs::write(cut.path().join("kad-index"), &bytes).expect("written");
        assert_filled(&open(cut.path()), &format!("cut at {at}"));
    }
}

#[test]
fn a_second_open_fails_at_once_and_says_why() {
    let dir = dir();
    let _store = open(dir.path());
    let start = Instant::now();
    let second = PersistentStore::open(dir.path(), local(), quiet()).expect_err("it is open");
    assert_eq!(second.engine_kind(), Some(ErrorKind::Locked));
    assert!(
        second.to_string().contains("open for writing elsewhere"),
        "{second}"
    );
    assert!(start.elapsed() < seconds(1));
}

#[test]
fn another_identity_neither_yields_nor_serves_the_own_records_of_the_one_before() {
    let dir = dir();
    let mut store = open(dir.path());
    store.add_provider(own_provide(1)).expect("added");
    store.add_provider(provider(1, 1)).expect("added");
    store.put(own_record(2, b"mine")).expect("put");
    store.put(record(3, b"foreign")).expect("put");
    drop(store);

    let other = peer(777);
    let mut store = PersistentStore::open(dir.path(), other, quiet()).expect("opened");
    assert_eq!(store.handle().report().identity_before, Some(local()));
    assert_eq!(store.provided().count(), 0);
    assert_eq!(store.providers(&key(1)), [provider(1, 1)]);
    assert_eq!(store.get(&key(2)), None);
    assert!(store.get(&key(3)).is_some());
    let provide = ProviderRecord::new(key(1), other, vec![]);
    store.add_provider(provide).expect("added");
    drop(store);

    // Nothing was destroyed: with the identity its intents are back.
    let store = open(dir.path());
    assert_eq!(store.provided().count(), 1);
    assert_eq!(
        store.get(&key(2)).map(Cow::into_owned),
        Some(own_record(2, b"mine"))
    );
    let who: Vec<_> = store
        .providers(&key(1))
        .into_iter()
        .map(|r| r.provider)
        .collect();
    assert_eq!(who, [local(), peer(1)]);
}

#[test]
fn a_newer_format_is_refused_and_left_as_it_is() {
    let dir = dir();
    drop(filled(dir.path()));
    let store = Store::open(dir.path(), peercask::Options::default()).expect("opened");
    let meta = store
        .keyspace("kad.meta", KeyspaceOptions::hash())
        .expect("there");
    meta.put("format", 9_u32.to_le_bytes()).expect("put");
    drop(meta);
    store.close().expect("closed");

    let newer = PersistentStore::open(dir.path(), local(), quiet()).expect_err("newer");
    assert!(
        matches!(newer, Error::NewerFormat { found: 9, known: 1 }),
        "{newer}"
    );

    let store = Store::open(dir.path(), peercask::Options::default()).expect("opened");
    let meta = store.existing_keyspace("kad.meta").expect("there");
    assert_eq!(
        meta.get("format").expect("read").as_deref(),
        Some(&9_u32.to_le_bytes()[..])
    );
    meta.put("format", 1_u32.to_le_bytes()).expect("put");
    drop(meta);
    store.close().expect("closed");
    assert_filled(&open(dir.path()), "nothing was cut");
}

#[test]
fn one_key_has_one_record_whoever_published_it_last() {
    let dir = dir();
    let mut store = open(dir.path());
    let by_other = Record {
        publisher: Some(peer(5)),
        ..record(1, b"theirs")
    };
    for _ in 0..3 {
        store.put(own_record(1, b"mine")).expect("put");
        assert_eq!(store.records().count(), 1);
        store.put(by_other.clone()).expect("put");
        assert_eq!(store.records().count(), 1);
        assert_eq!(
            store.get(&key(1)).map(Cow::into_owned),
            Some(by_other.clone())
        );
    }
    let copy = copy_of(dir.path());
    let store = open(copy.path());
    assert_eq!(
        store.records().map(Cow::into_owned).collect::<Vec<_>>(),
        [by_other]
    );
}
