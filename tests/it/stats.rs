//! The figures of a store: each counts what it says. Times are only counted here, never judged.

use std::time::Duration;

use peercask::{Durability, Merge, Write};

use crate::support::{Place, hash, ordered};

#[test]
fn reads_writes_syncs_and_their_groups_are_counted() {
    let place = Place::new();
    let store = place.open();
    let keyspace = ordered(&store, "k");
    for key in 0..640_u32 {
        keyspace.put(key.to_le_bytes(), "value").expect("stored");
    }
    store.sync().expect("synced");
    for key in 0..640_u32 {
        assert!(keyspace.get(key.to_le_bytes()).expect("read").is_some());
    }
    let stats = store.stats();
    assert_eq!((stats.puts, stats.gets, stats.keys), (640, 640, 640));
    assert_eq!(
        stats.write_latency_ns.count(),
        640,
        "every write call is timed"
    );
    assert_eq!(stats.get_latency_ns.count(), 10, "one read in 64 is");
    assert_eq!(
        stats.sync_group_records.sum(),
        640,
        "every record came with one sync"
    );
    assert_eq!(
        stats.sync_latency_ns.count(),
        stats.sync_group_records.count()
    );
    assert!(stats.stalls <= 640 && stats.merging.is_none());
    assert!(stats.write_latency_ns.quantile(0.5) <= Some(stats.write_latency_ns.max()));
}

#[test]
fn device_writes_one_after_the_other_are_groups_of_one() {
    let place = Place::new();
    let store = place.open_with(place.options().durability(Durability::Device));
    let keyspace = hash(&store, "k");
    for key in 0..20_u32 {
        keyspace.put(key.to_le_bytes(), "value").expect("stored");
    }
    let groups: Vec<_> = store.stats().sync_group_records.buckets().collect();
    assert_eq!(groups, [(1, 20)]);
}

#[test]
fn many_threads_count_their_reads_without_losing_one() {
    let place = Place::new();
    let store = place.open();
    let keyspace = hash(&store, "k");
    keyspace.put("key", "value").expect("stored");
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| (0..50).for_each(|_| drop(keyspace.get("key").expect("read"))));
        }
    });
    assert_eq!(store.stats().gets, 2_000);
}

#[test]
fn merges_and_the_lateness_of_reclaim_are_told() {
    let place = Place::new();
    let store = place.open();
    let keyspace = hash(&store, "k");
    let write = Write::new().ttl(Duration::from_secs(10));
    keyspace
        .put_with("short", vec![1; 200], write)
        .expect("stored")
        .wait()
        .expect("written");
    keyspace.put("long", "value").expect("stored");
    place.clock.advance(Duration::from_secs(17));
    store.merge(Merge::Full).expect("merged");
    let stats = store.stats();
    assert_eq!(stats.merge_latency_ns.count(), stats.merges);
    let lateness = &stats.reclaim_lateness_ms;
    assert_eq!((lateness.count(), lateness.max()), (1, 7_000));
    assert_eq!(
        (stats.dead_bytes, stats.expired_bytes, stats.keys),
        (0, 0, 1)
    );
}

#[test]
fn what_has_expired_is_estimated_at_open_and_at_each_merge() {
    let place = Place::new();
    let store = place.open();
    let keyspace = hash(&store, "k");
    let write = Write::new().ttl(Duration::from_secs(10));
    keyspace
        .put_with("short", vec![1; 200], write)
        .expect("stored")
        .wait()
        .expect("written");
    keyspace.put("long", "value").expect("stored");
    drop(keyspace);
    store.close().expect("closed");
    place.clock.advance(Duration::from_secs(17));
    let expired = place.open().stats().expired_bytes;
    assert!((200..300).contains(&expired), "{expired}");
}
