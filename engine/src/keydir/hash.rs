//! The hash keydir: 12 bytes an entry (48 bits of location, 48 bits of hash), no keys. A part of
//! the hash is kept so that a growing table needs no record to be read again, and so that a
//! wrong candidate is met less than once in 10^12 lookups.
//!
//! Split into parts, each behind its own lock, so that growth pauses touch one part in 256 and
//! threads seldom meet. The hash is keyed with the store's secret: strangers cannot aim.

use crate::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;

use super::candidates::Candidates;
use crate::segment::location::Location;

/// Parts of a keydir; a power of two.
const PARTS: usize = 256;
const TAG_BITS: u32 = 48;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;

/// Location and tag, six bytes each: twelve instead of the sixteen that alignment would cost.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry([u16; 6]);

impl Entry {
    fn new(tag: u64, location: Location) -> Entry {
        let packed = location.pack();
        Entry([
            word(packed, 0),
            word(packed, 1),
            word(packed, 2),
            word(tag, 0),
            word(tag, 1),
            word(tag, 2),
        ])
    }

    fn location(self) -> Location {
        let [a, b, c, ..] = self.0;
        Location::unpack(u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32)
    }

    fn tag(self) -> u64 {
        let [.., a, b, c] = self.0;
        u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32
    }
}

/// The `index`-th 16 bits of `value`.
fn word(value: u64, index: u32) -> u16 {
    // The mask leaves exactly the bits that the cast keeps.
    ((value >> (16 * index)) & 0xFFFF) as u16
}

/// The key's tag: the lower bits of the upper half of its hash.
fn tag_of(hash: u128) -> u64 {
    ((hash >> 64) & u128::from(TAG_MASK)) as u64
}

/// The key's part: bits of the hash that the tag does not hold.
fn part_of(hash: u128) -> usize {
    ((hash >> (64 + TAG_BITS)) & (PARTS as u128 - 1)) as usize
}

/// The table wants 64 bits, high ones among them; the tag is already random.
fn spread(tag: u64) -> u64 {
    tag.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

type Part = HashTable<Entry>;

/// From the hash of a key to its candidates.
pub(crate) struct HashKeydir {
    /// Each lock guards one part's table.
    parts: Box<[RwLock<Part>]>,
}

impl HashKeydir {
    pub(crate) fn new() -> HashKeydir {
        HashKeydir {
            parts: (0..PARTS).map(|_| RwLock::new(HashTable::new())).collect(),
        }
    }

    pub(crate) fn candidates(&self, hash: u128) -> Candidates {
        let tag = tag_of(hash);
        let mut found = Candidates::default();
        let part = self.read(part_of(hash));
        for entry in part
            .iter_hash(spread(tag))
            .filter(|entry| entry.tag() == tag)
        {
            found.push(entry.location());
        }
        found
    }

    pub(crate) fn change(&self, hash: u128, old: Option<Location>, new: Option<Location>) -> bool {
        let tag = tag_of(hash);
        let mut part = self.write(part_of(hash));
        let Some(old) = old else {
            if let Some(new) = new {
                part.insert_unique(spread(tag), Entry::new(tag, new), |e| spread(e.tag()));
            }
            return true;
        };
        let was = Entry::new(tag, old);
        let same = |entry: &Entry| *entry == was;
        match part.entry(spread(tag), same, |e| spread(e.tag())) {
            TableEntry::Vacant(_) => return false,
            TableEntry::Occupied(mut at) => match new {
                Some(new) => *at.get_mut() = Entry::new(tag, new),
                None => {
                    at.remove();
                }
            },
        }
        if new.is_none() && part.capacity() > 16 && part.len() * 4 < part.capacity() {
            // Memory follows the keys down as well as up.
            let target = part.len() * 2;
            part.shrink_to(target, |e| spread(e.tag()));
        }
        true
    }

    pub(crate) fn len(&self) -> u64 {
        (0..PARTS).map(|i| self.read(i).len() as u64).sum()
    }

    pub(crate) fn index_bytes(&self) -> u64 {
        let tables: u64 = (0..PARTS)
            .map(|i| self.read(i).allocation_size() as u64)
            .sum();
        tables + (PARTS * size_of::<RwLock<Part>>()) as u64
    }

    pub(crate) fn part(&self, part: usize) -> Option<Vec<Location>> {
        if part >= PARTS {
            return None;
        }
        Some(
            self.read(part)
                .iter()
                .map(|entry| entry.location())
                .collect(),
        )
    }

    // A panic in another thread cannot leave a table half changed: no foreign code runs inside.
    fn read(&self, part: usize) -> RwLockReadGuard<'_, Part> {
        let lock = self.parts.get(part).expect("part_of stays below PARTS");
        lock.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, part: usize) -> RwLockWriteGuard<'_, Part> {
        let lock = self.parts.get(part).expect("part_of stays below PARTS");
        lock.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u32) -> Location {
        Location { slot: 3, offset }
    }

    #[test]
    fn an_entry_is_twelve_bytes_and_gives_back_what_it_was_made_of() {
        assert_eq!(size_of::<Entry>(), 12);
        let location = Location {
            slot: 0xABCD,
            offset: 0x1234_5678,
        };
        let entry = Entry::new(0x9876_5432_10FE, location);
        assert_eq!(entry.location(), location);
        assert_eq!(entry.tag(), 0x9876_5432_10FE);
    }

    #[test]
    fn a_change_happens_only_if_the_old_location_stands_there() {
        let keydir = HashKeydir::new();
        let hash = 0xDEAD_BEEF_u128 << 64;
        assert!(!keydir.change(hash, Some(at(1)), Some(at(2))));
        assert!(keydir.change(hash, None, Some(at(1))));
        assert!(!keydir.change(hash, Some(at(9)), None));
        assert!(keydir.change(hash, Some(at(1)), Some(at(2))));
        assert!(keydir.candidates(hash).contains(at(2)));
        assert!(keydir.change(hash, Some(at(2)), None));
        assert_eq!(keydir.len(), 0);
    }

    #[test]
    fn keys_with_one_tag_stand_side_by_side() {
        let keydir = HashKeydir::new();
        let hash = 7_u128 << 64;
        for offset in 1..=5 {
            assert!(keydir.change(hash, None, Some(at(offset))));
        }
        assert_eq!(keydir.candidates(hash).iter().count(), 5);
        assert!(keydir.change(hash, Some(at(4)), None));
        assert!(!keydir.candidates(hash).contains(at(4)));
    }

    #[test]
    fn a_keydir_shrinks_when_its_keys_go() {
        let keydir = HashKeydir::new();
        let hash =
            |i: u32| (u128::from(i) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        for i in 0..100_000 {
            keydir.change(hash(i), None, Some(at(i)));
        }
        let full = keydir.index_bytes();
        for i in 0..100_000 {
            assert!(keydir.change(hash(i), Some(at(i)), None));
        }
        assert!(
            keydir.index_bytes() * 8 < full,
            "{} of {full}",
            keydir.index_bytes()
        );
    }
}
