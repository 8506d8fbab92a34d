//! Whole files: gone, cut, exchanged, filled with another's bytes. What can be made again is made
//! again, what cannot is refused by name or reported.

use std::fs;

use peercask::{ErrorKind, Missing, Store};

use super::{Closed, closed};
use crate::history::{Reading, readings, records};
use crate::support::{Image, Place, hash, image, refused, write_image};

fn names(image: &Image, prefix: &str) -> Vec<String> {
    image
        .keys()
        .filter(|name| name.starts_with(prefix))
        .cloned()
        .collect()
}

fn placed(image: &Image) -> Place {
    let place = Place::new();
    write_image(place.path(), image);
    place
}

/// Opens, finds everything, and finds everything again in a second, clean open.
#[track_caller]
fn loses_nothing(closed: &Closed, image: &Image, what: &str) -> peercask::RecoveryReport {
    let place = placed(image);
    let store = place.open();
    closed.is_whole(&store, what);
    let report = store.recovery().clone();
    drop(store);
    let store = place.open();
    closed.is_whole(&store, what);
    assert!(
        store.recovery().clean,
        "{what}: the second open: {:?}",
        store.recovery()
    );
    report
}

#[test]
fn any_one_file_but_a_segment_may_be_gone() {
    let closed = closed();
    for gone in closed.image.keys().filter(|name| !name.starts_with("seg-")) {
        let mut image = closed.image.clone();
        image.remove(gone);
        let report = loses_nothing(&closed, &image, &format!("without {gone}"));
        assert!(!report.manifest_rebuilt, "{gone}");
        assert_eq!(report.damage, [], "{gone}: nothing is lost by it");
    }
}

#[test]
fn without_both_manifests_they_are_made_anew_from_the_segments_and_that_is_told() {
    let closed = closed();
    let ways: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes.clear(),
        |bytes| bytes[40] ^= 1,
        |bytes| {
            bytes.truncate(100);
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let mut image = closed.image.clone();
        for name in names(&image, "manifest-") {
            way(image.get_mut(&name).expect("there"));
        }
        let report = loses_nothing(&closed, &image, &format!("way {number}"));
        assert!(
            report.manifest_rebuilt && !report.damage.is_empty(),
            "{report:?}"
        );
    }
    let mut image = closed.image.clone();
    image.retain(|name, _| !name.starts_with("manifest-"));
    let report = loses_nothing(&closed, &image, "both gone");
    assert!(
        report.manifest_rebuilt && !report.damage.is_empty(),
        "{report:?}"
    );
    image.retain(|name, _| !name.starts_with("hint-"));
    let report = loses_nothing(&closed, &image, "the hints gone, too");
    assert!(report.manifest_rebuilt, "{report:?}");
}

#[test]
fn a_store_with_a_rebuilt_manifest_takes_writes_that_win_over_older_ones() {
    let closed = closed();
    let mut image = closed.image.clone();
    image.retain(|name, _| !name.starts_with("manifest-"));
    let place = placed(&image);
    for life in 0..3 {
        let store = place.open();
        let (space, key) = closed.last().keys().next().expect("there are keys");
        let keyspace = store
            .existing_keyspace(space)
            .expect("it came back by name");
        keyspace.put(key, format!("new {life}")).expect("put");
        assert_eq!(
            keyspace.get(key).expect("read").expect("there"),
            format!("new {life}").as_bytes()
        );
        hash(&store, &format!("fresh {life}"))
            .put("key", "value")
            .expect("put");
        drop(keyspace);
        store.close().expect("closed");
        let store = place.open();
        let keyspace = store.existing_keyspace(space).expect("there");
        assert_eq!(
            keyspace.get(key).expect("read").expect("there"),
            format!("new {life}").as_bytes()
        );
        let ids: Vec<u32> = store.keyspaces().iter().map(|info| info.id).collect();
        let distinct: std::collections::BTreeSet<u32> = ids.iter().copied().collect();
        assert_eq!(
            ids.len(),
            distinct.len(),
            "no keyspace id is given out twice: {ids:?}"
        );
    }
}

#[test]
fn a_segment_gone_is_refused_by_name() {
    let closed = closed();
    for gone in names(&closed.image, "seg-") {
        let mut image = closed.image.clone();
        image.remove(&gone);
        let place = placed(&image);
        let opened = Store::open(place.path(), place.options());
        let error = refused(opened, ErrorKind::Corrupted, &[&gone, "Missing::Accept"]);
        assert_eq!(error.file(), Some(gone.as_str()));
    }
}

#[test]
fn the_contents_of_two_segments_exchanged_are_refused_or_reported_and_give_no_wrong_value() {
    let closed = closed();
    let segments = names(&closed.image, "seg-");
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        for hints_too in [false, true] {
            let mut image = closed.image.clone();
            exchange(&mut image, &segments[one], &segments[other]);
            if hints_too {
                let hint = |name: &String| name.replace("seg-", "hint-");
                exchange(&mut image, &hint(&segments[one]), &hint(&segments[other]));
            }
            let place = placed(&image);
            let opened = Store::open(place.path(), place.options());
            refused(opened, ErrorKind::Corrupted, &["seg-", "Missing::Accept"]);
            assert_eq!(
                names(&place.image(), "seg-"),
                segments,
                "nothing was removed"
            );
            let store = place.open_with(place.options().missing_segments(Missing::Accept));
            assert!(!store.recovery().damage.is_empty());
            for (place, reading) in readings(&store, &closed.places) {
                if let Reading::Is(value) = reading {
                    assert!(
                        closed.history.was_written(&place, &value),
                        "{place:?}: {value:?}"
                    );
                }
            }
        }
    }
}

fn exchange(image: &mut Image, one: &str, other: &str) {
    let first = image.remove(one).expect("there");
    let second = image.insert(other.to_owned(), first).expect("there");
    image.insert(one.to_owned(), second);
}

#[test]
fn another_segments_hint_is_not_believed() {
    let closed = closed();
    let hints = names(&closed.image, "hint-");
    for hint in &hints {
        for other in hints.iter().filter(|other| *other != hint) {
            let mut image = closed.image.clone();
            image.insert(hint.clone(), closed.image[other].clone());
            let report = loses_nothing(&closed, &image, &format!("{other} as {hint}"));
            assert!(
                report.damage.iter().any(|damage| damage.file == *hint),
                "{report:?}"
            );
        }
    }
}

#[test]
fn a_hint_file_cut_or_lengthened_at_any_byte_is_not_believed() {
    let closed = closed();
    for hint in names(&closed.image, "hint-") {
        let whole = &closed.image[&hint];
        for len in 0..whole.len() {
            let mut image = closed.image.clone();
            image.insert(hint.clone(), whole[..len].to_vec());
            let report = loses_nothing(&closed, &image, &format!("{hint} cut at {len}"));
            assert!(
                report.damage.iter().any(|damage| damage.file == hint),
                "{report:?}"
            );
        }
        for more in [&b"\0"[..], b"more", &[0; 5_000]] {
            let mut image = closed.image.clone();
            image.insert(hint.clone(), [whole, more].concat());
            loses_nothing(&closed, &image, &format!("{hint} lengthened"));
        }
    }
}

#[test]
fn a_manifest_cut_at_any_byte_costs_nothing() {
    let closed = closed();
    for name in ["manifest-a", "manifest-b"] {
        for len in 0..closed.image[name].len() {
            let mut image = closed.image.clone();
            image.get_mut(name).expect("there").truncate(len);
            let report = loses_nothing(&closed, &image, &format!("{name} cut at {len}"));
            assert!(
                report.damage.iter().any(|damage| damage.file == name),
                "{report:?}"
            );
        }
    }
}

/// The manifest repeats the headers, and so does the footer.
#[test]
fn a_segment_without_its_headers_is_read_all_the_same() {
    let closed = closed();
    for name in names(&closed.image, "seg-") {
        let mut image = closed.image.clone();
        image.get_mut(&name).expect("there")[..160].fill(0);
        let place = placed(&image);
        let store = place.open();
        closed.is_whole(&store, &name);
        assert!(
            store
                .recovery()
                .damage
                .iter()
                .any(|damage| damage.file == name),
            "{name}"
        );
    }
}

/// Blocks that were written to the wrong place within one segment.
#[test]
fn records_in_each_others_place_are_not_taken_for_each_other() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "flat");
    for key in 0..8_u8 {
        space.put([key], [key; 20]).expect("put");
    }
    drop(space);
    store.close().expect("closed");
    let image = place.image();
    let name = names(&image, "seg-").remove(0);
    let records = records(place.path(), &name);
    for one in &records {
        for other in records.iter().filter(|other| other.offset > one.offset) {
            // The first carries nothing more than the others.
            assert_eq!(one.len, other.len);
            let mut image = image.clone();
            swap_ranges(
                image.get_mut(&name).expect("there"),
                one.offset,
                other.offset,
                one.len,
            );
            write_image(place.path(), &image);
            let store = place.open();
            let space = hash(&store, "flat");
            for key in 0..8_u8 {
                match space.get([key]) {
                    Ok(value) => assert_eq!(value.expect("there"), [key; 20], "key {key}"),
                    Err(error) => {
                        let swapped = [&one.key, &other.key].contains(&&vec![key]);
                        assert!(
                            swapped && error.kind() == ErrorKind::Corrupted,
                            "{key}: {error}"
                        );
                    }
                }
            }
        }
    }
}

fn swap_ranges(bytes: &mut [u8], one: u64, other: u64, len: u64) {
    let at = |offset: u64| usize::try_from(offset).expect("small");
    for i in 0..at(len) {
        bytes.swap(at(one) + i, at(other) + i);
    }
}

/// A zeroed block costs what it held.
#[test]
fn a_zeroed_block_of_a_closed_segment_costs_only_the_records_in_it() {
    let closed = closed();
    for name in names(&closed.image, "seg-") {
        let original = placed(&closed.image);
        let records = records(original.path(), &name);
        let len = closed.image[&name].len();
        for start in (0..len).step_by(64) {
            let end = (start + 64).min(len);
            let mut image = closed.image.clone();
            image.get_mut(&name).expect("there")[start..end].fill(0);
            for hints_too in [true, false] {
                if !hints_too {
                    image.remove(&name.replace("seg-", "hint-"));
                }
                let what = format!("{name}: zeros from {start}, hints {hints_too}");
                let hit = records.iter().filter(|record| {
                    let (from, to) = (record.offset, record.offset + record.len);
                    let at = |offset: usize| u64::try_from(offset).expect("small");
                    from < at(end) && at(start) < to
                });
                zeroed(&closed, &image, &name, hit.count(), hints_too, &what);
            }
        }
    }
}

fn zeroed(closed: &Closed, image: &Image, name: &str, hit: usize, hinted: bool, what: &str) {
    let place = placed(image);
    let store = place.open();
    if hinted {
        let lost = closed.lost(&store, what);
        assert!(lost.len() <= hit, "{what}: {lost:?}");
        return;
    }
    // Without the hint an older version may show instead, and the damage is told at open.
    let mut differing = 0;
    for (place, reading) in readings(&store, &closed.places) {
        if reading != crate::history::expected(closed.last(), &place) {
            differing += 1;
        }
        if let Reading::Is(value) = reading {
            assert!(
                closed.history.was_written(&place, &value),
                "{what}: {place:?}: {value:?}"
            );
        }
    }
    assert!(differing <= hit, "{what}: {differing} of {hit}");
    if differing > 0 {
        let damage = &store.recovery().damage;
        let verified = store.verify(&mut |_| {}).expect("verified").damage;
        let told = damage
            .iter()
            .chain(&verified)
            .any(|damage| damage.file == *name);
        assert!(told, "{what}: {damage:?}, {verified:?}");
    }
}

#[test]
fn a_damaged_key_is_healed_by_writing_it_again_or_deleting_it() {
    let closed = closed();
    let name = names(&closed.image, "seg-")
        .pop()
        .expect("there are segments");
    let mut image = closed.image.clone();
    let bytes = image.get_mut(&name).expect("there");
    let at = bytes
        .windows(12)
        .rposition(|window| window == b"value number")
        .expect("there");
    bytes[at] ^= 1;
    for delete in [false, true] {
        let place = placed(&image);
        let store = place.open();
        let lost = closed.lost(&store, "before");
        let [(space, key)] = &lost[..] else {
            panic!("one is lost: {lost:?}")
        };
        let keyspace = store.existing_keyspace(space).expect("there");
        if delete {
            keyspace.delete(key).expect("deleted");
        } else {
            keyspace.put(key, "healed").expect("put");
        }
        let healed = (!delete).then(|| b"healed".to_vec());
        assert_eq!(
            keyspace.get(key).expect("read").map(|value| value.to_vec()),
            healed
        );
        let copy = Place::copy_of(place.path());
        drop(store);
        drop(keyspace);
        for place in [&place, &copy] {
            let store = place.open();
            let keyspace = store.existing_keyspace(space).expect("there");
            assert_eq!(
                keyspace.get(key).expect("read").map(|value| value.to_vec()),
                healed
            );
            store.merge(peercask::Merge::Full).expect("merged");
            assert_eq!(
                keyspace.get(key).expect("read").map(|value| value.to_vec()),
                healed
            );
        }
    }
}

/// Nothing that verify or inspect does changes a byte.
#[test]
fn looking_at_a_damaged_store_changes_no_file() {
    let closed = closed();
    let name = names(&closed.image, "seg-").remove(0);
    let mut damaged = closed.image.clone();
    damaged.get_mut(&name).expect("there")[300] ^= 0x10;
    let place = placed(&damaged);
    peercask::inspect::segments(place.path()).expect("inspected");
    peercask::inspect::manifest(place.path()).expect("inspected");
    records(place.path(), &name);
    assert_eq!(image(place.path()), damaged);
    let store = place.open();
    let before = image(place.path());
    let report = store.verify(&mut |_| {}).expect("verified");
    assert!(!report.is_clean());
    assert_eq!(image(place.path()), before);
    fs::metadata(place.file(&name)).expect("still there");
}
