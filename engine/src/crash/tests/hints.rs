//! Hints that are sound in themselves and wrong all the same: of the segment's past, of a longer segment than
//! is left, with rows that nobody wrote. What the store then holds is what it holds without any hint.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::forge::{overwritten, records_of, sealed_anew};
use crate::crash::history::Content;
use crate::crash::machine::{keyspace, options};
use crate::crash::survival::content;
use crate::crash::trace::text_of;
use crate::crash::{Cut, SimDisk};
use crate::options::Missing;
use crate::report::{Cost, Damage};
use crate::segment::format::{CHECKSUM_LEN, HINT_HEADER_LEN, HINT_SECTION_HEADER_LEN, wide};
use crate::segment::hint_file::Hint;
use crate::segment::hinting;
use crate::segment::hints;
use crate::segment::manifest::Manifest;
use crate::segment::names::{self, FileName, ManifestCopy};
use crate::store::Store;

/// What a row begins with.
const HASH_LEN: usize = 16;

/// Three sealed segments with tombstones and replaced versions; `close` makes their hints known to the manifest.
fn store_on(disk: &SimDisk) -> Store {
    let store = Store::open_on(disk, options()).expect("opened");
    for round in 0..3_u8 {
        for space in 0..2_u8 {
            let keyspace = keyspace(&store, space).expect("made");
            for key in 0..4_u8 {
                keyspace.put([key], [round * 8 + key; 50]).expect("put");
            }
            keyspace.delete([round]).expect("deleted");
        }
        store.rotate().expect("sealed");
    }
    store
}

fn closed() -> SimDisk {
    let disk = SimDisk::new(11);
    store_on(&disk).close().expect("closed");
    // An image would keep the hints from being asked.
    for (name, _) in disk.files() {
        if matches!(names::parse(&name), FileName::Image(_)) {
            disk.vanish(&name).expect("there");
        }
    }
    disk
}

fn copy(disk: &SimDisk) -> SimDisk {
    disk.crash(&Cut::Kill)
}

fn hint_names(disk: &SimDisk) -> Vec<String> {
    let names = disk.files().into_iter().map(|(name, _)| name);
    names
        .filter(|name| matches!(names::parse(name), FileName::Hint(_)))
        .collect()
}

fn segment_of(hint: &str) -> String {
    match names::parse(hint) {
        FileName::Hint(id) => names::segment(id),
        _ => panic!("{hint} is no hint"),
    }
}

/// What a store holds after opening whatever is there, and the damage it tells, hints left out.
fn opened(disk: &SimDisk, what: &str) -> (Content, Vec<(String, u64, u64)>, u64) {
    let store = Store::open_on(disk, options().missing_segments(Missing::Accept));
    let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = content(&store).unwrap_or_else(|error| panic!("{what}: {error}"));
    let told = store.recovery();
    let costly = |damage: &&Damage| damage.cost != Cost::Nothing;
    let places = told.damage.iter().filter(costly);
    let places = places.map(|damage| (damage.file.clone(), damage.offset, damage.len));
    (found, places.collect(), told.records)
}

/// The store opens as it does with no hint for that segment at all.
fn as_without(disk: &SimDisk, hint: &str, what: &str) {
    let without = copy(disk);
    without.vanish(hint).expect("there");
    let (expected, damage, _) = opened(&without, &format!("{what}, without the hint"));
    let (found, told, _) = opened(disk, what);
    assert_eq!(found, expected, "{what}");
    assert_eq!(told, damage, "{what}");
}

fn manifest_of(disk: &SimDisk) -> Manifest {
    let bytes = disk.bytes_of(names::manifest(ManifestCopy::A));
    Manifest::decode(&bytes.expect("closed")).expect("sound")
}

/// The hint that a segment had, or would have had, when it ended after each of its records.
#[test]
fn a_hint_of_the_segments_past_is_not_believed() {
    let disk = closed();
    let manifest = manifest_of(&disk);
    let mut tried = 0;
    for name in hint_names(&disk) {
        let bytes = disk.bytes_of(&segment_of(&name)).expect("there");
        let FileName::Hint(id) = names::parse(&name) else {
            continue;
        };
        let listed = manifest.segments.iter();
        let header = listed
            .map(|entry| &entry.header)
            .find(|header| header.id == id)
            .expect("listed");
        for end in records_of(&bytes) {
            let (secret, keyspaces) = (&manifest.secret, &manifest.keyspaces);
            let past = hinting::build(&bytes, end, header, keyspaces, secret).bytes;
            assert!(Hint::parse_unbound(&past[..]).is_ok(), "sound in itself");
            let aged = copy(&disk);
            aged.put_file(&name, &past);
            as_without(&aged, &name, &format!("{name} of when it ended at {end}"));
            // And one that says of itself that it is of now.
            let current = disk.bytes_of(&name).expect("there");
            let mut forged = past.clone();
            forged[..HINT_HEADER_LEN].copy_from_slice(&current[..HINT_HEADER_LEN]);
            let forged = sealed_anew(&name, &past, forged);
            aged.put_file(&name, &forged);
            as_without(&aged, &name, &format!("{name} of {end} as of now"));
            tried += 2;
        }
    }
    assert!(tried > 50, "{tried}");
}

/// The segment is cut at every byte and its hint is whole: of a closed store, and of one whose manifest does
/// not know of the hint yet.
#[test]
fn a_hint_whose_segment_lost_its_end_says_nothing_of_what_is_left() {
    let closed = closed();
    let unlisted = {
        let disk = SimDisk::new(12);
        let store = store_on(&disk);
        let before = [ManifestCopy::A, ManifestCopy::B]
            .map(|copy| (names::manifest(copy), disk.bytes_of(names::manifest(copy))));
        let log = &store.core().log;
        log.settle().expect("synced");
        for segment in log.table.by_id() {
            hints::of(log, &segment).expect("made");
        }
        let left = copy(&disk);
        for (name, bytes) in before {
            left.put_file(name, &bytes.expect("there"));
        }
        left
    };
    let mut tried = 0;
    for disk in [closed, unlisted] {
        assert!(hint_names(&disk).len() >= 3, "{:?}", disk.files());
        for name in hint_names(&disk) {
            let segment = segment_of(&name);
            let len = disk.bytes_of(&segment).expect("there").len();
            // Every byte of the last records, every seventh before.
            for end in (0..len).filter(|end| end % 7 == 0 || len - end < 130) {
                let cut = copy(&disk);
                cut.cut_file(&segment, end).expect("there");
                as_without(&cut, &name, &format!("{segment} cut to {end}"));
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

/// Offsets, lengths and seqs of rows are changed under checksums that hold. What lies past the end, out of
/// order or twice is refused with the whole hint; another row leads to a record that is not the key's,
/// and no value of anybody else comes out.
#[test]
fn forged_rows_are_refused_or_lead_to_no_wrong_value() {
    let disk = closed();
    let (expected, ..) = opened(&copy(&disk), "as it was");
    let mut refused = 0_u64;
    let mut tried = 0_u64;
    for name in hint_names(&disk) {
        let original = disk.bytes_of(&name).expect("there");
        let rows = HINT_HEADER_LEN + HINT_SECTION_HEADER_LEN..original.len() - CHECKSUM_LEN;
        for at in rows {
            for (width, number) in [(4, u64::MAX), (2, 0), (1, 1), (8, u64::MAX - 1)] {
                let forged = overwritten(&original, at, width, number);
                let forged = sealed_anew(&name, &original, forged);
                let copy = copy(&disk);
                copy.put_file(&name, &forged);
                let what = format!("{name}: {width} bytes at {at} are {number}");
                tried += 1;
                refused += u64::from(holds_nothing_wrong(&copy, &expected, &what));
            }
        }
    }
    println!("{tried} forged hints, {refused} refused");
    assert!(refused > tried / 4, "{refused} of {tried}");
}

/// True if the hint was refused, after which nothing may differ.
fn holds_nothing_wrong(disk: &SimDisk, expected: &Content, what: &str) -> bool {
    let store = Store::open_on(disk, options()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let refused = !store.recovery().damage.is_empty();
    for space in 0..2_u8 {
        let keyspace = keyspace(&store, space).expect("there");
        for key in 0..4_u8 {
            let right = expected.get(&(space, key));
            match keyspace.get([key]) {
                Ok(found) if found.as_deref() == right.map(Vec::as_slice) => {}
                Ok(None) if !refused => {}
                // An older version, or one that was deleted: of that key, at least.
                Ok(Some(found)) if !refused => {
                    assert!(found.iter().all(|byte| byte % 8 == key), "{what}: {key}");
                }
                other => assert!(
                    !refused && other.is_err(),
                    "{what}: {space} {key}: {other:?}"
                ),
            }
        }
    }
    refused
}

/// Rows of hints lead to each other's records, under checksums that hold: how many stores were looked at, and
/// what did not hold. For a mutant that neither cuts nor rot meet.
pub(super) fn exchanged_rows() -> (u64, Option<String>) {
    let mut stores = 0;
    let looked = catch_unwind(AssertUnwindSafe(|| {
        let disk = closed();
        let (expected, ..) = opened(&copy(&disk), "as it was");
        for name in hint_names(&disk) {
            let original = disk.bytes_of(&name).expect("there");
            let (_, hint) = Hint::parse_unbound(&original[..]).expect("sound");
            let mut at = HINT_HEADER_LEN;
            for section in hint.sections() {
                let (rows, len) = (at + HINT_SECTION_HEADER_LEN, section.row_len());
                for row in 1..section.row_count() {
                    let (before, here) = (rows + (row - 1) * len, rows + row * len);
                    let mut forged = original.clone();
                    for byte in HASH_LEN..len {
                        forged.swap(before + byte, here + byte);
                    }
                    let copy = copy(&disk);
                    copy.put_file(&name, &sealed_anew(&name, &original, forged));
                    stores += 1;
                    let what = format!("{name}: rows {} and {row} exchanged", row - 1);
                    holds_nothing_wrong(&copy, &expected, &what);
                }
                at += section.encoded_len();
            }
        }
    }));
    (stores, looked.err().map(|panic| text_of(&*panic)))
}

#[test]
fn rows_that_lead_to_each_others_records_give_no_key_anothers_value() {
    let (stores, bad) = exchanged_rows();
    assert_eq!(bad, None);
    assert!(stores > 10, "{stores}");
}

/// A key that a hint lists twice would stand in the place of another: the hint is refused.
#[test]
fn a_row_that_is_there_twice_makes_a_hint_unsound() {
    let disk = closed();
    let mut tried = 0;
    for name in hint_names(&disk) {
        let original = disk.bytes_of(&name).expect("there");
        let (_, hint) = Hint::parse_unbound(&original[..]).expect("sound");
        let mut at = HINT_HEADER_LEN;
        for section in hint.sections() {
            let rows = at + HINT_SECTION_HEADER_LEN;
            for row in 1..section.row_count() {
                let (before, here) = (
                    rows + (row - 1) * section.row_len(),
                    rows + row * section.row_len(),
                );
                let mut forged = original.clone();
                forged.copy_within(before..here, here);
                let forged = sealed_anew(&name, &original, forged);
                let copy = copy(&disk);
                copy.put_file(&name, &forged);
                as_without(&copy, &name, &format!("{name}: row {row} twice"));
                tried += 1;
            }
            at += section.encoded_len();
        }
        assert_eq!(wide(at + CHECKSUM_LEN), wide(original.len()));
    }
    assert!(tried > 10, "{tried}");
}
