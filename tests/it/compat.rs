//! Every release opens what earlier ones wrote. The directories under fixtures/ were written once
//! by the release that made their format and are never written again; with a new format version a
//! new pair is added beside them, and the old ones stay.

use std::path::{Path, PathBuf};
use std::time::Duration;

use peercask::{Durability, IndexKind, Keyspace, KeyspaceOptions, Merge, Store, Write, inspect};

use crate::history::records;
use crate::support::{
    Contents, Place, START_MS, assert_same, contents, copy_files, delete_hints, delete_manifests,
    files, hash, hints, ordered, segments,
};

/// Set to write the fixtures of the present format where there are none.
const GENERATE: &str = "PEERCASK_WRITE_FIXTURES";
const DAY: Duration = Duration::from_secs(86_400);
const EXPIRES_MS: u64 = START_MS + 30 * 86_400_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("it/fixtures")
        .join(name)
}

fn timed() -> KeyspaceOptions {
    KeyspaceOptions::hash().default_ttl(Some(DAY))
}

fn text(number: u32, what: &str) -> String {
    format!(
        "{what} {number} {}",
        "-".repeat(usize::try_from(number % 50).expect("small"))
    )
}

// ---- what is in them

/// Three lives: what the first two wrote is merged, and the third deletes and replaces part of it.
fn write(store: &Store, life: u32) {
    let (flat, sorted) = (hash(store, "flat"), ordered(store, "sorted/\u{e9}"));
    let timed = store.keyspace("timed", timed()).expect("made");
    match life {
        0 => {
            for number in 0..40 {
                put(
                    &flat,
                    &format!("key {number}"),
                    &text(number, "first"),
                    Write::new(),
                );
                put(
                    &sorted,
                    &format!("key {number:03}"),
                    &text(number, "first"),
                    Write::new(),
                );
            }
            put(&flat, "", "the empty key", Write::new());
            put(&sorted, "empty value", "", Write::new());
            put(&sorted, "long", &"long ".repeat(1_500), Write::new());
            put(&sorted, &"k".repeat(300), "a long key", Write::new());
            put(
                &flat,
                "expires",
                "in a month",
                Write::new().expires_at_ms(EXPIRES_MS),
            );
            put(&flat, "shortened", "for ever", Write::new());
            hash(store, "dropped").put("key", "value").expect("put");
            assert!(store.drop_keyspace("dropped").expect("dropped"));
        }
        1 => {
            for number in (0..40).step_by(4) {
                put(
                    &flat,
                    &format!("key {number}"),
                    &text(number, "second"),
                    Write::new(),
                );
                assert!(sorted.delete(format!("key {number:03}")).expect("deleted"));
            }
            put(&timed, "default", "for a day", Write::new());
            put(&timed, "ever", "for ever", Write::new().never_expires());
        }
        _ => {
            let mut batch = store.batch();
            for number in 30..36 {
                batch.put(&flat, format!("key {number}"), text(number, "batch"));
                batch.delete(&sorted, format!("key {number:03}"));
                batch.put(&timed, format!("batch {number}"), text(number, "batch"));
            }
            batch.commit().expect("committed");
            assert!(flat.delete("key 1").expect("deleted"));
            put(
                &flat,
                "shortened",
                "for a minute",
                Write::new().ttl(Duration::from_secs(60)),
            );
        }
    }
}

fn put(space: &Keyspace, key: &str, value: &str, write: Write) {
    space
        .put_with(key, value, write)
        .expect("put")
        .wait()
        .expect("written");
}

/// The entries at the moment of writing, told apart from how they were written.
fn expected() -> Contents {
    let mut all = Contents::new();
    let mut add = |space: &str, key: &str, value: &str| {
        all.insert(
            (space.to_owned(), key.as_bytes().to_vec()),
            value.as_bytes().to_vec(),
        );
    };
    for number in (0..40).filter(|number| *number != 1) {
        let what = match number {
            30..=35 => "batch",
            _ if number % 4 == 0 => "second",
            _ => "first",
        };
        add("flat", &format!("key {number}"), &text(number, what));
    }
    for number in (0..40).filter(|number| number % 4 > 0 && !(30..=35).contains(number)) {
        add(
            "sorted/\u{e9}",
            &format!("key {number:03}"),
            &text(number, "first"),
        );
    }
    for number in 30..36 {
        add("timed", &format!("batch {number}"), &text(number, "batch"));
    }
    add("flat", "", "the empty key");
    add("flat", "expires", "in a month");
    add("flat", "shortened", "for a minute");
    add("sorted/\u{e9}", "empty value", "");
    add("sorted/\u{e9}", "long", &"long ".repeat(1_500));
    add("sorted/\u{e9}", &"k".repeat(300), "a long key");
    add("timed", "default", "for a day");
    add("timed", "ever", "for ever");
    all
}

fn expired_after(day: bool) -> Contents {
    let mut left = expected();
    left.remove(&("flat".to_owned(), b"shortened".to_vec()));
    if day {
        left.retain(|(space, key), _| space != "timed" || key == b"ever");
    }
    left
}

/// Writes both fixtures, if told to and if they are not there.
#[test]
fn helper_writes_the_fixtures_of_a_new_format() {
    if std::env::var_os(GENERATE).is_none() {
        return;
    }
    for (name, closed) in [("v1", true), ("v1-unclean", false)] {
        let to = fixture(name);
        assert!(
            !to.exists(),
            "{} is there; it is never written again",
            to.display()
        );
        let place = Place::new();
        for life in 0..3 {
            let store = place.open();
            write(&store, life);
            match life {
                1 => drop(store.merge(Merge::Full).expect("merged")),
                2 if !closed => {
                    store.sync().expect("synced");
                    hash(&store, "flat")
                        .put("after the sync", "1")
                        .expect("put");
                    let mut batch = store.batch();
                    batch.put(&hash(&store, "flat"), "not synced", "2");
                    batch.delete(&hash(&store, "flat"), "key 2");
                    batch
                        .commit_with(Durability::Kernel)
                        .expect("committed")
                        .wait()
                        .expect("ok");
                    std::fs::create_dir_all(&to).expect("made");
                    copy_files(place.path(), &to);
                }
                _ => {}
            }
            store.close().expect("closed");
        }
        if closed {
            std::fs::create_dir_all(&to).expect("made");
            copy_files(place.path(), &to);
        }
        std::fs::remove_file(to.join("LOCK")).expect("no part of the format");
    }
}

// ---- what each release must do with them

fn copy(name: &str) -> Place {
    let from = fixture(name);
    assert!(from.is_dir(), "{} is part of the sources", from.display());
    Place::copy_of(&from)
}

#[track_caller]
fn holds_everything(store: &Store, unclean: bool) {
    let mut all = expected();
    if unclean {
        all.insert(
            ("flat".to_owned(), b"after the sync".to_vec()),
            b"1".to_vec(),
        );
        all.insert(("flat".to_owned(), b"not synced".to_vec()), b"2".to_vec());
        all.remove(&("flat".to_owned(), b"key 2".to_vec()));
    }
    assert_same(&contents(store), &all, &format!("{:?}", store.recovery()));
    let spaces: Vec<(String, IndexKind, Option<Duration>)> = store
        .keyspaces()
        .into_iter()
        .map(|info| (info.name, info.kind, info.default_ttl))
        .collect();
    let expected = [
        ("flat".to_owned(), IndexKind::Hash, None),
        ("sorted/\u{e9}".to_owned(), IndexKind::Ordered, None),
        ("timed".to_owned(), IndexKind::Hash, Some(DAY)),
    ];
    assert_eq!(spaces, expected);
    let expiry = |space: &str, key: &str| {
        let space = store.existing_keyspace(space).expect("listed");
        space
            .entry(key)
            .expect("read")
            .expect("there")
            .expires_at_ms
    };
    assert_eq!(expiry("flat", "expires"), Some(EXPIRES_MS));
    assert_eq!(expiry("flat", "shortened"), Some(START_MS + 60_000));
    assert_eq!(expiry("timed", "default"), Some(START_MS + 86_400_000));
    assert_eq!(expiry("timed", "ever"), None);
    assert_eq!(expiry("flat", ""), None);
}

#[test]
fn the_closed_store_of_format_1_opens_clean_and_holds_everything() {
    let place = copy("v1");
    let store = place.open();
    assert!(store.recovery().clean, "{:?}", store.recovery());
    assert_eq!(store.recovery().segments_scanned, 0, "its hints are used");
    holds_everything(&store, false);
    let report = store.verify(&mut |_| {}).expect("verified");
    assert!(
        report.is_clean() && report.hints == report.segments,
        "{report:?}"
    );
}

#[test]
fn the_unclean_store_of_format_1_opens_with_all_that_the_kernel_had() {
    let place = copy("v1-unclean");
    let store = place.open();
    let report = store.recovery();
    assert!(
        !report.clean && report.damage.is_empty() && report.cut.is_empty(),
        "{report:?}"
    );
    assert!(
        report.synced_seq > 0 && report.synced_seq < report.last_seq,
        "{report:?}"
    );
    holds_everything(&store, true);
    store.close().expect("closed");
    let store = place.open();
    assert!(store.recovery().clean, "{:?}", store.recovery());
    holds_everything(&store, true);
}

#[test]
fn the_stores_of_format_1_open_without_hints_and_without_manifests() {
    for (name, unclean) in [("v1", false), ("v1-unclean", true)] {
        let place = copy(name);
        delete_hints(place.path());
        holds_everything(&place.open(), unclean);
        let place = copy(name);
        delete_manifests(place.path());
        delete_hints(place.path());
        let store = place.open();
        assert!(store.recovery().manifest_rebuilt);
        holds_everything(&store, unclean);
    }
}

#[test]
fn the_stores_of_format_1_take_writes_and_merges_and_expire_as_they_were_told() {
    for name in ["v1", "v1-unclean"] {
        let place = copy(name);
        let store = place.open();
        hash(&store, "flat").put("new", "value").expect("put");
        assert!(hash(&store, "flat").delete("new").expect("deleted"));
        for extra in ["after the sync", "not synced"] {
            hash(&store, "flat").delete(extra).expect("deleted");
        }
        hash(&store, "flat")
            .put("key 2", text(2, "first"))
            .expect("put");
        store.merge(Merge::Full).expect("merged");
        holds_everything(&store, false);
        place.clock.advance(Duration::from_secs(61));
        assert_same(&contents(&store), &expired_after(false), "a minute later");
        place.clock.advance(DAY);
        assert_same(&contents(&store), &expired_after(true), "a day later");
        store.merge(Merge::Full).expect("merged");
        store.close().expect("closed");
        assert_same(&contents(&place.open()), &expired_after(true), "reopened");
    }
}

/// The fixtures show every kind of file and record that the format has.
#[test]
fn the_fixtures_of_format_1_show_what_the_format_has() {
    let place = copy("v1");
    let infos = inspect::segments(place.path()).expect("inspected");
    assert!(
        infos
            .iter()
            .any(|info| info.kind == "merged" && info.hint == "valid"),
        "{infos:?}"
    );
    assert!(
        infos.iter().any(|info| info.kind == "user" && info.sealed),
        "{infos:?}"
    );
    assert_eq!(segments(place.path()).len(), hints(place.path()).len());
    let unclean = copy("v1-unclean");
    let infos = inspect::segments(unclean.path()).expect("inspected");
    assert!(infos.iter().any(|info| !info.sealed), "{infos:?}");
    let all: Vec<_> = segments(unclean.path())
        .iter()
        .flat_map(|name| records(unclean.path(), name))
        .collect();
    assert!(all.iter().any(|record| record.kind == "tombstone"));
    assert!(all.iter().any(|record| record.expires_at_ms.is_some()));
    assert!(
        all.iter()
            .any(|record| record.covers_until_ms == Some(u64::MAX))
    );
    assert!(all.iter().any(|record| record.batch_follow > 0));
    assert!(all.iter().any(|record| record.synced_mark.is_some()));
    assert!(all.iter().any(|record| record.key.is_empty()));
    let manifest = inspect::manifest(place.path()).expect("inspected");
    assert_eq!(manifest.keyspaces.len(), 3);
    for name in ["v1", "v1-unclean"] {
        let names = files(&fixture(name));
        assert!(
            names
                .iter()
                .all(|name| name != "LOCK" && !name.ends_with(".tmp")),
            "{names:?}"
        );
    }
}
