//! Space comes back: by itself within the bound while the threads run, and by dropping segments
//! whole when all of them has expired.

use std::fs;
use std::time::Duration;

use peercask::{Durability, KeyspaceOptions, Merge, Store, Write};

use crate::history::records;
use crate::support::{Place, Rng, contents, delete_hints, hash, ordered, segments, wait_until};

/// Length of all segment files as the file system tells it.
fn bytes_of_segments(place: &Place) -> u64 {
    let len = |name: &String| fs::metadata(place.file(name)).map_or(0, |found| found.len());
    segments(place.path()).iter().map(len).sum()
}

const SEGMENT: u64 = 64 << 10;

#[test]
fn after_everything_was_overwritten_five_times_space_is_within_its_bound() {
    let place = Place::new();
    let options = place.options().background(true).segment_bytes(SEGMENT);
    let options = options.merge_rate(None).durability(Durability::Buffered);
    let store = place.open_with(options);
    let space = hash(&store, "things");
    let mut rng = Rng::new(0x59AC);
    let mut value_of = |round: u32, key: u32| {
        let len = 150 + rng.index(100);
        let mut value = format!("{round} {key} ").into_bytes();
        value.resize(len, b'x');
        value
    };
    let keys = 2_000;
    for round in 0..6 {
        for key in 0..keys {
            space
                .put(format!("key {key}"), value_of(round, key))
                .expect("put");
        }
    }
    // No call but looking on: the background does it.
    let stats = || store.stats();
    let within = |bytes: u64| {
        let live = stats().live_bytes;
        10 * bytes <= 14 * live + 10 * 2 * SEGMENT
    };
    wait_until("space within 1.4 times live bytes and two segments", || {
        within(stats().disk_bytes) && within(bytes_of_segments(&place))
    });
    assert_eq!(stats().last_background_error, None);
    assert!(stats().live_bytes > u64::from(keys) * 150);
    for key in 0..keys {
        let value = space
            .get(format!("key {key}"))
            .expect("read")
            .expect("there");
        assert!(
            value.starts_with(format!("5 {key} ").as_bytes()),
            "{value:?}"
        );
    }
}

#[test]
fn segments_in_which_everything_expired_are_dropped_unread() {
    let place = Place::new();
    let store = place.open();
    let hour = KeyspaceOptions::hash().default_ttl(Some(Duration::from_secs(3_600)));
    let space = store.keyspace("short", hour).expect("made");
    for key in 0..300_u32 {
        space.put(key.to_le_bytes(), [b'e'; 60]).expect("put");
    }
    store.merge(Merge::Needed).expect("settled");
    let before = segments(place.path()).len();
    assert!(before >= 5, "{before}");
    place.clock.advance(Duration::from_secs(3_601));
    assert_eq!(contents(&store).len(), 0);
    let report = store.merge(Merge::Needed).expect("merged");
    assert!(report.segments_dropped >= 4, "{report:?}");
    assert_eq!((report.segments_in, report.bytes_out), (0, 0), "{report:?}");
    let left = segments(place.path()).len();
    assert!(left <= 1, "only the active one stays: {left}");
    let stats = store.stats();
    assert!(
        stats.keys <= 40,
        "their entries are gone from memory: {stats:?}"
    );
    drop(space);
    store.close().expect("closed");
    assert_eq!(contents(&place.open()).len(), 0);
}

/// Nine of ten records expire after `first` hours, the rest after a hundred; what a merge of what is needed
/// writes three hours after the first are over, and then how many segments stay once all are.
fn written_by_merge_when_most_expired(first: u64) -> (u64, usize) {
    let place = Place::new();
    let store = place.open_with(
        place
            .options()
            .segment_bytes(SEGMENT)
            .merge_space_amplification(90.0),
    );
    let space = hash(&store, "things");
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    for key in 0..2_000_u32 {
        let ttl = hours(if key % 10 == 0 { 100 } else { first });
        let put = space.put_with(key.to_le_bytes(), [b'e'; 60], Write::new().ttl(ttl));
        drop(put.expect("put"));
    }
    store.merge(Merge::Needed).expect("settled");
    let written = || store.stats().merge_written_bytes;
    let before = written();
    place.clock.advance(hours(first + 3));
    store.merge(Merge::Needed).expect("merged");
    let written = written() - before;
    place.clock.advance(hours(100));
    store.merge(Merge::Needed).expect("dropped");
    (written, segments(place.path()).len())
}

#[test]
fn what_ends_soon_is_not_copied_for_the_little_that_is_left() {
    let (written, left) = written_by_merge_when_most_expired(20);
    assert!(
        written > 0,
        "77 hours are long: the tenth that is left is copied"
    );
    assert_eq!(left, 0);
    assert_eq!(written_by_merge_when_most_expired(90), (0, 0));
}

#[test]
fn expired_space_comes_back_in_the_background() {
    let place = Place::new();
    let options = place
        .options()
        .background(true)
        .durability(Durability::Buffered);
    let store = place.open_with(options);
    let space = hash(&store, "things");
    let minute = Write::new().ttl(Duration::from_secs(60));
    for key in 0..200_u32 {
        let write = minute.durability(Durability::Buffered);
        space
            .put_with(key.to_le_bytes(), [b'e'; 80], write)
            .expect("put")
            .wait()
            .expect("done");
    }
    place.clock.advance(Duration::from_secs(61));
    for key in 0..60_u32 {
        space
            .put([b'n', u8::try_from(key).expect("small")], [b'n'; 80])
            .expect("put");
    }
    wait_until("the expired segments are gone", || {
        bytes_of_segments(&place) < 20_000
    });
    assert_eq!(contents(&store).len(), 60);
}

#[test]
fn a_merge_says_what_it_did() {
    let place = Place::new();
    let store: Store = place.open();
    let space = hash(&store, "things");
    for round in 0..2 {
        for key in 0..50_u32 {
            space.put(key.to_le_bytes(), vec![round; 100]).expect("put");
        }
    }
    space.delete(7_u32.to_le_bytes()).expect("deleted");
    let before = store.stats();
    let report = store.merge(Merge::Full).expect("merged");
    let after = store.stats();
    assert_eq!(report.segments_damaged, 0);
    assert!(
        report.segments_in >= before.segments && report.segments_out >= 1,
        "{report:?}"
    );
    assert!(report.bytes_in > report.bytes_out && report.bytes_out >= after.live_bytes);
    assert!(
        report.records_copied >= 49 && report.records_dropped >= 51,
        "{report:?}"
    );
    assert_eq!(report.tombstones_kept, 0, "{report:?}");
    assert!(after.merge_written_bytes >= report.bytes_out, "{after:?}");
    assert_eq!((after.keys, after.dead_bytes), (49, 0));
    assert!(
        after.merges >= 1 && after.disk_bytes < before.disk_bytes,
        "{after:?}"
    );
}

/// What dies while a full merge runs is left to the next: else steady writes make each round copy
/// the whole store again.
#[test]
fn a_full_merge_beside_writes_copies_each_record_once() {
    const KEYS: u32 = 2_000;
    let place = Place::new();
    let store: Store = place.open();
    let space = hash(&store, "things");
    for key in 0..KEYS {
        space.put(key.to_le_bytes(), [0; 100]).expect("put");
    }
    for key in 0..100_u32 {
        space.delete((key * 20).to_le_bytes()).expect("deleted");
    }
    // After each part records die everywhere: in segments that were copied and in those to come.
    let mut turn = 0;
    let mut overwrite = |_| {
        turn += 1;
        for key in (turn % 19 + 1..KEYS).step_by(200) {
            space.put(key.to_le_bytes(), [1; 100]).expect("put");
        }
    };
    let report = store
        .merge_with(Merge::Full, &mut overwrite)
        .expect("merged");
    let live = u64::from(KEYS) - 100;
    assert!(turn > 4, "several parts: {turn}");
    assert!(report.records_copied <= live, "{report:?}");
    assert!(report.records_dropped >= 100, "{report:?}");
    let report = store.merge(Merge::Full).expect("merged");
    assert!(report.records_copied <= live, "{report:?}");
    let stats = store.stats();
    assert_eq!(
        (stats.keys, stats.dead_bytes, stats.tombstone_bytes),
        (live, 0, 0)
    );
}

/// Bytes of live records, tombstones and all records, counted from the files.
fn recount(place: &Place, store: &Store) -> (u64, u64, u64) {
    let (mut live, mut tombstones, mut all) = (0, 0, 0);
    let current = |id: u32, key: &[u8]| {
        let info = store.keyspaces().into_iter().find(|info| info.id == id)?;
        let keyspace = store.existing_keyspace(&info.name).expect("listed");
        keyspace.entry(key).expect("read").map(|entry| entry.seq.0)
    };
    for name in segments(place.path()) {
        for record in records(place.path(), &name) {
            all += record.len;
            if record.kind == "tombstone" {
                tombstones += record.len;
            } else if current(record.keyspace_id, &record.key) == Some(record.seq) {
                live += record.len;
            }
        }
    }
    (live, tombstones, all)
}

#[test]
fn the_sizes_in_stats_are_those_of_the_files() {
    let place = Place::new();
    let mut rng = Rng::new(0x57A7);
    for life in 0..24 {
        let store = place.open();
        let spaces = [hash(&store, "flat"), ordered(&store, "sorted")];
        for _ in 0..rng.below(80) {
            let (space, key) = (&spaces[rng.index(2)], format!("key {}", rng.below(30)));
            if rng.below(3) == 0 {
                space.delete(key).expect("deleted");
            } else {
                space.put(key, vec![b'v'; rng.index(200)]).expect("put");
            }
        }
        let check = |what: &str| {
            let stats = store.stats();
            let (live, tombstones, all) = recount(&place, &store);
            assert_eq!(
                stats.live_bytes, live,
                "life {life} {what}: live, {stats:?}"
            );
            assert_eq!(
                stats.tombstone_bytes, tombstones,
                "life {life} {what}: tombstones"
            );
            assert_eq!(
                stats.dead_bytes,
                all - live - tombstones,
                "life {life} {what}: dead"
            );
            assert_eq!(
                stats.keys,
                contents(&store).len() as u64,
                "life {life} {what}: keys"
            );
            let of_spaces: u64 = store.keyspaces().iter().map(|info| info.live_bytes).sum();
            assert_eq!(of_spaces, live, "life {life} {what}: by keyspace");
        };
        check("written");
        match life % 4 {
            1 => drop(store.merge(Merge::Needed).expect("merged")),
            3 if life % 8 == 3 => drop(store.merge(Merge::Full).expect("merged")),
            _ => {}
        }
        check("merged");
        drop(spaces);
        store.close().expect("closed");
        if life % 3 == 0 {
            delete_hints(place.path());
        }
        let store = place.open();
        let stats = store.stats();
        let (live, tombstones, all) = recount(&place, &store);
        let counted = (stats.live_bytes, stats.tombstone_bytes, stats.dead_bytes);
        assert_eq!(
            counted,
            (live, tombstones, all - live - tombstones),
            "life {life} reopened"
        );
        let on_disk = bytes_of_segments(&place);
        assert_eq!(
            stats.disk_bytes, on_disk,
            "life {life}: every byte of the files is told"
        );
    }
}
