//! A drop-in for `MemoryStore`: over a reopen too, and the limits. What its own tests ask for is in `upstream.rs`.

use std::borrow::Cow;
use std::time::Instant;

use libp2p_kad::Record;
use libp2p_kad::store::{Error, MemoryStore, RecordStore};
use peercask_kad::{Limits, PersistentStore, Refusal};

use crate::support::*;

#[test]
fn what_the_node_provides_is_yielded_and_updated_over_a_reopen_too() {
    let dir = dir();
    let mut store = open(dir.path());
    let mut provided = own_provide(1);
    store.add_provider(provided.clone()).expect("added");
    let yielded: Vec<_> = store.provided().map(Cow::into_owned).collect();
    assert_eq!(yielded, [provided.clone()]);
    drop(store);

    let mut store = open(dir.path());
    assert_eq!(store.provided().count(), 1);
    assert_eq!(store.providers(&provided.key), [provided.clone()]);
    // Just over: still listed, as kad is the one who looks.
    let mut foreign = provider(2, 2);
    foreign.expires = Some(Instant::now());
    store.add_provider(foreign.clone()).expect("added");
    assert_eq!(store.providers(&foreign.key), [foreign.clone()]);
    provided.expires = Some(Instant::now());
    store.add_provider(provided.clone()).expect("updated");
    assert_eq!(store.provided().count(), 1);
    store.remove_provider(&provided.key, &local());
    assert_eq!(store.provided().count(), 0);
    drop(store);
    assert_eq!(open(dir.path()).provided().count(), 0);
}

#[test]
fn a_full_key_takes_no_more_and_says_ok_as_memory_store_does() {
    let dir = dir();
    let mut store = open(dir.path());
    for number in 0..20 {
        store.add_provider(provider(1, number)).expect("added");
    }
    store
        .add_provider(provider(1, 99))
        .expect("not added, yet Ok");
    assert!(!store.providers(&key(1)).contains(&provider(1, 99)));
    assert_eq!(store.providers(&key(1)).len(), 20);
    assert_eq!(store.handle().stats().refused.of(Refusal::KeyFull), 1);
    drop(store);
    let mut store = open(dir.path());
    store
        .add_provider(provider(1, 98))
        .expect("not added, yet Ok");
    let expected: Vec<_> = (0..20).map(|number| provider(1, number)).collect();
    assert_eq!(store.providers(&key(1)), expected);
    assert_eq!(store.handle().stats().refused.of(Refusal::KeyFull), 1);
}

#[test]
fn limits_bind_at_their_number_and_replacing_is_allowed_at_capacity() {
    let dir = dir();
    let limits = Limits {
        foreign_records_max: 3,
        foreign_keys_max: 3,
        value_bytes_max: 100,
        ..Limits::default()
    };
    let mut store = open_with(dir.path(), quiet().limits(limits.clone()));
    for number in 0..3 {
        store.put(record(number, b"x")).expect("put");
        store.add_provider(provider(number, 1)).expect("added");
    }
    let full = |store: &mut PersistentStore| {
        assert!(matches!(store.put(record(9, b"x")), Err(Error::MaxRecords)));
        let refused = store.add_provider(provider(9, 1));
        assert!(matches!(refused, Err(Error::MaxProvidedKeys)));
        store.put(record(1, b"new")).expect("replaced");
        store.add_provider(provider(1, 1)).expect("refreshed");
        store
            .add_provider(provider(1, 2))
            .expect("another provider of a known key");
        store.remove_provider(&key(1), &peer(2));
        let exact = store.put(record(2, &[0; 100]));
        assert!(matches!(exact, Err(Error::ValueTooLarge)));
        store.put(record(2, &[0; 99])).expect("one byte less");
    };
    full(&mut store);
    drop(store);
    let mut store = open_with(dir.path(), quiet().limits(limits.clone()));
    full(&mut store);
    drop(store);
    // With smaller limits than it holds it keeps what it has and takes nothing new.
    let smaller = Limits {
        foreign_records_max: 1,
        foreign_keys_max: 1,
        ..limits
    };
    let mut store = open_with(dir.path(), quiet().limits(smaller));
    assert_eq!(store.records().count(), 3);
    full(&mut store);
}

#[test]
fn two_calls_without_a_change_yield_the_same_order_and_hold_nothing() {
    let dir = dir();
    let mut store = open(dir.path());
    for number in 0..200 {
        store.put(record(number, b"value")).expect("put");
        store.add_provider(own_provide(number)).expect("added");
    }
    let keys = |store: &PersistentStore| -> Vec<_> {
        store.records().map(|record| record.key.clone()).collect()
    };
    assert_eq!(keys(&store), keys(&store));
    let provided = |store: &PersistentStore| -> Vec<_> {
        store.provided().map(|record| record.key.clone()).collect()
    };
    assert_eq!(provided(&store), provided(&store));
    let before = keys(&store);
    // Taken and kept as kad keeps it, while the store changes under it.
    let taken: Vec<_> = store.records().map(Cow::into_owned).collect();
    store.remove(&before[0]);
    assert_eq!((taken.len(), store.records().count()), (200, 199));
}

#[test]
fn retain_keeps_what_it_says_with_the_changes_made() {
    let dir = dir();
    let mut store = open(dir.path());
    for number in 0..3_000_u64 {
        let publisher = (number % 5 == 0).then(local);
        let record = Record {
            publisher,
            ..record(number, &number.to_le_bytes())
        };
        store.put(record).expect("put");
    }
    store.retain(|_, record| {
        record.value.push(7);
        record.value[0] % 2 == 0
    });
    drop(store);
    let store = open_with(dir.path(), quiet().window_records(5_000));
    let records: Vec<_> = store.records().map(Cow::into_owned).collect();
    assert_eq!(records.len(), 1_500);
    for record in records {
        assert_eq!((record.value[0] % 2, record.value[8]), (0, 7));
    }
}

#[test]
fn retain_visits_what_it_moves_once() {
    let dir = dir();
    let mut store = open_with(dir.path(), quiet().window_records(5_000));
    for number in 0..3_000 {
        store.put(record(number, b"mine now")).expect("put");
    }
    let mut visits = 0;
    store.retain(|_, record| {
        visits += 1;
        record.publisher = Some(local());
        record.value.push(7);
        true
    });
    assert_eq!(visits, 3_000);
    assert_eq!(store.handle().stats().own_records, 3_000);
    for record in store.records() {
        assert_eq!(record.value.len(), b"mine now".len() + 1);
    }
    // Under another key, some ahead and some behind.
    let mut visits = 0;
    store.retain(|was, record| {
        visits += 1;
        record.key = [was.as_ref(), b"moved"].concat().into();
        record.value.push(8);
        visits % 3 > 0
    });
    assert_eq!(visits, 3_000);
    assert_eq!(store.records().count(), 2_000);
    for record in store.records() {
        assert_eq!(record.value.len(), b"mine now".len() + 2);
        assert_eq!(record.key.as_ref().len(), 34 + b"moved".len());
    }
}

#[test]
fn it_is_send_and_needs_no_runtime() {
    fn is_send<T: Send + 'static>(_: &T) {}
    let dir = dir();
    let mut store = open_with(dir.path(), peercask_kad::Options::default());
    is_send(&store);
    store.add_provider(provider(1, 1)).expect("added");
    let moved = std::thread::spawn(move || store.providers(&key(1)).len());
    assert_eq!(moved.join().expect("no panic"), 1);
    let runtimes = [
        tokio::runtime::Builder::new_current_thread().build(),
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build(),
    ];
    for runtime in runtimes {
        let path = dir.path().to_path_buf();
        runtime.expect("a runtime").block_on(async move {
            let task = tokio::spawn(async move {
                let mut store = open_with(&path, peercask_kad::Options::default());
                store.add_provider(provider(1, 1)).expect("added");
                store.providers(&key(1)).len()
            });
            assert_eq!(task.await.expect("no panic"), 1);
        });
    }
}

#[test]
fn a_store_is_filled_from_any_other() {
    let dir = dir();
    let mut memory = MemoryStore::new(local());
    for number in 0..500 {
        memory.put(record(number, b"from memory")).expect("put");
        memory.add_provider(own_provide(number)).expect("added");
        memory
            .add_provider(provider(number, number))
            .expect("added");
    }
    let mut store = open(dir.path());
    let filled = store.fill_from(&memory).expect("filled");
    assert_eq!(
        (filled.records, filled.provides, filled.refused),
        (500, 1_000, 0)
    );
    drop(store);
    let store = open(dir.path());
    let provided: Vec<_> = store.provided().map(Cow::into_owned).collect();
    assert_eq!(provided.len(), 500);
    for number in 0..500 {
        let found = store.get(&key(number)).expect("there");
        assert_eq!(found.into_owned(), record(number, b"from memory"));
        assert_eq!(
            store.providers(&key(number)),
            memory.providers(&key(number))
        );
    }
}

#[test]
fn a_store_is_filled_through_a_queue_that_holds_little() {
    let mut memory = MemoryStore::new(local());
    for number in 0..500 {
        memory.add_provider(own_provide(number)).expect("added");
        memory
            .add_provider(provider(number, number))
            .expect("added");
    }
    let queues = [(1, 8 << 20), (10, 8 << 20), (700, 8 << 20), (16_384, 1_000)];
    for (queue_records_max, queue_bytes_max) in queues {
        let dir = dir();
        let limits = Limits {
            queue_records_max,
            queue_bytes_max,
            ..Limits::default()
        };
        let mut store = open_with(dir.path(), quiet().limits(limits));
        let filled = store.fill_from(&memory).expect("filled");
        assert_eq!((filled.provides, filled.refused), (1_000, 0));
        for number in 0..500 {
            assert_eq!(
                store.providers(&key(number)),
                memory.providers(&key(number))
            );
        }
    }
}

#[test]
fn a_store_that_yields_windows_comes_over_whole() {
    let (from, to) = (dir(), dir());
    let mut other = open_with(from.path(), quiet().window_records(64));
    for number in 0..300 {
        other.put(record(number, b"from a window")).expect("put");
        other.add_provider(own_provide(number)).expect("added");
        other.add_provider(provider(number, number)).expect("added");
    }
    // It begins in the middle of a cycle.
    assert_eq!(
        (other.records().count(), other.provided().count()),
        (64, 64)
    );
    let mut store = open(to.path());
    let filled = store.fill_from(&other).expect("filled");
    assert_eq!(
        (filled.records, filled.provides, filled.refused),
        (300, 600, 0)
    );
    for number in 0..300 {
        assert_eq!(store.get(&key(number)), other.get(&key(number)));
        assert_eq!(store.providers(&key(number)).len(), 2);
    }
}
