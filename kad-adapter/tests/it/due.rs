//! Windows with their cursors, what is due, and the driver.

use std::collections::HashSet;
use std::time::Duration;

use libp2p_kad::KBucketKey;
use libp2p_kad::store::RecordStore;
use peercask_kad::{PersistentStore, Published};

use crate::support::*;

fn hashes(store: &PersistentStore) -> Vec<Vec<u8>> {
    store
        .provided()
        .map(|record| KBucketKey::new(record.key.clone()).hashed_bytes().to_vec())
        .collect()
}

#[test]
fn windows_meet_each_entry_once_a_cycle_in_order_and_over_restarts() {
    let dir = dir();
    let options = quiet().window_records(64);
    let mut store = open_with(dir.path(), options.clone());
    for number in 0..1_000 {
        store.add_provider(own_provide(number)).expect("added");
        store.put(record(number, b"v")).expect("put");
        store.put(own_record(number + 5_000, b"v")).expect("put");
    }
    let mut reopened = 0;
    for _cycle in 0..3 {
        let (mut met, mut values) = (Vec::new(), Vec::new());
        while met.len() < 1_000 {
            let window = hashes(&store);
            assert!((1..=64).contains(&window.len()));
            met.extend(window);
            if met.len() % 3 == 0 {
                drop(store);
                store = open_with(dir.path(), options.clone());
            }
        }
        assert!(met.is_sorted(), "in the order of the keyspace");
        assert_eq!(met.iter().collect::<HashSet<_>>().len(), 1_000);
        while values.len() < 2_000 {
            let window: Vec<_> = store
                .records()
                .map(|record| KBucketKey::new(record.key.clone()).hashed_bytes().to_vec())
                .collect();
            assert!((1..=64).contains(&window.len()));
            values.extend(window);
            if values.len() % 7 == 0 {
                drop(store);
                store = open_with(dir.path(), options.clone());
                reopened += 1;
            }
        }
        assert!(values.is_sorted(), "in the order of the keyspace");
        assert_eq!(values.iter().collect::<HashSet<_>>().len(), 2_000);
    }
    assert!(reopened >= 3, "in the middle of a cycle, {reopened} times");
}

#[test]
fn what_is_due_goes_on_where_a_restart_left_it() {
    let interval = Duration::from_secs(12 * 3_600);
    let dir = dir();
    let (time, options) = timed();
    let mut store = open_with(dir.path(), options.clone());
    let handle = store.handle();
    for number in 0..100 {
        store.add_provider(own_provide(number)).expect("added");
        store.put(own_record(number, b"v")).expect("put");
    }
    // Kad publishes at once what is added: nothing is due before the time to settle is over.
    assert_eq!(handle.due(interval, 10).expect("open").total, 0);
    time.advance(seconds(121));
    assert_eq!(handle.due(interval, 10).expect("open").total, 200);
    let marked = |number| handle.mark_published(Published::Provide, &key(number));
    for number in 0..60 {
        assert!(marked(number).expect("open"));
    }
    assert!(!marked(999).expect("open"), "there is no such record");
    let due = handle.due(interval, 1_000).expect("open");
    assert_eq!((due.total, due.records.len()), (140, 140));
    handle.step().expect("stepped");
    drop(store);

    // A node that restarts every few hours publishes the rest, and not the others again.
    for _restart in 0..3 {
        time.advance(seconds(3 * 3_600));
        let store = open_with(dir.path(), options.clone());
        let due = store.handle().due(interval, 1_000).expect("open");
        assert_eq!(due.total, 140);
        let provides = due
            .records
            .iter()
            .filter(|due| due.what == Published::Provide);
        assert_eq!(provides.count(), 40);
    }
    time.advance(seconds(3 * 3_600 + 60));
    let mut store = open_with(dir.path(), options);
    let handle = store.handle();
    let due = handle.due(interval, 50).expect("open");
    assert_eq!(
        (due.total, due.records.len()),
        (200, 50),
        "the others are due again"
    );
    assert!(due.oldest.expect("some are due") > Duration::from_secs(3_600));
    assert!(handle.stats().oldest_due_s.is_some());
    store.remove_provider(&key(0), &local());
    store.remove(&key(0));
    assert_eq!(handle.due(interval, 1).expect("open").total, 198);
}

#[test]
fn publishing_times_survive_a_kill_and_not_their_records_end() {
    let dir = dir();
    let interval = Duration::from_secs(3_600);
    let mut store = open(dir.path());
    let handle = store.handle();
    for number in 0..20 {
        store.add_provider(own_provide(number)).expect("added");
        handle
            .mark_published(Published::Provide, &key(number))
            .expect("open");
    }
    handle.step().expect("stepped");
    for number in 0..10 {
        store.remove_provider(&key(number), &local());
    }
    // Their slots are used again: the old times are not theirs.
    for number in 100..110 {
        store.add_provider(own_provide(number)).expect("added");
    }
    let copy = copy_of(dir.path());
    let store = open(copy.path());
    assert!(!store.handle().report().index_from_image);
    let due = store.handle().due(interval, 100).expect("open");
    assert_eq!(due.total, 10, "the new ones, and none of the old");
    let keys: HashSet<_> = due.records.into_iter().map(|due| due.key).collect();
    assert_eq!(keys, (100..110).map(key).collect());
}
