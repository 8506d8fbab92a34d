//! The smallest limits that may be chosen, and quotas that are smaller than what a key or a peer wants.

use libp2p_kad::store::{Error, RecordStore};
use peercask_kad::{Limits, Options, PersistentStore, Refusal, Time as _};

use crate::support::*;

fn limited(dir: &std::path::Path, limits: Limits) -> PersistentStore {
    open_with(dir, quiet().limits(limits))
}

#[test]
fn a_key_may_have_one_foreign_provider_and_the_node_itself() {
    let dir = dir();
    let limits = Limits {
        providers_per_key_max: 1,
        ..Limits::default()
    };
    let mut store = limited(dir.path(), limits.clone());
    for who in 0..5 {
        store.add_provider(provider(1, who)).expect("added or Ok");
    }
    assert_eq!(store.providers(&key(1)), [provider(1, 0)]);
    assert_eq!(store.handle().stats().refused.of(Refusal::KeyFull), 4);
    store.add_provider(own_provide(1)).expect("always");
    // More than others are told of: this node comes first.
    let expected = [own_provide(1), provider(1, 0)];
    assert_eq!(store.providers(&key(1)), expected);
    drop(store);
    let mut store = limited(dir.path(), limits);
    assert_eq!(store.providers(&key(1)), expected);
    store.remove_provider(&key(1), &peer(0));
    store.add_provider(provider(1, 4)).expect("one went");
    assert_eq!(store.providers(&key(1)).len(), 2);
}

#[test]
fn a_key_may_have_no_foreign_provider_at_all() {
    let dir = dir();
    let limits = Limits {
        providers_per_key_max: 0,
        ..Limits::default()
    };
    let mut store = limited(dir.path(), limits);
    for number in 0..50 {
        store
            .add_provider(provider(number, 1))
            .expect("Ok, not added");
    }
    let stats = store.handle().stats();
    // `MemoryStore` keeps an entry for each of these keys, and runs full of them.
    assert_eq!((stats.provider_keys, stats.provider_records), (0, 0));
    assert_eq!(stats.refused.of(Refusal::KeyFull), 50);
    store.add_provider(own_provide(1)).expect("always");
    assert_eq!(store.providers(&key(1)), [own_provide(1)]);
}

#[test]
fn a_quota_of_nothing_refuses_all_that_is_foreign_and_nothing_that_is_own() {
    let dir = dir();
    let limits = Limits {
        foreign_records_max: 0,
        foreign_keys_max: 0,
        foreign_provides_max: 0,
        records_per_provider_max: 0,
        addresses_max: 0,
        address_bytes_max: 0,
        ..Limits::default()
    };
    let mut store = limited(dir.path(), limits);
    for number in 0..20 {
        assert!(matches!(
            store.put(record(number, b"x")),
            Err(Error::MaxRecords)
        ));
        assert!(matches!(
            store.add_provider(provider(number, 1)),
            Err(Error::MaxProvidedKeys)
        ));
        store.add_provider(own_provide(number)).expect("own");
        store.put(own_record(number, b"mine")).expect("own");
    }
    let stats = store.handle().stats();
    assert_eq!((stats.own_keys, stats.own_records), (20, 20));
    assert_eq!((stats.records, stats.provider_records), (20, 0));
    assert_eq!(stats.refused.total(), 40);
}

#[test]
fn own_quotas_bind_at_their_number_and_refreshing_is_allowed_there() {
    let dir = dir();
    let limits = Limits {
        own_records_max: 2,
        own_provides_max: 2,
        ..Limits::default()
    };
    let mut store = limited(dir.path(), limits);
    for number in 0..4 {
        assert_eq!(store.put(own_record(number, b"v")).is_ok(), number < 2);
        assert_eq!(store.add_provider(own_provide(number)).is_ok(), number < 2);
    }
    store.put(own_record(1, b"new")).expect("replaced");
    store.add_provider(own_provide(1)).expect("again");
    store.remove(&key(0));
    store.remove_provider(&key(0), &local());
    store.put(own_record(3, b"v")).expect("one went");
    store.add_provider(own_provide(3)).expect("one went");
}

#[test]
fn a_window_of_one_record_meets_all_of_them() {
    let dir = dir();
    let mut store = open_with(dir.path(), quiet().window_records(1));
    for number in 0..12 {
        store.add_provider(own_provide(number)).expect("added");
    }
    let mut met: Vec<_> = (0..12)
        .flat_map(|_| {
            store
                .provided()
                .map(|one| one.key.to_vec())
                .collect::<Vec<_>>()
        })
        .collect();
    met.sort();
    met.dedup();
    assert_eq!(met.len(), 12);
}

#[test]
fn a_queue_of_one_record_takes_one_at_a_time() {
    let dir = dir();
    let limits = Limits {
        queue_records_max: 1,
        ..Limits::default()
    };
    let mut store = limited(dir.path(), limits);
    for number in 0..30 {
        store.add_provider(provider(number, 1)).expect("added");
        assert!(store.add_provider(provider(99, 1)).is_err(), "it is full");
        store.add_provider(own_provide(number)).expect("no queue");
        store.handle().step().expect("stepped");
    }
    assert_eq!(store.handle().stats().provider_records, 30);
}

/// The smallest budget there may be, 16 MiB, met by large values of others that do not expire.
#[test]
fn the_smallest_disk_budget_refuses_what_is_foreign_and_gives_room_again() {
    const BUDGET: u64 = 16 << 20;
    let dir = dir();
    let limits = Limits {
        disk_bytes_max: Some(BUDGET),
        ..Limits::default()
    };
    let (time, options) = timed();
    let mut store = open_with(dir.path(), options.limits(limits));
    let handle = store.handle();
    let mut taken = 0;
    for number in 0..1_000 {
        let mut value = record(number, &[7; 32_000]);
        value.expires = Some(time.instant() + seconds(600));
        taken += u64::from(store.put(value).is_ok());
        assert!(occupied(dir.path()) <= BUDGET, "after {number}");
    }
    let stats = handle.stats();
    assert_eq!(stats.refused.of(Refusal::Disk), 1_000 - taken);
    assert!(
        taken * 32_000 > BUDGET / 2,
        "{taken} taken: most of it is used"
    );
    assert!(store.add_provider(provider(1, 1)).is_err(), "full for all");
    for number in 0..200 {
        store.add_provider(own_provide(number)).expect("own");
    }
    assert!(occupied(dir.path()) <= BUDGET);
    // What expired gives its room back.
    time.advance(seconds(900));
    for _ in 0..3 {
        handle.step().expect("stepped");
        handle.merge(peercask::Merge::Needed).expect("merged");
    }
    handle.step().expect("measured");
    for number in 0..100 {
        store.put(record(number, &[7; 32_000])).expect("room again");
    }
    let error = PersistentStore::open(
        dir.path(),
        local(),
        Options::default().limits(Limits {
            disk_bytes_max: Some(BUDGET - 1),
            ..Limits::default()
        }),
    );
    assert!(error.is_err(), "less is refused");
}
