//! Numbers that nobody wrote under checksums that hold: lengths, counts, offsets and ids of each kind of file are made
//! 0, 1, the greatest and the greatest but one. What opening such files takes in memory is measured by `memory`.

use super::forge::{overwritten, sealed_anew};
use crate::crash::machine::{keyspace, options};
use crate::crash::{Cut, SimDisk};
use crate::disk::sim::{Dice, mix};
use crate::merge::Merge;
use crate::segment::names;
use crate::store::Store;

/// Two keyspaces, a merged segment, sealed ones and an active one; tombstones, expiry, a batch.
pub(super) fn life(seed: u64, close: bool) -> SimDisk {
    let disk = SimDisk::new(seed);
    let store = Store::open_on(&disk, options()).expect("opened");
    for round in 0..3_u8 {
        for space in 0..2_u8 {
            let keyspace = keyspace(&store, space).expect("made");
            for key in 0..3_u8 {
                let value = vec![round * 16 + key * 2 + space; 20 + usize::from(key) * 40];
                keyspace.put([key], &value).expect("put");
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
        return disk;
    }
    disk.crash(&Cut::Kill)
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

/// One place in so many is tried.
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

/// A file that is sealed anew without a change is as good as before, or the test above tries nothing.
#[test]
fn files_that_are_only_sealed_anew_are_whole() {
    for closed in [true, false] {
        let left = life(3, closed);
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
