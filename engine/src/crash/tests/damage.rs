//! What media do to bytes that were safe once: every byte flipped, sectors zeroed, exchanged, repeated,
//! from another file or from the past, files cut, gone or renamed. Damage is told, costs what
//! it hits, and never yields a value that nobody wrote.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::crash::machine::{keyspace, options};
use crate::crash::trace::text_of;
use crate::crash::{Cut, SimDisk};
use crate::merge::Merge;
use crate::options::Missing;
use crate::segment::names::{self as file_names, ImageCopy, ManifestCopy};
use crate::store::Store;

/// No footer of these small stores is longer.
const FOOTER_LEN_MAX: usize = 260;

/// Every value that a key ever had, the last one last; `None` for deleted.
pub(super) type Versions = BTreeMap<u8, Vec<Option<Vec<u8>>>>;

/// A small store of several segments, closed well, and what its keys ever were.
pub(super) fn store_on(disk: &SimDisk) -> Versions {
    store_of(disk, 3, 5)
}

/// As many segments as rounds.
fn store_of(disk: &SimDisk, rounds: u8, keys: u8) -> Versions {
    let mut versions = Versions::new();
    let store = Store::open_on(disk, options()).expect("opened");
    let space = keyspace(&store, 0).expect("made");
    for round in 0..rounds {
        for key in 0..keys {
            let value = vec![round * 16 + key; 60 + usize::from(key) * 40];
            space.put([key], &value).expect("put");
            versions.entry(key).or_default().push(Some(value));
        }
        space.delete([round]).expect("deleted");
        versions.entry(round).or_default().push(None);
        store.rotate().expect("sealed");
    }
    store.close().expect("closed");
    versions
}

/// What became of a damaged store.
#[derive(Default, Debug)]
pub(super) struct Found {
    pub(super) unharmed: u64,
    pub(super) refused: u64,
    pub(super) reported: u64,
    /// Keys that answered with an error or are gone.
    pub(super) lost: u64,
    lost_most: u64,
    /// Keys that show an older version although damage was told.
    older: u64,
}

/// Opens and reads a damaged store; panics at a value that nobody wrote, and at silence.
pub(super) fn look(disk: &SimDisk, versions: &Versions, what: &str, found: &mut Found) {
    let accept = || options().missing_segments(Missing::Accept);
    let store = match Store::open_on(disk, accept()) {
        Ok(store) => store,
        Err(_told) => {
            found.refused += 1;
            return;
        }
    };
    let mut told = !store.recovery().damage.is_empty()
        || store.recovery().manifest_rebuilt
        || !store.recovery().cut.is_empty();
    let (mut lost, mut older) = (0, Vec::new());
    match store.existing_keyspace("hash") {
        Err(_) => lost = versions.len() as u64,
        Ok(space) => {
            for (key, all) in versions {
                match space.get([*key]) {
                    Err(_) => {
                        told = true;
                        lost += 1;
                    }
                    Ok(value) => {
                        let value = value.map(|value| value.to_vec());
                        let last = all.last().cloned().flatten();
                        let known = value.is_none() || all.contains(&value);
                        assert!(known, "{what}: key {key} has a value that nobody wrote");
                        match value == last {
                            true => {}
                            false if value.is_none() => lost += 1,
                            false => older.push(*key),
                        }
                    }
                }
            }
        }
    }
    if !told && (lost > 0 || !older.is_empty()) {
        let verified = store.verify(&mut |_| {}).expect("verified");
        told = !verified.damage.is_empty();
    }
    assert!(
        told || lost == 0,
        "{what}: {lost} keys are lost, and nothing was said"
    );
    assert!(
        told || older.is_empty(),
        "{what}: keys {older:?} are old, and nothing was said"
    );
    found.older += older.len() as u64;
    found.lost += lost;
    found.lost_most = found.lost_most.max(lost);
    match told {
        true => found.reported += 1,
        false => found.unharmed += 1,
    }
}

pub(super) fn names(disk: &SimDisk) -> Vec<(String, usize)> {
    let all = disk.files().into_iter();
    all.filter(|(name, _)| name != "RESERVE" && name != "LOCK")
        .collect()
}

/// Where the last byte that is not zero ends.
fn end_of(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|byte| *byte != 0);
    last.map_or(0, |last| last + 1)
}

/// The closed store again, on a disk of its own.
pub(super) fn copy(disk: &SimDisk) -> SimDisk {
    disk.crash(&Cut::Kill)
}

/// The same without keydir images, so that hint files are read.
fn without_images(disk: &SimDisk) -> SimDisk {
    let copy = copy(disk);
    for image in [ImageCopy::A, ImageCopy::B] {
        // There may be one.
        let _none = copy.vanish(file_names::image(image));
    }
    copy
}

#[test]
fn each_byte_flipped_costs_at_most_its_record_and_never_yields_a_wrong_value() {
    let disk = SimDisk::new(1);
    let versions = store_on(&disk);
    let mut found = Found::default();
    for (name, len) in names(&disk) {
        for at in 0..len {
            let copy = copy(&disk);
            copy.rot(&name, at, 1 << (at % 8)).expect("there");
            look(&copy, &versions, &format!("{name} byte {at}"), &mut found);
        }
    }
    println!("{found:?}");
    assert_eq!(
        found.refused, 0,
        "one byte never keeps a store from opening"
    );
    assert!(found.lost_most <= 1 && found.reported > 100, "{found:?}");
}

#[test]
fn each_bit_of_a_smaller_store_costs_at_most_its_record_too() {
    let disk = SimDisk::new(1);
    let versions = store_of(&disk, 2, 2);
    let (mut found, mut bits) = (Found::default(), 0);
    for (name, len) in names(&disk) {
        for (at, bit) in (0..len).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let copy = copy(&disk);
            copy.rot(&name, at, 1 << bit).expect("there");
            let what = format!("{name} byte {at} bit {bit}");
            look(&copy, &versions, &what, &mut found);
            bits += 1;
        }
    }
    println!("{bits} bits: {found:?}");
    assert_eq!(found.refused, 0, "one bit never keeps a store from opening");
    assert!(found.lost_most <= 1 && found.reported > 500, "{found:?}");
}

#[test]
fn sectors_zeroed_exchanged_repeated_or_from_elsewhere_are_told() {
    let disk = SimDisk::new(2);
    let versions = store_on(&disk);
    let mut found = Found::default();
    let files = names(&disk);
    for (name, len) in &files {
        for sector in 0..len.div_ceil(512) {
            let zeroed = copy(&disk);
            zeroed.zero_sector(name, sector).expect("there");
            look(
                &zeroed,
                &versions,
                &format!("{name} sector {sector} zeroed"),
                &mut found,
            );
            for (from_name, from_len) in &files {
                for from in 0..from_len.div_ceil(512) {
                    let copy = copy(&disk);
                    copy.misdirect(from_name, from, name, sector)
                        .expect("there");
                    let what = format!("{name} sector {sector} got {from_name} sector {from}");
                    look(&copy, &versions, &what, &mut found);
                }
            }
        }
    }
    println!("{found:?}");
    assert!(found.reported > 20 && found.lost > 0, "{found:?}");
}

#[test]
fn files_cut_gone_or_under_each_others_names_are_told() {
    let disk = SimDisk::new(3);
    let versions = store_on(&disk);
    let mut found = Found::default();
    let files = names(&disk);
    for (name, len) in &files {
        for shorter in 0..*len {
            let copy = copy(&disk);
            copy.cut_file(name, shorter).expect("there");
            look(
                &copy,
                &versions,
                &format!("{name} cut to {shorter}"),
                &mut found,
            );
        }
        let gone = copy(&disk);
        gone.vanish(name).expect("there");
        look(&gone, &versions, &format!("{name} gone"), &mut found);
        for (other, _) in &files {
            let copy = copy(&disk);
            copy.exchange(name, other).expect("there");
            look(
                &copy,
                &versions,
                &format!("{name} and {other} exchanged"),
                &mut found,
            );
        }
    }
    println!("{found:?}");
    assert!(found.reported > 20, "{found:?}");
}

#[test]
fn a_hint_that_is_wrong_in_any_way_changes_nothing() {
    let disk = SimDisk::new(4);
    let versions = store_on(&disk);
    let disk = without_images(&disk);
    let hints: Vec<_> = names(&disk)
        .into_iter()
        .filter(|(n, _)| n.starts_with("hint-"))
        .collect();
    assert!(hints.len() >= 3, "{hints:?}");
    let unharmed = |copy: &SimDisk, what: &str| costs_nothing(copy, &versions, what);
    for (name, len) in &hints {
        for at in 0..*len {
            let (flipped, shorter) = (copy(&disk), copy(&disk));
            flipped.rot(name, at, 0x41).expect("there");
            unharmed(&flipped, &format!("{name} byte {at} flipped"));
            shorter.cut_file(name, at).expect("there");
            unharmed(&shorter, &format!("{name} cut to {at}"));
        }
        let gone = copy(&disk);
        gone.vanish(name).expect("there");
        unharmed(&gone, &format!("{name} gone"));
        for (other, _) in &hints {
            let swapped = copy(&disk);
            swapped.exchange(name, other).expect("there");
            unharmed(&swapped, &format!("{name} and {other} exchanged"));
        }
    }
}

/// Every third byte of each file of a small store flipped, and hint files under each other's names:
/// what each record costs at most is told, and what is only a copy costs nothing. How many stores
/// were looked at, and what did not hold. For mutants that cuts alone do not meet.
pub(super) fn rotten() -> (u64, Option<String>) {
    let mut stores = 0;
    let looked = catch_unwind(AssertUnwindSafe(|| {
        let disk = SimDisk::new(1);
        let versions = store_of(&disk, 2, 2);
        let mut found = Found::default();
        let files = names(&disk);
        for (name, len) in &files {
            let is_hint = |name: &str| name.starts_with("hint-");
            for (other, _) in files.iter().filter(|(n, _)| is_hint(n) && is_hint(name)) {
                let exchanged = without_images(&disk);
                exchanged.exchange(name, other).expect("there");
                stores += 1;
                costs_nothing(&exchanged, &versions, &format!("{name} and {other}"));
            }
            for at in (0..*len).step_by(3) {
                let flipped = match is_hint(name) {
                    true => without_images(&disk),
                    false => copy(&disk),
                };
                flipped.rot(name, at, 1 << (at % 8)).expect("there");
                stores += 1;
                let what = format!("{name} byte {at}");
                match name.starts_with("seg-") {
                    true => look(&flipped, &versions, &what, &mut found),
                    false => costs_nothing(&flipped, &versions, &what),
                }
            }
        }
        stores += rotten_footers(&disk, &versions, &mut found);
        assert!(found.lost_most <= 1 && found.refused == 0, "{found:?}");
    }));
    (stores, looked.err().map(|panic| text_of(&*panic)))
}

/// Without manifests it is the segments' footers that count.
fn rotten_footers(disk: &SimDisk, versions: &Versions, found: &mut Found) -> u64 {
    let mut stores = 0;
    let files = names(disk).into_iter();
    for (name, len) in files.filter(|(name, _)| name.starts_with("seg-")) {
        for at in (len.saturating_sub(FOOTER_LEN_MAX)..len).step_by(3) {
            let flipped = copy(disk);
            for manifest in [ManifestCopy::A, ManifestCopy::B] {
                flipped
                    .vanish(file_names::manifest(manifest))
                    .expect("there");
            }
            flipped.rot(&name, at, 1 << (at % 8)).expect("there");
            stores += 1;
            let what = format!("{name} byte {at}, without manifests");
            look(&flipped, versions, &what, found);
        }
    }
    stores
}

/// Every key reads as it was written last.
fn costs_nothing(disk: &SimDisk, versions: &Versions, what: &str) {
    let store = Store::open_on(disk, options()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let space = keyspace(&store, 0).expect("there");
    for (key, all) in versions {
        let value = space.get([*key]).unwrap_or_else(|e| panic!("{what}: {e}"));
        let last = all.last().and_then(Option::as_deref);
        assert_eq!(value.as_deref(), last, "{what}: {key}");
    }
}

/// A segment is brought back from a time when it held less.
#[test]
fn a_segment_from_an_old_backup_is_noticed() {
    let disk = SimDisk::new(5);
    let store = Store::open_on(&disk, options()).expect("opened");
    let space = keyspace(&store, 0).expect("made");
    space.put("a", [1; 300]).expect("put");
    let (name, _) = names(&disk)
        .into_iter()
        .find(|(n, _)| n.starts_with("seg-"))
        .expect("one");
    let old = disk.bytes_of(&name).expect("there");
    space.put("a", [2; 300]).expect("put");
    space.put("b", [3; 300]).expect("put");
    drop(space);
    store.close().expect("closed");
    disk.put_file(&name, &old);
    match Store::open_on(&disk, options()) {
        Err(error) => assert!(error.to_string().contains(&name), "{error}"),
        Ok(store) => {
            let damage = &store.recovery().damage;
            assert!(
                damage.iter().any(|damage| damage.file == name),
                "{damage:?}"
            );
        }
    }
}

/// A store with a record of `len` bytes of value in its last segment, and a segment that merge removed.
struct Stale {
    disk: SimDisk,
    /// The segment that is written to, and where its record ends.
    active: String,
    end: usize,
    /// The removed segment, and where its second record stands.
    stale: Vec<u8>,
    second: usize,
    whole: usize,
}

fn stale_with(len: usize) -> Stale {
    let disk = SimDisk::new(6);
    let store = Store::open_on(&disk, options()).expect("opened");
    let space = keyspace(&store, 0).expect("made");
    space.put("a", [1; 100]).expect("put");
    let first = first_segment(&disk);
    let second = end_of(&disk.bytes_of(&first).expect("there"));
    space.put("b", [1; 100]).expect("put");
    let whole = end_of(&disk.bytes_of(&first).expect("there"));
    store.rotate().expect("sealed");
    let stale = disk.bytes_of(&first).expect("there");
    space.delete("a").expect("deleted");
    store.merge(Merge::Full).expect("merged");
    let gone = disk.bytes_of(&first).is_err();
    assert!(gone, "merge removed {first}");
    let before = disk.crash(&Cut::Kill);
    space.put("c", vec![2; len]).expect("put");
    let mut all = names(&disk).into_iter().map(|(name, _)| name);
    let active = all.find(|name| disk.bytes_of(name).ok() != before.bytes_of(name).ok());
    let active = active.expect("it was written to");
    let end = end_of(&disk.bytes_of(&active).expect("there"));
    Stale {
        // As a kill leaves it, not as the store's drop does.
        disk: disk.crash(&Cut::Kill),
        active,
        end,
        stale,
        second,
        whole,
    }
}

fn first_segment(disk: &SimDisk) -> String {
    let mut all = names(disk).into_iter().map(|(name, _)| name);
    all.find(|name| name.starts_with("seg-")).expect("one")
}

/// The active segment goes on with what a segment that is gone had there. Among the lengths is one at
/// which a whole record follows, at the offset for which it was written.
#[test]
fn stale_records_of_a_removed_segment_behind_the_end_are_not_replayed() {
    let mut at_their_offset = 0;
    for len in 80..120 {
        let Stale {
            disk,
            active,
            end,
            stale,
            second,
            whole,
        } = stale_with(len);
        let copy = disk.crash(&Cut::Kill);
        let mut bytes = copy.bytes_of(&active).expect("there");
        bytes.resize(bytes.len().max(stale.len()), 0);
        bytes[end..stale.len()].copy_from_slice(&stale[end..]);
        if end == second {
            assert_eq!(bytes[end..whole], stale[second..whole]);
            at_their_offset += 1;
        }
        copy.put_file(&active, &bytes);
        let store = Store::open_on(&copy, options()).expect("opens");
        assert_eq!(store.recovery().damage, [], "{len}");
        let space = keyspace(&store, 0).expect("there");
        let get = |key: &str| space.get(key).expect("read").map(|value| value.to_vec());
        assert_eq!(get("a"), None, "deleted, {len}");
        assert_eq!(get("b"), Some(vec![1; 100]), "{len}");
        assert_eq!(get("c"), Some(vec![2; len]), "{len}");
    }
    assert_eq!(
        at_their_offset, 1,
        "one length puts a record at its own offset"
    );
}

/// What a crash tears is cut and counted; what was safe before it and is bad now is damage.
#[test]
fn a_torn_tail_is_cut_with_its_byte_count_and_damage_before_it_is_told_as_damage() {
    let disk = SimDisk::new(7);
    let store = Store::open_on(&disk, options()).expect("opened");
    let space = keyspace(&store, 0).expect("made");
    let mut ends = Vec::new();
    for key in 0..4_u8 {
        space.put([key], [key + 1; 200]).expect("put");
        let name = first_segment(&disk);
        ends.push(end_of(&disk.bytes_of(&name).expect("there")));
    }
    let name = first_segment(&disk);
    let (start, end) = (ends[2], ends[3]);
    let torn = disk.crash(&Cut::Kill);
    torn.cut_file(&name, end - 50).expect("there");
    let opened = Store::open_on(&torn, options()).expect("opens");
    let cut = opened.recovery().cut.first().expect("told");
    assert_eq!(
        (cut.file.as_str(), opened.recovery().damage.len()),
        (name.as_str(), 0)
    );
    assert_eq!(opened.recovery().cut.len(), 1);
    assert_eq!(
        (cut.offset, cut.bytes),
        (start as u64, (end - 50 - start) as u64)
    );
    assert_eq!(cut.records, 0, "none that is whole: {cut:?}");

    let rotten = disk.crash(&Cut::Kill);
    rotten.rot(&name, 300, 0xFF).expect("there");
    let opened = Store::open_on(&rotten, options()).expect("opens");
    let damage = &opened.recovery().damage;
    assert!(
        damage.iter().any(|damage| damage.file == name),
        "{damage:?}"
    );
    let space = keyspace(&opened, 0).expect("there");
    let there = (0..4_u8)
        .filter(|key| matches!(space.get([*key]), Ok(Some(_))))
        .count();
    assert!(there >= 2, "what follows the damage is kept: {there}");
}
