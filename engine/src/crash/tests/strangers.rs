//! Files of another store among ours, or over them: each is refused or told by its name, gives no value of that
//! store, and makes the store remove nothing of its own. The same of files whose magic is another kind's.

use std::collections::BTreeMap;

use super::forge::sealed_anew;
use crate::crash::machine::{keyspace, options};
use crate::crash::survival::content;
use crate::crash::{Cut, SimDisk};
use crate::error::ErrorKind;
use crate::merge::Merge;
use crate::options::Missing;
use crate::segment::format::{
    HINT_MAGIC, IMAGE_MAGIC, LABEL_MAGIC, MANIFEST_MAGIC, SEGMENT_HEADER_LEN, SEGMENT_MAGIC,
    preamble,
};
use crate::segment::names::{self, FileName, ManifestCopy};
use crate::store::Store;

/// What the disk of a store held when it was closed or, still open, lost power without loss.
fn store(seed: u64, mark: u8, close: bool) -> SimDisk {
    let disk = SimDisk::new(seed);
    let store = Store::open_on(&disk, options()).expect("opened");
    for round in 0..4_u8 {
        for space in 0..2_u8 {
            let keyspace = keyspace(&store, space).expect("made");
            for key in 0..4_u8 {
                keyspace.put([key], [mark + round; 70]).expect("put");
            }
        }
        match round {
            1 => drop(store.merge(Merge::Full).expect("merged")),
            _ => store.rotate().expect("sealed"),
        }
    }
    let keyspace = keyspace(&store, 0).expect("made");
    keyspace.put([4], [mark + 4; 70]).expect("put");
    if close {
        drop(keyspace);
        store.close().expect("closed");
        return disk;
    }
    disk.crash(&Cut::Kill)
}

/// Values of the one and of the other.
const OURS: u8 = 0x10;
const THEIRS: u8 = 0x90;

fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.files().into_iter().map(|(name, _)| name);
    let ours = names.filter(|name| name != names::LOCK && name != names::RESERVE);
    let with_bytes = |name: String| {
        let bytes = disk.bytes_of(&name).expect("listed");
        (name, bytes)
    };
    ours.map(with_bytes).collect()
}

/// Whether a name is of some kind.
type IsIt = fn(&str) -> bool;

fn is_segment(name: &str) -> bool {
    matches!(names::parse(name), FileName::Segment(_))
}

/// How a directory with strangers' files was taken.
#[derive(Default, Debug)]
struct Found {
    refused: u64,
    told: u64,
    unharmed: u64,
}

/// Opens what is there: values are ours or errors, what is lost is told, and no segment of ours is removed that was
/// there before.
fn look(disk: &SimDisk, whole: &SimDisk, what: &str, found: &mut Found) {
    let before = files(disk);
    if let Err(error) = Store::open_on(disk, options()) {
        let named = before.keys().any(|name| error.to_string().contains(name));
        assert!(named, "{what}: refused without a name: {error}");
        assert_eq!(error.kind(), ErrorKind::Corrupted, "{what}: {error}");
        assert_eq!(files(disk), before, "{what}: refused, and changed");
        found.refused += 1;
    }
    let expected = content(&Store::open_on(whole, options()).expect("ours")).expect("read");
    let Ok(store) = Store::open_on(disk, options().missing_segments(Missing::Accept)) else {
        return;
    };
    let recovery = store.recovery();
    let told = !recovery.damage.is_empty() || !recovery.foreign_files.is_empty();
    for ((space, key), value) in &expected {
        let name = ["hash", "ordered"][usize::from(*space)];
        let read = match store.existing_keyspace(name) {
            Ok(keyspace) => keyspace.get([*key]),
            Err(_) => Ok(None),
        };
        match read {
            Ok(Some(read)) => {
                let ours = read.iter().all(|byte| (OURS..OURS + 8).contains(byte));
                assert!(ours, "{what}: a value of the other store");
                assert!(told || *read == **value, "{what}: an old value in silence");
            }
            Ok(None) | Err(_) => assert!(told, "{what}: {name} {key} is lost in silence"),
        }
    }
    drop(store);
    let after = files(disk);
    let original = files(whole);
    for (name, bytes) in before.iter().filter(|(name, _)| is_segment(name)) {
        let was_ours = original.get(name) == Some(bytes);
        let kept = after.get(name).is_some_and(|after| {
            // The end of one that was not sealed may be cut off.
            bytes.starts_with(after) || after.starts_with(bytes)
        });
        assert!(kept || !was_ours, "{what}: {name} of ours was removed");
    }
    match told {
        true => found.told += 1,
        false => found.unharmed += 1,
    }
}

#[test]
fn a_file_of_another_store_over_or_among_ours_is_told_by_name() {
    for close in [true, false] {
        let (ours, theirs) = (store(31, OURS, close), store(32, THEIRS, close));
        let strangers = files(&theirs);
        let mut found = Found::default();
        for (name, bytes) in &strangers {
            let copy = ours.crash(&Cut::Kill);
            copy.put_file(name, bytes);
            look(
                &copy,
                &ours.crash(&Cut::Kill),
                &format!("their {name}"),
                &mut found,
            );
            // Under the name of each of our segments, too.
            for (other, _) in files(&ours).iter().filter(|(other, _)| is_segment(other)) {
                let copy = ours.crash(&Cut::Kill);
                copy.put_file(other, bytes);
                let what = format!("their {name} as our {other}");
                look(&copy, &ours.crash(&Cut::Kill), &what, &mut found);
            }
        }
        println!("closed {close}: {found:?}");
        assert!(found.refused > 5 && found.told > 5, "{found:?}");
    }
}

/// Whole sets: a backup of the other store brought back into our directory in part.
#[test]
fn parts_of_another_store_in_our_directory_remove_nothing_of_ours() {
    let of_kind: [(&str, IsIt); 4] = [
        ("both manifests", |name| {
            matches!(names::parse(name), FileName::Manifest(_))
        }),
        ("all segments", is_segment),
        ("all hints", |name| {
            matches!(names::parse(name), FileName::Hint(_))
        }),
        ("the images", |name| {
            matches!(names::parse(name), FileName::Image(_))
        }),
    ];
    for close in [true, false] {
        let (ours, theirs) = (store(31, OURS, close), store(32, THEIRS, close));
        let mut found = Found::default();
        for (what, is_it) in of_kind {
            let copy = ours.crash(&Cut::Kill);
            for (name, bytes) in files(&theirs).iter().filter(|(name, _)| is_it(name)) {
                copy.put_file(name, bytes);
            }
            look(&copy, &ours.crash(&Cut::Kill), what, &mut found);
        }
        println!("closed {close}: {found:?}");
        assert!(found.refused >= 2, "{found:?}");
    }
}

/// One manifest is ours and one is theirs: nobody can tell which directory this is, so nothing is done.
#[test]
fn manifests_of_two_stores_are_refused_by_name() {
    let (ours, theirs) = (store(31, OURS, true), store(32, THEIRS, true));
    for copy in [ManifestCopy::A, ManifestCopy::B] {
        let name = names::manifest(copy);
        let mixed = ours.crash(&Cut::Kill);
        mixed.put_file(name, &theirs.bytes_of(name).expect("there"));
        let before = files(&mixed);
        for missing in [Missing::Refuse, Missing::Accept] {
            let opened = Store::open_on(&mixed, options().missing_segments(missing));
            let Err(error) = opened else {
                panic!("it was opened");
            };
            assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
            assert!(error.to_string().contains("another store"), "{error}");
            assert_eq!(files(&mixed), before, "nothing is done");
        }
        // Without the stranger all is as it was.
        mixed.vanish(name).expect("there");
        let store = Store::open_on(&mixed, options()).expect("ours again");
        assert_eq!(content(&store).expect("read").len(), 9);
    }
}

#[test]
fn a_file_with_the_magic_of_another_kind_is_told_by_name() {
    let ours = store(33, OURS, true);
    let magics = [
        SEGMENT_MAGIC,
        HINT_MAGIC,
        MANIFEST_MAGIC,
        LABEL_MAGIC,
        IMAGE_MAGIC,
        *b"SOMEBODY",
    ];
    let mut found = Found::default();
    for (name, original) in files(&ours) {
        for magic in magics
            .into_iter()
            .filter(|magic| !original.starts_with(magic))
        {
            let mut bytes = original.clone();
            bytes[..16].copy_from_slice(&preamble(magic));
            if is_segment(&name) {
                // Of one copy alone the other makes it good.
                bytes[SEGMENT_HEADER_LEN..][..16].copy_from_slice(&preamble(magic));
            }
            let copy = ours.crash(&Cut::Kill);
            copy.put_file(&name, &sealed_anew(&name, &original, bytes));
            let what = format!("{name} with another magic");
            look(&copy, &ours.crash(&Cut::Kill), &what, &mut found);
        }
    }
    // Hints, and all but one image, nobody asks.
    println!("{found:?}");
    assert!(found.told > 12, "{found:?}");
}
