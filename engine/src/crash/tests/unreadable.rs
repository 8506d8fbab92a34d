//! Sectors that the device cannot read, in files that are read by position: they cost the records that they
//! hold, are told, and keep nobody from opening, merging or closing the rest.

use std::collections::BTreeMap;

use crate::crash::machine::{keyspace, options};
use crate::crash::{Background, Cut, SimDisk};
use crate::error::ErrorKind;
use crate::merge::Merge;
use crate::options::{Options, Reads};
use crate::store::Store;

fn positional() -> Options {
    options().reads(Reads::Positional)
}

#[test]
fn a_sector_that_cannot_be_read_costs_its_key_alone_through_merge_close_and_reopen() {
    let disk = SimDisk::new(1);
    let store = Store::open_on(&disk, positional()).expect("opened");
    let space = keyspace(&store, 0).expect("made");
    for key in 0..6_u8 {
        space.put([key], [key; 700]).expect("put");
    }
    for key in 0..3_u8 {
        space.put([key + 10], [key; 700]).expect("put");
        space.delete([key]).expect("deleted");
    }
    store.rotate().expect("sealed");
    let segments: Vec<String> = disk.files().into_iter().map(|(name, _)| name).collect();
    let first = segments
        .iter()
        .find(|name| name.starts_with("seg-"))
        .expect("a segment");
    disk.set_unreadable(first, 5).expect("there");
    let (mut failed, mut readable) = (0, Vec::new());
    for key in 3..6_u8 {
        match space.get([key]) {
            Ok(value) => {
                assert_eq!(value.as_deref(), Some(&[key; 700][..]));
                readable.push(key);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                assert_eq!(error.file(), Some(first.as_str()), "{error}");
                failed += 1;
            }
        }
    }
    assert!((1..=2).contains(&failed), "{failed} keys lie in the sector");
    let inputs = segments_of(&disk);
    assert!(inputs.len() >= 2, "{inputs:?}");
    let merged = store.merge(Merge::Full).expect("the others are merged");
    assert_eq!(merged.segments_damaged, 1, "{merged:?}");
    assert_eq!(store.stats().damaged_segments, 1);
    let files = segments_of(&disk);
    assert!(files.contains(first), "it is kept: {inputs:?} of {files:?}");
    let others = |store: &Store, when: &str| {
        let space = keyspace(store, 0).expect("there");
        for key in readable.iter().copied().chain(10..13) {
            let value = space.get([key]).unwrap_or_else(|e| panic!("{when}: {e}"));
            let written = if key < 10 { key } else { key - 10 };
            assert_eq!(value.as_deref(), Some(&[written; 700][..]), "{when}: {key}");
        }
        for key in 0..3_u8 {
            assert_eq!(space.get([key]).expect("read"), None, "{when}: deleted");
        }
    };
    others(&store, "after the merge");
    let verified = store.verify(&mut |_| {}).expect("the rest is read");
    assert!((1..=failed).contains(&verified.lost), "{verified:?}");
    assert!(verified.damage.iter().any(|at| at.file == *first));
    drop(space);
    store.close().expect("one bad sector is no obstacle");
    for turn in 0..2 {
        let store = Store::open_on(&disk, positional()).expect("opens");
        others(&store, "after a reopen");
        store.background_step(Background::Work).expect("works on");
        let space = keyspace(&store, 0).expect("there");
        space.put("new", [turn]).expect("taken");
        drop(space);
        store.close().expect("closed again");
    }
}

fn segments_of(disk: &SimDisk) -> Vec<String> {
    let names = disk.files().into_iter().map(|(name, _)| name);
    names.filter(|name| name.starts_with("seg-")).collect()
}

/// What each key was given.
type Values = BTreeMap<u8, Vec<u8>>;

/// Three segments of a store that was closed, or two and the tail of one that was killed.
fn store_that(closes: bool) -> (SimDisk, Values) {
    let disk = SimDisk::new(3);
    let store = Store::open_on(&disk, positional()).expect("opened");
    let space = keyspace(&store, 0).expect("made");
    let mut values = Values::new();
    for key in 0..9_u8 {
        let value = vec![key + 1; 500];
        space.put([key], &value).expect("put");
        values.insert(key, value);
        if key == 2 || key == 5 {
            store.rotate().expect("sealed");
        }
        if key == 4 {
            store.background_step(Background::Work).expect("settled");
        }
    }
    drop(space);
    if closes {
        store.close().expect("closed");
        return (disk, values);
    }
    (disk.crash(&Cut::Kill), values)
}

/// How many keys cannot be read; the others are what they were.
fn lost_keys(store: &Store, values: &Values, what: &str) -> usize {
    let space = keyspace(store, 0).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut lost = 0;
    for (key, value) in values {
        match space.get([*key]) {
            Ok(Some(found)) => assert_eq!(&*found, &value[..], "{what}: {key}"),
            Ok(None) => lost += 1,
            Err(error) => {
                assert!(error.file().is_some(), "{what}: {error}");
                lost += 1;
            }
        }
    }
    lost
}

/// Each sector of each file in turn, of a store that was closed and of one that was killed.
#[test]
fn one_unreadable_sector_anywhere_is_told_and_the_rest_opens_merges_and_closes() {
    let (mut opened, mut refused, mut lost_in_all) = (0, 0, 0);
    for closes in [true, false] {
        let (disk, values) = store_that(closes);
        let files = disk.files().into_iter();
        for (name, len) in files.filter(|(name, _)| name != "LOCK" && name != "RESERVE") {
            for sector in 0..len.div_ceil(512) {
                let what = format!("{name} sector {sector}, closed: {closes}");
                let bad = disk.crash(&Cut::Kill);
                bad.set_unreadable(&name, sector).expect("there");
                let before = bad.digest();
                let store = match Store::open_on(&bad, positional()) {
                    Ok(store) => store,
                    Err(error) => {
                        assert!(!closes && error.kind() == ErrorKind::Io, "{what}: {error}");
                        assert_eq!(error.file(), Some(name.as_str()), "{what}: {error}");
                        assert_eq!(bad.digest(), before, "{what}: nothing is changed");
                        refused += 1;
                        continue;
                    }
                };
                let lost = lost_keys(&store, &values, &what);
                assert!(lost <= 2, "{what}: {lost} keys are lost");
                if lost > 0 {
                    let told = !store.recovery().damage.is_empty();
                    let verified = store
                        .verify(&mut |_| {})
                        .unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert!(told || !verified.is_clean(), "{what}: nothing was said");
                }
                let merged = store.merge(Merge::Full);
                merged.unwrap_or_else(|e| panic!("{what}: merge: {e}"));
                assert_eq!(lost_keys(&store, &values, &what), lost, "{what}: merged");
                store
                    .close()
                    .unwrap_or_else(|e| panic!("{what}: close: {e}"));
                let store = Store::open_on(&bad, positional()).expect("opens again");
                assert_eq!(lost_keys(&store, &values, &what), lost, "{what}: reopened");
                opened += 1;
                lost_in_all += lost;
            }
        }
    }
    println!("{opened} opened, {refused} refused, {lost_in_all} keys lost");
    assert!(
        opened > 25 && refused < 12 && lost_in_all > 15,
        "{opened} {refused} {lost_in_all}"
    );
}
