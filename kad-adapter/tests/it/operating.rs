//! The handle, statistics, health, closing, metrics, and the look at files from outside.

use std::time::{Duration, Instant};

use libp2p_kad::store::RecordStore;
use peercask_kad::{Error, Handle, Options, Refusal, State, Time as _, inspect};

use crate::support::*;

#[test]
fn a_handle_is_shared_and_works_on_when_the_store_has_moved() {
    fn is_shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let dir = dir();
    let mut store = open_with(dir.path(), Options::default());
    let handle = store.handle();
    is_shared(&handle);
    let other = handle.clone();
    let thread = std::thread::spawn(move || {
        for number in 0..100 {
            store.add_provider(provider(number, 1)).expect("added");
        }
        store
    });
    let store = thread.join().expect("no panic");
    other.sync().expect("synced");
    assert_eq!(handle.stats().provider_records, 100);
    assert_eq!(handle.stats().queue_records, 0);
    other.merge(peercask::Merge::Full).expect("merged");
    assert_eq!(handle.health().state, State::Green);
    drop(store);
    assert_eq!(handle.health().state, State::Stopped);
}

#[test]
fn statistics_add_up() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = open_with(dir.path(), options);
    let handle = store.handle();
    for number in 0..300 {
        let ttl = seconds(if number % 3 == 0 { 10 } else { 1_000 });
        let provide = with_expiry(provider(number, number % 7), time.instant() + ttl);
        store.add_provider(provide.clone()).expect("added");
        store.add_provider(provide).expect("refreshed");
    }
    for number in 0..30 {
        store.remove_provider(&key(number), &peer(number % 7));
    }
    assert!(handle.stats().queue_records > 0);
    time.advance(seconds(30));
    handle.step().expect("stepped");
    let stats = handle.stats();
    assert_eq!(stats.added, 300);
    assert_eq!(stats.refreshed, 300);
    assert_eq!(stats.removed, 30);
    assert_eq!(
        stats.added,
        stats.provider_records + stats.swept + stats.evicted + stats.removed
    );
    assert_eq!(stats.providers, 7);
    assert!(stats.slowest_call > Duration::ZERO);
    assert!(stats.last_sweep_ms > 0 && stats.disk_bytes > 0);
    assert!(handle.latencies().quantile(0.5) <= handle.latencies().quantile(0.999));
}

#[test]
fn closing_is_done_once_and_fences_later_calls() {
    let dir = dir();
    let mut store = open_with(dir.path(), Options::default());
    let handle = store.handle();
    store.put(record(1, b"v")).expect("put");
    store.add_provider(provider(1, 1)).expect("added");
    handle.close().expect("closed");
    handle.close().expect("closed again");
    assert!(store.put(record(2, b"v")).is_err());
    assert!(store.add_provider(provider(2, 1)).is_err());
    assert_eq!(store.get(&key(1)), None);
    assert_eq!(store.providers(&key(1)), []);
    assert_eq!((store.records().count(), store.provided().count()), (0, 0));
    store.remove(&key(1));
    assert!(matches!(handle.sync(), Err(Error::Closed)));
    assert!(matches!(handle.due(seconds(1), 1), Err(Error::Closed)));
    assert!(matches!(handle.step(), Err(Error::Closed)));
    assert_eq!(handle.stats().refused.of(Refusal::Closed), 3);
    // The directory is free although store and handle are still there.
    let again = open(dir.path());
    assert!(again.get(&key(1)).is_some());
    assert_eq!(again.providers(&key(1)).len(), 1);
}

#[test]
fn dropping_the_store_brings_everything_out_within_its_time() {
    let dir = dir();
    let mut store = open_with(dir.path(), Options::default());
    for number in 0..10_000 {
        store.add_provider(provider(number, number)).expect("added");
    }
    let start = Instant::now();
    drop(store);
    assert!(start.elapsed() < Duration::from_secs(11));
    let store = open(dir.path());
    assert!(store.handle().report().index_from_image);
    assert_eq!(store.handle().stats().provider_records, 10_000);
}

#[test]
fn a_read_only_look_lists_and_verifies_what_a_node_left() {
    let dir = dir();
    let mut store = open(dir.path());
    for number in 0..50 {
        store.put(record(number, b"value")).expect("put");
        store.add_provider(own_provide(number)).expect("added");
        store.add_provider(provider(number, number)).expect("added");
    }
    store.remove(&key(3));
    store.remove_provider(&key(4), &local());
    store.handle().step().expect("stepped");
    // While the store is open, and without its lock.
    let look = |what: &str| {
        let before = contents(dir.path());
        let found = inspect::look(dir.path()).expect(what);
        assert!(before == contents(dir.path()), "{what}: a file changed");
        assert_eq!(found.records.len(), 49 + 49 + 50, "{what}");
        assert!(found.undecodable.is_empty() && found.damaged.is_empty());
        let values = found
            .records
            .iter()
            .filter(|listed| listed.keyspace == "kad.values");
        assert!(values.clone().all(|listed| listed.value == b"value"));
        assert_eq!(values.count(), 49);
        let own = found
            .records
            .iter()
            .filter(|listed| listed.peer == Some(local()));
        assert_eq!(own.count(), 49);
    };
    look("while it is open");
    let before = files(dir.path());
    drop(store);
    look("after it was closed");
    assert!(before.len() <= files(dir.path()).len());
}

#[test]
fn a_dump_has_all_that_is_stored_in_lines_that_others_can_read() {
    let dir = dir();
    let (time, options) = timed();
    let mut store = open_with(dir.path(), options);
    let mut value = own_record(1, b"\x00\xff");
    value.expires = Some(time.instant() + seconds(100));
    store.put(value).expect("put");
    // A name in an address may hold what means something in JSON.
    let mut odd = libp2p_core::Multiaddr::empty();
    odd.push(libp2p_core::multiaddr::Protocol::Dns4("a\"b\\c\n".into()));
    let provide = libp2p_kad::ProviderRecord::new(key(2), peer(2), vec![odd, address(3)]);
    store.add_provider(provide).expect("added");
    store.handle().step().expect("stepped");
    let space = store.handle().engine().existing_keyspace("kad.values");
    let space = space.expect("there");
    space.put(9_u32.to_le_bytes(), b"\x07?").expect("put");
    drop((space, store));
    let found = inspect::look(dir.path()).expect("looked");
    assert!(!found.is_clean());
    let mut dump = Vec::new();
    found.dump(&mut dump).expect("a vector takes all");
    let dump = String::from_utf8(dump).expect("text");
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let deadline = (WALL_MS + 100_000) * 1_000_000;
    let own = found.records.iter().find(|one| one.peer == Some(local()));
    let own = own.expect("listed");
    assert_eq!(own.deadline_unix_ns, Some(deadline));
    let expected = [
        format!(
            r#"{{"keyspace":"{}","slot":0,"seq":{},"key":"{}","peer":"{}","deadline_unix_ns":{deadline},"value":"00ff"}}"#,
            own.keyspace,
            own.seq,
            hex(key(1).as_ref()),
            local()
        ),
        format!(
            r#"{{"keyspace":"kad.providers","slot":0,"seq":{},"key":"{}","peer":"{}","deadline_unix_ns":null,"addresses":["/dns4/a\"b\\c\u000a","/ip4/10.0.0.3/tcp/4001"]}}"#,
            own.seq + 1,
            hex(key(2).as_ref()),
            peer(2)
        ),
        format!(
            r#"{{"keyspace":"kad.values","slot":9,"seq":{},"undecodable":"073f"}}"#,
            own.seq + 2
        ),
    ];
    assert_eq!(dump.lines().collect::<Vec<_>>(), expected);
}

/// The names of all files with their bytes.
fn contents(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    files(dir)
        .into_iter()
        .map(|name| {
            let bytes = std::fs::read(dir.join(&name)).expect("read");
            (name, bytes)
        })
        .collect()
}

#[test]
fn a_read_only_look_tells_a_flipped_byte() {
    const VALUE: &[u8] = b"a value that is found among all bytes";
    let dir = dir();
    let mut store = open(dir.path());
    for number in 0..20 {
        store.put(record(number, b"another")).expect("put");
    }
    store.put(record(99, VALUE)).expect("put");
    drop(store);
    let mut flipped = 0;
    for (name, mut bytes) in contents(dir.path()) {
        let at = bytes.windows(VALUE.len()).position(|part| part == VALUE);
        if let Some(at) = at {
            bytes[at + 5] ^= 0x10;
            std::fs::write(dir.path().join(name), bytes).expect("written");
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
    let found = inspect::look(dir.path()).expect("looked");
    assert_eq!(found.damaged.len(), 1);
    assert_eq!(found.records.len(), 20, "the others are listed");
    assert!(
        found
            .records
            .iter()
            .all(|listed| listed.value == b"another")
    );
}

#[test]
fn live_and_dead_bytes_follow_what_is_stored_and_removed() {
    let dir = dir();
    let mut store = open(dir.path());
    let handle = store.handle();
    for number in 0..100 {
        store.put(record(number, &[7; 1_000])).expect("put");
    }
    handle.step().expect("stepped");
    let full = handle.stats();
    assert!((100_000..200_000).contains(&full.live_bytes), "{full:?}");
    for number in 0..40 {
        store.remove(&key(number));
    }
    handle.step().expect("stepped");
    let less = handle.stats();
    assert!(less.live_bytes + 40_000 <= full.live_bytes, "{less:?}");
    assert!(less.live_bytes >= 60_000, "{less:?}");
    assert!(less.dead_bytes >= full.dead_bytes + 40_000, "{less:?}");
    handle.merge(peercask::Merge::Full).expect("merged");
    handle.step().expect("stepped");
    let merged = handle.stats();
    assert!(merged.live_bytes >= 60_000, "{merged:?}");
    assert!(merged.dead_bytes < 40_000, "{merged:?}");
}

#[cfg(feature = "prometheus-client")]
#[test]
fn statistics_are_registered_as_metrics() {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    let dir = dir();
    let mut store = open(dir.path());
    let handle: Handle = store.handle();
    let mut registry = Registry::with_prefix("kad_store");
    handle.register(&mut registry);
    store.put(record(1, b"v")).expect("put");
    assert!(store.put(record(2, &[0; 70_000])).is_err());
    let mut text = String::new();
    encode(&mut text, &registry).expect("encoded");
    assert!(text.contains("kad_store_records 1\n"), "{text}");
    assert!(text.contains("kad_store_healthy 1\n"), "{text}");
    let refused = "kad_store_refused_total{reason=\"value_too_large\"} 1\n";
    assert!(text.contains(refused), "{text}");
}

#[test]
fn a_handle_names_its_store() {
    let dir = dir();
    let store = open(dir.path());
    let handle: Handle = store.handle();
    assert_eq!(handle.local_peer_id(), local());
    assert!(format!("{handle:?}{store:?}").contains("Handle"));
}
