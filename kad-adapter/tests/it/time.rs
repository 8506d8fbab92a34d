//! Deadlines over restarts, clock steps, suspends and merges; the sweep; with a clock in hand.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libp2p_kad::Record;
use libp2p_kad::store::RecordStore;
use peercask::{Clock, Merge};
use peercask_kad::{Limits, ManualTime, Options, PersistentStore, Time};

use crate::support::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn expiring(number: u64, time: &ManualTime, ttl: Duration) -> Record {
    Record {
        expires: Some(time.instant() + ttl),
        ..record(number, b"expires")
    }
}

/// How long a record has left, as the store says.
fn left(store: &PersistentStore, time: &ManualTime, number: u64) -> Option<Duration> {
    let record = store.get(&key(number))?;
    let expires = record.expires.expect("it expires");
    Some(expires.saturating_duration_since(time.instant()))
}

fn reopened(dir: &Path, options: &Options) -> PersistentStore {
    open_with(dir, options.clone())
}

#[test]
fn a_deadline_stays_where_it_is_while_time_passes_and_over_a_stop() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = reopened(dir.path(), &options);
    let put = Record {
        expires: Some(time.instant() + HOUR * 3 + Duration::from_nanos(123_456_789)),
        ..record(1, b"exact")
    };
    store.put(put.clone()).expect("put");
    assert_eq!(store.get(&key(1)).map(Cow::into_owned), Some(put.clone()));
    time.advance(seconds(60));
    assert_eq!(store.get(&key(1)).map(Cow::into_owned), Some(put));
    drop(store);

    time.advance(HOUR);
    let store = reopened(dir.path(), &options);
    let left = left(&store, &time, 1).expect("still there");
    let expected = HOUR * 2 - seconds(60);
    assert!(left.abs_diff(expected) < seconds(1), "{left:?}");
}

#[test]
fn after_a_stop_beyond_its_life_a_record_is_not_served_not_counted_and_its_space_comes_back() {
    let dir = dir();
    let (time, options) = timed();
    let options = options.engine(
        peercask::Options::default()
            .segment_bytes(1 << 20)
            .reserve_bytes(0),
    );
    let mut store = reopened(dir.path(), &options);
    for number in 0..2_000 {
        let mut big = expiring(number, &time, seconds(20));
        big.value = vec![7; 1_000];
        store.put(big).expect("put");
        let provide = with_expiry(provider(number, 1), time.instant() + seconds(20));
        store.add_provider(provide).expect("added");
    }
    store.put(record(9_999, b"stays")).expect("put");
    drop(store);
    let full: u64 = dir_bytes(dir.path());

    time.advance(HOUR);
    let store = reopened(dir.path(), &options);
    let handle = store.handle();
    assert_eq!(store.get(&key(1)), None);
    assert_eq!(store.providers(&key(1)), []);
    assert_eq!(store.records().count(), 1);
    let stats = handle.stats();
    assert_eq!((stats.records, stats.provider_records), (1, 0));
    assert_eq!(handle.report().expired, 4_000);
    handle.merge(Merge::Full).expect("merged");
    assert!(
        dir_bytes(dir.path()) * 20 < full,
        "{} of {full}",
        dir_bytes(dir.path())
    );
}

fn dir_bytes(dir: &Path) -> u64 {
    let sizes = files(dir)
        .into_iter()
        .map(|name| std::fs::metadata(dir.join(name)).map_or(0, |metadata| metadata.len()));
    sizes.sum()
}

#[test]
fn merges_and_rewrites_move_no_deadline_by_a_nanosecond() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = reopened(dir.path(), &options);
    let handle = store.handle();
    let put = Record {
        expires: Some(time.instant() + HOUR * 40 + Duration::from_nanos(987_654_321)),
        ..record(1, b"exact")
    };
    store.put(put.clone()).expect("put");
    for round in 0..50 {
        store.put(record(2, &[round])).expect("put");
        handle.merge(Merge::Full).expect("merged");
        store.retain(|_, _| true);
        let found = store.get(&key(1)).expect("there").into_owned();
        // Written back by the caller, as a naive rewrite would.
        store.put(found).expect("put again");
        time.advance(seconds(7));
    }
    assert_eq!(store.get(&key(1)).map(Cow::into_owned), Some(put));
}

#[test]
fn a_clock_set_back_ten_years_lets_nothing_live_longer_than_granted() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = reopened(dir.path(), &options);
    store.put(expiring(1, &time, HOUR)).expect("put");
    drop(store);
    let ten_years: i64 = 10 * 365 * 86_400_000;
    time.step_wall_ms(-ten_years);
    time.advance(seconds(1));
    let mut store = reopened(dir.path(), &options);
    let handle = store.handle();
    assert!(left(&store, &time, 1).expect("there") <= HOUR);
    store.put(expiring(2, &time, HOUR)).expect("put");
    assert!(left(&store, &time, 2).expect("there") <= HOUR);
    time.advance(HOUR + seconds(10));
    handle.step().expect("stepped");
    assert_eq!(handle.stats().records, 0);
    assert_eq!(store.get(&key(1)), None);
}

#[test]
fn a_leap_forward_is_reported_and_expires_nothing_until_it_is_confirmed() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = reopened(dir.path(), &options);
    let handle = store.handle();
    store.put(expiring(1, &time, HOUR)).expect("put");
    time.step_wall_ms(50 * 365 * 86_400_000);
    handle.step().expect("stepped");
    assert!(store.get(&key(1)).is_some());
    assert!(handle.health().clock_warning.is_some());
    handle.confirm_clock().expect("confirmed");
    handle.step().expect("stepped");
    assert_eq!(store.get(&key(1)), None);
}

#[test]
fn a_record_written_after_a_suspend_has_its_whole_life_on_disk() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = reopened(dir.path(), &options);
    store.put(expiring(1, &time, HOUR * 24)).expect("put");
    time.suspend(HOUR * 8);
    store.put(expiring(2, &time, HOUR * 24)).expect("put");
    drop(store);
    let store = reopened(dir.path(), &options);
    let after = left(&store, &time, 2).expect("there");
    assert!(after.abs_diff(HOUR * 24) < seconds(1), "{after:?}");
    let before = left(&store, &time, 1).expect("there");
    assert!(before.abs_diff(HOUR * 16) < seconds(1), "{before:?}");
}

#[test]
fn what_never_expires_never_does() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = reopened(dir.path(), &options);
    store.put(record(1, b"for ever")).expect("put");
    store.add_provider(own_provide(1)).expect("added");
    store.add_provider(provider(2, 2)).expect("added");
    for _ in 0..5 {
        drop(store);
        time.advance(HOUR * 24 * 300);
        store = reopened(dir.path(), &options);
        store.handle().step().expect("stepped");
        assert_eq!(store.get(&key(1)).expect("there").expires, None);
        assert_eq!(store.providers(&key(1))[0].expires, None);
        assert_eq!(store.providers(&key(2))[0].expires, None);
    }
}

#[test]
fn the_sweep_takes_out_what_expired_and_looks_at_nothing_else() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = reopened(dir.path(), &options);
    let handle = store.handle();
    for number in 0..3_000 {
        let ttl = if number % 100 == 0 { seconds(10) } else { HOUR };
        let provide = with_expiry(provider(number, number), time.instant() + ttl);
        store.add_provider(provide).expect("added");
        if number % 500 == 0 {
            handle.step().expect("stepped");
        }
    }
    time.advance(seconds(11));
    handle.step().expect("stepped");
    // Past the deadline, within the grace: not counted, still to be read.
    assert_eq!(handle.stats().provider_records, 2_970);
    assert_eq!(store.providers(&key(0)).len(), 1);
    assert_eq!(handle.stats().swept, 0);
    time.advance(seconds(6));
    for _ in 0..10 {
        handle.step().expect("stepped");
    }
    let stats = handle.stats();
    assert_eq!((stats.swept, stats.provider_records), (30, 2_970));
    assert_eq!(stats.sweep_looked, 30, "work for what expired alone");
    assert_eq!(stats.provider_keys, 2_970);
    assert_eq!(store.providers(&key(0)), []);
}

#[test]
fn strict_expiry_hides_what_is_over_at_once() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = open_with(dir.path(), options.strict_expiry(true));
    store.put(expiring(1, &time, seconds(10))).expect("put");
    let provide = with_expiry(provider(1, 1), time.instant() + seconds(10));
    store.add_provider(provide).expect("added");
    assert!(store.get(&key(1)).is_some());
    time.advance(seconds(10));
    assert_eq!(store.get(&key(1)), None);
    assert_eq!(store.providers(&key(1)), []);
}

#[test]
fn a_store_full_of_expired_entries_takes_a_fresh_one_at_the_first_try() {
    let dir = dir();
    let (time, options) = timed();
    let limits = Limits {
        foreign_records_max: 50,
        foreign_keys_max: 50,
        foreign_provides_max: 100,
        ..Limits::default()
    };
    let mut store = open_with(dir.path(), options.limits(limits));
    for number in 0..50 {
        store
            .put(expiring(number, &time, seconds(10)))
            .expect("put");
        for who in 0..2 {
            let provide = with_expiry(provider(number, who), time.instant() + seconds(10));
            store.add_provider(provide).expect("added");
        }
    }
    assert!(store.put(record(99, b"x")).is_err());
    assert!(store.add_provider(provider(99, 1)).is_err());
    // Nobody swept: the next call makes room itself, and no more than it needs.
    time.advance(seconds(10));
    store.put(record(99, b"x")).expect("put");
    store.add_provider(provider(99, 1)).expect("added");
    assert!(store.handle().stats().evicted <= 3);
}

#[test]
fn an_expired_entry_on_a_key_that_lives_does_not_keep_a_fresh_key_out() {
    let dir = dir();
    let (time, options) = timed();
    let limits = Limits {
        foreign_keys_max: 50,
        ..Limits::default()
    };
    let mut store = open_with(dir.path(), options.limits(limits));
    let mut add = |number, who, ttl| {
        let provide = with_expiry(provider(number, who), time.instant() + ttl);
        store.add_provider(provide).expect("added");
    };
    // What expired first frees no key: another provider of it lives on.
    add(0, 1, seconds(5));
    add(0, 2, HOUR);
    for number in 1..50 {
        add(number, 1, seconds(10));
    }
    time.advance(seconds(10));
    store.add_provider(provider(99, 1)).expect("added");
    assert_eq!(store.providers(&key(99)), [provider(99, 1)]);
    assert_eq!(store.providers(&key(0)).len(), 1, "the one that lives");
    assert!(store.handle().stats().evicted <= 2, "no more than it needs");
}

#[test]
fn what_has_expired_does_not_count_in_a_providers_quota() {
    let dir = dir();
    let (time, options) = timed();
    let limits = Limits {
        records_per_provider_max: 10,
        ..Limits::default()
    };
    let mut store = open_with(dir.path(), options.limits(limits));
    // Those of another provider are over first.
    for number in 0..10 {
        let provide = with_expiry(provider(100 + number, 2), time.instant() + seconds(5));
        store.add_provider(provide).expect("added");
        let provide = with_expiry(provider(number, 1), time.instant() + seconds(10));
        store.add_provider(provide).expect("added");
    }
    assert!(store.add_provider(provider(99, 1)).is_err());
    time.advance(seconds(10));
    store.add_provider(provider(99, 1)).expect("added");
    assert_eq!(store.providers(&key(99)), [provider(99, 1)]);
    assert!(
        store.handle().stats().evicted <= 11,
        "no more than it needs"
    );
}

#[test]
fn a_key_full_of_expired_providers_takes_a_fresh_one() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = reopened(dir.path(), &options);
    for who in 0..20 {
        let provide = with_expiry(provider(1, who), time.instant() + seconds(10));
        store.add_provider(provide).expect("added");
    }
    time.advance(seconds(10));
    store.add_provider(provider(1, 99)).expect("added");
    assert_eq!(store.providers(&key(1)), [provider(1, 99)]);
}

#[test]
fn an_own_provide_is_not_ended_by_publishing_it_again_with_a_deadline() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = reopened(dir.path(), &options);
    let handle = store.handle();
    store.add_provider(own_provide(1)).expect("added");
    let again = with_expiry(own_provide(1), time.instant() + seconds(10));
    store.add_provider(again).expect("republished");
    time.advance(HOUR * 48);
    handle.step().expect("stepped");
    assert_eq!(store.provided().count(), 1);
    drop(store);
    let store = reopened(dir.path(), &options);
    assert_eq!(store.provided().count(), 1);
}

#[test]
fn what_is_close_to_its_deadline_is_not_yielded_and_a_refreshed_entry_survives() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = reopened(dir.path(), &options);
    store.put(expiring(1, &time, seconds(20))).expect("put");
    store.put(expiring(2, &time, HOUR)).expect("put");
    // A job of kad takes its list, and comes to the entries later.
    let listed: Vec<Record> = store.records().map(Cow::into_owned).collect();
    assert_eq!(listed.len(), 1, "what is nearly over is not in it");
    store.put(expiring(1, &time, HOUR)).expect("refreshed");
    time.advance(seconds(25));
    for record in listed {
        if record.is_expired(time.instant()) {
            store.remove(&record.key);
        }
    }
    assert!(store.get(&key(1)).is_some());
    assert!(store.get(&key(2)).is_some());
}

#[test]
fn the_clock_of_the_engine_is_the_one_given() {
    let time: Arc<ManualTime> = Arc::new(ManualTime::new(WALL_MS));
    time.advance(HOUR);
    assert_eq!(time.wall_ms(), WALL_MS + 3_600_000);
    assert_eq!(time.boot_ms(), 3_600_000);
}
