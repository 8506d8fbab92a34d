//! Own and foreign quotas, and hostile peers; the budget of disk is in `churn.rs`, the smallest limits are in `tiny.rs`.

use libp2p_kad::store::RecordStore;
use libp2p_kad::{ProviderRecord, RecordKey};
use peercask_kad::{Limits, Refusal};

use crate::support::*;

#[test]
fn foreign_flooding_never_makes_the_nodes_own_provide_fail() {
    let dir = dir();
    let limits = Limits {
        foreign_keys_max: 100,
        foreign_records_max: 100,
        ..Limits::default()
    };
    let mut store = open_with(dir.path(), quiet().limits(limits));
    let mut refused = 0;
    for number in 0..1_000 {
        refused += u64::from(store.add_provider(provider(number, number)).is_err());
        refused += u64::from(store.put(record(number, b"x")).is_err());
    }
    assert_eq!(refused, 1_800);
    for number in 5_000..5_500 {
        store
            .add_provider(own_provide(number))
            .expect("own provides have their own quota");
        store
            .put(own_record(number, b"mine"))
            .expect("and own values");
    }
    assert_eq!(store.provided().count(), 500);
    assert_eq!(store.handle().stats().own_records, 500);
}

#[test]
fn the_local_provider_fits_on_a_full_key_and_is_never_displaced() {
    let dir = dir();
    let mut store = open(dir.path());
    for number in 0..20 {
        store.add_provider(provider(1, number)).expect("added");
    }
    store.add_provider(own_provide(1)).expect("added");
    for number in 100..200 {
        store.add_provider(provider(1, number)).expect("dropped");
    }
    // Kad answers with the first 20: this node is among them.
    let who: Vec<_> = store
        .providers(&key(1))
        .iter()
        .map(|record| record.provider)
        .collect();
    let expected: Vec<_> = [local()].into_iter().chain((0..20).map(peer)).collect();
    assert_eq!(who, expected);
    assert_eq!(store.provided().count(), 1);
    drop(store);
    assert_eq!(open(dir.path()).providers(&key(1)).len(), 21);
}

#[test]
fn keys_addresses_and_records_over_their_caps_are_refused_or_trimmed_and_counted() {
    let dir = dir();
    let mut store = open(dir.path());
    let long = RecordKey::from(vec![1; 513]);
    assert!(
        store
            .put(libp2p_kad::Record::new(long.clone(), vec![1]))
            .is_err()
    );
    let provide = ProviderRecord::new(long, peer(1), vec![]);
    assert!(store.add_provider(provide).is_err());
    // What one packet of 16 KiB can hold.
    let many: Vec<_> = (0..1_200).map(address).collect();
    let provide = ProviderRecord::new(key(1), peer(1), many.clone());
    store.add_provider(provide).expect("taken, trimmed");
    assert_eq!(store.providers(&key(1))[0].addresses, many[..16]);
    assert!(store.put(record(1, &[0; 66_560])).is_err());
    let stats = store.handle().stats();
    assert_eq!(stats.trimmed, 1);
    assert_eq!(stats.refused.of(Refusal::KeyTooLong), 2);
    assert_eq!(stats.refused.of(Refusal::ValueTooLarge), 1);
    // Many small addresses are cut by number, large ones by bytes.
    let large = format!("/dns4/{}/tcp/1", "a".repeat(500))
        .parse()
        .expect("an address");
    let provide = ProviderRecord::new(key(2), peer(1), vec![large; 5]);
    store.add_provider(provide).expect("taken, trimmed");
    assert_eq!(store.providers(&key(2))[0].addresses.len(), 2);
}

#[test]
fn one_provider_has_a_quota_of_its_own() {
    let dir = dir();
    let limits = Limits {
        records_per_provider_max: 10,
        ..Limits::default()
    };
    let mut store = open_with(dir.path(), quiet().limits(limits));
    for number in 0..30 {
        let taken = store.add_provider(provider(number, 1)).is_ok();
        assert_eq!(taken, number < 10);
    }
    store
        .add_provider(provider(3, 1))
        .expect("a refresh is no new record");
    store
        .add_provider(provider(40, 2))
        .expect("another provider");
    store.remove_provider(&key(3), &peer(1));
    store
        .add_provider(provider(41, 1))
        .expect("one went, one may come");
    assert_eq!(store.handle().stats().refused.of(Refusal::Provider), 20);
    drop(store);
    // The count is there again after a reopen.
    let limits = Limits {
        records_per_provider_max: 10,
        ..Limits::default()
    };
    let mut store = open_with(dir.path(), quiet().limits(limits));
    assert!(store.add_provider(provider(50, 1)).is_err());
}

#[test]
fn a_refusal_costs_the_same_whatever_the_store_holds() {
    let dir = dir();
    let limits = Limits {
        foreign_keys_max: 1_000,
        foreign_records_max: 1_000,
        ..Limits::default()
    };
    let mut store = open_with(dir.path(), quiet().limits(limits));
    let handle = store.handle();
    for number in 0..1_000 {
        store.add_provider(provider(number, number)).expect("added");
        store.put(record(number, b"x")).expect("put");
    }
    handle.step().expect("stepped");
    let before = handle.engine().stats();
    for number in 1_000..11_000 {
        assert!(store.add_provider(provider(number, number)).is_err());
        assert!(store.put(record(number, b"x")).is_err());
    }
    let after = handle.engine().stats();
    // Neither a read nor a write, and no look at any record.
    assert_eq!((before.gets, before.puts), (after.gets, after.puts));
    assert_eq!(before.written_bytes, after.written_bytes);
    assert_eq!(handle.stats().sweep_looked, 0);
    assert_eq!(handle.stats().refused.total(), 20_000);
}
