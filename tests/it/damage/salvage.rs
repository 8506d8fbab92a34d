//! Verify finds every damage, without writing; repair saves everything else into a new store, and
//! leaves the damaged one as it is.

use peercask::{ErrorKind, Missing, Options, RepairReport, Store, VerifyReport};

use super::{Closed, closed};
use crate::history::{Reading, expected, readings};
use crate::support::{
    Image, Place, assert_same, contents, files, refused, rounds, segments, write_image,
};

/// What verify says of the files as they are.
fn verified(place: &Place) -> VerifyReport {
    let options = place.options().missing_segments(Missing::Accept);
    let before = place.image();
    let store = Store::open_read_only(place.path(), options).expect("it opens for reading");
    let report = store
        .verify(&mut |_| {})
        .expect("damage is no error of verify");
    drop(store);
    assert_eq!(place.image(), before, "verify writes nothing");
    report
}

/// What may stand where a current value is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Instead {
    /// Nothing: it is known that a newer version was there.
    Nothing,
    /// An older version, where a whole file that told of the newer one is gone.
    Older,
}

/// Repairs into a new place; everything that is there is right, and what is not is told.
fn repaired(closed: &Closed, place: &Place, instead: Instead, what: &str) -> (RepairReport, usize) {
    let (before, new) = (place.image(), Place::new());
    let target = new.file("new");
    let report = Store::repair(place.path(), &target, place.options());
    let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        place.image() == before,
        "{what}: the damaged store is left alone"
    );
    let store = Store::open(&target, place.options()).expect("the new store opens");
    assert!(store.recovery().clean, "{what}");
    let mut lost = 0;
    for (place, reading) in readings(&store, &closed.places) {
        let expected = expected(closed.last(), &place);
        if reading != expected {
            match &reading {
                Reading::Is(value) if instead == Instead::Older => {
                    assert!(
                        closed.history.was_written(&place, value),
                        "{what}: {place:?}"
                    );
                }
                other => assert_eq!(*other, Reading::Absent, "{what}: {place:?}"),
            }
            lost += 1;
        }
    }
    if lost > 0 {
        assert!(!report.is_complete(), "{what}: a loss is told");
    }
    assert_eq!(
        store.verify(&mut |_| {}).expect("verified").damage,
        [],
        "{what}"
    );
    (report, lost)
}

fn damaged(image: &Image, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Image {
    let mut image = image.clone();
    change(image.get_mut(name).expect("it is in the image"));
    image
}

fn is_idle(name: &str) -> bool {
    name == "LOCK" || name == "RESERVE"
}

#[test]
fn an_undamaged_store_is_repaired_into_its_equal() {
    let closed = closed();
    let place = Place::new();
    write_image(place.path(), &closed.image);
    assert!(verified(&place).is_clean());
    let (report, lost) = repaired(&closed, &place, Instead::Nothing, "whole");
    assert!(report.is_complete() && lost == 0, "{report:?}");
    assert_eq!(report.records, closed.last().len() as u64);
}

#[test]
fn every_flipped_byte_is_found_by_verify_and_costs_repair_at_most_one_record() {
    let closed = closed();
    let place = Place::new();
    let (mut found, mut saved, mut cost) = (0, 0, 0);
    write_image(place.path(), &closed.image);
    for (name, bytes) in &closed.image {
        for at in 0..bytes.len() {
            let what = format!("{name} byte {at}");
            let flip = if at % 2 == 0 { 0x01 } else { 0xFF };
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            std::fs::write(place.file(name), &changed).expect("written");
            let report = verified(&place);
            assert_eq!(
                report.is_clean(),
                is_idle(name),
                "{what}: {:?}",
                report.damage
            );
            found += 1;
            // Every byte once in a while is tried by who asks for more rounds.
            if at as u64 % 32 < rounds(1) {
                let (_, lost) = repaired(&closed, &place, Instead::Nothing, &what);
                assert!(lost <= 1, "{what}: {lost} records");
                assert_eq!(
                    report.lost, lost as u64,
                    "{what}: verify counts what is lost"
                );
                (saved, cost) = (saved + 1, cost + lost);
            }
        }
        std::fs::write(place.file(name), bytes).expect("written");
    }
    assert!(
        found > 3_000 && saved > 100 && cost > 0,
        "{found} {saved} {cost}"
    );
}

#[test]
fn verify_names_the_keys_of_records_that_cannot_be_read_by_their_hints() {
    let closed = closed();
    let place = Place::new();
    let name = segments_of(&closed.image).pop().expect("there is one");
    // From the first record on nothing can be read.
    let broken = damaged(&closed.image, &name, |bytes| bytes[160..300].fill(0xEE));
    write_image(place.path(), &broken);
    let report = verified(&place);
    let keys = report.damage.iter().filter(|damage| damage.key.is_some());
    assert!(keys.count() > 0, "{:?}", report.damage);
    assert!(
        report
            .damage
            .iter()
            .any(|damage| damage.what.contains("records lost: "))
    );
    let (repair, lost) = repaired(&closed, &place, Instead::Nothing, "a gap");
    assert_eq!(report.lost, lost as u64, "{report:?}");
    assert_eq!(repair.lost.len(), lost, "{repair:?}");
    assert!(lost > 0);
}

fn segments_of(image: &Image) -> Vec<String> {
    let names = image.keys().filter(|name| name.starts_with("seg-"));
    names.cloned().collect()
}

#[test]
fn every_cut_file_is_found_and_the_rest_is_saved() {
    let closed = closed();
    let place = Place::new();
    let mut tried = 0;
    for (name, bytes) in closed.image.iter().filter(|(name, _)| !is_idle(name)) {
        for len in (0..bytes.len()).step_by(if rounds(1) > 1 { 1 } else { 23 }) {
            let what = format!("{name} cut to {len}");
            write_image(
                place.path(),
                &damaged(&closed.image, name, |bytes| bytes.truncate(len)),
            );
            assert!(!verified(&place).is_clean(), "{what}");
            repaired(&closed, &place, Instead::Older, &what);
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn files_that_are_gone_or_stand_in_for_one_another_are_found_and_the_rest_is_saved() {
    let closed = closed();
    let place = Place::new();
    let names: Vec<&String> = closed.image.keys().filter(|name| !is_idle(name)).collect();
    for name in &names {
        let mut image = closed.image.clone();
        image.remove(*name);
        write_image(place.path(), &image);
        // A hint may be missing at any time.
        assert_eq!(
            verified(&place).is_clean(),
            name.starts_with("hint-"),
            "without {name}"
        );
        let (_, lost) = repaired(&closed, &place, Instead::Older, name);
        assert_eq!(lost > 0, name.starts_with("seg-"), "without {name}: {lost}");
    }
    for one in &names {
        for other in &names {
            if one < other && !(one.starts_with("manifest") && other.starts_with("manifest")) {
                let mut image = closed.image.clone();
                let (first, second) = (image[*one].clone(), image[*other].clone());
                image.insert((*one).clone(), second);
                image.insert((*other).clone(), first);
                write_image(place.path(), &image);
                let what = format!("{one} and {other} exchanged");
                assert!(!verified(&place).is_clean(), "{what}");
                repaired(&closed, &place, Instead::Older, &what);
            }
        }
    }
}

#[test]
fn sectors_that_are_zeroed_or_repeated_are_found_and_the_rest_is_saved() {
    let closed = closed();
    let place = Place::new();
    for name in segments_of(&closed.image) {
        let sectors = closed.image[&name].len() / 512;
        for sector in 0..sectors {
            let at = sector * 512;
            for (how, from) in [
                ("zeroed", None),
                ("repeated", Some((sector + 1) % sectors * 512)),
            ] {
                let what = format!("{name} sector {sector} {how}");
                let image = damaged(&closed.image, &name, |bytes| {
                    let with =
                        from.map_or([0; 512].to_vec(), |from| bytes[from..from + 512].to_vec());
                    bytes[at..at + 512].copy_from_slice(&with);
                });
                if image[&name] == closed.image[&name] {
                    continue;
                }
                write_image(place.path(), &image);
                assert!(!verified(&place).is_clean(), "{what}");
                repaired(&closed, &place, Instead::Nothing, &what);
            }
        }
    }
}

#[test]
fn repair_refuses_what_it_must_not_write_to_and_what_is_no_store() {
    let closed = closed();
    let (place, new) = (Place::new(), Place::new());
    write_image(place.path(), &closed.image);
    let wrong = ErrorKind::InvalidArgument;
    refused(
        Store::repair(place.path(), place.path(), Options::default()),
        wrong,
        &["not empty"],
    );
    let none = Store::repair(new.file("none"), new.file("new"), Options::default());
    refused(none, ErrorKind::NotFound, &["no store"]);
    assert_eq!(files(new.path()), [""; 0], "nothing was made");
    // As a crash in the middle leaves it.
    let target = new.file("half");
    Store::repair(place.path(), &target, place.options()).expect("repaired");
    std::fs::write(target.join("UNFINISHED"), "").expect("written");
    let open = Store::open(&target, place.options());
    refused(open, wrong, &["broken off"]);
    refused(
        Store::open_read_only(&target, place.options()),
        wrong,
        &["broken off"],
    );
    refused(
        Store::repair(place.path(), &target, place.options()),
        wrong,
        &["broken off"],
    );
    assert!(!segments(&target).is_empty());
}

#[test]
fn what_expires_keeps_its_hour_and_keyspaces_their_options() {
    let (place, new) = (Place::new(), Place::new());
    let store = place.open();
    let hour = std::time::Duration::from_secs(3_600);
    let options = peercask::KeyspaceOptions::hash().default_ttl(Some(hour));
    let soon = store.keyspace("soon", options).expect("made");
    soon.put("default", "an hour").expect("put");
    soon.put_with("never", "for ever", peercask::Write::new().never_expires())
        .and_then(|commit| commit.wait())
        .expect("put");
    soon.put_with("past", "gone", peercask::Write::new().expires_at_ms(1))
        .and_then(|commit| commit.wait())
        .expect("put");
    store.close().expect("closed");
    let target = new.file("new");
    let report = Store::repair(place.path(), &target, place.options()).expect("repaired");
    assert_eq!((report.keyspaces, report.records), (1, 2));
    let [was, is] = [place.path(), &target].map(|dir| {
        let store = Store::open(dir, place.options()).expect("opened");
        let soon = store
            .keyspace("soon", options)
            .expect("with the same options");
        let life = soon
            .entry("default")
            .expect("read")
            .expect("there")
            .expires_at_ms;
        (contents(&store), life)
    });
    assert_same(&is.0, &was.0, "repaired");
    assert_eq!(is.1, was.1);
}
