//! One leaf of the ordered keydir: some keys in order and the location of each. Its keys are
//! never changed: a leaf with other keys takes its place. Locations change in place.

use super::packed::{Packed, Parts};
use crate::segment::location::Location;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A leaf with more keys is split.
const KEYS_MAX: usize = 96;
/// And one with more bytes of keys, unless it has but one key.
const BYTES_MAX: usize = 16 << 10;
/// A leaf with fewer keys goes into its neighbour.
const KEYS_MIN: usize = 24;

/// Some keys that follow each other.
pub(super) struct Leaf {
    pub(super) keys: Packed,
    locations: Box<[AtomicU64]>,
}

/// A key on its way from one leaf to another.
pub(super) type Found<'a> = (Parts<'a>, Location);

fn pack(location: Location) -> u64 {
    u64::from(location.slot) << 32 | u64::from(location.offset)
}

fn unpack(packed: u64) -> Location {
    Location {
        // Both keep exactly what `pack` put there.
        slot: (packed >> 32 & 0xFFFF) as u16,
        offset: (packed & 0xFFFF_FFFF) as u32,
    }
}

impl Leaf {
    pub(super) fn of(entries: &[Found<'_>]) -> Leaf {
        Leaf {
            keys: Packed::of(entries.iter().map(|(key, _)| *key)),
            locations: entries
                .iter()
                .map(|(_, location)| AtomicU64::new(pack(*location)))
                .collect(),
        }
    }

    /// As many leaves as these entries need. Where they come in rising order, the first is filled
    /// and not halved: what comes next goes to the second.
    pub(super) fn split_of(entries: &[Found<'_>], rising: bool) -> Vec<Leaf> {
        let bytes = |entries: &[Found<'_>]| -> usize {
            entries.iter().map(|((a, b), _)| a.len() + b.len()).sum()
        };
        if entries.len() <= 1 || (entries.len() <= KEYS_MAX && bytes(entries) <= BYTES_MAX) {
            return vec![Leaf::of(entries)];
        }
        let at = if rising && entries.len() > KEYS_MAX {
            entries.len() - 1
        } else {
            entries.len() / 2
        };
        let (left, right) = entries.split_at(at);
        let mut leaves = Leaf::split_of(left, false);
        leaves.extend(Leaf::split_of(right, false));
        leaves
    }

    /// The leaf with one more key at its place `at`; `None` if it has to be split or packed anew.
    pub(super) fn with(&self, at: usize, key: &[u8], location: Location) -> Option<Leaf> {
        if self.len() >= KEYS_MAX || self.keys.keys_bytes() + key.len() > BYTES_MAX {
            return None;
        }
        let (before, after) = self.locations.split_at_checked(at)?;
        let new = AtomicU64::new(pack(location));
        let all = before.iter().chain([&new]).chain(after);
        Some(Leaf {
            keys: self.keys.with(at, key)?,
            locations: all
                .map(|slot| AtomicU64::new(slot.load(Ordering::Acquire)))
                .collect(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn is_small(&self) -> bool {
        self.len() < KEYS_MIN
    }

    /// Bytes of memory, the counts of a shared reference included.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Leaf>()
            + 2 * size_of::<usize>()
            + self.keys.bytes()
            + size_of_val(&*self.locations)
    }

    pub(super) fn location(&self, index: usize) -> Option<Location> {
        // Acquire pairs with the release of whoever put it there: its record is then visible.
        let slot = self.locations.get(index)?;
        Some(unpack(slot.load(Ordering::Acquire)))
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<Location> {
        self.location(self.keys.search(key).ok()?)
    }

    pub(super) fn entry(&self, index: usize) -> Option<Found<'_>> {
        Some((self.keys.key(index), self.location(index)?))
    }

    pub(super) fn entries(&self) -> Vec<Found<'_>> {
        (0..self.len())
            .filter_map(|index| self.entry(index))
            .collect()
    }

    /// Puts `new` in the place of `old`; the caller holds the keydir's turn.
    pub(super) fn replace(&self, index: usize, old: Location, new: Location) -> bool {
        // Release: who finds the new place finds the record there.
        self.locations.get(index).is_some_and(|slot| {
            slot.compare_exchange(pack(old), pack(new), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
    }
}
