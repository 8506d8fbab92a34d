//! Numbers that nobody wrote under checksums that hold: each length, count, offset and id of each kind of file
//! is made 0, 1, the greatest and the greatest but one. Nothing panics or hangs, no value comes out that nobody
//! wrote, and what is refused is refused with a reason. What it takes in memory is measured by `memory`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::forge::{overwritten, sealed_anew};
use super::times;
use crate::crash::machine::{keyspace, options};
use crate::crash::trace::text_of;
use crate::crash::{Cut, SimDisk};
use crate::disk::sim::{Dice, mix};
use crate::error::{Error, ErrorKind};
use crate::merge::Merge;
use crate::options::Missing;
use crate::segment::names;
use crate::store::Store;

/// Every value that a key of a keyspace ever had.
pub(super) type Versions = BTreeMap<(u8, u8), Vec<Vec<u8>>>;

/// Two keyspaces, a merged segment, sealed ones and an active one; tombstones, expiry, a batch.
pub(super) fn life(seed: u64, close: bool) -> (SimDisk, Versions) {
    let disk = SimDisk::new(seed);
    let mut versions = Versions::new();
    let store = Store::open_on(&disk, options()).expect("opened");
    for round in 0..3_u8 {
        for space in 0..2_u8 {
            let keyspace = keyspace(&store, space).expect("made");
            for key in 0..3_u8 {
                let value = vec![round * 16 + key * 2 + space; 20 + usize::from(key) * 40];
                keyspace.put([key], &value).expect("put");
                versions.entry((space, key)).or_default().push(value);
            }
            keyspace.delete([round]).expect("deleted");
        }
        match round {
            0 => drop(store.merge(Merge::Full).expect("merged")),
            1 => store.rotate().expect("sealed"),
            _ => {}
        }
    }
    if close {
        store.close().expect("closed");
        return (disk, versions);
    }
    (disk.crash(&Cut::Kill), versions)
}

/// What a forged file led to.
#[derive(Default, Debug)]
struct Found {
    /// A record sealed anew with another length has a value that nobody wrote, and no reader can know.
    in_segment: bool,
    opened: u64,
    refused: u64,
    /// Keys that answered with an error.
    told: u64,
}

/// A refusal says what is wrong, and with which file.
fn is_clear(error: &Error) -> bool {
    let kind = matches!(
        error.kind(),
        ErrorKind::Corrupted
            | ErrorKind::UnsupportedFormat
            | ErrorKind::StorageFull
            | ErrorKind::InvalidArgument
    );
    kind && error.to_string().len() > 20
}

/// Opens, reads, writes, merges, closes and opens again.
fn live(disk: &SimDisk, versions: &Versions, found: &mut Found) {
    let strict = Store::open_on(disk, options());
    if let Err(error) = &strict {
        assert!(is_clear(error), "refused without a reason: {error}");
    }
    let accepted = strict.or_else(|_| {
        found.refused += 1;
        Store::open_on(disk, options().missing_segments(Missing::Accept))
    });
    let store = match accepted {
        Ok(store) => store,
        Err(error) => return assert!(is_clear(&error), "refused without a reason: {error}"),
    };
    found.opened += 1;
    read(&store, versions, found);
    if let Ok(space) = keyspace(&store, 0)
        && let Err(error) = space.put([200], [200; 30])
    {
        assert!(is_clear(&error), "a write: {error}");
    }
    if let Err(error) = store.merge(Merge::Full) {
        assert!(is_clear(&error), "a merge: {error}");
    }
    let _report = store.verify(&mut |_| {}).expect("verify reports");
    read(&store, versions, found);
    if let Err(error) = store.close() {
        assert!(is_clear(&error), "close: {error}");
    }
    match Store::open_on(disk, options().missing_segments(Missing::Accept)) {
        Ok(store) => read(&store, versions, found),
        Err(error) => assert!(is_clear(&error), "opened once, then: {error}"),
    }
}

fn read(store: &Store, versions: &Versions, found: &mut Found) {
    for ((space, key), known) in versions {
        let name = ["hash", "ordered"][usize::from(*space)];
        let Ok(keyspace) = store.existing_keyspace(name) else {
            continue;
        };
        match keyspace.get([*key]) {
            Ok(None) => {}
            Ok(Some(value)) => assert!(
                found.in_segment || known.iter().any(|known| **known == *value),
                "{name} {key} has a value that nobody wrote"
            ),
            Err(_) => found.told += 1,
        }
        for entry in keyspace.walk().flatten() {
            let all = versions.iter().filter(|((of, _), _)| of == space);
            let known = all.flat_map(|(_, known)| known);
            let is_known = known.clone().any(|known| **known == *entry.value);
            assert!(
                found.in_segment || is_known || *entry.key == [200],
                "walked: nobody wrote it"
            );
        }
    }
}

fn tried(disk: &SimDisk, versions: &Versions, what: &str, found: &mut Found) {
    found.in_segment = what.starts_with("seg-");
    let lived = catch_unwind(AssertUnwindSafe(|| live(disk, versions, found)));
    if let Err(panic) = lived {
        panic!("{what}: {}", text_of(&*panic));
    }
}

/// Files that hold something, with what they hold.
fn files(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.files().into_iter().map(|(name, _)| name);
    let ours = names.filter(|name| name != names::LOCK && name != names::RESERVE);
    let with_bytes = |name: String| {
        let bytes = disk.bytes_of(&name).expect("listed");
        // Behind the records of an active segment lies only what was reserved.
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let end = bytes.len().min(end + 200);
        (name, bytes, end)
    };
    ours.map(with_bytes)
        .map(|(name, bytes, end)| (name, bytes.get(..end).unwrap_or_default().to_vec()))
        .collect()
}

/// One place in so many is tried in one round, so that some rounds of `PEERCASK_SEEDS` try all.
const ONE_IN: usize = 8;

/// Places of each file by the dice, and which width and number stand there.
pub(super) fn forge_some_places(
    left: &SimDisk,
    seed: u64,
    mut look: impl FnMut(&str, &SimDisk),
) -> u64 {
    let mut forged = 0;
    for (name, original) in files(left) {
        let mut dice = Dice::new(mix(&[seed, original.len() as u64]));
        for at in 0..original.len() {
            if !dice.once_in(ONE_IN) {
                continue;
            }
            let width = [1, 2, 4, 8][dice.below(4)];
            let number = [0, 1, u64::MAX, u64::MAX - 1][dice.below(4)];
            let bytes = overwritten(&original, at, width, number);
            if bytes == original {
                continue;
            }
            let copy = left.crash(&Cut::Kill);
            copy.put_file(&name, &sealed_anew(&name, &original, bytes));
            look(
                &format!("{name}: {width} bytes at {at} are {number}"),
                &copy,
            );
            forged += 1;
        }
    }
    forged
}

#[test]
fn a_number_forged_anywhere_under_checksums_that_hold_yields_nothing_that_nobody_wrote() {
    for round in 0..times() {
        let mut refused = 0;
        for closed in [true, false] {
            let (seed, mut found) = (1 + round, Found::default());
            let (left, versions) = life(seed, closed);
            let forged = forge_some_places(&left, seed, |what, disk| {
                tried(disk, &versions, what, &mut found);
            });
            println!("closed {closed}: {forged} forged: {found:?}");
            assert!(found.opened > forged / 2 && found.told > 20, "{found:?}");
            refused += found.refused;
        }
        assert!(refused > 20, "{refused} were refused");
    }
}

/// A file that is sealed anew without a change is as good as before, or the test above tries nothing.
#[test]
fn files_that_are_only_sealed_anew_are_whole() {
    for closed in [true, false] {
        let (left, _) = life(3, closed);
        for (name, original) in files(&left) {
            let again = sealed_anew(&name, &original, original.clone());
            assert_eq!(again, original, "{name}");
            // And a checksum is wrong without that: each file has one over its first hundred bytes.
            let harmed = overwritten(&original, 40, 1, u64::from(original[40] ^ 1));
            let sealed = sealed_anew(&name, &original, harmed.clone());
            assert!(sealed != harmed, "{name} has no sum");
        }
    }
}
