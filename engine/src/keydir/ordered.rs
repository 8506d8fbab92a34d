//! The ordered keydir: keys in memory in one balanced tree, for ranges in both directions.
//! It knows keys and locations, never records.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::ops::Bound;

use super::candidates::Candidates;
use crate::segment::location::Location;

type Tree = BTreeMap<Box<[u8]>, Location>;

/// What a tree node adds to an entry on average: nodes of 11 entries, three quarters full.
const ENTRY_OVERHEAD: u64 = 8;

/// From a key to its location, in the order of keys as bytes.
pub(crate) struct OrderedKeydir {
    /// Guards the tree. Readers copy what they need and let go before they read a record.
    tree: RwLock<Tree>,
    key_bytes: AtomicU64,
}

impl OrderedKeydir {
    pub(crate) fn new() -> OrderedKeydir {
        OrderedKeydir {
            tree: RwLock::new(BTreeMap::new()),
            key_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn candidates(&self, key: &[u8]) -> Candidates {
        let mut found = Candidates::default();
        if let Some(location) = self.read().get(key) {
            found.push(*location);
        }
        found
    }

    pub(crate) fn change(&self, key: &[u8], old: Option<Location>, new: Option<Location>) -> bool {
        let mut tree = self.write();
        if tree.get(key).copied() != old {
            return false;
        }
        match (old, new) {
            (_, Some(new)) => match tree.get_mut(key) {
                Some(at) => *at = new,
                None => {
                    self.key_bytes
                        .fetch_add(key.len() as u64, Ordering::Relaxed);
                    tree.insert(key.into(), new);
                }
            },
            (Some(_), None) => {
                self.key_bytes
                    .fetch_sub(key.len() as u64, Ordering::Relaxed);
                tree.remove(key);
            }
            (None, None) => {}
        }
        true
    }

    /// Fills an empty keydir at once, while the store opens.
    pub(crate) fn fill(&self, mut entries: Vec<(Box<[u8]>, Location)>) {
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let bytes = entries.iter().map(|(key, _)| key.len() as u64).sum();
        self.key_bytes.store(bytes, Ordering::Relaxed);
        *self.write() = entries.into_iter().collect();
    }

    pub(crate) fn len(&self) -> u64 {
        self.read().len() as u64
    }

    pub(crate) fn index_bytes(&self) -> u64 {
        let entry = size_of::<Box<[u8]>>() + size_of::<Location>();
        self.key_bytes.load(Ordering::Relaxed) + self.len() * (entry as u64 + ENTRY_OVERHEAD)
    }

    pub(crate) fn part(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        from_back: bool,
        max: usize,
    ) -> Vec<(Box<[u8]>, Location)> {
        if is_void(bounds) {
            return Vec::new();
        }
        let tree = self.read();
        let range = tree.range::<[u8], _>(bounds);
        let copy = |(key, location): (&_, &_)| (Box::clone(key), Location::clone(location));
        if from_back {
            range.rev().take(max).map(copy).collect()
        } else {
            range.take(max).map(copy).collect()
        }
    }

    // A panic in another thread cannot leave the tree half changed: no foreign code runs inside.
    fn read(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tree> {
        self.tree.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether no key can lie between the bounds; the tree panics on some of these.
fn is_void((lower, upper): (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
            a >= b
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u32) -> Location {
        Location { slot: 0, offset }
    }

    fn keys(part: &[(Box<[u8]>, Location)]) -> Vec<&[u8]> {
        part.iter().map(|(key, _)| &**key).collect()
    }

    #[test]
    fn parts_come_from_either_end_within_the_bounds() {
        let keydir = OrderedKeydir::new();
        for (i, key) in [b"a", b"b", b"c", b"d"].iter().enumerate() {
            assert!(keydir.change(&key[..], None, Some(at(u32::try_from(i).expect("small")))));
        }
        let from_b = (Bound::Excluded(&b"a"[..]), Bound::Unbounded);
        assert_eq!(keys(&keydir.part(from_b, false, 2)), [b"b", b"c"]);
        assert_eq!(keys(&keydir.part(from_b, true, 2)), [b"d", b"c"]);
    }

    #[test]
    fn bounds_that_hold_nothing_are_empty_not_a_panic() {
        let keydir = OrderedKeydir::new();
        keydir.change(b"k", None, Some(at(1)));
        let k = &b"k"[..];
        for bounds in [
            (Bound::Excluded(k), Bound::Excluded(k)),
            (Bound::Included(k), Bound::Excluded(k)),
            (Bound::Included(&b"z"[..]), Bound::Included(&b"a"[..])),
        ] {
            assert!(keydir.part(bounds, false, 9).is_empty());
        }
        assert_eq!(
            keydir
                .part((Bound::Included(k), Bound::Included(k)), false, 9)
                .len(),
            1
        );
    }

    #[test]
    fn a_change_happens_only_if_the_old_location_stands_there() {
        let keydir = OrderedKeydir::new();
        assert!(!keydir.change(b"k", Some(at(1)), Some(at(2))));
        assert!(keydir.change(b"k", None, Some(at(1))));
        assert!(!keydir.change(b"k", None, Some(at(3))));
        assert!(keydir.change(b"k", Some(at(1)), None));
        assert_eq!((keydir.len(), keydir.index_bytes()), (0, 0));
    }
}
