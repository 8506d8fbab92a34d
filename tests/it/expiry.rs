//! Expiry: an instant in store time after which a record is invisible at once, on every way of
//! reading, and never visible again, whatever merge, lost hints or the wall clock do.

use std::time::Duration;

use peercask::{Clock as _, IndexKind, Keyspace, KeyspaceOptions, Merge, Store, Write};

use crate::support::{
    Place, START_MS, contents, delete_hints, delete_manifests, hash, ordered, segments,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY_MS: i64 = 24 * 3_600_000;

fn ttl(seconds: u64) -> Write {
    Write::new().ttl(Duration::from_secs(seconds))
}

#[track_caller]
fn put(space: &Keyspace, key: &str, value: &str, write: Write) {
    space
        .put_with(key, value, write)
        .expect("put")
        .wait()
        .expect("written");
}

#[track_caller]
fn reads(space: &Keyspace, key: &str) -> Option<String> {
    let value = space.get(key).expect("read");
    assert_eq!(space.contains(key).expect("read"), value.is_some());
    value.map(|value| String::from_utf8(value.to_vec()).expect("text"))
}

fn is(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn a_record_is_there_until_its_last_millisecond_and_not_in_the_next() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    put(
        &space,
        "at",
        "value",
        Write::new().expires_at_ms(START_MS + 5_000),
    );
    put(&space, "after", "value", ttl(5));
    place.clock.advance(Duration::from_millis(4_999));
    for key in ["at", "after"] {
        assert_eq!(reads(&space, key), is("value"), "{key}");
        let entry = space.entry(key).expect("read").expect("there");
        assert_eq!(entry.expires_at_ms, Some(START_MS + 5_000));
    }
    place.clock.advance(Duration::from_millis(1));
    assert_eq!((reads(&space, "at"), reads(&space, "after")), (None, None));
    assert!(space.entry("at").expect("read").is_none());
}

#[test]
fn a_moment_that_has_passed_makes_a_record_that_is_never_seen() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "things");
    put(&space, "key", "old", Write::new());
    put(&space, "key", "new", Write::new().expires_at_ms(START_MS));
    assert_eq!(
        reads(&space, "key"),
        None,
        "nor does the older version show"
    );
    put(&space, "zero", "value", ttl(0));
    assert_eq!(reads(&space, "zero"), None);
    put(&space, "epoch", "value", Write::new().expires_at_ms(0));
    assert_eq!(reads(&space, "epoch"), None);
    drop(space);
    store.close().expect("closed");
    let store = place.open();
    assert_eq!(contents(&store).len(), 0);
    store.merge(Merge::Full).expect("merged");
    assert_eq!(contents(&store).len(), 0);
}

#[test]
fn the_default_of_a_keyspace_counts_unless_the_write_says_otherwise() {
    let place = Place::new();
    let options = KeyspaceOptions::hash().default_ttl(Some(HOUR));
    let store = place.open();
    let space = store.keyspace("timed", options).expect("made");
    space.put("default", "value").expect("put");
    put(&space, "longer", "value", ttl(7_200));
    put(&space, "shorter", "value", ttl(60));
    put(&space, "ever", "value", Write::new().never_expires());
    let mut batch = store.batch();
    batch.put(&space, "batch", "value");
    batch.put_with(&space, "batch ever", "value", Write::new().never_expires());
    batch.put_with(&space, "batch shorter", "value", ttl(60));
    batch.commit().expect("committed");
    let live = |store: &Store| -> Vec<String> {
        let space = store.keyspace("timed", options).expect("there");
        let mut keys: Vec<String> = space
            .walk()
            .map(|entry| String::from_utf8(entry.expect("read").key.to_vec()).expect("text"))
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(live(&store).len(), 7);
    place.clock.advance(Duration::from_secs(61));
    assert_eq!(
        live(&store),
        ["batch", "batch ever", "default", "ever", "longer"]
    );
    drop(space);
    store.close().expect("closed");
    place.clock.advance(HOUR);
    let store = place.open();
    assert_eq!(live(&store), ["batch ever", "ever", "longer"]);
    place.clock.advance(HOUR);
    assert_eq!(live(&store), ["batch ever", "ever"]);
    store.merge(Merge::Full).expect("merged");
    assert_eq!(live(&store), ["batch ever", "ever"]);
    assert_eq!(store.stats().keys, 2);
}

#[test]
fn every_way_of_reading_passes_over_what_has_expired() {
    let place = Place::new();
    let store = place.open();
    for space in [hash(&store, "flat"), ordered(&store, "sorted")] {
        for (at, key) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
            let write = if at % 2 == 0 { ttl(60) } else { Write::new() };
            put(&space, key, key, write);
        }
        put(&space, "z", "z", ttl(60));
        place.clock.advance(Duration::from_secs(60));
        let many = space.get_many(&["a", "b", "z"]).expect("read");
        assert_eq!(
            many.iter().map(Option::is_some).collect::<Vec<_>>(),
            [false, true, false]
        );
        assert!(space.get_range("a", 0..1).expect("read").is_none());
        assert!(space.reader("a").expect("read").is_none());
        let mut walked: Vec<Vec<u8>> = space
            .walk()
            .map(|entry| entry.expect("read").key.to_vec())
            .collect();
        walked.sort();
        assert_eq!(walked, [b"b", b"d", b"f"]);
        if space.kind() == IndexKind::Ordered {
            let key = |entry: Option<peercask::Entry>| entry.expect("there").key.to_vec();
            assert_eq!(key(space.first().expect("read")), b"b");
            assert_eq!(key(space.last().expect("read")), b"f");
            assert_eq!(space.count::<&str, _>(..).expect("counted"), 3);
            assert_eq!(space.count("a".."c").expect("counted"), 1);
            assert_eq!(space.iter().expect("ordered").count(), 3);
            assert_eq!(space.iter().expect("ordered").rev().count(), 3);
            assert_eq!(space.prefix("a").expect("ordered").count(), 0);
            assert_eq!(space.range("b"..="d").expect("ordered").count(), 2);
        }
    }
}

#[test]
fn an_expired_key_is_put_again_and_deleting_it_finds_nothing() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    for key in ["again", "deleted", "both"] {
        put(&space, key, "old", ttl(60));
    }
    place.clock.advance(Duration::from_secs(61));
    assert!(
        !space.delete("deleted").expect("deleted"),
        "there was nothing to delete"
    );
    assert!(!space.delete("both").expect("deleted"));
    put(&space, "again", "new", Write::new());
    put(&space, "both", "new", ttl(60));
    let check = |space: &Keyspace| {
        assert_eq!(reads(space, "again"), is("new"));
        assert_eq!(reads(space, "deleted"), None);
        assert_eq!(reads(space, "both"), is("new"));
    };
    check(&space);
    drop(space);
    store.close().expect("closed");
    delete_hints(place.path());
    let store = place.open();
    check(&hash(&store, "things"));
    store.merge(Merge::Full).expect("merged");
    check(&hash(&store, "things"));
    place.clock.advance(Duration::from_secs(61));
    assert_eq!(reads(&hash(&store, "things"), "both"), None);
    assert!(hash(&store, "things").delete("again").expect("deleted"));
}

// ---- the trap of a shorter life

/// The lives of three versions of a key in seconds, each in a segment of its own, `None` for
/// ever; the last one expires first. Nothing may show through once it has.
#[test]
fn a_longer_lived_older_version_never_shows_when_the_newer_one_has_expired() {
    let lives: [&[Option<u64>]; 5] = [
        &[None, Some(60)],
        &[Some(36_000), Some(60)],
        &[None, Some(3_600), Some(60)],
        &[Some(36_000), Some(30), Some(60)],
        &[Some(100), None, Some(60)],
    ];
    for versions in lives {
        for merges in 0..4 {
            for make in [hash, ordered] {
                trap(versions, merges, make);
            }
        }
    }
}

fn trap(lives: &[Option<u64>], merges: u32, make: fn(&Store, &str) -> Keyspace) {
    let what = format!("lives {lives:?}, {merges} merges");
    let place = Place::new();
    for (version, life) in lives.iter().enumerate() {
        let store = place.open();
        let space = make(&store, "things");
        let write = life.map_or(Write::new(), ttl);
        put(&space, "key", &format!("version {version}"), write);
        // What stays live beside it keeps the segments of older versions from being merged.
        if version + 1 < lives.len() {
            for beside in 0..10 {
                put(
                    &space,
                    &format!("{version} {beside}"),
                    "beside",
                    Write::new(),
                );
            }
        }
        drop(space);
        store.close().expect("closed");
    }
    let beside = 10 * (lives.len() - 1);
    place.clock.advance(Duration::from_secs(61));
    let store = place.open();
    for _ in 0..merges {
        store.merge(Merge::Needed).expect("merged");
    }
    if merges > 0 {
        let first = &segments(place.path())[0];
        assert!(
            first.ends_with("01.cask"),
            "{what}: the oldest version is still there: {first}"
        );
    }
    store.close().expect("closed");
    for hours in [0, 1, 9, 1] {
        place.clock.advance(HOUR * hours);
        for lost in 0..3 {
            if lost > 0 {
                delete_hints(place.path());
            }
            if lost > 1 {
                delete_manifests(place.path());
            }
            let store = place.open();
            let space = make(&store, "things");
            assert_eq!(reads(&space, "key"), None, "{what}, {hours} hours on");
            assert_eq!(contents(&store).len(), beside, "{what}");
            if merges == 3 {
                store.merge(Merge::Needed).expect("merged");
                assert_eq!(
                    reads(&space, "key"),
                    None,
                    "{what}, {hours} hours on, merged"
                );
            }
        }
    }
    let store = place.open();
    store.merge(Merge::Full).expect("merged");
    assert_eq!(contents(&store).len(), beside, "{what}");
    assert_eq!(
        store.stats().keys,
        u64::try_from(beside).expect("small"),
        "{what}"
    );
}

/// The newer version's whole segment has expired, and could be dropped unread, but for what it
/// hides.
#[test]
fn a_segment_is_not_dropped_while_its_records_hide_longer_lived_ones() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    for key in 0..20 {
        put(&space, &format!("key {key}"), "long", ttl(7_200));
        put(&space, &format!("beside {key}"), "stays", Write::new());
    }
    drop(space);
    store.close().expect("closed");
    let store = place.open();
    let space = hash(&store, "things");
    for key in 0..20 {
        put(&space, &format!("key {key}"), "short", ttl(60));
    }
    drop(space);
    store.close().expect("closed");
    place.clock.advance(Duration::from_secs(61));
    let store = place.open();
    let report = store.merge(Merge::Needed).expect("merged");
    assert_eq!(report.segments_dropped, 0, "{report:?}");
    assert_eq!(
        report.tombstones_kept + report.records_copied,
        20,
        "tombstones: {report:?}"
    );
    assert_eq!(contents(&store).len(), 20);
    store.close().expect("closed");
    delete_hints(place.path());
    delete_manifests(place.path());
    let store = place.open();
    assert_eq!(contents(&store).len(), 20);
    // When the hidden ones have expired, too, the tombstones go.
    place.clock.advance(HOUR * 3);
    store.merge(Merge::Full).expect("merged");
    assert_eq!(store.stats().tombstone_bytes, 0);
    assert_eq!(contents(&store).len(), 20);
}

// ---- clocks that step

#[test]
fn a_clock_set_back_an_hour_revives_and_loses_nothing() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    put(&space, "gone", "value", ttl(60));
    put(&space, "there", "value", ttl(1_800));
    place.clock.advance(Duration::from_secs(120));
    let before = store.now_ms();
    place.clock.step_wall_ms(-3_600_000);
    assert!(store.now_ms() >= before, "store time never runs backwards");
    assert_eq!(
        (reads(&space, "gone"), reads(&space, "there")),
        (None, is("value"))
    );
    put(&space, "new", "value", ttl(600));
    drop(space);
    store.close().expect("closed");

    let store = place.open();
    let space = hash(&store, "things");
    assert!(store.now_ms() >= before, "nor across a reopen");
    assert_eq!(store.clock_warning(), None);
    let now = (
        reads(&space, "gone"),
        reads(&space, "there"),
        reads(&space, "new"),
    );
    assert_eq!(now, (None, is("value"), is("value")));
    // Time goes on by the boot clock meanwhile.
    place.clock.advance(Duration::from_secs(601));
    assert_eq!(
        (reads(&space, "there"), reads(&space, "new")),
        (is("value"), None)
    );
    place.clock.advance(HOUR);
    assert_eq!(reads(&space, "there"), None);
}

#[test]
fn what_was_seen_to_have_expired_stays_so_after_a_close_without_writes_and_a_clock_set_back() {
    let place = Place::new();
    let store = place.open();
    put(&hash(&store, "things"), "gone", "value", ttl(60));
    store.close().expect("closed");
    let store = place.open();
    place.clock.advance(Duration::from_secs(120));
    assert_eq!(reads(&hash(&store, "things"), "gone"), None);
    store.close().expect("closed");
    place.clock.step_wall_ms(-3_600_000);
    let store = place.open();
    assert_eq!(reads(&hash(&store, "things"), "gone"), None);
}

#[test]
fn a_clock_that_leaps_ten_years_while_open_expires_nothing_until_it_is_confirmed() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    put(&space, "day", "value", ttl(86_400));
    put(&space, "ever", "value", Write::new());
    place.clock.step_wall_ms(3_650 * DAY_MS);
    assert_eq!(reads(&space, "day"), is("value"));
    let warning = store.clock_warning().expect("the leap is told");
    assert_eq!(warning.wall_ms, place.clock.wall_ms());
    assert_eq!(warning.believed_ms, START_MS);
    store.merge(Merge::Full).expect("merged");
    assert_eq!(contents(&store).len(), 2, "nor does merge believe it");
    // A record written now lives from the time that is believed.
    put(&space, "minute", "value", ttl(60));
    place.clock.advance(Duration::from_secs(61));
    assert_eq!(
        (reads(&space, "minute"), reads(&space, "day")),
        (None, is("value"))
    );

    store.confirm_clock().expect("confirmed");
    assert_eq!(store.clock_warning(), None);
    assert_eq!(
        (reads(&space, "day"), reads(&space, "ever")),
        (None, is("value"))
    );
    drop(space);
    store.close().expect("closed");
    let store = place.open();
    assert_eq!(
        store.clock_warning(),
        None,
        "confirmed once, it is believed"
    );
    assert_eq!(contents(&store).len(), 1);
}

#[test]
fn a_clock_that_leaps_ten_years_across_a_reopen_expires_nothing_until_it_is_confirmed() {
    let place = Place::new();
    let store = place.open();
    put(&hash(&store, "things"), "day", "value", ttl(86_400));
    put(&hash(&store, "things"), "ever", "value", Write::new());
    store.close().expect("closed");
    place.clock.step_wall_ms(3_650 * DAY_MS);
    for _ in 0..3 {
        let store = place.open();
        assert!(
            store.clock_warning().is_some(),
            "told at every open until it is confirmed"
        );
        assert_eq!(contents(&store).len(), 2);
        store.merge(Merge::Full).expect("merged");
        assert_eq!(contents(&store).len(), 2);
        store.close().expect("closed");
    }
    let store = place.open();
    store.confirm_clock().expect("confirmed");
    assert_eq!(contents(&store).len(), 1);
    store.close().expect("closed");
    let store = place.open();
    assert_eq!(store.clock_warning(), None);
    assert_eq!(contents(&store).len(), 1);
}

/// The wrong time server is put right: no trace of its leap stays.
#[test]
fn a_leap_that_is_taken_back_leaves_nothing_behind() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    put(&space, "day", "value", ttl(86_400));
    place.clock.step_wall_ms(3_650 * DAY_MS);
    assert!(store.clock_warning().is_some());
    put(&space, "other", "value", Write::new());
    place.clock.step_wall_ms(-3_650 * DAY_MS);
    assert_eq!(store.clock_warning(), None);
    assert_eq!(store.now_ms(), START_MS);
    drop(space);
    store.close().expect("closed");
    let store = place.open();
    assert_eq!((store.now_ms(), store.clock_warning()), (START_MS, None));
    assert_eq!(contents(&store).len(), 2);
}

#[test]
fn a_year_without_the_store_is_believed() {
    let place = Place::new();
    let store = place.open();
    put(&hash(&store, "things"), "day", "value", ttl(86_400));
    store.close().expect("closed");
    place.clock.step_wall_ms(365 * DAY_MS);
    let store = place.open();
    assert_eq!(store.clock_warning(), None);
    assert_eq!(reads(&hash(&store, "things"), "day"), None);
}

#[test]
fn a_clock_at_the_epoch_or_far_off_opens_and_serves() {
    for wall in [0, 1, u64::from(u32::MAX), 253_402_300_799_000] {
        let place = Place::new();
        place.clock.set_wall_ms(wall);
        let store = place.open();
        let space = hash(&store, "things");
        put(&space, "day", "value", ttl(86_400));
        put(
            &space,
            "long",
            "value",
            Write::new().ttl(Duration::from_secs(u64::MAX / 2)),
        );
        put(
            &space,
            "last",
            "value",
            Write::new().expires_at_ms(u64::MAX - 1),
        );
        drop(space);
        store.close().expect("closed");
        let store = place.open();
        assert_eq!(contents(&store).len(), 3, "wall {wall}");
        place.clock.advance(Duration::from_secs(86_401));
        assert_eq!(contents(&store).len(), 2, "wall {wall}");
        store.merge(Merge::Full).expect("merged");
        assert_eq!(contents(&store).len(), 2, "wall {wall}");
    }
}
